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

int emmap_trace_begin(struct emmap_trace *trace, struct emmap_store *store, uint64_t end);
void emmap_trace_end(struct emmap_trace *trace);

/* Walks a root record: 0, -EUCLEAN for damage (also for a block that is reached twice, or that was born
 * after `newest_allowed`), -EIO, -ENOMEM. */
int emmap_trace_root(struct emmap_trace *trace, uint64_t root, uint64_t newest_allowed);

/* Checks the whole store: the live root, and that each byte before the frontier is reached, or free in one
 * queue, or of a queue. The caller holds the writer's lock. */
int emmap_check(struct emmap_store *store, struct emmap_trace *found);

/* Fills both spaces anew from what the trace has reached, and stores a live root with transaction `txn` that
 * has the same directory as `root`. The caller holds the writer's lock, and nobody reads. */
int emmap_rebuild(struct emmap_store *store, const struct emmap_trace *trace, uint64_t root, uint64_t txn);

#endif
