/* The lock for readers and writers between threads, under the sanitizers: ThreadSanitizer sees that what it
 * guards is handed on from writers to readers and back. */
#define _GNU_SOURCE
#include "sync.h"

#include "rwlock.h"

#include <limits.h>

#define TURNS 5000

static long data[2];    /* guarded by the lock, and by nothing else */
static _Atomic(long) told;
static pthread_barrier_t together;

static struct emmap_rwlock begin(void)
{
    struct emmap_rwlock rwlock;
    emmap_rwlock_begin(&rwlock, &place, 0);
    return rwlock;
}

static int write_within(struct emmap_rwlock *rwlock, int64_t patience)
{
    struct emmap_rwlock_write write = {.rwlock = rwlock};
    int rc = wait_for(emmap_rwlock_write_attempt, &write, patience);
    emmap_rwlock_write_give_up(&write);
    return rc;
}

static void *read_and_write(void *unused)
{
    struct emmap_rwlock rwlock = begin();
    (void)unused;
    pthread_barrier_wait(&together); /* so that all want an id and a cell at once */
    for (int i = 0; i < TURNS; i++) {
        int rc;
        if (i % 4 == 3) {
            rc = write_within(&rwlock, -1);
            CHECK(rc >= 0);
            data[0]++;
            data[1]++;
            CHECK(emmap_rwlock_release_write(&rwlock) == 0);
        } else {
            rc = emmap_rwlock_take_read(&rwlock);
            if (rc == -EAGAIN)
                rc = wait_for(emmap_rwlock_read_attempt, &rwlock, -1);
            CHECK(rc >= 0 && data[0] == data[1]);
            CHECK(emmap_rwlock_release_read(&rwlock) == 0);
        }
        if (rc == EMMAP_OWNER_DIED)
            atomic_fetch_add(&told, 1);
    }
    return NULL;
}

static void threads(void)
{
    make_place(EMMAP_RWLOCK);
    struct emmap_rwlock rwlock = begin();
    CHECK(pthread_barrier_init(&together, NULL, THREADS) == 0);
    run_threads(read_and_write);
    CHECK(data[0] == (long)THREADS * TURNS / 4 && data[1] == data[0]);
    CHECK(atomic_load(rwlock.writer.word) == 0 && emmap_rwlock_readers(&rwlock) == 0);
    CHECK(emmap_cells_used(&rwlock.cells) == 1 && atomic_load(&told) == 0);
    /* A writer who died: one of all threads is told. */
    atomic_store(rwlock.writer.word, DEAD | EMMAP_WAITERS);
    run_threads(read_and_write);
    CHECK(atomic_load(&told) == 1 && atomic_load(rwlock.writer.word) == EMMAP_DIED);
}

static void waking(void)
{
    make_place(EMMAP_RWLOCK);
    struct emmap_rwlock rwlock = begin();
    struct emmap_rwlock_write write = {.rwlock = &rwlock};
    struct emmap_sleep sleep;
    CHECK(emmap_rwlock_take_read(&rwlock) == -EAGAIN); /* it has no cell yet */
    CHECK(emmap_rwlock_read_attempt(&rwlock, EMMAP_LOOK, NULL) == 0);
    CHECK(emmap_rwlock_take_read(&rwlock) == 0 && emmap_rwlock_readers(&rwlock) == 2);
    CHECK(emmap_rwlock_write_attempt(&write, EMMAP_ANNOUNCE, &sleep) == -EAGAIN && write.draining);
    CHECK(sleep.word == rwlock.drained && sleep.seen == atomic_load(rwlock.drained));
    CHECK(emmap_rwlock_take_read(&rwlock) == -EAGAIN && emmap_rwlock_readers(&rwlock) == 2);
    CHECK(emmap_rwlock_release_read(&rwlock) == 0 && atomic_load(&wakes) == 0);
    CHECK(emmap_rwlock_release_read(&rwlock) == 0 && atomic_load(&wakes) == 1);
    CHECK(sleep.seen != atomic_load(rwlock.drained));
    CHECK(emmap_rwlock_release_write(&rwlock) == -EPERM); /* it waits yet */
    CHECK(emmap_rwlock_write_attempt(&write, EMMAP_SLEPT, NULL) == 0);
    emmap_rwlock_write_give_up(&write); /* nothing: it is done */
    CHECK(emmap_rwlock_is_written(&rwlock));
    CHECK(emmap_rwlock_read_attempt(&rwlock, EMMAP_ASK, NULL) == -EAGAIN);
    CHECK(emmap_rwlock_read_attempt(&rwlock, EMMAP_ANNOUNCE, &sleep) == -EAGAIN);
    CHECK(sleep.word == emmap_low_half(rwlock.writer.word));
    CHECK(emmap_rwlock_release_write(&rwlock) == 0 && atomic_load(&wakes) == 2);
    CHECK(atomic_load(&woken) == INT_MAX); /* one would not do: a reader wakes nobody */
    CHECK(emmap_rwlock_take_read(&rwlock) == 0 && emmap_rwlock_release_read(&rwlock) == 0);
    CHECK(write_within(&rwlock, 0) == 0 && emmap_rwlock_release_write(&rwlock) == 0);
    CHECK(atomic_load(&wakes) == 2); /* nobody sleeps: no call */
    CHECK(emmap_rwlock_release_read(&rwlock) == -EPERM && emmap_rwlock_release_write(&rwlock) == -EPERM);
}

static void deaths(void)
{
    make_place(EMMAP_RWLOCK);
    struct emmap_rwlock rwlock = begin();
    struct emmap_rwlock_write write = {.rwlock = &rwlock};
    /* A reader in the first cell, and a writer, both dead. We take over, and give up for a reader of ours
     * in the second: who comes next is told. */
    atomic_store(word_at(64), DEAD);
    atomic_store(word_at(72), 3);
    atomic_store(rwlock.writer.word, DEAD);
    CHECK(emmap_rwlock_write_attempt(&write, EMMAP_LOOK, NULL) == -EAGAIN); /* it did not ask */
    CHECK(emmap_life_enter(place.life) == 0);
    atomic_store(word_at(128), atomic_load(&place.life->me));
    atomic_store(word_at(136), 1);
    atomic_store(rwlock.cells.used, 2);
    CHECK(emmap_rwlock_write_attempt(&write, EMMAP_ASK, NULL) == -EAGAIN && write.draining);
    CHECK(atomic_load(word_at(64)) == 0 && atomic_load(word_at(128)) != 0); /* one was reaped */
    emmap_rwlock_write_give_up(&write);
    CHECK(atomic_load(rwlock.writer.word) == (EMMAP_GHOST | EMMAP_DIED));
    CHECK(emmap_rwlock_release_read(&rwlock) == 0);
    rwlock.repairs = 1;
    CHECK(emmap_rwlock_read_attempt(&rwlock, EMMAP_ASK, NULL) == -EOWNERDEAD);
    rwlock.repairs = 0;
    atomic_fetch_or(rwlock.writer.word, EMMAP_WAITERS);
    long before = atomic_load(&wakes);
    CHECK(emmap_rwlock_read_attempt(&rwlock, EMMAP_ASK, NULL) == EMMAP_OWNER_DIED);
    CHECK(atomic_load(&wakes) == before + 1 && atomic_load(&woken) == INT_MAX);
    CHECK(emmap_rwlock_read_attempt(&rwlock, EMMAP_ASK, NULL) == EMMAP_INCONSISTENT);
    rwlock.repairs = 1;
    CHECK(emmap_rwlock_read_attempt(&rwlock, EMMAP_ASK, NULL) == -EOWNERDEAD);
    CHECK(emmap_rwlock_readers(&rwlock) == 2);
    for (int i = 0; i < 2; i++)
        CHECK(emmap_rwlock_release_read(&rwlock) == 0);
    CHECK(write_within(&rwlock, -1) == EMMAP_INCONSISTENT);
    CHECK(emmap_lock_mark_consistent(&rwlock.writer) == 0 && emmap_rwlock_release_write(&rwlock) == 0);
    CHECK(emmap_rwlock_take_read(&rwlock) == 0 && emmap_rwlock_release_read(&rwlock) == 0);
}

/* Another process that reads has a cell of its own, for as long as it lives. */
static void another_process(void)
{
    int ready[2];
    char byte;
    make_place(EMMAP_RWLOCK);
    struct emmap_rwlock rwlock = begin();
    CHECK(emmap_rwlock_read_attempt(&rwlock, EMMAP_LOOK, NULL) == 0 && pipe(ready) == 0);
    pid_t child = fork();
    if (child == 0) {
        CHECK(emmap_rwlock_release_read(&rwlock) == -EPERM && emmap_rwlock_take_read(&rwlock) == -EAGAIN);
        CHECK(emmap_rwlock_read_attempt(&rwlock, EMMAP_LOOK, NULL) == 0 && write(ready[1], "x", 1) == 1);
        for (;;)
            pause();
    }
    CHECK(read(ready[0], &byte, 1) == 1);
    CHECK(emmap_rwlock_readers(&rwlock) == 2 && emmap_cells_used(&rwlock.cells) == 2);
    CHECK(emmap_rwlock_release_read(&rwlock) == 0 && emmap_rwlock_readers(&rwlock) == 1);
    CHECK(write_within(&rwlock, 0) == -ETIMEDOUT && atomic_load(rwlock.writer.word) == 0);
    CHECK(kill(child, SIGKILL) == 0 && waitpid(child, NULL, 0) == child);
    CHECK(write_within(&rwlock, -1) == 0 && emmap_rwlock_release_write(&rwlock) == 0);
}

/* What we held before our id was given up is not ours any more; and damaged bytes lead nowhere else. */
static void damage(void)
{
    make_place(EMMAP_RWLOCK);
    struct emmap_rwlock rwlock = begin();
    struct emmap_rwlock_write write = {.rwlock = &rwlock};
    CHECK(emmap_rwlock_read_attempt(&rwlock, EMMAP_LOOK, NULL) == 0);
    CHECK(emmap_rwlock_write_attempt(&write, EMMAP_LOOK, NULL) == -EAGAIN && write.draining);
    emmap_life_give_up(place.life);
    CHECK(emmap_rwlock_release_read(&rwlock) == -EPERM && !emmap_rwlock_is_read(&rwlock));
    CHECK(emmap_rwlock_write_attempt(&write, EMMAP_ASK, NULL) == EMMAP_OWNER_DIED);
    emmap_life_give_up(place.life);
    CHECK(emmap_rwlock_release_write(&rwlock) == -EPERM);
    for (size_t i = 16; i < EMMAP_CELLS_SIZE; i++)
        place.at[i] = (unsigned char)(i * 7 | 0x80);
    CHECK(write_within(&rwlock, -1) >= 0 && emmap_rwlock_release_write(&rwlock) == 0);
    emmap_lost_mark_tail(&lost, (uintptr_t)place.at);
    CHECK(emmap_rwlock_take_read(&rwlock) == -EAGAIN && write_within(&rwlock, 0) == -EIO);
    CHECK(emmap_rwlock_read_attempt(&rwlock, EMMAP_LOOK, NULL) == -EIO);
    CHECK(emmap_rwlock_release_read(&rwlock) == -EIO && emmap_rwlock_release_write(&rwlock) == -EIO);
    CHECK(atomic_load(&place.life->me) == 0);
}

int main(void)
{
    static const struct test tests[] = {TEST(threads), TEST(waking), TEST(deaths),
                                        TEST(another_process), TEST(damage)};
    return RUN_TESTS(tests);
}
