#define _GNU_SOURCE
#include "waiters.h"

void emmap_waiters_begin(struct emmap_waiters *row, const struct emmap_place *place,
                         _Atomic(uint64_t) *used)
{
    row->place = *place;
    row->used = used;
    /* SAFETY: the cells lie behind the head, inside the place. */
    row->cells = (struct emmap_waiters_cell *)(void *)(place->at + EMMAP_WAITERS_HEAD);
}

size_t emmap_waiters_used(struct emmap_waiters *row)
{
    uint64_t used = atomic_load(row->used);
    return used < EMMAP_MOST_WAITERS ? (size_t)used : EMMAP_MOST_WAITERS;
}

/* The owner, the state, and the same owner again: so the state is his. */
static int read_cell(struct emmap_waiters_cell *cell, struct emmap_waiter *found)
{
    found->cell = cell;
    found->owner = atomic_load(&cell->owner);
    found->state = atomic_load(&cell->state);
    return found->owner != 0 && atomic_load(&cell->owner) == found->owner;
}

int emmap_waiters_read(struct emmap_waiters *row, size_t i, struct emmap_waiter *found)
{
    /* SAFETY: `i` is below emmap_waiters_used, which is never more than there are cells. */
    return read_cell(&row->cells[i], found) && found->state != 0;
}

int emmap_waiters_is_dead(struct emmap_waiters *row, const struct emmap_waiter *found)
{
    int alive = emmap_life_ask(row->place.life, found->owner);
    return alive < 0 ? alive : alive == EMMAP_DEAD;
}

void emmap_waiters_reap(const struct emmap_waiter *found)
{
    uint64_t state = found->state, owner = found->owner;
    /* The state first: a free cell has none, so that who takes it waits for nothing before he says so. */
    if (state == 0 || atomic_compare_exchange_strong(&found->cell->state, &state, 0))
        atomic_compare_exchange_strong(&found->cell->owner, &owner, 0);
}

int emmap_waiters_leave(struct emmap_waiters *row, struct emmap_waiter *mine)
{
    struct emmap_waiter now;
    uint64_t owner = mine->owner;
    if (atomic_load(&row->place.life->me) != owner || !read_cell(mine->cell, &now) || now.owner != owner) {
        mine->state = 0;
    } else {
        if (!atomic_compare_exchange_strong(&mine->cell->state, &mine->state, 0))
            return 0;
        atomic_compare_exchange_strong(&mine->cell->owner, &owner, 0);
    }
    mine->cell = NULL;
    return 1;
}

static int take_free_cell(struct emmap_waiters *row, struct emmap_waiter *mine)
{
    for (size_t i = 0; i < EMMAP_MOST_WAITERS; i++) {
        uint64_t used = atomic_load(row->used), nobody = 0;
        if (atomic_load(&row->cells[i].owner) != 0)
            continue;
        while (used <= i && !atomic_compare_exchange_strong(row->used, &used, i + 1))
            ;
        if (atomic_compare_exchange_strong(&row->cells[i].owner, &nobody, mine->owner)) {
            mine->cell = &row->cells[i];
            atomic_store(&mine->cell->state, mine->state);
            return 1;
        }
    }
    return 0;
}

int emmap_waiters_enter(struct emmap_waiters *row, uint64_t state, struct emmap_waiter *mine)
{
    struct emmap_life *life = row->place.life;
    mine->cell = NULL;
    mine->state = state;
    while ((mine->owner = atomic_load(&life->me)) == 0) {
        int rc = emmap_place_lost(&row->place);
        if (rc == 0)
            rc = emmap_life_enter(life);
        if (rc != 0)
            return rc;
    }
    if (emmap_place_lost(&row->place) != 0)
        return -EIO;
    if (!take_free_cell(row, mine)) {
        struct emmap_waiter found;
        for (size_t i = 0; i < EMMAP_MOST_WAITERS; i++)
            if (read_cell(&row->cells[i], &found) && found.state == 0 &&
                emmap_waiters_is_dead(row, &found) > 0)
                emmap_waiters_reap(&found); /* killed before he said what he waits for, or reaped in part */
        if (!take_free_cell(row, mine))
            return -ENOSPC;
    }
    return emmap_place_lost(&row->place);
}
