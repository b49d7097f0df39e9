/* Permits, and which process holds how many.
 *
 *      0     8       16       24     32          40     60    64                       4096
 *     +-----+-------+--------+------+-----------+------+------+------------------------+
 *     | tag | inner | config | more | sleepers, |      | used | cells: {owner, held}   |
 *     |     | lock  |        |      | releases  |      |      | (cells.h)              |
 *     +-----+-------+--------+------+-----------+------+------+------------------------+
 *
 *     free = value (config) + more - sum of held
 *
 * `value` is what it began with, and is never changed. A release by a process that holds nothing makes
 * one permit `more`. Whose owner is dead holds nothing, so his permits are free again.
 *
 * All changes are made under the inner lock, each by ONE store, and after each store the bytes are valid:
 *
 *  - acquire: `held` of the own cell grows by 1. He has it, or he is dead and it is free.
 *  - release of n: `held` falls by what it has of them; then `more` grows by the rest. In between a part
 *    has been released, which is what a release that was killed half-way has done.
 *  - then `sleepers` is cleared, and some of them woken. If he dies before, they look after a slice.
 *
 * So an owner of the inner lock who dies leaves nothing half-written, and nobody needs to be told.
 */
#ifndef EMMAP_SEMAPHORE_H
#define EMMAP_SEMAPHORE_H

#include "cells.h"
#include "lock.h"

#define EMMAP_SEMAPHORE_MOST INT64_C(0x7FFFFFFF)    /* permits that are free at once */

struct emmap_semaphore {
    struct emmap_lock inner;
    struct emmap_cells cells;
    uint64_t value, maximum;            /* what it was made with; no maximum: EMMAP_SEMAPHORE_MOST */
    int bounded;
    _Atomic(uint64_t) *config;
    _Atomic(uint64_t) *more;
    _Atomic(uint32_t) *releases;        /* the futex: releases that woke somebody << 1 | somebody sleeps */
    struct emmap_looks looks;
};

/* Begins with these permits and this maximum (less than 0: none), or those that are there already. */
int emmap_semaphore_begin(struct emmap_semaphore *semaphore, const struct emmap_place *place,
                          int64_t value, int64_t maximum);

/* What emmap_semaphore_try answers besides. */
enum { EMMAP_NONE_FREE = 1 };

/* An attempt for emmap_wait, which waits for the inner lock only: 0, EMMAP_NONE_FREE, -EAGAIN, -ENOSPC when
 * no further process fits, -EIO, or another -errno. The permits of the dead are free. */
int emmap_semaphore_try(void *semaphore, int how, struct emmap_sleep *sleep);

/* The same, which waits for a permit: 0, -EAGAIN, or -errno. */
int emmap_semaphore_attempt(void *semaphore, int how, struct emmap_sleep *sleep);

/* Takes back what either has answered: an emmap_undo, which waits for the inner lock. */
int emmap_semaphore_undo(void *semaphore, int rc, int how, struct emmap_sleep *sleep);

/* A release of `n` permits. An attempt: 0, -EAGAIN, -ERANGE above the maximum, -EIO, or another -errno. */
struct emmap_semaphore_release {
    struct emmap_semaphore *semaphore;
    int64_t n;
};

int emmap_semaphore_release_attempt(void *release, int how, struct emmap_sleep *sleep);

/* How many are free; the dead count as holders until somebody asks. A look, which may be wrong by what
 * others do meanwhile. */
int64_t emmap_semaphore_look(struct emmap_semaphore *semaphore);

/* How many are free. An attempt: the number, -EAGAIN, -EIO, or another -errno. */
int emmap_semaphore_count_attempt(void *semaphore, int how, struct emmap_sleep *sleep);

/* Does this process hold any? */
int emmap_semaphore_is_held(struct emmap_semaphore *semaphore);

#endif
