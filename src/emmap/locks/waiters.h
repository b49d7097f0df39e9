/* A row of cells that name who waits: one cell for each waiting thread.
 *
 * Whoever finds a cell whose owner is dead may reap it, and anybody may find it reaped and another's: so
 * each change of a cell is a compare-and-swap from what was read, and what is read is the owner together
 * with a state that he has not shared with another owner.
 */
#ifndef EMMAP_WAITERS_H
#define EMMAP_WAITERS_H

#include "place.h"

/* How many threads can wait at once. */
#define EMMAP_MOST_WAITERS 252

/* The bytes before the cells: the tag, and what the primitive needs. */
#define EMMAP_WAITERS_HEAD 64

struct emmap_waiters_cell {
    _Atomic(uint64_t) owner;    /* a process, as in lock words; 0: the cell is free */
    _Atomic(uint64_t) state;    /* what its owner waits for; 0: not waiting yet, or no more */
};

/* The row of a place. */
struct emmap_waiters {
    struct emmap_place place;
    _Atomic(uint64_t) *used;    /* no cell from here on has ever been used */
    struct emmap_waiters_cell *cells;
};

/* A thread's own cell, or what has been read of another's. */
struct emmap_waiter {
    struct emmap_waiters_cell *cell;    /* NULL: none */
    uint64_t owner, state;
};

void emmap_waiters_begin(struct emmap_waiters *row, const struct emmap_place *place,
                         _Atomic(uint64_t) *used);

/* Takes a cell: 0, -ENOSPC when somebody waits in all of them, the dead included, or another -errno. */
int emmap_waiters_enter(struct emmap_waiters *row, uint64_t state, struct emmap_waiter *mine);

/* Gives our cell back, if its state is `mine->state`: 1. Otherwise that is what it is now: 0. A cell that
 * is no longer ours, since our id was given up or it is our parent's, is left alone: its state is 0. */
int emmap_waiters_leave(struct emmap_waiters *row, struct emmap_waiter *mine);

/* How many cells are to be looked at. */
size_t emmap_waiters_used(struct emmap_waiters *row);

/* Reads a cell: is somebody waiting there? */
int emmap_waiters_read(struct emmap_waiters *row, size_t i, struct emmap_waiter *found);

/* Is the owner of a cell dead? 1, 0, or -errno. */
int emmap_waiters_is_dead(struct emmap_waiters *row, const struct emmap_waiter *found);

/* Frees the cell of a dead owner, if it still is as it was read. */
void emmap_waiters_reap(const struct emmap_waiter *found);

#endif
