/* The semaphore between threads, under the sanitizers: a permit hands on what was written before. */
#define _GNU_SOURCE
#include "sync.h"

#include "semaphore.h"

#define TURNS 5000

static long count;      /* guarded by a semaphore of one permit */

static struct emmap_semaphore begin(int64_t value, int64_t maximum)
{
    struct emmap_semaphore semaphore;
    CHECK(emmap_semaphore_begin(&semaphore, &place, value, maximum) == 0);
    return semaphore;
}

static int release(struct emmap_semaphore *semaphore, int64_t n)
{
    struct emmap_semaphore_release release = {semaphore, n};
    return wait_for(emmap_semaphore_release_attempt, &release, -1);
}

static int permits(struct emmap_semaphore *semaphore)
{
    return wait_for(emmap_semaphore_count_attempt, semaphore, -1);
}

static void *add(void *unused)
{
    struct emmap_semaphore semaphore = begin(1, -1);
    (void)unused;
    for (int i = 0; i < TURNS; i++) {
        CHECK(wait_for(emmap_semaphore_attempt, &semaphore, -1) == 0);
        count++;
        CHECK(release(&semaphore, 1) == 0);
    }
    return NULL;
}

/* Half of the threads release what the others acquire. */
static void *signal_or_wait(void *number)
{
    struct emmap_semaphore semaphore = begin(1, -1);
    for (int i = 0; i < TURNS; i++)
        CHECK(((uintptr_t)number % 2 ? release(&semaphore, 1)
                                     : wait_for(emmap_semaphore_attempt, &semaphore, -1)) == 0);
    return NULL;
}

static void threads(void)
{
    make_place(EMMAP_SEMAPHORE);
    struct emmap_semaphore semaphore = begin(1, -1);
    run_threads(add);
    CHECK(count == (long)THREADS * TURNS && permits(&semaphore) == 1);
    run_threads(signal_or_wait);
    CHECK(permits(&semaphore) == 1);
    CHECK(atomic_load(semaphore.inner.word) == 0);
    CHECK(emmap_cells_used(&semaphore.cells) == 1); /* the threads of a process share its cell */
}

static void waking(void)
{
    make_place(EMMAP_SEMAPHORE);
    struct emmap_semaphore semaphore = begin(1, -1);
    struct emmap_sleep sleep;
    CHECK(emmap_semaphore_attempt(&semaphore, EMMAP_LOOK, NULL) == 0);
    CHECK(emmap_semaphore_attempt(&semaphore, EMMAP_LOOK, NULL) == -EAGAIN);
    CHECK(release(&semaphore, 1) == 0 && atomic_load(&wakes) == 0); /* nobody sleeps: no call */
    CHECK(emmap_semaphore_try(&semaphore, EMMAP_LOOK, NULL) == 0);
    CHECK(emmap_semaphore_try(&semaphore, EMMAP_LOOK, NULL) == EMMAP_NONE_FREE);
    CHECK(emmap_semaphore_attempt(&semaphore, EMMAP_ANNOUNCE, &sleep) == -EAGAIN);
    CHECK(sleep.word == semaphore.releases && sleep.seen == atomic_load(semaphore.releases));
    CHECK(release(&semaphore, 1) == 0 && atomic_load(&wakes) == 1 && atomic_load(&woken) == 1);
    CHECK(sleep.seen != atomic_load(semaphore.releases));
    CHECK(release(&semaphore, 1) == 0 && atomic_load(&wakes) == 1);
    /* Who was woken remembers that others may sleep. */
    CHECK(emmap_semaphore_attempt(&semaphore, EMMAP_LOOK | EMMAP_SLEPT, NULL) == 0);
    CHECK(atomic_load(semaphore.inner.word) == 0 && atomic_load(&wakes) == 2); /* also at the inner lock */
    long before = atomic_load(&wakes);
    CHECK(release(&semaphore, 1) == 0 && atomic_load(&wakes) == before + 1);

    /* Where another is at the inner lock, it is that to sleep at. */
    CHECK(emmap_lock_take(&semaphore.inner) == 0);
    CHECK(emmap_semaphore_attempt(&semaphore, EMMAP_ANNOUNCE, &sleep) == -EAGAIN);
    CHECK(sleep.word == emmap_low_half(semaphore.inner.word));
    before = atomic_load(&wakes);
    CHECK(emmap_lock_release(&semaphore.inner) == 0 && atomic_load(&wakes) == before + 1);
}

static void deaths(void)
{
    make_place(EMMAP_SEMAPHORE);
    struct emmap_semaphore semaphore = begin(3, 3);
    /* Two held by the dead, one by us; and the dead one was at the inner lock. */
    atomic_store(word_at(64), DEAD);
    atomic_store(word_at(72), 2);
    atomic_store(word_at(8), DEAD);
    atomic_store(semaphore.cells.used, 1);
    CHECK(emmap_semaphore_attempt(&semaphore, EMMAP_ASK, NULL) == 0);
    CHECK(atomic_load(word_at(8)) == 0);
    CHECK(emmap_semaphore_look(&semaphore) == 2); /* his cell became ours */
    CHECK(wait_for(emmap_semaphore_attempt, &semaphore, 0) == 0);
    CHECK(wait_for(emmap_semaphore_attempt, &semaphore, 0) == 0);
    CHECK(wait_for(emmap_semaphore_attempt, &semaphore, 0) == -ETIMEDOUT);
    /* Above the maximum, also where one of a dead process would come back. */
    CHECK(release(&semaphore, 1) == 0);
    atomic_store(word_at(128), DEAD);
    atomic_store(word_at(136), 1);
    atomic_store(semaphore.cells.used, 2);
    CHECK(release(&semaphore, 2) == 0 && release(&semaphore, 2) == -ERANGE);
    CHECK(permits(&semaphore) == 3 && release(&semaphore, 1) == -ERANGE);
    /* What another released comes back with the death of who held it: one too many is dropped. */
    CHECK(wait_for(emmap_semaphore_attempt, &semaphore, 0) == 0);
    atomic_store(semaphore.more, 5);
    CHECK(permits(&semaphore) == 3 && atomic_load(semaphore.more) == 1);
}

/* Bytes that are no semaphore's, and those of a life that was given up. */
static void damage(void)
{
    make_place(EMMAP_SEMAPHORE);
    struct emmap_semaphore semaphore = begin(1, -1);
    CHECK(wait_for(emmap_semaphore_attempt, &semaphore, 0) == 0);
    emmap_life_give_up(place.life);
    CHECK(emmap_cells_mine(&semaphore.cells) == NULL && !emmap_semaphore_is_held(&semaphore));
    CHECK(emmap_life_enter(place.life) == 0 && emmap_cells_mine(&semaphore.cells) == NULL);
    CHECK(wait_for(emmap_semaphore_attempt, &semaphore, 0) == 0); /* what we held has come back */
    for (size_t i = 24; i < EMMAP_CELLS_SIZE; i++)
        place.at[i] = (unsigned char)(i * 7 | 0x80);
    int rc = wait_for(emmap_semaphore_attempt, &semaphore, 1000000);
    CHECK(rc == 0 || rc == -ETIMEDOUT || rc == -ENOSPC);
    CHECK(permits(&semaphore) >= 0);
    release(&semaphore, 1);
    emmap_lost_mark_tail(&lost, (uintptr_t)place.at);
    CHECK(wait_for(emmap_semaphore_attempt, &semaphore, 0) == -EIO && release(&semaphore, 1) == -EIO);
    CHECK(permits(&semaphore) == -EIO && atomic_load(&place.life->me) == 0);
}

int main(void)
{
    static const struct test tests[] = {TEST(threads), TEST(waking), TEST(deaths), TEST(damage)};
    return RUN_TESTS(tests);
}
