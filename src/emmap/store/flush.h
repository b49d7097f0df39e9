/* Flushing: a root on the disk, and the meta that says so. Two barriers. */
#ifndef EMMAP_FLUSH_H
#define EMMAP_FLUSH_H

#include "commit.h"

/* Makes all that is committed by now survive power loss: 0, 1 when it was already, or -errno. -EROFS: an
 * earlier flush failed. Takes the writer's lock for a moment, and waits for a flush under way; `waiting`
 * bounds it, -EINTR as emmap_lock_acquire. Where the process holds the writer's lock itself, in a transaction,
 * it would wait for ever: the caller sees to that. */
int emmap_flush(struct emmap_store *store, struct emmap_waiting *waiting);

/* The meta in a slot: 0, or -ENOENT when it is none. */
int emmap_meta_read(struct emmap_store *store, int slot, struct emmap_meta *meta);

/* Writes it, with its magic and check; NULL: zeros, which are none. No barrier. */
int emmap_meta_write(struct emmap_store *store, int slot, struct emmap_meta *meta);

/* The meta of the live root, to be written. The caller holds the writer's lock. */
int emmap_meta_make(struct emmap_store *store, struct emmap_meta *meta);

/* A barrier: all that was written before is on the disk. */
int emmap_file_flush(struct emmap_store *store);

#endif
