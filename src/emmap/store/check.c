/* The whole store looked at: each byte before the frontier belongs to the live root, or is free in one queue,
 * or is a queue's own. */
#include "trace.h"

/* What is counted besides what the root reaches. */
struct census {
    struct emmap_trace *trace;
    uint64_t txn;               /* of the live root */
    uint64_t retired, in_held;  /* bytes of blocks in queues */
};

#define HELD EMMAP_CLASSES      /* in place of a class: the queue of blocks of all classes */

/* The block of an entry. What it says of itself is nobody's word: a killed writer may have written there. */
static int count_free(struct census *census, unsigned class, const struct emmap_retired *entry)
{
    struct emmap_store *store = census->trace->store;
    uint64_t end = census->trace->end, at = entry->block;
    unsigned is_class = EMMAP_RETIRED_CLASS(entry->when);
    if (class != HELD && is_class != class)
        return emmap_wrong(store, at, "a queue of free blocks holds one of another size");
    uint64_t size = is_class < EMMAP_CLASSES ? emmap_class_size(is_class) : 0;
    if (size == 0 || at < EMMAP_BLOCKS_AT || size > end || at > end - size ||
        at % emmap_class_alignment(is_class) != 0)
        return emmap_wrong(store, at, "a free block cannot lie here");
    if (EMMAP_RETIRED_TXN(entry->when) > census->txn)
        return emmap_wrong(store, at, "a free block was replaced by a transaction that has never been");
    if (!emmap_trace_mark(census->trace, at, size))
        return emmap_wrong(store, at, "a free block is in use, or free twice");
    census->retired += size;
    census->in_held += class == HELD ? size : 0;
    return 0;
}

static int count_queue(struct census *census, unsigned class, const struct emmap_fifo *fifo)
{
    struct emmap_store *store = census->trace->store;
    uint64_t n = 0, at = fifo->head;
    unsigned i = fifo->head_i;
    while (at != 0 || fifo->tail != 0) {
        /* SAFETY: a chunk that is met again is reached twice, so this ends. */
        const struct emmap_chunk *chunk =
            emmap_trace_block(census->trace, at, EMMAP_CHUNK, sizeof *chunk, census->txn);
        if (chunk == NULL)
            return emmap_wrong_rc(store);
        unsigned end = at == fifo->tail ? fifo->tail_i : EMMAP_CHUNK_ENTRIES;
        if (i > end || end > EMMAP_CHUNK_ENTRIES)
            return emmap_wrong(store, at, "a queue of free blocks ends before it begins");
        for (; i < end; i++, n++) {
            int rc = count_free(census, class, &chunk->entries[i]);
            if (rc != 0)
                return rc;
        }
        if (at == fifo->tail)
            break;
        at = chunk->next;
        i = 0;
    }
    if (n != fifo->count)
        return emmap_wrong(store, fifo->head, "a queue of free blocks has another length than it says");
    return 0;
}

static int count_all(struct census *census, const struct emmap_space *space, uint64_t at)
{
    struct emmap_store *store = census->trace->store;
    int rc = count_queue(census, HELD, &space->held);
    for (unsigned class = 0; rc == 0 && class < EMMAP_CLASSES; class++) {
        rc = count_queue(census, class, &space->fifos[class]);
        if (rc == 0 && (space->fifos[class].count != 0) != (space->filled[class / 64] >> class % 64 & 1))
            rc = emmap_wrong(store, at, "what is free does not say which queues are empty");
    }
    if (rc == 0 && (census->retired != space->retired || census->in_held != space->in_held))
        rc = emmap_wrong(store, at, "another number of bytes is free than the store says");
    uint64_t gap = EMMAP_BLOCKS_AT;
    if (rc == 0 && emmap_trace_gap(census->trace, &gap, census->trace->end) != 0)
        rc = emmap_wrong(store, gap, "a block is neither in use nor free");
    return rc;
}

/* The next transaction copies nothing but the changed queues to the other space, if that is the one before: all
 * others have to be the same there. */
static int look_at_other(struct emmap_store *store, const struct emmap_space *space, uint64_t at)
{
    uint64_t other_at = EMMAP_SPACE_AT(at == EMMAP_SPACE_AT(0));
    const struct emmap_space *other = (const void *)(store->base + other_at);
    if (space->base == 0 || atomic_load_explicit(&other->txn, memory_order_relaxed) != space->base)
        return 0;
    for (unsigned class = 0; class < EMMAP_CLASSES; class++)
        if (!(space->changed[class / 64] >> class % 64 & 1) &&
            memcmp(&space->fifos[class], &other->fifos[class], sizeof space->fifos[class]) != 0)
            return emmap_wrong(store, other_at, "a queue of free blocks has changed, but nobody has changed it");
    return 0;
}

/* The space that belongs to the live root: its offset, 0 where none or both do. */
static uint64_t true_space(const struct emmap_store *store, uint64_t txn)
{
    int is_first = atomic_load_explicit(&emmap_space(store, 0)->txn, memory_order_relaxed) == txn;
    int is_second = atomic_load_explicit(&emmap_space(store, 1)->txn, memory_order_relaxed) == txn;
    return is_first == is_second ? 0 : EMMAP_SPACE_AT(is_second);
}

int emmap_check(struct emmap_store *store, struct emmap_trace *found)
{
    struct emmap_live *live = emmap_live(store);
    uint64_t at = atomic_load_explicit(&live->root, memory_order_acquire);
    const struct emmap_root *root = emmap_block_at(store, at, EMMAP_ROOT, sizeof *root);
    memset(found, 0, sizeof *found);
    if (root == NULL)
        return emmap_wrong_rc(store);
    uint64_t txn = root->txn, space_at = true_space(store, txn);
    if (space_at == 0)
        return emmap_wrong(store, EMMAP_SPACE_AT(0), "neither list of what is free belongs to the live root");
    /* Whoever was killed behind his root's store leaves an epoch that is behind. */
    if (txn > EMMAP_LAST_TXN || atomic_load_explicit(&live->epoch, memory_order_relaxed) > txn)
        return emmap_wrong(store, EMMAP_LIVE_AT, "the number of the transaction is none");
    /* SAFETY: a space lies before the blocks. */
    const struct emmap_space *space = (const void *)(store->base + space_at);
    uint64_t frontier = space->frontier;
    if (frontier % 16 != 0 || frontier < EMMAP_BLOCKS_AT || !emmap_has(store, 0, frontier))
        return emmap_wrong(store, space_at, "the frontier lies outside of the file");

    int rc = emmap_trace_begin(found, store, frontier);
    if (rc == 0)
        rc = emmap_trace_root(found, at, txn);
    uint64_t blocks = found->blocks, bytes = found->bytes;
    struct census census = {.trace = found, .txn = txn};
    if (rc == 0)
        rc = count_all(&census, space, space_at);
    if (rc == 0)
        rc = look_at_other(store, space, space_at);
    if (rc == 0 && emmap_lost_any(store->lost))
        rc = -EIO;
    emmap_trace_end(found);
    found->blocks = blocks;
    found->bytes = bytes;
    return rc;
}
