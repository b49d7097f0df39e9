#define _GNU_SOURCE
#include "lock.h"

#include <stddef.h>

void emmap_lock_begin(struct emmap_lock *lock, const struct emmap_place *place,
                      _Atomic(uint64_t) *word)
{
    lock->place = *place;
    lock->word = word;
    atomic_init(&lock->looks.n, 0);
}

int emmap_lock_attempt(void *it, int how, struct emmap_sleep *sleep)
{
    struct emmap_lock *lock = it;
    struct emmap_life *life = lock->place.life;
    uint64_t me;
    while ((me = atomic_load_explicit(&life->me, memory_order_relaxed)) == 0) {
        int rc = emmap_place_lost(&lock->place);
        if (rc == 0)
            rc = emmap_life_enter(life);
        if (rc != 0)
            return rc;
    }
    if (emmap_place_lost(&lock->place) != 0)
        return -EIO;
    uint64_t word = atomic_load_explicit(lock->word, memory_order_relaxed);
    for (;;) {
        uint64_t owner = word & EMMAP_OWNER, died = word & EMMAP_DIED, next;
        if (owner == 0) {
            /* Who releases forgets the sleepers and wakes one of them: he remembers the others. */
            next = me | died | (word & EMMAP_WAITERS) | (how & EMMAP_SLEPT ? EMMAP_WAITERS : 0);
        } else {
            int alive = how & EMMAP_ASK ? emmap_life_ask(life, owner) : EMMAP_ALIVE;
            if (alive < 0)
                return alive;
            if (alive == EMMAP_DEAD)
                /* From exactly this word: of all who have seen him dead one gets it. The dead one may
                 * have taken the memory of sleepers with him. */
                next = me | EMMAP_DIED | EMMAP_WAITERS;
            else if (how & EMMAP_ANNOUNCE)
                next = word | EMMAP_WAITERS;
            else
                return -EAGAIN;
        }
        if (next != word &&
            !atomic_compare_exchange_weak_explicit(lock->word, &word, next, memory_order_acquire,
                                                   memory_order_relaxed))
            continue;
        if (emmap_place_lost(&lock->place) != 0)
            return -EIO;
        if ((next & EMMAP_OWNER) == me && owner != me)
            return owner != 0 ? EMMAP_OWNER_DIED : died ? EMMAP_INCONSISTENT : 0;
        sleep->word = emmap_low_half(lock->word);
        sleep->seen = (uint32_t)next;
        return -EAGAIN;
    }
}

int emmap_lock_acquire(struct emmap_lock *lock, struct emmap_waiting *waiting)
{
    return emmap_wait(emmap_lock_attempt, lock, waiting, &lock->looks);
}

int emmap_lock_release_to(struct emmap_lock *lock, uint64_t owner, int wakes)
{
    uint64_t me = atomic_load_explicit(&lock->place.life->me, memory_order_relaxed);
    uint64_t word = atomic_load_explicit(lock->word, memory_order_relaxed);
    if (emmap_place_lost(&lock->place) != 0)
        return -EIO;
    do {
        if (me == 0 || (word & EMMAP_OWNER) != me)
            return -EPERM;
    } while (!atomic_compare_exchange_weak_explicit(lock->word, &word, owner | (word & EMMAP_DIED),
                                                    memory_order_release, memory_order_relaxed));
    if (word & EMMAP_WAITERS && wakes > 0)
        emmap_wake(emmap_low_half(lock->word), wakes);
    return emmap_place_lost(&lock->place);
}

int emmap_lock_release(struct emmap_lock *lock)
{
    return emmap_lock_release_to(lock, 0, 1);
}

int emmap_lock_undo(void *it, int rc, int how, struct emmap_sleep *sleep)
{
    (void)how, (void)sleep;
    /* A death that nobody has heard of is left to an owner who never lived. Nobody is woken then: he would
     * not ask, but sleep a new slice, while all ask at the end of the slice that they sleep now. */
    if (rc == EMMAP_OWNER_DIED)
        emmap_lock_release_to(it, EMMAP_GHOST, 0);
    else if (rc >= 0)
        emmap_lock_release(it);
    return 0;
}

int emmap_lock_mark_consistent(struct emmap_lock *lock)
{
    uint64_t me = atomic_load_explicit(&lock->place.life->me, memory_order_relaxed);
    uint64_t word = atomic_load_explicit(lock->word, memory_order_relaxed);
    if (emmap_place_lost(&lock->place) != 0)
        return -EIO;
    do {
        if (me == 0 || (word & EMMAP_OWNER) != me)
            return -EPERM;
    } while (!atomic_compare_exchange_weak_explicit(lock->word, &word, word & ~EMMAP_DIED,
                                                    memory_order_relaxed, memory_order_relaxed));
    return emmap_place_lost(&lock->place);
}

int emmap_lock_look(struct emmap_lock *lock)
{
    uint64_t owner = atomic_load_explicit(lock->word, memory_order_relaxed) & EMMAP_OWNER;
    if (emmap_place_lost(&lock->place) != 0)
        return -EIO;
    if (owner == 0 || emmap_lock_is_mine(lock))
        return owner == 0 ? EMMAP_NOBODY : EMMAP_US;
    int alive = emmap_life_ask(lock->place.life, owner);
    return alive < 0 ? alive : alive == EMMAP_DEAD ? EMMAP_THE_DEAD : EMMAP_OTHERS;
}
