/* Blocks for a transaction: from what it has dropped, from the queues, from the frontier. */
#include "space.h"

#include "queue.h"

#include <stdlib.h>

/* Room that is kept for the queues' own chunks. */
#define SLACK ((uint64_t)16 << 10)

/* And so much for removing what fills a disk. */
#define SPARE ((uint64_t)64 << 10)

/* Retired blocks that one operation may add without asking for memory. */
#define FEW 512

/* The pins are looked at again when the last look is so many transactions old, or when blocks of so many bytes
 * were taken from the frontier since: it costs as much as a small transaction does. */
#define SCAN_EVERY 32
#define SCAN_FOR ((uint64_t)16 << 10)

/* A block that waits for a reader makes those behind it wait for so many transactions. */
#define PATIENCE 1024

/* But not if it is so large, and not if so much waits. */
#define LARGE_BLOCK 4096

/* Blocks that an allocation moves to `held` on its way. */
#define MOST_MOVES 4

/* Entries of `held` that a transaction looks at again, when a pin has gone that may have held them; else as many as
 * it adds, and one in each of so many transactions. */
#define SWEEP 16
#define IDLE 8

/* The file is made longer by a sixteenth, but not by more than this. */
#define MOST_GROWTH ((uint64_t)64 << 20)

static uint64_t round_up(uint64_t n, uint64_t to)
{
    return (n + to - 1) / to * to;
}

/* Makes the file at least `least` bytes long, and a good deal longer if it can be. */
static int grow(struct emmap_txn *txn, uint64_t least)
{
    struct emmap_store *store = txn->store;
    struct emmap_live *live = emmap_live(store);
    const struct emmap_home *home = &((const struct emmap_store_header *)(void *)store->base)->home;
    uint64_t device, inode;
    int rc = store->kernel->identity(store->fd, &device, &inode);
    if (rc == 0 && (device != home->device || inode != home->inode))
        return -EBADF;          /* somebody has closed the descriptor, and opened another file */
    /* Another one may have made it longer, and died or gone back. */
    if (rc == 0)
        rc = emmap_store_look(store);
    if (rc != 0)
        return rc;
    uint64_t size = atomic_load_explicit(&store->size, memory_order_relaxed);
    uint64_t step = size / 16 < MOST_GROWTH ? size / 16 : MOST_GROWTH;
    uint64_t wanted = round_up(size + step, EMMAP_LEAST_GROWTH);
    least = round_up(least, EMMAP_LEAST_GROWTH);
    if (least > store->room)
        return -EFBIG;
    if (wanted < least || wanted > store->room)
        wanted = least;
    if (size < least) {
        rc = store->kernel->fallocate(store->fd, (off_t)size, (off_t)(wanted - size));
        if (rc == -ENOSPC && wanted > least) {
            wanted = least;
            rc = store->kernel->fallocate(store->fd, (off_t)size, (off_t)(wanted - size));
        }
        if (rc != 0)
            return rc;
        size = wanted;
        atomic_store_explicit(&store->size, size, memory_order_relaxed);
    }
    if (atomic_load_explicit(&live->size, memory_order_relaxed) < size)
        atomic_store_explicit(&live->size, size, memory_order_release);
    return 0;
}

static int reach(struct emmap_txn *txn, uint64_t end)
{
    if (end <= atomic_load_explicit(&txn->store->size, memory_order_relaxed))
        return 0;
    return end > txn->store->room ? -EFBIG : grow(txn, end);
}

static int reserve(struct emmap_offsets *list, size_t n)
{
    if (list->capacity - list->n >= n)
        return 0;
    size_t capacity = list->capacity * 2 > list->n + n ? list->capacity * 2 : list->n + n;
    uint64_t *at = realloc(list->at, capacity * sizeof *at);
    if (at == NULL)
        return -ENOMEM;
    list->at = at;
    list->capacity = capacity;
    return 0;
}

/* On a full disk, or where there is no more room, who may have the rest does without what is spared. */
static int prepare(struct emmap_txn *txn, uint64_t bytes, int may_have_the_rest)
{
    int rc = reserve(&txn->retired, FEW);
    if (rc == 0)
        rc = emmap_reserve_dropped(txn, FEW);
    if (rc != 0)
        return rc;
    if (bytes > txn->store->room)
        return -EFBIG;
    uint64_t end = txn->space->frontier + bytes + SLACK;
    rc = reach(txn, end + SPARE);
    if ((rc == -ENOSPC || rc == -EFBIG) && may_have_the_rest && reach(txn, end) == 0)
        rc = 0;
    return rc;
}

int emmap_prepare(struct emmap_txn *txn, uint64_t bytes)
{
    return prepare(txn, bytes, bytes <= EMMAP_REMOVAL);
}

int emmap_prepare_end(struct emmap_txn *txn)
{
    uint64_t n = txn->retired.n + txn->dropped.n + txn->moved + SWEEP + 4;
    return prepare(txn, 1024 * (n / EMMAP_CHUNK_ENTRIES + 1 + (n < EMMAP_CLASSES ? n : EMMAP_CLASSES)), 1);
}

/* Makes free blocks of `n` bytes that belong to nobody: multiples of 16. */
static int cut(struct emmap_txn *txn, uint64_t at, uint64_t n)
{
    int rc = 0;
    while (n != 0 && rc == 0) {
        unsigned class = emmap_class_of(n);
        if (class == EMMAP_CLASSES || emmap_class_size(class) > n)
            class--;
        while (at % emmap_class_alignment(class) != 0)
            class--;
        /* SAFETY: before the frontier, and the caller's alone. */
        *(uint64_t *)emmap_at(txn->store, at) = EMMAP_HEADER(txn->txn, EMMAP_FREE_BLOCK, class);
        rc = emmap_drop(txn, at, class);
        at += emmap_class_size(class);
        n -= emmap_class_size(class);
    }
    return rc;
}

/* The queues */

/* What of the protected may hold blocks that wait in `held`. */
static uint64_t old_ones(const struct emmap_protected *found, uint64_t base)
{
    uint64_t mix = found->flushed;
    for (size_t i = 0; i < found->n && found->txns[i] + PATIENCE <= base; i++)
        mix = mix * 31 + found->txns[i];
    return mix;
}

/* Looks at the pins, at most once in a transaction. */
static int look_at_pins(struct emmap_txn *txn, unsigned class)
{
    struct emmap_protected *found = txn->store->protected;
    uint64_t size = atomic_load_explicit(&txn->store->size, memory_order_relaxed);
    if (txn->scanned || (found->scanned != 0 && txn->base - found->scanned < SCAN_EVERY &&
                         txn->space->frontier - txn->before->frontier < SCAN_FOR &&
                         txn->space->frontier + SPARE <= size &&
                         emmap_class_size(class) < LARGE_BLOCK))
        return 0;
    uint64_t before = old_ones(found, txn->base);
    int is_first = found->scanned == 0;
    txn->scanned = 1;
    int rc = emmap_scan(txn->store);
    if (is_first || before != old_ones(found, txn->base))
        txn->sweep = txn->space->held.count;
    return rc;
}

/* Is it better to have this head wait elsewhere? What the last flush reaches waits for the next one. */
static int is_in_the_way(const struct emmap_txn *txn, unsigned class, uint64_t birth, uint64_t retired)
{
    const struct emmap_space *space = txn->space;
    uint64_t flushed = txn->store->protected->flushed;
    return (birth <= flushed && flushed < retired) || retired + PATIENCE <= txn->base || emmap_class_size(class) >= LARGE_BLOCK ||
           space->retired - space->in_held > space->frontier / 4;
}

/* The block of a queue's entry: 0, or -EUCLEAN. Its header counts for nothing but its birth. */
static inline int look_at_entry(struct emmap_store *store, const struct emmap_retired *entry, uint64_t *birth)
{
    unsigned class = EMMAP_RETIRED_CLASS(entry->when);
    const uint64_t *block = NULL;
    if (class < EMMAP_CLASSES && (entry->block & (emmap_class_alignment(class) - 1)) == 0)
        block = emmap_bytes_at(store, entry->block, emmap_class_size(class));
    if (block == NULL)
        return emmap_wrong(store, entry->block, "no block lies here, but it is to be used again");
    *birth = EMMAP_BIRTH(*block);
    return 0;
}

/* The head of a queue where nothing is to be said about it: what a small transaction does ten times. Else 0: then
 * take_free looks closer. */
static inline uint64_t take_at_once(struct emmap_txn *txn, unsigned class, uint64_t size)
{
    const struct emmap_protected *found = txn->store->protected;
    struct emmap_fifo *fifo = &txn->space->fifos[class];
    if (fifo->count <= 1 || fifo->head_i >= EMMAP_CHUNK_ENTRIES ||
        (fifo->head == fifo->tail && fifo->head_i >= fifo->tail_i))
        return 0;
    const struct emmap_chunk *chunk = emmap_chunk_at(txn, fifo->head);
    if (chunk == NULL)
        return 0;
    uint64_t at = chunk->entries[fifo->head_i].block, when = chunk->entries[fifo->head_i].when;
    const uint64_t *block = emmap_bytes_at(txn->store, at, size);
    if (block == NULL || EMMAP_RETIRED_CLASS(when) != class || (at & (emmap_class_alignment(class) - 1)) != 0 ||
        (!(when & EMMAP_RETIRED_CHUNK) &&
         (EMMAP_RETIRED_TXN(when) > found->scanned || EMMAP_RETIRED_TXN(when) > found->tentative ||
          EMMAP_BIRTH(*block) <= found->newest)))
        return 0;
    fifo->head_i++;
    fifo->count--;              /* not to 0: it stays filled */
    txn->space->changed[class >> 6] |= UINT64_C(1) << (class & 63);
    txn->space->retired -= size;
    return at;
}

/* A block of the class that nobody sees any more, from the head of its queue; 0 when there is none. `may_move`:
 * blocks that somebody sees may be moved out of its way. */
static uint64_t take_free(struct emmap_txn *txn, unsigned class, int may_move, int *rc)
{
    struct emmap_fifo *fifo = &txn->space->fifos[class];
    struct emmap_protected *found = txn->store->protected;
    struct emmap_retired head = {0, 0};
    for (int moved = 0; fifo->count != 0 && moved < MOST_MOVES;) {
        uint64_t birth = 0;
        *rc = emmap_queue_head(txn, class, &head);
        if (*rc == 0)
            *rc = look_at_entry(txn->store, &head, &birth);
        if (*rc == 0 && EMMAP_RETIRED_CLASS(head.when) != class)
            *rc = emmap_wrong(txn->store, head.block, "a queue of free blocks holds one of another size");
        if (*rc != 0)
            return 0;
        uint64_t retired = EMMAP_RETIRED_TXN(head.when);
        if (head.when & EMMAP_RETIRED_CHUNK || emmap_is_free(found, birth, retired)) {
            emmap_queue_pop(txn, class);
            txn->space->retired -= emmap_class_size(class);
            return head.block;
        }
        int before = txn->scanned;
        *rc = look_at_pins(txn, class);
        if (*rc != 0)
            return 0;
        if (txn->scanned != before)
            continue;
        /* Somebody reads it. If he has just begun he is soon done; an old reader would make all the blocks
         * behind this one wait, too. */
        if (!may_move || retired > found->scanned || retired > found->tentative ||
            !is_in_the_way(txn, class, birth, retired))
            return 0;
        *rc = emmap_queue_append(txn, EMMAP_HELD, head.block, head.when);
        if (*rc != 0)
            return 0;
        txn->space->in_held += emmap_class_size(class);
        emmap_queue_pop(txn, class);
        txn->moved++;
        moved++;
    }
    return 0;
}

/* A larger block in place of one that would make the file longer, where much is free: what is left of it is
 * cut. */
static uint64_t take_larger(struct emmap_txn *txn, unsigned class, int *rc)
{
    const struct emmap_space *space = txn->space;
    uint64_t size = emmap_class_size(class);
    for (unsigned larger = class < 16 ? class + 2 : class + 1; larger < EMMAP_CLASSES; larger++) {
        if (!(space->filled[larger >> 6] >> (larger & 63) & 1))
            continue;
        uint64_t at = take_free(txn, larger, 1, rc);
        if (at != 0)
            *rc = cut(txn, at + size, emmap_class_size(larger) - size);
        if (at != 0 || *rc != 0)
            return *rc == 0 ? at : 0;
    }
    return 0;
}

static uint64_t take_new(struct emmap_txn *txn, unsigned class, int *rc)
{
    struct emmap_space *space = txn->space;
    uint64_t gap = space->frontier, at = round_up(gap, emmap_class_alignment(class));
    /* A large one leaves what is spared for removing. */
    *rc = reach(txn, at + emmap_class_size(class) + (emmap_class_size(class) < LARGE_BLOCK ? 0 : SLACK + SPARE));
    if (*rc != 0)
        return 0;
    space->frontier = at + emmap_class_size(class);
    *rc = cut(txn, gap, at - gap);
    return *rc == 0 ? at : 0;
}

/* Is it time to cut larger blocks? Where much is free, and before the file is made longer. */
static int is_time_to_cut(const struct emmap_txn *txn)
{
    const struct emmap_space *space = txn->space;
    uint64_t free = space->retired - space->in_held;
    uint64_t size = atomic_load_explicit(&txn->store->size, memory_order_relaxed);
    return free > EMMAP_LEAST_GROWTH && (free > (space->frontier - EMMAP_BLOCKS_AT) / 4 ||
                                         space->frontier + EMMAP_OPERATION + SLACK + SPARE > size);
}

uint64_t emmap_allocate(struct emmap_txn *txn, unsigned kind, uint64_t bytes, int *rc)
{
    unsigned class = emmap_class_of(bytes);
    *rc = 0;
    if (class >= EMMAP_CLASSES) {
        *rc = -EFBIG;
        return 0;
    }
    uint64_t at = txn->dropped.first[class] != 0 ? emmap_take_dropped(txn, class) : 0;
    if (at == 0)
        at = take_at_once(txn, class, emmap_class_size(class));
    if (at == 0)
        at = take_free(txn, class, kind != EMMAP_CHUNK, rc);
    if (at == 0 && *rc == 0 && kind != EMMAP_CHUNK && is_time_to_cut(txn))
        at = take_larger(txn, class, rc);
    if (at == 0 && *rc == 0)
        at = take_new(txn, class, rc);
    if (at != 0)
        *(uint64_t *)emmap_at(txn->store, at) = EMMAP_HEADER(txn->txn, kind, class);
    return at;
}

/* A block that is reached: its header tells what it is. */
static inline int look_at_block(struct emmap_store *store, uint64_t at, unsigned *class, uint64_t *birth)
{
    const uint64_t *block = emmap_bytes_at(store, at, 16);
    uint64_t header = block == NULL ? 0 : *block;
    *class = EMMAP_CLASS(header);
    *birth = EMMAP_BIRTH(header);
    if (block == NULL || *class >= EMMAP_CLASSES || !emmap_has(store, at, emmap_class_size(*class)))
        return emmap_wrong(store, at, "no block of the store lies here, but it is to be replaced");
    return 0;
}

/* An offset is less than 2^55: what else is to be known fits in below. */
int emmap_retire_later(struct emmap_txn *txn, uint64_t at, unsigned class)
{
    int rc = reserve(&txn->retired, 1);
    if (rc == 0)
        txn->retired.at[txn->retired.n++] = at << 9 | class;
    return rc;
}

int emmap_retire_chunk(struct emmap_txn *txn, uint64_t at)
{
    size_t n = txn->retired.n;
    int rc = emmap_retire(txn, at);
    if (rc == 0 && txn->retired.n != n)
        txn->retired.at[n] |= 1 << 8;
    return rc;
}

int emmap_retire(struct emmap_txn *txn, uint64_t at)
{
    unsigned class;
    uint64_t birth;
    int rc = look_at_block(txn->store, at, &class, &birth);
    if (rc != 0)
        return rc;
    return birth == txn->txn ? emmap_drop(txn, at, class) : emmap_retire_later(txn, at, class);
}

void *emmap_own(struct emmap_txn *txn, uint64_t *at, unsigned kind, uint64_t n, uint64_t capacity, int *rc)
{
    const void *old = emmap_block_at(txn->store, *at, kind, n);
    if (old == NULL) {
        *rc = emmap_wrong_rc(txn->store);
        return NULL;
    }
    if (emmap_is_ours(txn, old) && emmap_class_size(EMMAP_CLASS(*(const uint64_t *)old)) >= capacity &&
        emmap_has(txn->store, *at, capacity))
        return (void *)old;
    uint64_t new = emmap_allocate(txn, kind, capacity, rc);
    if (new == 0)
        return NULL;
    /* SAFETY: both blocks have `n` bytes; the new one is ours. In a damaged file they may overlap. */
    unsigned char *block = emmap_at(txn->store, new);
    memmove(block + 8, (const unsigned char *)old + 8, n - 8);
    *rc = emmap_retire(txn, *at);
    if (*rc != 0)
        return NULL;
    *at = new;
    return block;
}

/* What was held is looked at again, some at a time: it goes to the queue of its class, or back. */
static int sweep(struct emmap_txn *txn)
{
    struct emmap_space *space = txn->space;
    size_t n = (txn->sweep < SWEEP ? txn->sweep : SWEEP) + txn->moved + (txn->base % IDLE == 0);
    for (; n != 0 && space->held.count != 0; n--) {
        struct emmap_retired head = {0, 0};
        uint64_t birth = 0;
        int rc = emmap_queue_head(txn, EMMAP_HELD, &head);
        if (rc == 0)
            rc = look_at_entry(txn->store, &head, &birth);
        if (rc != 0)
            return rc;
        unsigned class = EMMAP_RETIRED_CLASS(head.when);
        uint64_t retired = EMMAP_RETIRED_TXN(head.when);
        int is_free = emmap_is_free(txn->store->protected, birth, retired);
        rc = emmap_queue_append(txn, is_free ? class : EMMAP_HELD, head.block, head.when);
        if (rc != 0)
            return rc;
        emmap_queue_pop(txn, EMMAP_HELD);
        if (is_free)
            space->in_held -= emmap_class_size(class);
        txn->swept++;
    }
    return 0;
}

/* Begin and end */

static void copy_changed(struct emmap_space *to, const struct emmap_space *from)
{
    for (unsigned word = 0; word < 4; word++)
        for (uint64_t bits = from->changed[word]; bits != 0; bits &= bits - 1) {
            unsigned class = word * 64 + (unsigned)__builtin_ctzll(bits);
            if (class < EMMAP_CLASSES)
                to->fifos[class] = from->fifos[class];
        }
    memcpy(to->filled, from->filled, sizeof to->filled);
    to->held = from->held;
    to->frontier = from->frontier;
    to->retired = from->retired;
    to->in_held = from->in_held;
}

int emmap_space_begin(struct emmap_txn *txn)
{
    struct emmap_store *store = txn->store;
    struct emmap_space *spaces[2] = {emmap_space(store, 0), emmap_space(store, 1)};
    int i = atomic_load_explicit(&spaces[0]->txn, memory_order_relaxed) == txn->base ? 0 : 1;
    struct emmap_space *space = spaces[1 - i];
    const struct emmap_space *before = spaces[i];
    if (atomic_load_explicit(&spaces[i]->txn, memory_order_relaxed) != txn->base)
        return emmap_wrong(store, EMMAP_SPACE_AT(0), "neither list of what is free belongs to the live root");
    if (before->frontier % 16 != 0 || before->frontier < EMMAP_BLOCKS_AT ||
        !emmap_has(store, before->frontier, 0))
        return emmap_wrong(store, EMMAP_SPACE_AT(i), "the frontier lies outside of the file");
    int is_older = before->base != 0 &&
                   atomic_load_explicit(&space->txn, memory_order_relaxed) == before->base;

    /* From here on it does not count, whenever we are killed. */
    atomic_store_explicit(&space->txn, 0, memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
    if (is_older)
        copy_changed(space, before);
    else
        memcpy((unsigned char *)space + 8, (const unsigned char *)before + 8, sizeof *space - 8);
    space->base = txn->base;
    memset(space->changed, 0, sizeof space->changed);
    txn->space = space;
    txn->before = before;
    txn->scanned = 0;
    txn->swept = txn->moved = 0;
    txn->retired.n = 0;
    emmap_forget_dropped(txn);
    return 0;
}

/* Appends a block that this transaction has replaced to the queue of its class. */
static inline int give(struct emmap_txn *txn, uint64_t at, unsigned class, int is_chunk)
{
    uint64_t when = EMMAP_RETIRED(class, txn->txn) | (is_chunk ? EMMAP_RETIRED_CHUNK : 0);
    struct emmap_fifo *fifo = &txn->space->fifos[class];
    txn->space->retired += emmap_class_size(class);
    struct emmap_chunk *chunk = fifo->count != 0 && fifo->tail_i < EMMAP_CHUNK_ENTRIES ? emmap_chunk_at(txn, fifo->tail)
                                                                                       : NULL;
    if (chunk == NULL)
        return emmap_queue_append(txn, class, at, when);
    /* As that, where the queue is filled already and the chunk has room. */
    chunk->entries[fifo->tail_i++] = (struct emmap_retired){at, when};
    fifo->count++;
    txn->space->changed[class >> 6] |= UINT64_C(1) << (class & 63);
    return 0;
}

int emmap_space_end(struct emmap_txn *txn)
{
    unsigned class = emmap_class_of(sizeof(struct emmap_chunk));
    int rc = 0;
    if (txn->space->held.count != 0) {
        rc = look_at_pins(txn, 0);
        if (rc == 0)
            rc = sweep(txn);
    }
    /* Chunks are taken without moving anything: so what is in their way is moved here. */
    uint64_t at = rc == 0 ? take_free(txn, class, 1, &rc) : 0;
    if (at != 0)
        rc = emmap_drop(txn, at, class);
    /* Appending may take blocks and replace chunks: until nothing is left. */
    for (size_t i = 0;;) {
        for (; rc == 0 && i < txn->retired.n; i++)
            rc = give(txn, txn->retired.at[i] >> 9, txn->retired.at[i] & 255, txn->retired.at[i] >> 8 & 1);
        class = emmap_any_dropped(txn);
        if (rc != 0 || class == EMMAP_CLASSES)
            return rc;
        rc = give(txn, emmap_take_dropped(txn, class), class, 0);
    }
}
