/* The lock word between threads, under the sanitizers: ThreadSanitizer sees that what the lock guards is
 * handed on by release and acquire. */
#define _GNU_SOURCE
#include "check.h"
#include "lock.h"

#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#define THREADS 4
#define TURNS 20000

static struct emmap_lost lost;
static struct emmap_place place;
static struct {
    uint64_t tag;
    _Atomic(uint64_t) word;
} *bytes;

static long count;      /* guarded by the lock, and by nothing else */
static long told;

static int acquire(struct emmap_lock *lock, int64_t patience)
{
    struct emmap_waiting waiting;
    int rc;
    emmap_waiting_begin(&waiting, patience);
    do
        rc = emmap_lock_acquire(lock, &waiting);
    while (rc == -EINTR);
    return rc;
}

static void *add(void *unused)
{
    struct emmap_lock lock;
    (void)unused;
    emmap_lock_begin(&lock, &place, &bytes->word);
    for (int i = 0; i < TURNS; i++) {
        int rc = emmap_lock_take(&lock);
        if (rc == -EAGAIN)
            rc = acquire(&lock, -1);
        CHECK(rc >= 0);
        told += rc == EMMAP_OWNER_DIED;
        count++;
        if (i % 1000 == 999)
            CHECK(emmap_lock_mark_consistent(&lock) == 0);
        CHECK(emmap_lock_release(&lock) == 0);
    }
    return NULL;
}

static void run_threads(void)
{
    pthread_t threads[THREADS];
    count = told = 0;
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, add, NULL) == 0);
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK(count == (long)THREADS * TURNS);
    CHECK(atomic_load(&bytes->word) == 0);
}

/* Linked with --wrap=emmap_wake: slices would hide a wake that is missing. */
void __real_emmap_wake(_Atomic(uint32_t) *word, int n);
void __wrap_emmap_wake(_Atomic(uint32_t) *word, int n);
static _Atomic(long) wakes;

void __wrap_emmap_wake(_Atomic(uint32_t) *word, int n)
{
    CHECK(word == emmap_low_half(&bytes->word) && n == 1);
    atomic_fetch_add(&wakes, 1);
    __real_emmap_wake(word, n);
}

/* Who releases wakes one, if somebody sleeps; and who was woken remembers that others may. */
static void waking(void)
{
    struct emmap_lock lock, again;
    struct emmap_sleep sleep;
    emmap_lock_begin(&lock, &place, &bytes->word);
    emmap_lock_begin(&again, &place, &bytes->word);
    CHECK(acquire(&lock, -1) == 0);
    long before = atomic_load(&wakes);
    CHECK(emmap_lock_attempt(&again, EMMAP_LOOK, &sleep) == -EAGAIN);
    CHECK(atomic_load(&bytes->word) == atomic_load(&place.life->me));
    CHECK(emmap_lock_attempt(&again, EMMAP_ANNOUNCE, &sleep) == -EAGAIN);
    CHECK(sleep.word == emmap_low_half(&bytes->word) && sleep.seen == (uint32_t)atomic_load(&bytes->word));
    CHECK(emmap_lock_release(&lock) == 0 && atomic_load(&wakes) == before + 1);
    CHECK(emmap_lock_attempt(&again, EMMAP_LOOK | EMMAP_SLEPT, &sleep) == 0);
    CHECK(emmap_lock_release(&again) == 0 && atomic_load(&wakes) == before + 2);
    CHECK(acquire(&lock, -1) == 0 && emmap_lock_release(&lock) == 0);
    CHECK(atomic_load(&wakes) == before + 2); /* nobody sleeps: no call */
}

static void misuse(void)
{
    struct emmap_lock lock, again;
    emmap_lock_begin(&lock, &place, &bytes->word);
    emmap_lock_begin(&again, &place, &bytes->word);
    CHECK(emmap_lock_release(&lock) == -EPERM);
    CHECK(acquire(&lock, -1) == 0 && emmap_lock_is_mine(&again));
    CHECK(emmap_lock_attempt(&again, EMMAP_ASK, NULL) == -EAGAIN);
    CHECK(acquire(&again, 0) == -ETIMEDOUT && acquire(&again, 1000000) == -ETIMEDOUT);
    CHECK(emmap_lock_look(&again) == EMMAP_US && emmap_lock_release(&again) == 0);
    CHECK(emmap_lock_release(&lock) == -EPERM && emmap_lock_mark_consistent(&lock) == -EPERM);
    CHECK(emmap_lock_look(&lock) == EMMAP_NOBODY);
}

/* A word of somebody who is dead: one of all threads is told, and it stays so until it is marked. */
static void deaths(void)
{
    struct emmap_lock lock;
    emmap_lock_begin(&lock, &place, &bytes->word);
    atomic_store(&bytes->word, UINT64_C(0x123456789ABCDEF0));
    CHECK(emmap_lock_look(&lock) == EMMAP_THE_DEAD);
    CHECK(emmap_lock_attempt(&lock, EMMAP_LOOK, NULL) == -EAGAIN); /* it did not ask */
    CHECK(emmap_lock_attempt(&lock, EMMAP_ASK, NULL) == EMMAP_OWNER_DIED);
    CHECK(emmap_lock_release(&lock) == 0 && atomic_load(&bytes->word) == EMMAP_DIED);
    CHECK(emmap_lock_take(&lock) == -EAGAIN && acquire(&lock, -1) == EMMAP_INCONSISTENT);
    CHECK(emmap_lock_mark_consistent(&lock) == 0 && emmap_lock_release(&lock) == 0);
    CHECK(emmap_lock_take(&lock) == 0 && emmap_lock_release(&lock) == 0);

    /* An acquisition that nobody wants is taken back, and its death is told to the next one. */
    atomic_store(&bytes->word, UINT64_C(0x123456789ABCDEF0) | EMMAP_WAITERS);
    CHECK(acquire(&lock, -1) == EMMAP_OWNER_DIED);
    CHECK(emmap_lock_undo(&lock, EMMAP_OWNER_DIED, EMMAP_LOOK, NULL) == 0);
    CHECK(emmap_lock_look(&lock) == EMMAP_THE_DEAD && acquire(&lock, -1) == EMMAP_OWNER_DIED);
    CHECK(emmap_lock_undo(&lock, -EAGAIN, EMMAP_LOOK, NULL) == 0);
    CHECK(emmap_lock_is_mine(&lock) && emmap_lock_mark_consistent(&lock) == 0);
    CHECK(emmap_lock_undo(&lock, 0, EMMAP_LOOK, NULL) == 0);
    CHECK(emmap_lock_look(&lock) == EMMAP_NOBODY);

    atomic_store(&bytes->word, UINT64_C(0x123456789ABCDEF0) | EMMAP_WAITERS);
    run_threads();
    CHECK(told == 1);
}

/* An id whose process has given it up is as dead as any, also to ourselves. */
static void giving_up(void)
{
    struct emmap_lock lock;
    emmap_lock_begin(&lock, &place, &bytes->word);
    CHECK(acquire(&lock, -1) == 0);
    uint64_t before = atomic_load(&bytes->word);
    emmap_life_give_up(place.life);
    CHECK(!emmap_lock_is_mine(&lock) && emmap_lock_release(&lock) == -EPERM);
    CHECK(acquire(&lock, -1) == EMMAP_OWNER_DIED && (atomic_load(&bytes->word) & EMMAP_OWNER) != before);
    CHECK(emmap_lock_mark_consistent(&lock) == 0 && emmap_lock_release(&lock) == 0);

    CHECK(acquire(&lock, -1) == 0);
    emmap_lost_mark_tail(&lost, (uintptr_t)bytes);
    CHECK(emmap_lock_release(&lock) == -EIO && emmap_lock_take(&lock) == -EAGAIN);
    CHECK(emmap_lock_attempt(&lock, EMMAP_ASK, NULL) == -EIO && emmap_lock_look(&lock) == -EIO);
    CHECK(atomic_load(&place.life->me) == 0);
}

int main(void)
{
    int fd = memfd_create("lock", MFD_CLOEXEC);
    CHECK(fd >= 0 && ftruncate(fd, 4096) == 0);
    bytes = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(bytes != MAP_FAILED);
    emmap_lost_begin(&lost, (uintptr_t)bytes, 4096, 4096);
    place = (struct emmap_place){.at = (unsigned char *)bytes, .lost = &lost};
    CHECK(emmap_life_begin(&place.life, fd, 4096) == 0);
    CHECK(emmap_place_claim(&place, EMMAP_LOCK, 16) == 0 && bytes->tag != 0);
    CHECK(emmap_place_claim(&place, EMMAP_LOCK, 16) == 0);
    CHECK(emmap_place_claim(&place, EMMAP_EVENT, 16) == EMMAP_SOMETHING_ELSE);
    run_threads();
    waking();
    misuse();
    deaths();
    giving_up();
    emmap_life_end(place.life, 0);
    close(fd);
    return 0;
}
