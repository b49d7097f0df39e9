/* An int64 in eight aligned bytes, which all threads and processes change at once.
 *
 * All is sequentially consistent. Each returns 0, or -EIO when pages are lost: then it cannot be told
 * whether the change has reached anybody.
 */
#ifndef EMMAP_ATOMIC_H
#define EMMAP_ATOMIC_H

#include "place.h"

static inline _Atomic(int64_t) *emmap_atomic_at(struct emmap_place *place)
{
    /* SAFETY: the caller keeps the mapping; the place is aligned to 8, and eight bytes long. */
    return (_Atomic(int64_t) *)(void *)place->at;
}

static inline int emmap_atomic_load(struct emmap_place *place, int64_t *value)
{
    *value = atomic_load(emmap_atomic_at(place));
    return emmap_place_lost(place);
}

static inline int emmap_atomic_exchange(struct emmap_place *place, int64_t value, int64_t *old)
{
    if (emmap_place_lost(place) != 0)
        return -EIO;
    *old = atomic_exchange(emmap_atomic_at(place), value);
    return emmap_place_lost(place);
}

/* -EOVERFLOW, and nothing has changed, when the sum is no int64. */
static inline int emmap_atomic_add(struct emmap_place *place, int64_t n, int64_t *sum)
{
    if (emmap_place_lost(place) != 0)
        return -EIO;
    int64_t now = atomic_load(emmap_atomic_at(place));
    int overflow;
    do
        overflow = __builtin_add_overflow(now, n, sum);
    while (!overflow && !atomic_compare_exchange_weak(emmap_atomic_at(place), &now, *sum));
    int rc = emmap_place_lost(place);
    return rc == 0 && overflow ? -EOVERFLOW : rc;
}

static inline int emmap_atomic_compare_exchange(struct emmap_place *place, int64_t expected, int64_t value,
                                                int *exchanged)
{
    if (emmap_place_lost(place) != 0)
        return -EIO;
    *exchanged = atomic_compare_exchange_strong(emmap_atomic_at(place), &expected, value);
    return emmap_place_lost(place);
}

#endif
