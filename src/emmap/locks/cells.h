/* A row of cells, one for each process that has something here: {who, what}.
 *
 *      0            60     64                                                            4096
 *     +------------+------+----------------+----------------+----------------+-----------+
 *     | the lock's | used | owner, payload | owner, payload | owner, payload |    ...    |
 *     +------------+------+----------------+----------------+----------------+-----------+
 *
 * Nobody writes the payload of another. Whoever finds the owner of a cell dead takes the cell by one
 * compare-and-swap of the owner, so what a dead one has written counts no more. The threads of a process
 * share its cell.
 */
#ifndef EMMAP_CELLS_H
#define EMMAP_CELLS_H

#include "place.h"

#define EMMAP_CELLS 252             /* so many processes fit */
#define EMMAP_CELLS_SIZE 4096       /* bytes of a place with cells */
#define EMMAP_CELLS_LINES 63        /* of the cache */

struct emmap_cell {
    _Atomic(uint64_t) owner;        /* an id shifted left, or 0: nobody's */
    _Atomic(uint64_t) payload;
};

struct emmap_cells {
    struct emmap_place place;
    _Atomic(uint32_t) *used;        /* all cells from this number on have never had an owner */
    struct emmap_cell *first;
    _Atomic(struct emmap_cell *) mine;  /* where ours was last */
    _Atomic(uint64_t) whose;            /* whose that was. A cell that is still being claimed is nobody's */
};

void emmap_cells_begin(struct emmap_cells *cells, const struct emmap_place *place);

/* Cell `k`. The first 63 have a cache line each. */
static inline struct emmap_cell *emmap_cells_at(struct emmap_cells *cells, uint32_t k)
{
    /* SAFETY: k < EMMAP_CELLS, and the row lies in the place. */
    return cells->first + (k % EMMAP_CELLS_LINES) * 4 + k / EMMAP_CELLS_LINES;
}

/* How many cells are to be looked at; what damaged bytes say is no more than there are. */
static inline uint32_t emmap_cells_used(struct emmap_cells *cells)
{
    uint32_t used = atomic_load(cells->used);
    return used < EMMAP_CELLS ? used : EMMAP_CELLS;
}

/* Our cell, where it was last, or NULL. After a fork, and when our id was given up, we are somebody else. */
static inline struct emmap_cell *emmap_cells_known(struct emmap_cells *cells)
{
    uint64_t me = atomic_load_explicit(&cells->place.life->me, memory_order_relaxed);
    if (me == 0 || atomic_load_explicit(&cells->whose, memory_order_acquire) != me)
        return NULL;
    struct emmap_cell *cell = atomic_load_explicit(&cells->mine, memory_order_relaxed);
    return atomic_load_explicit(&cell->owner, memory_order_relaxed) == me ? cell : NULL;
}

/* Our cell, or NULL. */
struct emmap_cell *emmap_cells_mine(struct emmap_cells *cells);

/* Our cell, which is claimed if we have none: 0, -ENOSPC when all belong to the living, -EIO, or another
 * -errno. Cost of a claim: half a microsecond for each process that has one. */
int emmap_cells_claim(struct emmap_cells *cells, struct emmap_cell **cell);

/* Does the owner of a cell live? If not, the cell is freed: 1, 0, or -errno. `owner`: as it was read. */
int emmap_cells_lives(struct emmap_cells *cells, struct emmap_cell *cell, uint64_t owner);

#endif
