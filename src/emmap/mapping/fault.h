/* The SIGBUS guard: a page that the kernel can no longer supply becomes a page of zeros and a mark.
 *
 * This file owns the process's SIGBUS handler and the table of guarded mappings. It is compiled into
 * exactly one extension module; the others cimport that one. docs/design.md draws how it works.
 */
#ifndef EMMAP_FAULT_H
#define EMMAP_FAULT_H

#include "lost.h"

#include <sched.h>

enum emmap_guard_state { EMMAP_FREE, EMMAP_CLAIMED, EMMAP_LIVE, EMMAP_RETIRED };

/* What guards one mapping: an entry of the table, which never moves and is never freed. */
struct emmap_guard {
    _Atomic(int) state;
    _Atomic(int) users;         /* handlers that are at work on this entry */
    _Atomic(int) forked_away;   /* MADV_DONTFORK: a child does not have these pages */
    _Atomic(uintptr_t) start;
    _Atomic(uintptr_t) end;
    size_t page;                /* bytes in a page of this mapping */
    _Atomic(int) prot;          /* protection of the zeros */
    _Atomic(int) unreadable;    /* some page may not be read: so a probe tells nothing */
    struct emmap_lost lost;
    void *home;                 /* the chunk of the table that holds this entry */
};

/* Guards the `span` bytes at `start`; sees to it that our handler is on top. 0 or -errno. */
int emmap_guard_begin(struct emmap_guard **guard, void *start, size_t span, size_t page, int prot);

/* Ends. When this has returned no handler touches the area, so it may be unmapped. */
void emmap_guard_end(struct emmap_guard *guard);

/* Waits until no handler works on the entry that had begun before this call. */
static inline void emmap_guard_wait(struct emmap_guard *guard)
{
    atomic_thread_fence(memory_order_seq_cst);
    while (atomic_load(&guard->users) != 0)
        sched_yield();
}

/* Says that the entry no longer stands for its addresses, and waits for those who thought so. */
static inline void emmap_guard_retire(struct emmap_guard *guard)
{
    atomic_store(&guard->state, EMMAP_RETIRED);
    emmap_guard_wait(guard);
}

/* Makes the guarded area `span` bytes long, in place. When this has returned no handler touches what
 * was cut off. */
static inline void emmap_guard_resize(struct emmap_guard *guard, size_t span)
{
    atomic_store(&guard->lost.filled, span);
    atomic_store(&guard->end, atomic_load(&guard->start) + span);
    emmap_guard_wait(guard);
}

/* Says how much of the guarded area holds something: what lies behind was never in the file. It
 * decides how large a granule is, and how far to look whether a whole tail has gone. */
static inline void emmap_guard_fill(struct emmap_guard *guard, size_t filled)
{
    atomic_store(&guard->lost.filled, filled);
}

/* Guards `span` bytes at `start` instead. Only while nothing is lost and nobody touches the pages. */
static inline void emmap_guard_move(struct emmap_guard *guard, void *start, size_t span)
{
    emmap_guard_retire(guard);
    emmap_lost_end(&guard->lost);
    emmap_lost_begin(&guard->lost, (uintptr_t)start, span, guard->page);
    atomic_store(&guard->start, (uintptr_t)start);
    atomic_store(&guard->end, (uintptr_t)start + span);
    atomic_store(&guard->state, EMMAP_LIVE);
}

/* Touches a byte through the kernel, which answers where the processor would signal: 0 or -EFAULT. */
int emmap_probe(const void *address);

#endif
