/* The queues of replaced blocks, as a transaction changes them. Used by space.c alone.
 *
 * An entry that the space before can see is never overwritten: popping moves the head of the transaction's
 * own space, appending writes behind the tail, and the chunks that are left behind are retired.
 *
 * A queue is named by its class; EMMAP_HELD is the one of blocks that somebody holds.
 */
#ifndef EMMAP_QUEUE_H
#define EMMAP_QUEUE_H

#include "space.h"

#define EMMAP_HELD EMMAP_CLASSES

static inline struct emmap_fifo *emmap_queue(struct emmap_txn *txn, unsigned class)
{
    return class == EMMAP_HELD ? &txn->space->held : &txn->space->fifos[class];
}

/* The oldest entry of a queue that is not empty, copied: 0 or -errno. */
int emmap_queue_head(struct emmap_txn *txn, unsigned class, struct emmap_retired *entry);

/* Takes the head away, after emmap_queue_head. */
void emmap_queue_pop(struct emmap_txn *txn, unsigned class);

/* `class` is the block's; `queue` is that too, or EMMAP_HELD. The chunk that it may take is taken without changing
 * a queue but by popping. */
int emmap_queue_append(struct emmap_txn *txn, unsigned queue, uint64_t block, unsigned class, uint64_t retired);

#endif
