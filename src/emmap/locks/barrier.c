#define _GNU_SOURCE
#include "barrier.h"

#include <limits.h>

#define SLEEPERS UINT64_C(1)    /* somebody sleeps at the word */
#define PASSED UINT64_C(2)
#define BROKEN UINT64_C(4)
#define ACTING UINT64_C(8)
#define GENERATION_SHIFT 4

/* Where in the place, behind the tag. */
enum { LOCK_AT = 8, WORD_AT = 16, PARTIES_AT = 24, USED_AT = 32 };

static uint64_t generation_of(uint64_t word)
{
    return word >> GENERATION_SHIFT;
}

/* A cell's state names its generation, and is never 0. */
static uint64_t state_of(uint64_t generation)
{
    return generation + 1;
}

int emmap_barrier_begin(struct emmap_barrier *barrier, const struct emmap_place *place, uint64_t *parties)
{
    /* SAFETY: four words behind the tag, inside the place. */
    _Atomic(uint64_t) *there = (_Atomic(uint64_t) *)(void *)(place->at + PARTIES_AT);
    uint64_t other = 0;
    barrier->word = (_Atomic(uint64_t) *)(void *)(place->at + WORD_AT);
    emmap_lock_begin(&barrier->lock, place, (_Atomic(uint64_t) *)(void *)(place->at + LOCK_AT));
    emmap_waiters_begin(&barrier->row, place, (_Atomic(uint64_t) *)(void *)(place->at + USED_AT));
    barrier->parties = *parties;
    if (!atomic_compare_exchange_strong(there, &other, *parties) && other != *parties) {
        *parties = other;
        return emmap_place_lost(&barrier->lock.place) != 0 ? -EIO : -EINVAL;
    }
    return emmap_place_lost(&barrier->lock.place);
}

void emmap_barrier_wait_begin(struct emmap_barrier_wait *wait, const struct emmap_barrier *barrier,
                              enum emmap_barrier_step step)
{
    *wait = (struct emmap_barrier_wait){.barrier = *barrier, .step = step};
}

/* Who has arrived, and who has not left yet. */
struct census {
    uint64_t arrived;           /* in this generation, the dead included */
    int dead;                   /* one of these has died */
    int leaving;                /* somebody of an earlier one is still there */
};

/* Looks at all cells: 0 or -errno. `ask`: for the dead, and reaps them if they need only have left. */
static int look_at_cells(struct emmap_barrier *barrier, uint64_t generation, int ask, struct census *census)
{
    uint64_t me = atomic_load(&barrier->lock.place.life->me);
    struct emmap_waiter found;
    *census = (struct census){0};
    for (size_t i = 0, used = emmap_waiters_used(&barrier->row); i < used; i++) {
        if (!emmap_waiters_read(&barrier->row, i, &found))
            continue;
        int dead = ask && found.owner != me ? emmap_waiters_is_dead(&barrier->row, &found) : 0;
        if (dead < 0)
            return dead;
        if (found.state == state_of(generation)) {
            census->arrived++;
            census->dead |= dead;
        } else if (dead) {
            emmap_waiters_reap(&found);
        } else {
            census->leaving = 1;
        }
    }
    return 0;
}

/* Changes the word, and wakes who sleeps at it. Those who go to sleep change it too. */
static void change(struct emmap_barrier *barrier, uint64_t generation, uint64_t flags)
{
    uint64_t word = atomic_load(barrier->word);
    while (!atomic_compare_exchange_weak(barrier->word, &word, generation << GENERATION_SHIFT | flags))
        ;
    if (word & SLEEPERS)
        emmap_wake(emmap_low_half(barrier->word), INT_MAX);
}

/* Goes to sleep at the word, if it is still as it was read: -EAGAIN, or 0 when it is not. */
static int announce(struct emmap_barrier *barrier, uint64_t word, int how, struct emmap_sleep *sleep)
{
    if (!(how & EMMAP_ANNOUNCE))
        return -EAGAIN;
    if (!(word & SLEEPERS) && !atomic_compare_exchange_strong(barrier->word, &word, word | SLEEPERS))
        return 0;
    sleep->word = emmap_low_half(barrier->word);
    sleep->seen = (uint32_t)(word | SLEEPERS);
    return -EAGAIN;
}

void emmap_barrier_leave(struct emmap_barrier_wait *wait)
{
    struct emmap_barrier *barrier = &wait->barrier;
    struct census census;
    if (wait->mine.cell == NULL)
        return;
    emmap_waiters_leave(&barrier->row, &wait->mine);
    /* Those who wait for us to leave say so in the word, and look at the cells afterwards; we have left,
     * and look at the word afterwards: so one of us sees the other. */
    uint64_t word = atomic_load(barrier->word);
    if (!(word & SLEEPERS) || look_at_cells(barrier, generation_of(word), 0, &census) != 0 ||
        census.leaving)
        return;
    atomic_fetch_and(barrier->word, ~SLEEPERS);
    emmap_wake(emmap_low_half(barrier->word), INT_MAX);
}

/* Breaks the generation that some wait in, or the barrier that nobody waits at. */
static void break_now(struct emmap_barrier *barrier, uint64_t word, uint64_t arrived)
{
    if (arrived > 0)
        change(barrier, generation_of(word) + 1, BROKEN);
    else
        change(barrier, generation_of(word), (word & PASSED) | BROKEN);
}

static int arrive(struct emmap_barrier_wait *wait, int how, struct emmap_sleep *sleep)
{
    struct emmap_barrier *barrier = &wait->barrier;
    struct census census;
    for (;;) {
        uint64_t word = atomic_load(barrier->word), generation = generation_of(word);
        if (word & BROKEN)
            return EMMAP_BARRIER_BROKE;
        int rc = look_at_cells(barrier, generation, how & EMMAP_ASK, &census);
        if (rc == 0 && census.arrived + 1 == barrier->parties)
            /* Nobody passes with the dead. */
            rc = look_at_cells(barrier, generation, 1, &census);
        if (rc != 0)
            return rc;
        if (census.dead || (wait->time_is_up && !(word & ACTING))) {
            break_now(barrier, word, census.arrived);
            return EMMAP_BARRIER_BROKE;
        }
        if (word & ACTING || census.leaving || census.arrived >= barrier->parties) {
            rc = announce(barrier, word, how, sleep);
            if (rc == 0 || (how & EMMAP_ANNOUNCE && !(word & SLEEPERS)))
                continue; /* look again, now that it is said that we are going to sleep */
            return rc;
        }
        rc = emmap_waiters_enter(&barrier->row, state_of(generation), &wait->mine);
        if (rc != 0)
            return rc;
        wait->generation = generation;
        wait->index = (int)census.arrived;
        wait->step = EMMAP_BARRIER_AWAIT;
        if (census.arrived + 1 < barrier->parties)
            return -EAGAIN;
        if (!wait->has_action) {
            change(barrier, generation + 1, PASSED);
            return EMMAP_BARRIER_PASSED;
        }
        atomic_fetch_or(barrier->word, ACTING);
        return EMMAP_BARRIER_ACT;
    }
}

/* Has the generation ended that we arrived in? Its answer, or -EAGAIN. */
static int look_at_end(const struct emmap_barrier_wait *wait, uint64_t word)
{
    if (generation_of(word) == wait->generation)
        /* Our id was given up: for the others we have died. Or we are the child of one who waits. */
        return atomic_load(&wait->barrier.lock.place.life->me) == wait->mine.owner ? -EAGAIN
                                                                                   : EMMAP_BARRIER_BROKE;
    return generation_of(word) == wait->generation + 1 && word & PASSED ? EMMAP_BARRIER_PASSED
                                                                        : EMMAP_BARRIER_BROKE;
}

/* Breaks the generation that we have arrived in, for a party that has died or because time is up. */
static int break_off(struct emmap_barrier_wait *wait, int how, struct emmap_sleep *sleep)
{
    struct emmap_barrier *barrier = &wait->barrier;
    struct census census;
    for (;;) {
        uint64_t word = atomic_load(barrier->word);
        int rc = look_at_end(wait, word);
        if (rc == -EAGAIN)
            rc = look_at_cells(barrier, wait->generation, how & EMMAP_ASK, &census);
        else
            return rc;
        if (rc != 0)
            return rc;
        if (census.dead || (wait->time_is_up && !(word & ACTING))) {
            break_now(barrier, word, 1);
            return EMMAP_BARRIER_BROKE;
        }
        if (announce(barrier, word, how, sleep) == -EAGAIN)
            return -EAGAIN;
    }
}

/* What is done under the inner lock. */
static int do_step(struct emmap_barrier_wait *wait, int how, struct emmap_sleep *sleep)
{
    struct emmap_barrier *barrier = &wait->barrier;
    struct census census;
    if (wait->step == EMMAP_BARRIER_ARRIVE)
        return arrive(wait, how, sleep);
    if (wait->step == EMMAP_BARRIER_AWAIT)
        return break_off(wait, how, sleep);
    uint64_t word = atomic_load(barrier->word), generation = generation_of(word);
    int rc = wait->mine.cell != NULL ? look_at_end(wait, word) : -EAGAIN;
    if (rc != -EAGAIN)
        return rc; /* broken while we ran the action */
    if (wait->step == EMMAP_BARRIER_RELEASE) {
        change(barrier, generation + 1, PASSED);
        return EMMAP_BARRIER_PASSED;
    }
    rc = look_at_cells(barrier, generation, 0, &census);
    if (rc != 0)
        return rc;
    if (wait->step == EMMAP_BARRIER_BREAK)
        break_now(barrier, word, census.arrived);
    else if (census.arrived > 0)
        change(barrier, generation + 1, 0);
    else
        change(barrier, generation, word & PASSED);
    return EMMAP_BARRIER_BROKE;
}

/* Waits for the end without the inner lock; 1 when that is needed, else 0 and `*answer`. */
static int await(struct emmap_barrier_wait *wait, int how, struct emmap_sleep *sleep, int *answer)
{
    struct emmap_barrier *barrier = &wait->barrier;
    struct census census;
    for (;;) {
        uint64_t word = atomic_load(barrier->word);
        *answer = emmap_place_lost(&barrier->lock.place);
        if (*answer == 0)
            *answer = look_at_end(wait, word);
        if (*answer != -EAGAIN)
            return 0;
        /* Not before the first sleep: the last one to arrive asks anyway. */
        if (how & EMMAP_ASK && wait->has_asked++) {
            *answer = look_at_cells(barrier, wait->generation, 1, &census);
            if (*answer != 0 || census.dead)
                return *answer == 0;
        }
        how &= ~EMMAP_ASK;
        *answer = announce(barrier, word, how, sleep);
        if (*answer == -EAGAIN)
            return 0;
    }
}

int emmap_barrier_attempt(void *it, int how, struct emmap_sleep *sleep)
{
    struct emmap_barrier_wait *wait = it;
    struct emmap_lock *lock = &wait->barrier.lock;
    for (;;) {
        enum emmap_barrier_step step = wait->step;
        int answer;
        if (step != EMMAP_BARRIER_AWAIT || wait->time_is_up || await(wait, how, sleep, &answer)) {
            int rc = emmap_lock_attempt(lock, how, sleep);
            if (rc < 0)
                return rc;
            if (rc > 0)
                emmap_lock_mark_consistent(lock); /* every state in between is a whole one */
            answer = do_step(wait, how, sleep);
            rc = emmap_lock_release(lock);
            if (rc != 0)
                return rc;
        }
        if (answer == -EAGAIN && wait->step != step)
            continue; /* we have arrived */
        if (answer == EMMAP_BARRIER_PASSED || answer == EMMAP_BARRIER_BROKE)
            emmap_barrier_leave(wait);
        return answer;
    }
}

int emmap_barrier_undo(void *it, int rc, int how, struct emmap_sleep *sleep)
{
    struct emmap_barrier_wait *wait = it;
    if (rc == EMMAP_BARRIER_ACT) {
        wait->step = EMMAP_BARRIER_BREAK;
        rc = emmap_barrier_attempt(wait, how, sleep);
        if (rc == -EAGAIN)
            return rc;
    }
    emmap_barrier_leave(wait);
    return 0;
}

int emmap_barrier_is_broken(struct emmap_barrier *barrier)
{
    uint64_t word = atomic_load(barrier->word);
    return emmap_place_lost(&barrier->lock.place) != 0 ? -EIO : (word & BROKEN) != 0;
}

int emmap_barrier_count(struct emmap_barrier *barrier)
{
    uint64_t generation = generation_of(atomic_load(barrier->word));
    struct emmap_waiter found;
    int n = 0;
    for (size_t i = 0, used = emmap_waiters_used(&barrier->row); i < used; i++)
        if (emmap_waiters_read(&barrier->row, i, &found) && found.state == state_of(generation)) {
            int dead = emmap_waiters_is_dead(&barrier->row, &found);
            if (dead < 0)
                return dead;
            n += !dead;
        }
    return emmap_place_lost(&barrier->lock.place) != 0 ? -EIO : n;
}
