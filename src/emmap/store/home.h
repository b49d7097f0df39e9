/* Creating the bytes of a store, and opening them: here, after a reboot, after a copy. */
#ifndef EMMAP_HOME_H
#define EMMAP_HOME_H

#include "flush.h"
#include "trace.h"

/* Fills an empty file of EMMAP_BLOCKS_AT + EMMAP_LEAST_GROWTH bytes, that nobody else knows of yet: an empty
 * store, flushed. The store is mapped; its other fields are set by emmap_store_begin afterwards. */
int emmap_store_create(struct emmap_store *store);

/* Is this a store that this machine can read? 0, or -EINVAL (something else), -EPROTO (another version), -ENOTSUP
 * (another byte order), -EUCLEAN. From the header alone. */
int emmap_store_recognise(struct emmap_store *store);

/* Begins to use it. `base`, `room`, `fd`, `writable`, `kernel`, `lost` and `life` are set. 0;
 * EMMAP_NEEDS_RECOVERY; -EXDEV: somebody uses the same bytes by another device number; -errno. */
#define EMMAP_NEEDS_RECOVERY 1
int emmap_store_begin(struct emmap_store *store);

/* Recovers: from the newest meta, after a reboot or in a copied file, or where the live root is of no use. The
 * caller holds the writer's lock, and has found that nobody else uses the file. */
int emmap_recover(struct emmap_store *store);

/* Frees what the process keeps. */
void emmap_store_end(struct emmap_store *store);

#endif
