#define _GNU_SOURCE
#include "cells.h"

#define USED_AT 60
#define FIRST_AT 64

_Static_assert(FIRST_AT + EMMAP_CELLS * sizeof(struct emmap_cell) == EMMAP_CELLS_SIZE, "cells");

void emmap_cells_begin(struct emmap_cells *cells, const struct emmap_place *place)
{
    cells->place = *place;
    /* SAFETY: inside the EMMAP_CELLS_SIZE bytes of the place, which are aligned to 16. */
    cells->used = (_Atomic(uint32_t) *)(void *)(place->at + USED_AT);
    cells->first = (struct emmap_cell *)(void *)(place->at + FIRST_AT);
    atomic_init(&cells->mine, NULL);
    atomic_init(&cells->whose, 0);
}

/* Our cell, or NULL. Under the mutex: while another thread of ours claims a cell it names us already, and
 * holds what a dead one held. Who counted there would be forgotten when that is cleared. */
static struct emmap_cell *find(struct emmap_cells *cells, uint64_t me)
{
    uint32_t used = emmap_cells_used(cells);
    for (uint32_t k = 0; k < used; k++) {
        struct emmap_cell *cell = emmap_cells_at(cells, k);
        if (atomic_load_explicit(&cell->owner, memory_order_relaxed) == me) {
            atomic_store_explicit(&cells->mine, cell, memory_order_relaxed);
            atomic_store_explicit(&cells->whose, me, memory_order_release);
            return cell;
        }
    }
    return NULL;
}

struct emmap_cell *emmap_cells_mine(struct emmap_cells *cells)
{
    struct emmap_life *life = cells->place.life;
    struct emmap_cell *cell = emmap_cells_known(cells);
    if (cell == NULL && atomic_load_explicit(&life->me, memory_order_relaxed) != 0) {
        pthread_mutex_lock(life->mutex);
        uint64_t me = atomic_load_explicit(&life->me, memory_order_relaxed);
        cell = me != 0 ? find(cells, me) : NULL;
        pthread_mutex_unlock(life->mutex);
    }
    return cell;
}

/* Under the mutex, so that two threads of ours do not get two cells, and no fork or give_up comes in
 * between. Other processes claim at the same time. */
static int claim(struct emmap_cells *cells, uint64_t me)
{
    for (uint32_t k = 0; k < EMMAP_CELLS; k++) {
        struct emmap_cell *cell = emmap_cells_at(cells, k);
        /* Before the cell has an owner: whoever looks for owners must not pass by. */
        uint32_t used = k;
        atomic_compare_exchange_strong(cells->used, &used, k + 1);
        uint64_t owner = atomic_load(&cell->owner);
        int alive = owner == 0 ? EMMAP_DEAD : emmap_life_ask(cells->place.life, owner);
        if (alive < 0)
            return alive;
        if (alive != EMMAP_DEAD || !atomic_compare_exchange_strong(&cell->owner, &owner, me))
            continue;
        /* Until now it holds what a dead one held: to others that is ours for a moment, and too much
         * rather than too little. It could not be cleared before: others might have claimed it. */
        atomic_store(&cell->payload, 0);
        return 0;
    }
    return -ENOSPC;
}

int emmap_cells_claim(struct emmap_cells *cells, struct emmap_cell **cell)
{
    struct emmap_life *life = cells->place.life;
    while ((*cell = emmap_cells_mine(cells)) == NULL) {
        int rc = emmap_place_lost(&cells->place);
        if (rc == 0)
            rc = emmap_life_enter(life);
        if (rc == 0) {
            pthread_mutex_lock(life->mutex);
            uint64_t me = atomic_load_explicit(&life->me, memory_order_relaxed);
            if (me != 0 && find(cells, me) == NULL)
                rc = claim(cells, me);
            pthread_mutex_unlock(life->mutex);
        }
        if (rc != 0)
            return rc;
    }
    return emmap_place_lost(&cells->place);
}

int emmap_cells_lives(struct emmap_cells *cells, struct emmap_cell *cell, uint64_t owner)
{
    int alive = emmap_life_ask(cells->place.life, owner);
    if (alive != EMMAP_DEAD)
        return alive < 0 ? alive : 1;
    /* If another has claimed it since, it is his. */
    atomic_compare_exchange_strong(&cell->owner, &owner, 0);
    return 0;
}
