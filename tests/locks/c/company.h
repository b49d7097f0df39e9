/* What the tests of event, condition and barrier share: a place, threads, waits. */
#ifndef COMPANY_H
#define COMPANY_H

#include "check.h"
#include "place.h"
#include "wait.h"

#include <pthread.h>
#include <sys/mman.h>

/* An id of somebody who has never lived. */
#define DEAD UINT64_C(0x123456789ABCDEF0)

static unsigned char *bytes;
static struct emmap_lost lost;
static struct emmap_life *life;

/* Linked with --wrap=emmap_wake: slices would hide a wake that is missing. */
void __real_emmap_wake(_Atomic(uint32_t) *word, int n);
void __wrap_emmap_wake(_Atomic(uint32_t) *word, int n);
static _Atomic(long) wakes;

void __wrap_emmap_wake(_Atomic(uint32_t) *word, int n)
{
    atomic_fetch_add(&wakes, 1);
    __real_emmap_wake(word, n);
}

static inline struct emmap_place make_place(enum emmap_kind kind, size_t offset, size_t size)
{
    if (bytes == NULL) {
        int fd = memfd_create("company", MFD_CLOEXEC);
        CHECK(fd >= 0 && ftruncate(fd, 4 * 4096) == 0);
        bytes = mmap(NULL, 4 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        CHECK(bytes != MAP_FAILED);
        emmap_lost_begin(&lost, (uintptr_t)bytes, 4 * 4096, 4096);
        CHECK(emmap_life_begin(&life, fd, 4096) == 0);
        close(fd);
    }
    struct emmap_place place = {.at = bytes + offset, .lost = &lost, .life = life};
    CHECK(emmap_place_claim(&place, kind, size) == 0);
    return place;
}

static inline void lose_all(void)
{
    emmap_lost_mark_tail(&lost, (uintptr_t)bytes);
}

static inline void end_places(void)
{
    emmap_life_end(life, 0);
}

static inline int run_attempt(emmap_attempt *attempt, void *it, int64_t patience)
{
    static struct emmap_looks looks;
    struct emmap_waiting waiting;
    int rc;
    emmap_waiting_begin(&waiting, patience);
    do
        rc = emmap_wait(attempt, it, &waiting, &looks);
    while (rc == -EINTR);
    return rc;
}

static inline pthread_t begin_thread(void *(*run)(void *), void *argument)
{
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, run, argument) == 0);
    return thread;
}

#endif
