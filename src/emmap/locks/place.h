/* A place in mapped bytes where something shared lies, and the tag that says what.
 *
 * The first eight bytes of a place are its tag: what lies here (16 bits), in which boot and file it was
 * last opened (24 bits of a hash), and by which device number (24 bits). All zeros: nothing is here yet.
 */
#ifndef EMMAP_PLACE_H
#define EMMAP_PLACE_H

#include "life.h"

#include "../mapping/lost.h"

#include <errno.h>

/* The low byte of the tag; the byte above it is 0xFF, so that no text is ever taken for a tag. */
enum emmap_kind {
    EMMAP_LOCK = 0xE1,
    EMMAP_RLOCK,
    EMMAP_RWLOCK,
    EMMAP_SEMAPHORE,
    EMMAP_CONDITION,
    EMMAP_EVENT,
    EMMAP_BARRIER,
};

struct emmap_place {
    unsigned char *at;          /* its first byte; NULL where there is none */
    struct emmap_life *life;
    struct emmap_lost *lost;    /* of the mapping */
};

/* What emmap_place_claim answers but for 0. */
enum {
    EMMAP_SOMETHING_ELSE = 1,   /* the bytes are no such thing */
    EMMAP_OTHER_DEVICE = 2,     /* the file is in use by another device number: an overlay and its layer */
};

/* Makes `size` bytes of zeros a place of this kind, or sees that they are one: 0, one of the above, or
 * -errno. What another boot or a copied file has left is taken as it is: its owners are all dead. */
int emmap_place_claim(struct emmap_place *place, enum emmap_kind kind, size_t size);

/* Do the eight bytes here hold the tag of anything of ours, made in this boot and file? 1, 0 or -errno. */
int emmap_place_is_tag(struct emmap_place *place);

/* Pages were lost: what is read here may be zeros, and what is written reaches nobody. Our id is given
 * up, so that others need not wait for us. To be asked before and after each change. */
static inline int emmap_place_lost(struct emmap_place *place)
{
    if (__builtin_expect(!emmap_lost_any(place->lost), 1))
        return 0;
    emmap_life_give_up(place->life);
    return -EIO;
}

#endif
