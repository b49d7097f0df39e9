/* The event between threads: what was written before it is set is seen by all whom it lets go on. */
#define _GNU_SOURCE
#include "event.h"
#include "company.h"

#define ROUNDS 1000

static struct emmap_event event, answer;
static long written;

static void wait_for(struct emmap_event *what)
{
    struct emmap_event_wait wait;
    emmap_event_wait_begin(&wait, what);
    CHECK(run_attempt(emmap_event_attempt, &wait, -1) == 0);
}

static void *play(void *unused)
{
    (void)unused;
    for (long i = 0; i < ROUNDS; i++) {
        wait_for(&event);
        CHECK(written == 2 * i + 1 && emmap_event_clear(&event) == 0);
        written++;
        CHECK(emmap_event_set(&answer) == 0);
    }
    return NULL;
}

static void ping_pong(void)
{
    pthread_t thread = begin_thread(play, NULL);
    for (long i = 0; i < ROUNDS; i++) {
        written++;
        CHECK(emmap_event_set(&event) == 0);
        wait_for(&answer);
        CHECK(written == 2 * i + 2 && emmap_event_clear(&answer) == 0);
    }
    CHECK(pthread_join(thread, NULL) == 0);
}

/* Set and cleared before anybody looks: all who had begun to wait go on, all who begin then do not. */
static void a_moment(void)
{
    struct emmap_event_wait before, after;
    struct emmap_sleep sleep;
    emmap_event_wait_begin(&before, &event);
    CHECK(emmap_event_attempt(&before, EMMAP_LOOK, &sleep) == -EAGAIN);
    long calls = atomic_load(&wakes);
    CHECK(emmap_event_set(&event) == 0 && emmap_event_is_set(&event) == 1);
    CHECK(emmap_event_set(&event) == 0 && emmap_event_clear(&event) == 0);
    CHECK(atomic_load(&wakes) == calls); /* nobody slept */
    emmap_event_wait_begin(&after, &event);
    CHECK(emmap_event_attempt(&before, EMMAP_LOOK, &sleep) == 0);
    CHECK(emmap_event_attempt(&after, EMMAP_ANNOUNCE, &sleep) == -EAGAIN);
    CHECK(sleep.seen == atomic_load(sleep.word) && emmap_event_is_set(&event) == 0);
    CHECK(emmap_event_set(&event) == 0 && atomic_load(&wakes) == calls + 1);
    CHECK(sleep.seen != atomic_load(sleep.word)); /* who was about to sleep does not */
    CHECK(emmap_event_attempt(&after, EMMAP_LOOK, &sleep) == 0);
    CHECK(run_attempt(emmap_event_attempt, &after, 0) == 0 && emmap_event_clear(&event) == 0);
    emmap_event_wait_begin(&after, &event);
    CHECK(run_attempt(emmap_event_attempt, &after, 1000000) == -ETIMEDOUT);
}

static void lost_pages(void)
{
    struct emmap_event_wait wait;
    emmap_event_wait_begin(&wait, &event);
    lose_all();
    CHECK(emmap_event_set(&event) == -EIO && emmap_event_clear(&event) == -EIO);
    CHECK(emmap_event_is_set(&event) == -EIO);
    CHECK(emmap_event_attempt(&wait, EMMAP_LOOK, NULL) == -EIO);
}

int main(void)
{
    struct emmap_place place = make_place(EMMAP_EVENT, 0, 16), other = make_place(EMMAP_EVENT, 64, 16);
    emmap_event_begin(&event, &place);
    emmap_event_begin(&answer, &other);
    ping_pong();
    a_moment();
    lost_pages();
    end_places();
    return 0;
}
