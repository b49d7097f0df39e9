/* Which pages of one mapping are lost.
 *
 * A page is lost when the kernel can no longer supply it (the file was truncated, the disk is full or
 * broken) and the guard has put a page of zeros in its place. Whoever reads mapped bytes looks here
 * afterwards: the mark is set before the zeros appear, so zeros that were read are always known.
 *
 * Nothing here allocates, locks or calls Python; all of it may run inside a signal handler.
 */
#ifndef EMMAP_LOST_H
#define EMMAP_LOST_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

/* One bit each: enough to name every page of a 127 MiB mapping. Larger mappings lose neighbouring
 * pages together, so that the number of kernel mappings stays bounded: one for each lost page would
 * end at vm.max_map_count and kill the process. */
#define EMMAP_GRANULES (511 * 64)

/* One page, mapped at the first loss inside a mapping. The size of a granule is fixed at that time,
 * beside the bits that it gives a meaning to; the last one reaches to the end, however far that is. */
struct emmap_granules {
    size_t bytes;
    _Atomic(uint64_t) bits[EMMAP_GRANULES / 64];
};

struct emmap_lost {
    _Atomic(int) any;           /* set once a page is lost, until the mapping is repaired */
    _Atomic(int) unreported;    /* a loss that no exception has told yet */
    _Atomic(uintptr_t) tail;    /* every address from here on is lost; UINTPTR_MAX: none */
    _Atomic(struct emmap_granules *) granules;
    uintptr_t start;            /* address of the mapping's first page */
    _Atomic(size_t) filled;     /* bytes of it that are known to hold something, whole pages */
    size_t page;                /* bytes of a page */
};

/* Begins with nothing lost in the `filled` bytes at `start`, in pages of `page` bytes. */
void emmap_lost_begin(struct emmap_lost *lost, uintptr_t start, size_t filled, size_t page);

/* Marks everything from `address` to the end of the mapping. */
void emmap_lost_mark_tail(struct emmap_lost *lost, uintptr_t address);

/* Marks the granule of `address` and gives its bounds. 0, or -ENOMEM without a mark. */
int emmap_lost_mark_granule(struct emmap_lost *lost, uintptr_t address, uintptr_t *from,
                            uintptr_t *to);

/* The first lost run that touches [from, to): 1 with its bounds (cut to the range), else 0. */
int emmap_lost_find(struct emmap_lost *lost, uintptr_t from, uintptr_t to, uintptr_t *run_from,
                    uintptr_t *run_to);

/* Moves all marks to `taken`, so that what is lost from now on is told apart from what was before.
 * Handlers that had begun may still add to `taken`: wait for them before looking. */
void emmap_lost_take(struct emmap_lost *lost, struct emmap_lost *taken);

/* After that wait: a handler whose mark was taken may have told of it since. */
void emmap_lost_settle(struct emmap_lost *lost);

/* Adds the marks of `taken` again. */
void emmap_lost_put_back(struct emmap_lost *lost, struct emmap_lost *taken);

/* Ends: forgets, and gives the bits back. Nobody may use `lost` at the same time. */
void emmap_lost_end(struct emmap_lost *lost);

/* Has any page been lost? To be asked after the mapped bytes were read or written. */
static inline int emmap_lost_any(struct emmap_lost *lost)
{
    atomic_thread_fence(memory_order_acquire);
    return atomic_load_explicit(&lost->any, memory_order_relaxed);
}

/* Claims the right to tell of a loss: true for exactly one caller after each new loss. */
static inline int emmap_lost_claim_report(struct emmap_lost *lost)
{
    return atomic_exchange(&lost->unreported, 0);
}

#endif
