#define _GNU_SOURCE
#include "lost.h"

#include <errno.h>
#include <sys/mman.h>

void emmap_lost_begin(struct emmap_lost *lost, uintptr_t start, size_t filled, size_t page)
{
    lost->start = start;
    lost->page = page;
    atomic_store(&lost->filled, filled);
    atomic_store(&lost->tail, UINTPTR_MAX);
    atomic_store(&lost->granules, NULL);
    atomic_store(&lost->unreported, 0);
    atomic_store(&lost->any, 0);
}

static void tell(struct emmap_lost *lost)
{
    atomic_store(&lost->unreported, 1);
    atomic_store(&lost->any, 1);
}

void emmap_lost_mark_tail(struct emmap_lost *lost, uintptr_t address)
{
    uintptr_t tail = atomic_load(&lost->tail);
    while (address < tail && !atomic_compare_exchange_weak(&lost->tail, &tail, address))
        ;
    tell(lost);
}

/* The granules, mapped by whichever thread needs them first. */
static struct emmap_granules *granules_of(struct emmap_lost *lost)
{
    struct emmap_granules *granules = atomic_load(&lost->granules);
    if (granules == NULL) {
        struct emmap_granules *fresh = mmap(NULL, sizeof *fresh, PROT_READ | PROT_WRITE,
                                            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (fresh == MAP_FAILED)
            return NULL;
        fresh->bytes = (atomic_load(&lost->filled) / lost->page / EMMAP_GRANULES + 1) * lost->page;
        if (atomic_compare_exchange_strong(&lost->granules, &granules, fresh))
            granules = fresh;
        else
            munmap(fresh, sizeof *fresh);
    }
    return granules;
}

static size_t index_of(const struct emmap_lost *lost, const struct emmap_granules *granules,
                       uintptr_t address)
{
    size_t index = (address - lost->start) / granules->bytes;
    return index < EMMAP_GRANULES ? index : EMMAP_GRANULES - 1;
}

/* Where the granule ends: the last one nowhere. */
static uintptr_t end_of(const struct emmap_lost *lost, const struct emmap_granules *granules,
                        size_t index)
{
    return index == EMMAP_GRANULES - 1 ? UINTPTR_MAX : lost->start + (index + 1) * granules->bytes;
}

int emmap_lost_mark_granule(struct emmap_lost *lost, uintptr_t address, uintptr_t *from,
                            uintptr_t *to)
{
    /* SAFETY: the caller found `address` inside the mapping, and an index is below EMMAP_GRANULES. */
    struct emmap_granules *granules = granules_of(lost);
    if (granules == NULL)
        return -ENOMEM;
    size_t index = index_of(lost, granules, address);
    atomic_fetch_or(&granules->bits[index / 64], UINT64_C(1) << (index % 64));
    tell(lost);
    *from = lost->start + index * granules->bytes;
    *to = end_of(lost, granules, index);
    return 0;
}

static int is_lost(struct emmap_granules *granules, size_t index)
{
    return atomic_load(&granules->bits[index / 64]) >> (index % 64) & 1;
}

int emmap_lost_find(struct emmap_lost *lost, uintptr_t from, uintptr_t to, uintptr_t *run_from,
                    uintptr_t *run_to)
{
    uintptr_t tail = atomic_load(&lost->tail);
    struct emmap_granules *granules = atomic_load(&lost->granules);
    uintptr_t at = from, found = to;

    while (at < to) {
        uintptr_t next = to;
        int gone = at >= tail;
        if (!gone && granules != NULL) {
            size_t index = index_of(lost, granules, at);
            gone = is_lost(granules, index);
            next = end_of(lost, granules, index);
        }
        if (at < tail && tail < next)
            next = tail;
        if (gone && found == to)
            found = at;
        if (!gone && found != to)
            break;
        at = next < to ? next : to;
    }
    *run_from = found;
    *run_to = at;
    return found != to;
}

void emmap_lost_take(struct emmap_lost *lost, struct emmap_lost *taken)
{
    emmap_lost_begin(taken, lost->start, atomic_load(&lost->filled), lost->page);
    atomic_store(&lost->any, 0);
    atomic_store(&lost->unreported, 0);
    atomic_store(&taken->tail, atomic_exchange(&lost->tail, UINTPTR_MAX));
    atomic_store(&taken->granules, atomic_exchange(&lost->granules, NULL));
}

void emmap_lost_settle(struct emmap_lost *lost)
{
    atomic_store(&lost->any, 0);
    if (atomic_load(&lost->tail) != UINTPTR_MAX || atomic_load(&lost->granules) != NULL)
        tell(lost);
    else
        atomic_store(&lost->unreported, 0);
}

void emmap_lost_put_back(struct emmap_lost *lost, struct emmap_lost *taken)
{
    struct emmap_granules *from = atomic_load(&taken->granules), *to = NULL;
    uintptr_t tail = atomic_load(&taken->tail);

    if (tail != UINTPTR_MAX)
        emmap_lost_mark_tail(lost, tail);
    if (from == NULL)
        return;
    if (atomic_compare_exchange_strong(&lost->granules, &to, from)) {
        atomic_store(&taken->granules, NULL);
        tell(lost);
    } else if (to->bytes == from->bytes) {
        for (size_t i = 0; i < EMMAP_GRANULES / 64; i++)
            atomic_fetch_or(&to->bits[i], atomic_load(&from->bits[i]));
        tell(lost);
    } else { /* the mapping has grown meanwhile: too much is better than too little */
        emmap_lost_mark_tail(lost, lost->start);
    }
}

void emmap_lost_end(struct emmap_lost *lost)
{
    struct emmap_granules *granules = atomic_exchange(&lost->granules, NULL);
    if (granules != NULL)
        munmap(granules, sizeof *granules);
}
