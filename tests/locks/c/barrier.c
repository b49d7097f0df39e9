/* The barrier between threads, and with parties that die at the worst moments. */
#define _GNU_SOURCE
#include "barrier.h"
#include "company.h"

#define PARTIES 3
#define TURNS 1000

static struct emmap_barrier barrier;
static struct emmap_place place;
static long marks[PARTIES];     /* each written by one thread, read by all after they have met */
static long acts;               /* written by who runs the action */

static int finish(struct emmap_barrier_wait *wait, enum emmap_barrier_step step)
{
    wait->step = step;
    return run_attempt(emmap_barrier_attempt, wait, -1);
}

static struct emmap_barrier_wait begin(enum emmap_barrier_step step)
{
    struct emmap_barrier_wait wait;
    emmap_barrier_wait_begin(&wait, &barrier, step);
    return wait;
}

static void *meet(void *number)
{
    long me = (long)(intptr_t)number;
    for (long turn = 0; turn < TURNS; turn++) {
        marks[me] = turn;
        struct emmap_barrier_wait wait = begin(EMMAP_BARRIER_ARRIVE);
        wait.has_action = turn % 2;
        int rc = run_attempt(emmap_barrier_attempt, &wait, -1);
        if (rc == EMMAP_BARRIER_ACT) {
            acts++;
            rc = finish(&wait, EMMAP_BARRIER_RELEASE);
        }
        CHECK(rc == EMMAP_BARRIER_PASSED && wait.mine.cell == NULL);
        for (int i = 0; i < PARTIES; i++)
            CHECK(marks[i] == turn);
        CHECK(acts == (turn + 1) / 2);
        wait = begin(EMMAP_BARRIER_ARRIVE);
        CHECK(run_attempt(emmap_barrier_attempt, &wait, -1) == EMMAP_BARRIER_PASSED);
    }
    return NULL;
}

static void meetings(void)
{
    pthread_t threads[PARTIES];
    for (intptr_t i = 0; i < PARTIES; i++)
        threads[i] = begin_thread(meet, (void *)i);
    for (int i = 0; i < PARTIES; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK(emmap_barrier_count(&barrier) == 0 && emmap_barrier_is_broken(&barrier) == 0);
}

static int attempt(struct emmap_barrier_wait *wait, int how)
{
    struct emmap_sleep sleep;
    return emmap_barrier_attempt(wait, how, &sleep);
}

/* How the generation ends for one who has arrived. */
static int end_of(struct emmap_barrier_wait *wait)
{
    return attempt(wait, EMMAP_LOOK);
}

static struct emmap_barrier_wait arrive(int answer)
{
    struct emmap_barrier_wait wait = begin(EMMAP_BARRIER_ARRIVE);
    CHECK(attempt(&wait, EMMAP_ASK) == answer);
    return wait;
}

static void kill_it(struct emmap_barrier_wait *wait)
{
    atomic_store(&wait->mine.cell->owner, DEAD);
}

static void reset(void)
{
    struct emmap_barrier_wait wait = begin(EMMAP_BARRIER_RESET);
    CHECK(attempt(&wait, EMMAP_ASK) >= 0 && emmap_barrier_is_broken(&barrier) == 0);
}

static void deaths(void)
{
    /* A waiting one finds it when it asks. */
    struct emmap_barrier_wait dead = arrive(-EAGAIN), other = arrive(-EAGAIN), late;
    CHECK(other.index == 1 && emmap_barrier_count(&barrier) == 2);
    kill_it(&dead);
    CHECK(end_of(&other) == -EAGAIN && emmap_barrier_count(&barrier) == 1);
    CHECK(attempt(&other, EMMAP_ASK) == EMMAP_BARRIER_BROKE && emmap_barrier_is_broken(&barrier) == 1);
    arrive(EMMAP_BARRIER_BROKE);
    reset();

    /* The last one finds it. */
    dead = arrive(-EAGAIN);
    other = arrive(-EAGAIN);
    kill_it(&dead);
    late = begin(EMMAP_BARRIER_ARRIVE);
    CHECK(attempt(&late, EMMAP_LOOK) == EMMAP_BARRIER_BROKE && end_of(&other) == EMMAP_BARRIER_BROKE);
    reset();

    /* The one who acts is dead, and found by one who waits or by one who comes. */
    for (int comes = 0; comes < 2; comes++) {
        struct emmap_barrier_wait actor = begin(EMMAP_BARRIER_ARRIVE);
        other = arrive(-EAGAIN);
        late = arrive(-EAGAIN);
        actor.has_action = 1;
        CHECK(attempt(&actor, EMMAP_ASK) == EMMAP_BARRIER_ACT && actor.index == 2);
        other.time_is_up = 1;
        CHECK(attempt(&other, EMMAP_ASK) == -EAGAIN); /* not while the action runs */
        struct emmap_barrier_wait fourth = arrive(-EAGAIN);
        kill_it(&actor);
        if (comes)
            CHECK(attempt(&fourth, EMMAP_ASK) == EMMAP_BARRIER_BROKE);
        CHECK(attempt(&other, EMMAP_ASK) == EMMAP_BARRIER_BROKE && end_of(&late) == EMMAP_BARRIER_BROKE);
        reset();
    }

    /* A party that has passed and died while leaving is reaped by those who come. */
    dead = arrive(-EAGAIN);
    other = arrive(-EAGAIN);
    arrive(EMMAP_BARRIER_PASSED);
    late = begin(EMMAP_BARRIER_ARRIVE);
    CHECK(attempt(&late, EMMAP_LOOK) == -EAGAIN && late.step == EMMAP_BARRIER_ARRIVE);
    CHECK(end_of(&other) == EMMAP_BARRIER_PASSED);
    CHECK(attempt(&late, EMMAP_ASK) == -EAGAIN && late.step == EMMAP_BARRIER_ARRIVE);
    kill_it(&dead);
    CHECK(attempt(&late, EMMAP_LOOK) == -EAGAIN && late.step == EMMAP_BARRIER_ARRIVE);
    CHECK(attempt(&late, EMMAP_ASK) == -EAGAIN && late.step == EMMAP_BARRIER_AWAIT);
    emmap_barrier_leave(&late);

    /* Who held the inner lock died. */
    atomic_store(barrier.lock.word, DEAD);
    other = arrive(-EAGAIN);
    CHECK(atomic_load(barrier.lock.word) == 0);
    emmap_barrier_leave(&other);
}

/* While the action runs nobody arrives, also in the room of one who has left (by an exception). */
static void leaving_while_another_acts(void)
{
    struct emmap_barrier_wait one = arrive(-EAGAIN), two = arrive(-EAGAIN), late;
    struct emmap_barrier_wait actor = begin(EMMAP_BARRIER_ARRIVE);
    actor.has_action = 1;
    CHECK(attempt(&actor, EMMAP_ASK) == EMMAP_BARRIER_ACT);
    emmap_barrier_leave(&one);
    late = arrive(-EAGAIN);
    late.time_is_up = 1;
    CHECK(attempt(&late, EMMAP_ASK) == -EAGAIN && late.step == EMMAP_BARRIER_ARRIVE);
    actor.step = EMMAP_BARRIER_RELEASE;
    CHECK(attempt(&actor, EMMAP_ASK) == EMMAP_BARRIER_PASSED && end_of(&two) == EMMAP_BARRIER_PASSED);
    CHECK(emmap_barrier_is_broken(&barrier) == 0);
}

/* What ended a generation is kept until all have left, whatever becomes of the next one. */
static void outcomes_are_kept(void)
{
    struct emmap_barrier_wait one = arrive(-EAGAIN), two = arrive(-EAGAIN), it;
    arrive(EMMAP_BARRIER_PASSED);
    it = begin(EMMAP_BARRIER_BREAK);
    CHECK(attempt(&it, EMMAP_ASK) >= 0 && emmap_barrier_is_broken(&barrier) == 1);
    CHECK(end_of(&one) == EMMAP_BARRIER_PASSED);
    reset();
    CHECK(end_of(&two) == EMMAP_BARRIER_PASSED);

    one = arrive(-EAGAIN);
    reset();
    two = begin(EMMAP_BARRIER_ARRIVE);
    CHECK(attempt(&two, EMMAP_ASK) == -EAGAIN && two.step == EMMAP_BARRIER_ARRIVE);
    reset();
    CHECK(end_of(&one) == EMMAP_BARRIER_BROKE);
    CHECK(attempt(&two, EMMAP_ASK) == -EAGAIN && two.step == EMMAP_BARRIER_AWAIT);
    two.time_is_up = 1;
    CHECK(attempt(&two, EMMAP_LOOK) == EMMAP_BARRIER_BROKE && emmap_barrier_is_broken(&barrier) == 1);
    reset();
}

/* Who waits for others to leave is woken by the last one; a generation's end wakes its sleepers. */
static void waking(void)
{
    struct emmap_sleep sleep;
    struct emmap_barrier_wait one = arrive(-EAGAIN), two = arrive(-EAGAIN), next;
    long calls = atomic_load(&wakes);
    CHECK(emmap_barrier_attempt(&one, EMMAP_ANNOUNCE, &sleep) == -EAGAIN);
    CHECK(sleep.seen == atomic_load(sleep.word));
    arrive(EMMAP_BARRIER_PASSED);
    CHECK(atomic_load(&wakes) == calls + 1 && sleep.seen != atomic_load(sleep.word));
    next = begin(EMMAP_BARRIER_ARRIVE);
    CHECK(emmap_barrier_attempt(&next, EMMAP_ANNOUNCE, &sleep) == -EAGAIN);
    CHECK(sleep.seen == atomic_load(sleep.word));
    CHECK(end_of(&one) == EMMAP_BARRIER_PASSED && atomic_load(&wakes) == calls + 1);
    CHECK(end_of(&two) == EMMAP_BARRIER_PASSED && atomic_load(&wakes) == calls + 2);
    CHECK(sleep.seen != atomic_load(sleep.word));
    CHECK(attempt(&next, EMMAP_LOOK) == -EAGAIN && next.step == EMMAP_BARRIER_AWAIT);
    emmap_barrier_leave(&next);
}

static void lost_pages(void)
{
    struct emmap_barrier_wait wait = arrive(-EAGAIN), other = begin(EMMAP_BARRIER_ARRIVE);
    lose_all();
    CHECK(attempt(&wait, EMMAP_LOOK) == -EIO && attempt(&other, EMMAP_LOOK) == -EIO);
    CHECK(emmap_barrier_count(&barrier) == -EIO && emmap_barrier_is_broken(&barrier) == -EIO);
    emmap_barrier_leave(&wait);
}

int main(void)
{
    uint64_t parties = PARTIES, others = PARTIES + 1;
    struct emmap_barrier again;
    place = make_place(EMMAP_BARRIER, 0, 4096);
    CHECK(emmap_barrier_begin(&barrier, &place, &parties) == 0);
    CHECK(emmap_barrier_begin(&again, &place, &parties) == 0);
    CHECK(emmap_barrier_begin(&again, &place, &others) == -EINVAL && others == PARTIES);
    meetings();
    deaths();
    leaving_while_another_acts();
    outcomes_are_kept();
    waking();
    lost_pages();
    end_places();
    return 0;
}
