/* Waiting to be notified: a row of cells, of which a notify chooses the oldest.
 *
 * A cell's state is a ticket and what it means. While its thread waits, that is its own ticket, taken from
 * a counter: no two are alike. Once it is notified, that is the counter at that time: whoever waited then
 * has a lower one, and inherits if the notified one dies before it can act.
 *
 * The thread enters its cell before it lets go of the lock, and gives it back when it has the lock again:
 * until then it stands there that it was notified.
 */
#ifndef EMMAP_CONDITION_H
#define EMMAP_CONDITION_H

#include "wait.h"
#include "waiters.h"

struct emmap_condition {
    struct emmap_waiters row;
    _Atomic(uint64_t) *tickets;     /* how many have been given */
};

/* One who waits: an attempt of his own, which may be copied. */
struct emmap_condition_wait {
    struct emmap_condition condition;
    struct emmap_waiter mine;
};

void emmap_condition_begin(struct emmap_condition *condition, const struct emmap_place *place);

/* Begins to wait. The caller holds the lock, and lets go of it afterwards: 0, -ENOSPC when
 * EMMAP_MOST_WAITERS wait already, or another -errno. */
int emmap_condition_enter(struct emmap_condition *condition, struct emmap_condition_wait *wait);

/* An attempt for emmap_wait: 0 when it is notified, -EAGAIN, or another -errno. */
int emmap_condition_attempt(void *wait, int how, struct emmap_sleep *sleep);

/* Ends the wait: was it notified? The caller has the lock again. */
int emmap_condition_leave(struct emmap_condition_wait *wait);

/* Ends a wait that cannot act on being notified: then another one is. */
void emmap_condition_abandon(struct emmap_condition_wait *wait);

/* Notifies at most `n` of those who wait, the oldest first. The caller holds the lock: 0 or -errno. */
int emmap_condition_notify(struct emmap_condition *condition, uint64_t n);

/* How many wait, notified ones and the dead that nobody has found yet included. */
size_t emmap_condition_count(struct emmap_condition *condition);

#endif
