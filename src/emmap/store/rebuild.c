/* What is free, found again: after a reboot, or in a copied file.
 *
 * What the root does not reach becomes free blocks, in queues like any others. The queues' chunks are taken
 * from the largest of it, and from behind the frontier; so is the new root record.
 */
#include "trace.h"

#define ALIGNED ((uint64_t)64)  /* chunks lie at multiples of it */
#define CHUNK ((uint64_t)sizeof(struct emmap_chunk))

struct rebuilding {
    struct emmap_store *store;
    struct emmap_trace *trace;
    struct emmap_space *space;
    uint64_t limit;             /* behind the last block of the root */
    uint64_t txn;
    uint64_t old;               /* the root record, which another one replaces */
    uint64_t spare;             /* chunks that wait for their queue, by `next` */
};

static uint64_t round_up(uint64_t n, uint64_t to)
{
    return (n + to - 1) / to * to;
}

/* The class of the first free block that a range of so many bytes is cut into. */
static unsigned class_of_first(uint64_t at, uint64_t n)
{
    /* A large range begins with what leads to a better alignment. */
    if (n > 512 && at % 64 != 0)
        n = 64 - at % 64;
    else if (n > 4096 + emmap_class_size(72) && at % 4096 != 0)
        n = 4096 - at % 4096;
    unsigned class = emmap_class_of(n);
    if (class == EMMAP_CLASSES || emmap_class_size(class) > n)
        class--;
    while (at % emmap_class_alignment(class) != 0)
        class--;
    return class;
}

static unsigned class_of_old(const struct rebuilding *to)
{
    return EMMAP_CLASS(*(const uint64_t *)emmap_at(to->store, to->old));
}

/* How many blocks of each class there will be in queues. */
static void count_blocks(const struct rebuilding *to, uint64_t n[EMMAP_CLASSES])
{
    uint64_t at = EMMAP_BLOCKS_AT, bytes;
    memset(n, 0, EMMAP_CLASSES * sizeof n[0]);
    n[class_of_old(to)]++;
    for (; (bytes = emmap_trace_gap(to->trace, &at, to->limit)) != 0;)
        for (uint64_t end = at + bytes; at < end;) {
            unsigned class = class_of_first(at, end - at);
            n[class]++;
            at += emmap_class_size(class);
        }
}

static struct emmap_chunk *chunk_at(const struct rebuilding *to, uint64_t at)
{
    /* SAFETY: it lies in the file, and nobody reaches it. */
    return emmap_at(to->store, at);
}

static void add_spare(struct rebuilding *to, uint64_t at)
{
    struct emmap_chunk *chunk = chunk_at(to, at);
    chunk->header = EMMAP_HEADER(to->txn, EMMAP_CHUNK, emmap_class_of(CHUNK));
    chunk->next = to->spare;
    to->spare = at;
}

/* Takes so many chunks out of what is free: how many it could not get. */
static uint64_t take_chunks(struct rebuilding *to, uint64_t n)
{
    uint64_t at = EMMAP_BLOCKS_AT, bytes;
    while (n != 0 && (bytes = emmap_trace_gap(to->trace, &at, to->limit)) != 0) {
        uint64_t end = at + bytes;
        for (at = round_up(at, ALIGNED); n != 0 && at + CHUNK <= end; at += CHUNK, n--) {
            emmap_trace_mark(to->trace, at, CHUNK);
            add_spare(to, at);
        }
        at = end;
    }
    return n;
}

static uint64_t sum_of_chunks(const uint64_t n[EMMAP_CLASSES])
{
    uint64_t sum = 0;
    for (unsigned class = 0; class < EMMAP_CLASSES; class++)
        sum += (n[class] + EMMAP_CHUNK_ENTRIES - 1) / EMMAP_CHUNK_ENTRIES;
    return sum;
}

/* Makes the file long enough. */
static int reach(struct emmap_store *store, uint64_t end)
{
    uint64_t size = atomic_load_explicit(&store->size, memory_order_relaxed);
    if (end <= size)
        return 0;
    end = round_up(end, EMMAP_LEAST_GROWTH);
    if (end > store->room)
        return -EFBIG;
    int rc = store->kernel->fallocate(store->fd, (off_t)size, (off_t)(end - size));
    return rc != 0 ? rc : emmap_store_look(store);
}

static void append(struct rebuilding *to, unsigned class, uint64_t at, uint64_t retired)
{
    struct emmap_fifo *fifo = &to->space->fifos[class];
    if (fifo->tail == 0 || fifo->tail_i == EMMAP_CHUNK_ENTRIES) {
        uint64_t chunk = to->spare;
        to->spare = chunk_at(to, chunk)->next;
        if (fifo->tail == 0)
            fifo->head = chunk;
        else
            chunk_at(to, fifo->tail)->next = chunk;
        fifo->tail = chunk;
        fifo->tail_i = 0;
    }
    chunk_at(to, fifo->tail)->entries[fifo->tail_i++] =
        (struct emmap_retired){.block = at, .when = EMMAP_RETIRED(class, retired)};
    fifo->count++;
    to->space->filled[class / 64] |= UINT64_C(1) << class % 64;
    to->space->retired += emmap_class_size(class);
}

/* A block that was replaced before the first transaction: nobody can look at it. */
static void append_free(struct rebuilding *to, unsigned class, uint64_t at)
{
    append(to, class, at, 0);
    *(uint64_t *)emmap_at(to->store, at) = EMMAP_HEADER(0, EMMAP_FREE_BLOCK, class);
}

/* All that is free goes into the queues. What is left of the spare chunks does too, at last. */
static void fill(struct rebuilding *to)
{
    uint64_t at = EMMAP_BLOCKS_AT, bytes;
    while ((bytes = emmap_trace_gap(to->trace, &at, to->limit)) != 0)
        for (uint64_t end = at + bytes; at < end;) {
            unsigned class = class_of_first(at, end - at);
            append_free(to, class, at);
            at += emmap_class_size(class);
        }
    /* Its bytes stay as they are: the flush reaches it. */
    append(to, class_of_old(to), to->old, to->txn);
    while (to->spare != 0) {
        uint64_t chunk = to->spare;
        struct emmap_fifo *fifo = &to->space->fifos[emmap_class_of(CHUNK)];
        int is_for_itself = fifo->tail == 0 || fifo->tail_i == EMMAP_CHUNK_ENTRIES;
        if (is_for_itself && chunk_at(to, chunk)->next == 0) {
            /* The last one has nothing to hold but itself: it becomes a chunk that is empty. */
            if (fifo->tail == 0)
                fifo->head = chunk;
            else
                chunk_at(to, fifo->tail)->next = chunk;
            fifo->tail = chunk;
            fifo->tail_i = 0;
            to->spare = 0;
            break;
        }
        to->spare = chunk_at(to, chunk)->next;
        append_free(to, emmap_class_of(CHUNK), chunk);
    }
}

/* Behind the last block that is reached. */
static uint64_t end_of_reached(const struct emmap_trace *trace)
{
    uint64_t word = trace->end / 1024 + 1;
    while (word > EMMAP_BLOCKS_AT / 1024 && trace->reached[word - 1] == 0)
        word--;
    if (word == EMMAP_BLOCKS_AT / 1024)
        return EMMAP_BLOCKS_AT;
    return word * 1024 - 16 * (uint64_t)__builtin_clzll(trace->reached[word - 1]);
}

/* Gets chunks for all free blocks; so many of them lie behind the root record that is to be written. */
static uint64_t plan(struct rebuilding *to)
{
    uint64_t n[EMMAP_CLASSES], have = 0, behind = 0, needed;
    /* What is taken out of the free ranges cuts them, so that there are other blocks than before. */
    while (count_blocks(to, n), (needed = sum_of_chunks(n)) > have) {
        behind += take_chunks(to, needed - have);
        have = needed;
    }
    return behind;
}

static void publish(struct emmap_store *store, uint64_t root, uint64_t txn)
{
    struct emmap_live *live = emmap_live(store);
    atomic_store_explicit(&emmap_space(store, 0)->txn, txn, memory_order_release);
    atomic_store_explicit(&live->root, root, memory_order_release);
    atomic_store_explicit(&live->epoch, txn, memory_order_release);
}

int emmap_rebuild(struct emmap_store *store, struct emmap_trace *trace, uint64_t at, uint64_t txn)
{
    struct rebuilding to = {
        .store = store, .trace = trace, .space = emmap_space(store, 0), .txn = txn, .old = at,
        .limit = round_up(end_of_reached(trace), ALIGNED),
    };
    const struct emmap_root *old = emmap_at(store, at);     /* it has been traced */
    uint64_t new = to.limit, frontier = new + ALIGNED;
    int rc = reach(store, frontier);
    if (rc != 0)
        return rc;
    uint64_t behind = plan(&to);
    rc = reach(store, frontier + behind * CHUNK);
    if (rc != 0)
        return rc;
    for (; behind != 0; behind--, frontier += CHUNK)
        add_spare(&to, frontier);

    for (int i = 0; i < 2; i++)
        atomic_store_explicit(&emmap_space(store, i)->txn, 0, memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
    for (int i = 0; i < 2; i++)
        memset((unsigned char *)emmap_space(store, i) + 8, 0, sizeof(struct emmap_space) - 8);
    to.space->frontier = frontier;
    fill(&to);
    /* SAFETY: behind all that is reached, and before the frontier. */
    *(struct emmap_root *)emmap_at(store, new) = (struct emmap_root){
        .header = EMMAP_HEADER(txn, EMMAP_ROOT, emmap_class_of(ALIGNED)),
        .txn = txn, .directory = old->directory, .names = old->names,
    };
    if (emmap_lost_any(store->lost))
        return -EIO;
    publish(store, new, txn);
    return 0;
}
