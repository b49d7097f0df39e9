/* The lock word: who holds it, whether somebody sleeps, and whether an owner died.
 *
 *     63                                    4   2    1     0
 *     +-------------------------------------+---+------+---------+
 *     | id of the process that holds it, 0: | 0 | DIED | WAITERS |
 *     | nobody                              |   |      |         |
 *     +-------------------------------------+---+------+---------+
 *
 * Zero is free. All changes are compare-and-swaps of the whole word; ids are never used again, so a word
 * that names a dead owner cannot come to name a living one in between. docs/design.md tells the protocol,
 * and tests/model/test_lock_model.py tries it in every order, with deaths at every step.
 *
 * No function takes the GIL or knows of Python: other rooms call these from C.
 */
#ifndef EMMAP_LOCK_H
#define EMMAP_LOCK_H

#include "place.h"
#include "wait.h"

#define EMMAP_WAITERS UINT64_C(1)   /* somebody sleeps: whoever releases wakes one */
#define EMMAP_DIED UINT64_C(2)      /* an owner died, and nobody has called the data consistent since */
#define EMMAP_OWNER (~EMMAP_FLAGS)

/* A lock word, and all that it takes to use it. */
struct emmap_lock {
    struct emmap_place place;
    _Atomic(uint64_t) *word;
    struct emmap_looks looks;
};

/* How an acquisition ended, but for 0. */
enum {
    EMMAP_OWNER_DIED = 1,       /* ours, taken from a dead owner: to be told, once for each death */
    EMMAP_INCONSISTENT = 2,     /* ours, and an earlier owner died */
};

void emmap_lock_begin(struct emmap_lock *lock, const struct emmap_place *place,
                      _Atomic(uint64_t) *word);

/* Takes the lock if it is free, no owner died, and nothing else is to be said: 0, else -EAGAIN. */
static inline int emmap_lock_take(struct emmap_lock *lock)
{
    uint64_t me = atomic_load_explicit(&lock->place.life->me, memory_order_relaxed), free = 0;
    if (me == 0 || emmap_lost_any(lock->place.lost) ||
        !atomic_compare_exchange_strong_explicit(lock->word, &free, me, memory_order_acquire,
                                                 memory_order_relaxed))
        return -EAGAIN;
    return emmap_place_lost(&lock->place);
}

/* An attempt for emmap_wait: 0, EMMAP_OWNER_DIED, EMMAP_INCONSISTENT, -EAGAIN, -EIO when pages are lost, or
 * another -errno. */
int emmap_lock_attempt(void *lock, int how, struct emmap_sleep *sleep);

/* Acquires, waiting as emmap_wait does. -EINTR: look after signals and call again. */
int emmap_lock_acquire(struct emmap_lock *lock, struct emmap_waiting *waiting);

/* Releases what this process holds, whichever thread acquired it: 0, -EPERM when it does not, -EIO. */
int emmap_lock_release(struct emmap_lock *lock);

/* An owner who never lived: whoever comes next takes over from him, and is told of a death. */
#define EMMAP_GHOST (UINT64_C(1) << EMMAP_FLAG_BITS)

/* The same, which leaves the word to another owner, or to nobody (0), and wakes so many of those who
 * sleep. */
int emmap_lock_release_to(struct emmap_lock *lock, uint64_t owner, int wakes);

/* Takes an attempt back that answered `rc`, as if it had never been made: also the death that it told, which
 * is told to the next one. Less than 0: there is nothing to be taken back. It is an emmap_undo, done at once. */
int emmap_lock_undo(void *lock, int rc, int how, struct emmap_sleep *sleep);

/* Takes the owner's death off the word. The caller holds the lock: 0, -EPERM, -EIO. */
int emmap_lock_mark_consistent(struct emmap_lock *lock);

/* Who holds it, as emmap_lock_look tells. */
enum { EMMAP_NOBODY = 0, EMMAP_US = 1, EMMAP_OTHERS = 2, EMMAP_THE_DEAD = 3 };

/* One of the above, or -errno. It is over as soon as it is told, unless it is us. */
int emmap_lock_look(struct emmap_lock *lock);

/* Does this process hold it? */
static inline int emmap_lock_is_mine(struct emmap_lock *lock)
{
    uint64_t me = atomic_load_explicit(&lock->place.life->me, memory_order_relaxed);
    return me != 0 && (atomic_load_explicit(lock->word, memory_order_relaxed) & EMMAP_OWNER) == me;
}

#endif
