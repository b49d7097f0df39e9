/* The number between threads: no change is lost, and what was written before one is seen after it. */
#define _GNU_SOURCE
#include "atomic.h"
#include "sync.h"

#define ROUNDS 20000

static int64_t left[THREADS];   /* what each thread has in its hand at the end */

static void *add(void *unused)
{
    int64_t sum;
    (void)unused;
    for (int i = 0; i < ROUNDS; i++)
        CHECK(emmap_atomic_add(&place, i % 2 ? 3 : -1, &sum) == 0);
    return NULL;
}

/* Each hands the number on that it found, and adds one: what lies there and what is in the hands at the end
 * is all that was ever added. An exchange of two steps loses or doubles some. */
static void *hand_on(void *number)
{
    int64_t hand = 0;
    for (int i = 0; i < ROUNDS; i++)
        CHECK(emmap_atomic_exchange(&place, hand + 1, &hand) == 0);
    left[(uintptr_t)number] = hand;
    return NULL;
}

static void *count(void *unused)
{
    int exchanged;
    (void)unused;
    for (int i = 0; i < ROUNDS; i++) {
        int64_t now;
        do {
            CHECK(emmap_atomic_load(&place, &now) == 0);
            CHECK(emmap_atomic_compare_exchange(&place, now, now + 1, &exchanged) == 0);
        } while (!exchanged);
    }
    return NULL;
}

static long guarded;

static void *guard(void *unused)
{
    int exchanged;
    int64_t old;
    (void)unused;
    for (int i = 0; i < ROUNDS / 20; i++) {
        do {
            CHECK(emmap_atomic_compare_exchange(&place, 0, 1, &exchanged) == 0);
            if (!exchanged)
                sched_yield();
        } while (!exchanged);
        guarded++;
        CHECK(emmap_atomic_exchange(&place, 0, &old) == 0 && old == 1);
    }
    return NULL;
}

static int64_t take(void)
{
    int64_t value;
    CHECK(emmap_atomic_exchange(&place, 0, &value) == 0);
    return value;
}

int main(void)
{
    make_place(EMMAP_EVENT);
    take();
    run_threads(add);
    CHECK(take() == (int64_t)THREADS * ROUNDS);
    run_threads(hand_on);
    int64_t sum = take();
    for (int i = 0; i < THREADS; i++)
        sum += left[i];
    CHECK(sum == (int64_t)THREADS * ROUNDS);
    run_threads(count);
    CHECK(take() == (int64_t)THREADS * ROUNDS);
    run_threads(guard);
    CHECK(guarded == THREADS * (ROUNDS / 20) && take() == 0);
    emmap_life_end(place.life, 0);
    return 0;
}
