/* What the programs of the semaphore and of the lock for readers and writers share. */
#ifndef SYNC_H
#define SYNC_H

#include "cells.h"
#include "check.h"
#include "wait.h"

#include <pthread.h>
#include <sys/mman.h>

#define THREADS 4
#define DEAD UINT64_C(0x123456789ABCDEF0)   /* an owner who never lived */

static struct emmap_lost lost;
static struct emmap_place place;

/* Linked with --wrap=emmap_wake: slices would hide a wake that is missing. */
void __real_emmap_wake(_Atomic(uint32_t) *word, int n);
void __wrap_emmap_wake(_Atomic(uint32_t) *word, int n);
static _Atomic(long) wakes;
static _Atomic(int) woken;     /* at most, by the last of them */

void __wrap_emmap_wake(_Atomic(uint32_t) *word, int n)
{
    atomic_fetch_add(&wakes, 1);
    atomic_store(&woken, n);
    __real_emmap_wake(word, n);
}

static inline int wait_for(emmap_attempt *attempt, void *it, int64_t patience)
{
    struct emmap_waiting waiting;
    struct emmap_looks looks = {0};
    int rc;
    emmap_waiting_begin(&waiting, patience);
    do
        rc = emmap_wait(attempt, it, &waiting, &looks);
    while (rc == -EINTR);
    return rc;
}

static inline _Atomic(uint64_t) *word_at(size_t offset)
{
    return (_Atomic(uint64_t) *)(void *)(place.at + offset);
}

static inline void make_place(enum emmap_kind kind)
{
    int fd = memfd_create("sync", MFD_CLOEXEC);
    CHECK(fd >= 0 && ftruncate(fd, EMMAP_CELLS_SIZE) == 0);
    place.at = mmap(NULL, EMMAP_CELLS_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(place.at != MAP_FAILED);
    emmap_lost_begin(&lost, (uintptr_t)place.at, EMMAP_CELLS_SIZE, page_size());
    place.lost = &lost;
    CHECK(emmap_life_begin(&place.life, fd, page_size()) == 0);
    CHECK(emmap_place_claim(&place, kind, EMMAP_CELLS_SIZE) == 0);
    close(fd);
}

static inline void run_threads(void *(*work)(void *))
{
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, work, (void *)(uintptr_t)i) == 0);
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
}

#endif
