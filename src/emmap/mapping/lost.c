#define _GNU_SOURCE
#include "lost.h"

#include <errno.h>
#include <sys/mman.h>

#define BITS_BYTES (EMMAP_GRANULES / 8)

static size_t granule_for(size_t span, size_t page)
{
    size_t pages = (span + page - 1) / page;
    size_t together = (pages + EMMAP_GRANULES - 1) / EMMAP_GRANULES;
    return (together ? together : 1) * page;
}

void emmap_lost_begin(struct emmap_lost *lost, uintptr_t start, size_t span, size_t page)
{
    lost->start = start;
    lost->granule = granule_for(span, page);
    atomic_store(&lost->tail, UINTPTR_MAX);
    atomic_store(&lost->bits, NULL);
    atomic_store(&lost->unreported, 0);
    atomic_store(&lost->any, 0);
}

void emmap_lost_resize(struct emmap_lost *lost, size_t span, size_t page)
{
    lost->granule = granule_for(span, page);
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

/* The bits, mapped by whichever thread needs them first. */
static _Atomic(uint64_t) *bits_of(struct emmap_lost *lost)
{
    uint64_t *bits = atomic_load(&lost->bits);
    if (bits == NULL) {
        uint64_t *fresh = mmap(NULL, BITS_BYTES, PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (fresh == MAP_FAILED)
            return NULL;
        if (atomic_compare_exchange_strong(&lost->bits, &bits, fresh))
            bits = fresh;
        else
            munmap(fresh, BITS_BYTES);
    }
    return (_Atomic(uint64_t) *)bits;
}

int emmap_lost_mark_granule(struct emmap_lost *lost, uintptr_t address, uintptr_t *from,
                            uintptr_t *to)
{
    /* SAFETY: the caller found `address` inside the mapping, so the index is below EMMAP_GRANULES. */
    size_t index = (address - lost->start) / lost->granule;
    _Atomic(uint64_t) *bits = bits_of(lost);
    if (bits == NULL)
        return -ENOMEM;
    atomic_fetch_or(&bits[index / 64], UINT64_C(1) << (index % 64));
    tell(lost);
    *from = lost->start + index * lost->granule;
    *to = *from + lost->granule;
    return 0;
}

static int granule_is_lost(_Atomic(uint64_t) *bits, size_t index)
{
    return bits != NULL && (atomic_load(&bits[index / 64]) >> (index % 64) & 1);
}

int emmap_lost_find(struct emmap_lost *lost, uintptr_t from, uintptr_t to, uintptr_t *run_from,
                    uintptr_t *run_to)
{
    uintptr_t tail = atomic_load(&lost->tail);
    _Atomic(uint64_t) *bits = (_Atomic(uint64_t) *)atomic_load(&lost->bits);
    uintptr_t at = from, found = to;

    while (at < to) {
        size_t index = (at - lost->start) / lost->granule;
        uintptr_t next = lost->start + (index + 1) * lost->granule;
        int gone;
        if (at >= tail) {
            gone = 1;
            next = to;
        } else {
            gone = granule_is_lost(bits, index);
            if (next > tail)
                next = tail;
        }
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
    emmap_lost_begin(taken, lost->start, 0, lost->granule);
    atomic_store(&lost->any, 0);
    atomic_store(&lost->unreported, 0);
    atomic_store(&taken->tail, atomic_exchange(&lost->tail, UINTPTR_MAX));
    atomic_store(&taken->bits, atomic_exchange(&lost->bits, NULL));
}

void emmap_lost_put_back(struct emmap_lost *lost, struct emmap_lost *taken)
{
    _Atomic(uint64_t) *from = (_Atomic(uint64_t) *)atomic_load(&taken->bits);
    uint64_t *none = NULL;
    uintptr_t tail = atomic_load(&taken->tail);

    if (tail != UINTPTR_MAX)
        emmap_lost_mark_tail(lost, tail);
    if (from == NULL)
        return;
    tell(lost);
    if (atomic_compare_exchange_strong(&lost->bits, &none, (uint64_t *)from)) {
        atomic_store(&taken->bits, NULL);
        return;
    }
    _Atomic(uint64_t) *to = (_Atomic(uint64_t) *)none;
    for (size_t i = 0; i < EMMAP_GRANULES / 64; i++)
        atomic_fetch_or(&to[i], atomic_load(&from[i]));
}

void emmap_lost_end(struct emmap_lost *lost)
{
    uint64_t *bits = atomic_exchange(&lost->bits, NULL);
    if (bits != NULL)
        munmap(bits, BITS_BYTES);
}
