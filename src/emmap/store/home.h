/* Creating the bytes of a store, and opening them: here, after a reboot, after a copy.
 *
 * Whoever uses the live root has a pin, which tells of him. After a reboot two processes that open the file at
 * once must not take each other for users of what the disk happens to hold; so nobody has a pin who does not
 * know yet where he is.
 */
#ifndef EMMAP_HOME_H
#define EMMAP_HOME_H

#include "flush.h"
#include "trace.h"

/* Fills an empty file of EMMAP_BLOCKS_AT + EMMAP_LEAST_GROWTH bytes, that nobody else knows of yet: an empty
 * store, flushed but for the barrier and the file's name, which are the caller's. `base`, `room`, `fd`, `kernel`,
 * `lost` and `life` are set. */
int emmap_store_create(struct emmap_store *store);

/* Is this a store that this machine can read? 0, or -EINVAL (something else), -EPROTO (another version), -ENOTSUP
 * (another byte order), -EUCLEAN. From the header alone. */
int emmap_store_recognise(struct emmap_store *store);

/* Begins to use it, and claims `pin`. `base`, `room`, `fd`, `writable`, `kernel`, `lost` and `life` are set, the
 * rest is zeros, or what an earlier call has left: also a forked child begins again, before it uses it. 0;
 * EMMAP_NEEDS_RECOVERY: the locks can be used, and nothing else; -EXDEV: the same bytes are in use by another
 * device number; -errno. */
#define EMMAP_NEEDS_RECOVERY 1
int emmap_store_begin(struct emmap_store *store);

/* Finishes what emmap_store_begin has left undone. The caller holds the writer's lock. Looks again: somebody may
 * have recovered it meanwhile, or may be using it in a container that calls this boot by another name; else
 * recovers from the newest meta. 0: it is begun. -EROFS: a flush has failed, and others have the store open still.
 * -EBUSY: a stranger's lock on the whole file hides whether anybody does. */
int emmap_recover(struct emmap_store *store);

/* Gives the pin back and frees what the process keeps. */
void emmap_store_end(struct emmap_store *store);

#endif
