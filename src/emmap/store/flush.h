/* Flushing: a root on the disk, and the meta that says so. Two barriers. */
#ifndef EMMAP_FLUSH_H
#define EMMAP_FLUSH_H

#include "commit.h"

/* Makes all that is committed by now survive power loss: 0, 1 when it was already, or -errno. -EROFS: an
 * earlier flush failed. Takes the writer's lock for a moment, and waits for a flush under way; `waiting`
 * bounds it, -EINTR as emmap_lock_acquire. */
int emmap_flush(struct emmap_store *store, struct emmap_waiting *waiting);

/* The newest valid meta of the file, or -ENOENT. */
int emmap_meta_newest(struct emmap_store *store, struct emmap_meta *meta);

#endif
