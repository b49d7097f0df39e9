/* The queues of replaced blocks, as a transaction changes them. Used by space.c alone.
 *
 * An entry that the space before can see is never overwritten: popping moves the head of the transaction's
 * own space, appending writes behind the tail, and the chunks that are left behind are retired.
 *
 * A queue is named by its class; EMMAP_HELD is the one of blocks that somebody holds. What a transaction does
 * ten times is inline here; a chunk's end is in queue.c.
 */
#ifndef EMMAP_QUEUE_H
#define EMMAP_QUEUE_H

#include "space.h"

#define EMMAP_HELD EMMAP_CLASSES

static inline struct emmap_fifo *emmap_queue(struct emmap_txn *txn, unsigned queue)
{
    return queue == EMMAP_HELD ? &txn->space->held : &txn->space->fifos[queue];
}

static inline struct emmap_chunk *emmap_chunk_at(struct emmap_txn *txn, uint64_t at)
{
    return emmap_block_at(txn->store, at, EMMAP_CHUNK, sizeof(struct emmap_chunk));
}

/* Notes that the queue is another than in the space before, and whether it is empty. */
static inline void emmap_queue_changed(struct emmap_txn *txn, unsigned queue)
{
    uint64_t bit = UINT64_C(1) << (queue & 63);
    if (queue == EMMAP_HELD)
        return;
    txn->space->changed[queue >> 6] |= bit;
    if (txn->space->fifos[queue].count != 0)
        txn->space->filled[queue >> 6] |= bit;
    else
        txn->space->filled[queue >> 6] &= ~bit;
}

/* Goes on to the next chunk where this one ends: 0, or what is wrong. */
int emmap_queue_next_chunk(struct emmap_txn *txn, unsigned queue);

/* The oldest entry of a queue that is not empty, copied: 0 or -errno. */
static inline int emmap_queue_head(struct emmap_txn *txn, unsigned queue, struct emmap_retired *entry)
{
    struct emmap_fifo *fifo = emmap_queue(txn, queue);
    if (__builtin_expect(fifo->head_i >= EMMAP_CHUNK_ENTRIES, 0)) {
        int rc = emmap_queue_next_chunk(txn, queue);
        if (rc != 0)
            return rc;
    }
    const struct emmap_chunk *chunk = emmap_chunk_at(txn, fifo->head);
    if (__builtin_expect(chunk == NULL || fifo->head_i >= EMMAP_CHUNK_ENTRIES ||
                             (fifo->head == fifo->tail && fifo->head_i >= fifo->tail_i), 0))
        return emmap_wrong(txn->store, fifo->head, "a queue of free blocks ends before its last one");
    *entry = chunk->entries[fifo->head_i];
    return 0;
}

/* Takes the head away, after emmap_queue_head. */
static inline void emmap_queue_pop(struct emmap_txn *txn, unsigned queue)
{
    struct emmap_fifo *fifo = emmap_queue(txn, queue);
    fifo->head_i++;
    fifo->count--;
    emmap_queue_changed(txn, queue);
}

/* A new chunk at the tail: taken without changing a queue but by popping. */
int emmap_queue_add_chunk(struct emmap_txn *txn, unsigned queue);

/* Appends a block: to the queue of its class, or to EMMAP_HELD. */
static inline int emmap_queue_append(struct emmap_txn *txn, unsigned queue, uint64_t block, uint64_t when)
{
    struct emmap_fifo *fifo = emmap_queue(txn, queue);
    if (__builtin_expect(fifo->tail == 0 || fifo->tail_i >= EMMAP_CHUNK_ENTRIES, 0)) {
        int rc = emmap_queue_add_chunk(txn, queue);
        if (rc != 0)
            return rc;
    }
    struct emmap_chunk *chunk = emmap_chunk_at(txn, fifo->tail);
    if (chunk == NULL)
        return emmap_wrong_rc(txn->store);
    chunk->entries[fifo->tail_i++] = (struct emmap_retired){.block = block, .when = when};
    fifo->count++;
    emmap_queue_changed(txn, queue);
    return 0;
}

#endif
