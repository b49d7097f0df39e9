/* While one thread claims a cell, another one of the same process must not use it: it holds what a dead one
 * held, until that is cleared. */
#define _GNU_SOURCE
#include "sync.h"

#include "rwlock.h"

#include <time.h>

static struct emmap_rwlock rwlock;

static void *read_once(void *unused)
{
    (void)unused;
    CHECK(emmap_rwlock_read_attempt(&rwlock, EMMAP_ASK, NULL) == 0);
    return NULL;
}

static void claiming(struct emmap_cell *cell)
{
    struct timespec soon;
    pthread_t thread;
    /* As if another thread of ours were in the middle of a claim. */
    pthread_mutex_lock(place.life->mutex);
    atomic_store(rwlock.cells.used, 1);
    atomic_store(&cell->payload, 77);
    atomic_store(&cell->owner, atomic_load(&place.life->me));
    CHECK(pthread_create(&thread, NULL, read_once, NULL) == 0);
    CHECK(clock_gettime(CLOCK_REALTIME, &soon) == 0);
    soon.tv_sec += 1;
    CHECK(pthread_timedjoin_np(thread, NULL, &soon) == ETIMEDOUT);
    atomic_store(&cell->payload, 0);
    pthread_mutex_unlock(place.life->mutex);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(atomic_load(&cell->payload) == 1);
}

int main(void)
{
    make_place(EMMAP_RWLOCK);
    emmap_rwlock_begin(&rwlock, &place, 0);
    struct emmap_cell *cell = emmap_cells_at(&rwlock.cells, 0);
    CHECK(emmap_life_enter(place.life) == 0);
    claiming(cell);
    /* The same cell under another id, as in the child of a fork whose parent is dead. */
    emmap_life_give_up(place.life);
    CHECK(emmap_life_enter(place.life) == 0);
    claiming(cell);
    emmap_life_end(place.life, 0);
    return 0;
}
