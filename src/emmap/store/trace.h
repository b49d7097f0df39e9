/* Tracing: the walk over all that a root reaches, which checks a store and rebuilds its space. */
#ifndef EMMAP_TRACE_H
#define EMMAP_TRACE_H

#include "commit.h"

/* What a walk has found. One bit for each 16 bytes of the file: malloc'ed. */
struct emmap_trace {
    struct emmap_store *store;
    uint64_t end;               /* bytes that the bits stand for */
    uint64_t *reached;          /* the bits */
    uint64_t blocks, bytes;     /* reached */
    uint64_t newest;            /* birth among them */
};

/* `end`: no block reaches further. The store is known to have so many bytes. -ENOMEM. */
int emmap_trace_begin(struct emmap_trace *trace, struct emmap_store *store, uint64_t end);
void emmap_trace_end(struct emmap_trace *trace);

/* Walks a root record: 0, -EUCLEAN for damage (also for a block that is reached twice, or that was born
 * after `newest_allowed`, or after what refers to it), -EIO, -ENOMEM. */
int emmap_trace_root(struct emmap_trace *trace, uint64_t root, uint64_t newest_allowed);

/* The same for a single block: notes that it is reached. NULL where something is wrong. */
const void *emmap_trace_block(struct emmap_trace *trace, uint64_t at, unsigned kind, uint64_t least,
                              uint64_t newest_allowed);

/* Sets the bits of a range before `end`: 1, or 0 where one of them was set. */
int emmap_trace_mark(struct emmap_trace *trace, uint64_t at, uint64_t n);

/* The first range from `*from` on (which becomes its start) and before `limit` that is not reached: its
 * bytes, 0 where there is none. */
uint64_t emmap_trace_gap(const struct emmap_trace *trace, uint64_t *from, uint64_t limit);

/* Checks the whole store: the live root, and that each byte before the frontier is reached, or free in one
 * queue, or of a queue. The caller holds the writer's lock. `found` is filled; its bits are gone. */
int emmap_check(struct emmap_store *store, struct emmap_trace *found);

/* Fills both spaces anew from what the trace has reached, and stores a live root with transaction `txn` that
 * has the same directory as `root`. No byte that is reached is touched, so a death in the middle leaves
 * `root` as it is. The caller holds the writer's lock, and nobody reads. The trace is used up. */
int emmap_rebuild(struct emmap_store *store, struct emmap_trace *trace, uint64_t root, uint64_t txn);

#endif
