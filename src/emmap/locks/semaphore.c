#define _GNU_SOURCE
#include "semaphore.h"

#include <stddef.h>

/* The config word: it is made by one swap. The maximum is one more than it says; 0: none. */
#define MADE (UINT64_C(1) << 63)
#define VALUE_BITS 31
#define VALUE_MASK ((UINT64_C(1) << VALUE_BITS) - 1)

#define SLEEPERS 1u
#define RELEASE 2u

int emmap_semaphore_begin(struct emmap_semaphore *semaphore, const struct emmap_place *place,
                          int64_t value, int64_t maximum)
{
    uint64_t made = 0, ours = MADE | (uint64_t)(maximum + 1) << VALUE_BITS | (uint64_t)value;
    /* SAFETY: all inside the first 64 bytes of the place, which are aligned to 16. */
    emmap_lock_begin(&semaphore->inner, place, (_Atomic(uint64_t) *)(void *)(place->at + 8));
    semaphore->config = (_Atomic(uint64_t) *)(void *)(place->at + 16);
    semaphore->more = (_Atomic(uint64_t) *)(void *)(place->at + 24);
    semaphore->releases = (_Atomic(uint32_t) *)(void *)(place->at + 32);
    emmap_cells_begin(&semaphore->cells, place);
    atomic_init(&semaphore->looks.n, 0);
    if (atomic_compare_exchange_strong(semaphore->config, &made, ours))
        made = ours;
    uint64_t bound = (made & ~MADE) >> VALUE_BITS;
    semaphore->value = made & VALUE_MASK;
    semaphore->bounded = bound != 0;
    semaphore->maximum = bound != 0 ? bound - 1 : EMMAP_SEMAPHORE_MOST;
    return emmap_place_lost(&semaphore->inner.place);
}

int64_t emmap_semaphore_look(struct emmap_semaphore *semaphore)
{
    uint64_t permits = semaphore->value + atomic_load_explicit(semaphore->more, memory_order_relaxed);
    uint32_t used = emmap_cells_used(&semaphore->cells);
    for (uint32_t k = 0; k < used; k++) {
        struct emmap_cell *cell = emmap_cells_at(&semaphore->cells, k);
        if (atomic_load_explicit(&cell->owner, memory_order_relaxed) != 0)
            permits -= atomic_load_explicit(&cell->payload, memory_order_relaxed);
    }
    return (int64_t)permits;
}

static int take_inner(struct emmap_semaphore *semaphore, int how, struct emmap_sleep *sleep)
{
    /* Who slept remembers the others who sleep, which taking it the short way does not. */
    int rc = how & EMMAP_SLEPT ? -EAGAIN : emmap_lock_take(&semaphore->inner);
    if (rc == -EAGAIN)
        rc = emmap_lock_attempt(&semaphore->inner, how, sleep);
    return rc > 0 ? emmap_lock_mark_consistent(&semaphore->inner) : rc;
}

static int let_go_of_inner(struct emmap_semaphore *semaphore, int rc)
{
    int released = emmap_lock_release(&semaphore->inner);
    /* -EPERM: our id was given up meanwhile, since a page of another mapping was lost. */
    return released == -EPERM ? -EIO : released != 0 ? released : rc;
}

/* Frees the cells of those who hold permits and are dead. */
static int reap(struct emmap_semaphore *semaphore)
{
    uint32_t used = emmap_cells_used(&semaphore->cells);
    for (uint32_t k = 0; k < used; k++) {
        struct emmap_cell *cell = emmap_cells_at(&semaphore->cells, k);
        uint64_t owner = atomic_load(&cell->owner);
        if (owner == 0 || atomic_load(&cell->payload) == 0)
            continue;
        int rc = emmap_cells_lives(&semaphore->cells, cell, owner);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* How many are free. The caller has the inner lock. */
static int count(struct emmap_semaphore *semaphore, int ask, int64_t *permits)
{
    *permits = emmap_semaphore_look(semaphore);
    if (*permits <= 0 && ask) {
        int rc = reap(semaphore);
        if (rc != 0)
            return rc;
        *permits = emmap_semaphore_look(semaphore);
    }
    if (*permits < 0)
        *permits = 0; /* damaged */
    /* What one process acquired and another released comes back when the one dies: once too often. */
    uint64_t beyond = (uint64_t)*permits - semaphore->maximum;
    if (*permits > (int64_t)semaphore->maximum) {
        atomic_store(semaphore->more, atomic_load(semaphore->more) - beyond);
        *permits = (int64_t)semaphore->maximum;
    }
    return 0;
}

static int try_to_take(struct emmap_semaphore *semaphore, int how, struct emmap_sleep *sleep, int ask)
{
    struct emmap_cell *mine;
    int64_t permits;
    int rc = count(semaphore, ask, &permits);
    if (rc != 0)
        return rc;
    uint32_t releases = atomic_load(semaphore->releases);
    if (permits > 0) {
        rc = emmap_cells_claim(&semaphore->cells, &mine);
        if (rc != 0)
            return rc;
        atomic_store(&mine->payload, atomic_load(&mine->payload) + 1);
        /* Who was woken remembers that others may be asleep. */
        if (how & EMMAP_SLEPT && !(releases & SLEEPERS))
            atomic_store(semaphore->releases, releases | SLEEPERS);
        return 0;
    }
    if (how & EMMAP_ANNOUNCE) {
        sleep->word = semaphore->releases;
        sleep->seen = releases | SLEEPERS;
        if (!(releases & SLEEPERS))
            atomic_store(semaphore->releases, sleep->seen);
    }
    return EMMAP_NONE_FREE;
}

int emmap_semaphore_try(void *it, int how, struct emmap_sleep *sleep)
{
    struct emmap_semaphore *semaphore = it;
    int rc = take_inner(semaphore, how, sleep);
    return rc != 0 ? rc : let_go_of_inner(semaphore, try_to_take(semaphore, 0, NULL, 1));
}

int emmap_semaphore_attempt(void *it, int how, struct emmap_sleep *sleep)
{
    struct emmap_semaphore *semaphore = it;
    /* Who only looks leaves the inner lock to those who release. */
    if (!(how & (EMMAP_ASK | EMMAP_ANNOUNCE)) && emmap_semaphore_look(semaphore) <= 0)
        return -EAGAIN;
    int rc = take_inner(semaphore, how, sleep);
    if (rc == 0)
        rc = let_go_of_inner(semaphore, try_to_take(semaphore, how, sleep, how & EMMAP_ASK));
    return rc == EMMAP_NONE_FREE ? -EAGAIN : rc;
}

static int give_back(struct emmap_semaphore *semaphore, uint64_t n, int *woken)
{
    struct emmap_cell *mine = emmap_cells_mine(&semaphore->cells);
    uint64_t held = mine != NULL ? atomic_load(&mine->payload) : 0, back = held < n ? held : n;
    int64_t permits;
    int rc = count(semaphore, 0, &permits);
    if (rc != 0)
        return rc;
    if ((uint64_t)permits + n > semaphore->maximum)
        return -ERANGE;
    if (back > 0)
        atomic_store(&mine->payload, held - back);
    if (n > back)
        atomic_store(semaphore->more, atomic_load(semaphore->more) + n - back);
    uint32_t releases = atomic_load(semaphore->releases);
    *woken = releases & SLEEPERS ? (int)n : 0;
    if (*woken)
        atomic_store(semaphore->releases, (releases + RELEASE) & ~SLEEPERS);
    return 0;
}

int emmap_semaphore_release_attempt(void *it, int how, struct emmap_sleep *sleep)
{
    struct emmap_semaphore_release *release = it;
    struct emmap_semaphore *semaphore = release->semaphore;
    int woken = 0, rc = take_inner(semaphore, how, sleep);
    if (rc != 0)
        return rc;
    rc = let_go_of_inner(semaphore, give_back(semaphore, (uint64_t)release->n, &woken));
    if (woken)
        emmap_wake(semaphore->releases, woken);
    return rc;
}

int emmap_semaphore_undo(void *it, int rc, int how, struct emmap_sleep *sleep)
{
    struct emmap_semaphore_release release = {.semaphore = it, .n = 1};
    return rc == 0 ? emmap_semaphore_release_attempt(&release, how, sleep) : 0;
}

int emmap_semaphore_count_attempt(void *it, int how, struct emmap_sleep *sleep)
{
    struct emmap_semaphore *semaphore = it;
    int64_t permits = 0;
    int rc = take_inner(semaphore, how, sleep);
    if (rc != 0)
        return rc;
    rc = reap(semaphore);
    if (rc == 0)
        rc = count(semaphore, 0, &permits);
    rc = let_go_of_inner(semaphore, rc);
    return rc != 0 ? rc : (int)permits;
}

int emmap_semaphore_is_held(struct emmap_semaphore *semaphore)
{
    struct emmap_cell *mine = emmap_cells_mine(&semaphore->cells);
    return mine != NULL && atomic_load(&mine->payload) != 0;
}
