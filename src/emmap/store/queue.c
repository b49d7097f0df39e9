/* The queues of replaced blocks. */
#include "queue.h"

/* Notes that the queue is another than in the space before, and whether it is empty. */
static void changed(struct emmap_txn *txn, unsigned class)
{
    uint64_t bit = UINT64_C(1) << (class & 63);
    if (class == EMMAP_HELD)
        return;
    txn->space->changed[class >> 6] |= bit;
    if (txn->space->fifos[class].count != 0)
        txn->space->filled[class >> 6] |= bit;
    else
        txn->space->filled[class >> 6] &= ~bit;
}

int emmap_queue_head(struct emmap_txn *txn, unsigned class, struct emmap_retired *entry)
{
    struct emmap_fifo *fifo = emmap_queue(txn, class);
    struct emmap_chunk *chunk = emmap_block_at(txn->store, fifo->head, EMMAP_CHUNK, sizeof *chunk);
    if (chunk != NULL && fifo->head_i >= EMMAP_CHUNK_ENTRIES && fifo->head != fifo->tail) {
        uint64_t empty = fifo->head;
        fifo->head = chunk->next;
        fifo->head_i = 0;
        changed(txn, class);
        int rc = emmap_retire(txn, empty);
        if (rc != 0)
            return rc;
        chunk = emmap_block_at(txn->store, fifo->head, EMMAP_CHUNK, sizeof *chunk);
    }
    if (chunk == NULL)
        return emmap_wrong_rc(txn->store);
    if (fifo->head_i >= EMMAP_CHUNK_ENTRIES || (fifo->head == fifo->tail && fifo->head_i >= fifo->tail_i))
        return emmap_wrong(txn->store, fifo->head, "a queue of free blocks ends before its last one");
    *entry = chunk->entries[fifo->head_i];
    return 0;
}

void emmap_queue_pop(struct emmap_txn *txn, unsigned class)
{
    struct emmap_fifo *fifo = emmap_queue(txn, class);
    fifo->head_i++;
    fifo->count--;
    changed(txn, class);
    if (fifo->count == 0 || fifo->head_i >= EMMAP_CHUNK_ENTRIES)
        return;
    /* The next one's header is asked for soon. */
    const struct emmap_chunk *chunk = emmap_at(txn->store, fifo->head);
    uint64_t next = chunk->entries[fifo->head_i].block;
    if (next < txn->store->room)
        __builtin_prefetch(emmap_at(txn->store, next));
}

int emmap_queue_append(struct emmap_txn *txn, unsigned queue, uint64_t block, unsigned class, uint64_t retired)
{
    struct emmap_fifo *fifo = emmap_queue(txn, queue);
    struct emmap_chunk *chunk;
    if (fifo->tail == 0 || fifo->tail_i >= EMMAP_CHUNK_ENTRIES) {
        int rc;
        uint64_t at = emmap_allocate(txn, EMMAP_CHUNK, sizeof *chunk, &rc);
        if (at == 0)
            return rc;
        if (fifo->tail == 0) {
            fifo->head = at;
            fifo->head_i = 0;
        } else {
            chunk = emmap_block_at(txn->store, fifo->tail, EMMAP_CHUNK, sizeof *chunk);
            if (chunk == NULL)
                return emmap_wrong_rc(txn->store);
            chunk->next = at;
        }
        fifo->tail = at;
        fifo->tail_i = 0;
    }
    chunk = emmap_block_at(txn->store, fifo->tail, EMMAP_CHUNK, sizeof *chunk);
    if (chunk == NULL)
        return emmap_wrong_rc(txn->store);
    chunk->entries[fifo->tail_i].block = block;
    chunk->entries[fifo->tail_i].when = EMMAP_RETIRED(class, retired);
    fifo->tail_i++;
    fifo->count++;
    changed(txn, queue);
    return 0;
}
