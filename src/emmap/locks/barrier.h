/* The barrier: parties that wait for one another, generation after generation.
 *
 *     63                4     3        2        1         0
 *     +-----------------+--------+--------+--------+----------+
 *     | generation      | ACTING | BROKEN | PASSED | SLEEPERS |
 *     +-----------------+--------+--------+--------+----------+
 *
 * A party arrives in a cell that names it and its generation. A generation ends by one store, which begins
 * the next one: PASSED says how the last one ended, so all of it pass, or it is broken for all. That is
 * kept until all of them have left, whom the next ones wait for. ACTING: the last one has arrived and runs
 * the action. BROKEN: nobody may arrive until the barrier is reset.
 *
 * Arrivals and ends happen under an inner lock, whose owner's death needs no telling: a cell counts from
 * the store of its state on, and an end is one store. In between, all is as it was before.
 */
#ifndef EMMAP_BARRIER_H
#define EMMAP_BARRIER_H

#include "lock.h"
#include "waiters.h"

struct emmap_barrier {
    struct emmap_lock lock;         /* the inner one; its place is the barrier's */
    struct emmap_waiters row;
    _Atomic(uint64_t) *word;
    uint64_t parties;
};

/* What is to be attempted next. */
enum emmap_barrier_step {
    EMMAP_BARRIER_ARRIVE,   /* then, by itself, AWAIT */
    EMMAP_BARRIER_AWAIT,    /* the end of the generation */
    EMMAP_BARRIER_RELEASE,  /* the action has been run: let all pass */
    EMMAP_BARRIER_BREAK,    /* the barrier; of one who has arrived, only if his generation goes on */
    EMMAP_BARRIER_RESET,
};

/* What an attempt answers that is done. */
enum {
    EMMAP_BARRIER_PASSED = 0,
    EMMAP_BARRIER_BROKE = 1,
    EMMAP_BARRIER_ACT = 2,  /* all are there: run the action, then RELEASE or BREAK */
};

/* One call: an attempt of its own, which may be copied. */
struct emmap_barrier_wait {
    struct emmap_barrier barrier;
    struct emmap_waiter mine;       /* no cell: not arrived, or left */
    enum emmap_barrier_step step;
    int has_action;
    int time_is_up;                 /* to be set at a timeout, and attempted on: the wait breaks the barrier,
                                     * unless the generation has ended or the action runs */
    int has_asked;
    uint64_t generation;
    int index;                      /* of those who arrive */
};

/* 0, or -EINVAL when others use the place with `*parties`, or -EIO. */
int emmap_barrier_begin(struct emmap_barrier *barrier, const struct emmap_place *place, uint64_t *parties);

void emmap_barrier_wait_begin(struct emmap_barrier_wait *wait, const struct emmap_barrier *barrier,
                              enum emmap_barrier_step step);

/* An attempt for emmap_wait: one of the answers above, -EAGAIN, or another -errno. */
int emmap_barrier_attempt(void *wait, int how, struct emmap_sleep *sleep);

/* Takes back what attempts have done: one who has arrived leaves, and if he was to run the action the barrier
 * breaks. An emmap_undo, which waits for the inner lock. */
int emmap_barrier_undo(void *wait, int rc, int how, struct emmap_sleep *sleep);

/* Leaves without an answer (an exception was raised in the wait): the others wait on. */
void emmap_barrier_leave(struct emmap_barrier_wait *wait);

/* 1, 0, or -EIO. */
int emmap_barrier_is_broken(struct emmap_barrier *barrier);

/* How many living parties wait, or -errno. */
int emmap_barrier_count(struct emmap_barrier *barrier);

#endif
