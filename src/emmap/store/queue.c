/* The ends of the chunks of a queue. */
#include "queue.h"

int emmap_queue_next_chunk(struct emmap_txn *txn, unsigned queue)
{
    struct emmap_fifo *fifo = emmap_queue(txn, queue);
    uint64_t empty = fifo->head;
    const struct emmap_chunk *chunk = emmap_chunk_at(txn, empty);
    if (chunk == NULL)
        return emmap_wrong_rc(txn->store);
    if (empty == fifo->tail)
        return emmap_wrong(txn->store, empty, "a queue of free blocks ends before its last one");
    fifo->head = chunk->next;
    fifo->head_i = 0;
    emmap_queue_changed(txn, queue);
    return emmap_retire_chunk(txn, empty);
}

int emmap_queue_add_chunk(struct emmap_txn *txn, unsigned queue)
{
    struct emmap_fifo *fifo = emmap_queue(txn, queue);
    int rc;
    uint64_t at = emmap_allocate(txn, EMMAP_CHUNK, sizeof(struct emmap_chunk), &rc);
    if (at == 0)
        return rc;
    if (fifo->tail == 0) {
        fifo->head = at;
        fifo->head_i = 0;
    } else {
        struct emmap_chunk *chunk = emmap_chunk_at(txn, fifo->tail);
        if (chunk == NULL)
            return emmap_wrong_rc(txn->store);
        chunk->next = at;
    }
    fifo->tail = at;
    fifo->tail_i = 0;
    return 0;
}
