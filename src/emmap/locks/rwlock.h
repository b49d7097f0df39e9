/* One writer, or many readers; a writer who waits goes before readers who come after him.
 *
 *      0     8      16        24       28       60     64                        4096
 *     +-----+------+---------+---------+------+------+--------------------------+
 *     | tag | lock | writing | drained |      | used | cells: {owner, readers}  |
 *     |     | word |         |         |      |      | (cells.h)                |
 *     +-----+------+---------+---------+------+------+--------------------------+
 *
 * A writer takes the lock word (lock.h), to which new readers yield, and then waits until no living
 * process counts readers in its cell. A reader counts itself, and then looks at the lock word: of a
 * reader and a writer who come at once at least one sees the other, since both look after they have
 * written, with a full fence in between.
 *
 * Who finds that the owner of the lock word has died is told, once for each death: a writer who takes
 * over, or a reader who takes the owner off the word when it is counted. docs/design.md tells the
 * protocol, and tests/model/test_rwlock_model.py tries it in every order, with deaths at every step.
 */
#ifndef EMMAP_RWLOCK_H
#define EMMAP_RWLOCK_H

#include "cells.h"
#include "lock.h"

struct emmap_rwlock {
    struct emmap_lock writer;
    struct emmap_cells cells;
    _Atomic(uint64_t) *writing;     /* who writes; what a dead one has left means nothing */
    _Atomic(uint32_t) *drained;     /* the futex of the writer who waits for readers */
    struct emmap_looks looks;
    int repairs;                    /* our readers leave what a dead writer left to our writers */
};

void emmap_rwlock_begin(struct emmap_rwlock *rwlock, const struct emmap_place *place, int repairs);

/* Readers */

/* Counts a reader out again: 0, -EPERM when this process has none, -EIO. */
int emmap_rwlock_release_read(struct emmap_rwlock *rwlock);

/* Yields to the owner of the lock word. */
int emmap_rwlock_yield(struct emmap_rwlock *rwlock, struct emmap_cell *cell);

/* Comes in to read if nobody writes, no owner died, and this process has a cell: 0, else -EAGAIN. */
static inline int emmap_rwlock_take_read(struct emmap_rwlock *rwlock)
{
    struct emmap_cell *cell = emmap_cells_known(&rwlock->cells);
    if (cell == NULL || emmap_lost_any(rwlock->cells.place.lost))
        return -EAGAIN;
    atomic_fetch_add(&cell->payload, 1);
    if (__builtin_expect((atomic_load(rwlock->writer.word) & ~EMMAP_WAITERS) == 0, 1))
        return emmap_place_lost(&rwlock->cells.place);
    int rc = emmap_rwlock_yield(rwlock, cell);
    return rc != 0 ? rc : -EAGAIN;
}

/* An attempt for emmap_wait: 0, EMMAP_OWNER_DIED, EMMAP_INCONSISTENT, -EAGAIN, -ENOSPC when no further process
 * fits, -EIO, or another -errno. With `repairs`: -EOWNERDEAD instead of the two, and we are not in. */
int emmap_rwlock_read_attempt(void *rwlock, int how, struct emmap_sleep *sleep);

/* Takes back what it has answered, also the death that it told: an emmap_undo, done at once. */
int emmap_rwlock_read_undo(void *rwlock, int rc, int how, struct emmap_sleep *sleep);

/* How many readers the living are, or -errno. */
int64_t emmap_rwlock_readers(struct emmap_rwlock *rwlock);

/* Does this process read? */
int emmap_rwlock_is_read(struct emmap_rwlock *rwlock);

/* Writers */

/* What an attempt of a reader who wants to repair answers when that has been done. */
enum { EMMAP_REPAIRED = 3 };

/* One wait to write. Zeros but for the first two to begin with. */
struct emmap_rwlock_write {
    struct emmap_rwlock *rwlock;
    int to_repair;      /* only what a dead writer left: otherwise we would wait for other readers in vain */
    int draining;       /* the word is ours, and we wait for readers */
    int result;         /* of taking it */
};

/* An attempt for emmap_wait, of a struct emmap_rwlock_write: 0, EMMAP_OWNER_DIED, EMMAP_INCONSISTENT,
 * EMMAP_REPAIRED when nothing is held, -EAGAIN, -EIO, or another -errno. Unless it is done it must be given up. */
int emmap_rwlock_write_attempt(void *write, int how, struct emmap_sleep *sleep);

/* Waits no longer. Whoever comes next is told what we would have been told. */
void emmap_rwlock_write_give_up(struct emmap_rwlock_write *write);

/* Takes back what attempts have done: an emmap_undo, done at once. */
int emmap_rwlock_write_undo(void *write, int rc, int how, struct emmap_sleep *sleep);

/* Does this process write? */
int emmap_rwlock_is_written(struct emmap_rwlock *rwlock);

/* 0, -EPERM when this process does not write, -EIO. */
int emmap_rwlock_release_write(struct emmap_rwlock *rwlock);

#endif
