/* What the programs share that step through the primitives of src/emmap/locks: a place at the beginning
 * of the scene's file, and waiting without Python. */
#ifndef PLACED_H
#define PLACED_H

#include "../step.h"

#include "place.h"
#include "wait.h"

/* The place, in the hands of this process. It is zeros, or what the dead have left. */
static inline struct emmap_place place_in(const struct step_scene *scene, enum emmap_kind kind,
                                          size_t size)
{
    static struct emmap_lost nothing;
    struct emmap_place place = {.at = scene->at, .lost = &nothing};
    CHECK(emmap_life_begin(&place.life, scene->fd, page_size()) == 0);
    CHECK(emmap_place_claim(&place, kind, size) == 0);
    return place;
}

/* This process as an owner. */
static inline uint64_t owner_in(struct emmap_place *place)
{
    CHECK(emmap_life_enter(place->life) == 0);
    return atomic_load(&place->life->me);
}

/* Waits until it is done; who waits for the dead for ever is ended by the harness. */
static inline int wait_for(emmap_attempt *attempt, void *it)
{
    struct emmap_waiting waiting;
    struct emmap_looks looks = {0};
    int rc;
    emmap_waiting_begin(&waiting, -1);
    do
        rc = emmap_wait(attempt, it, &waiting, &looks);
    while (rc == -EINTR);
    return rc;
}

#endif
