/* A store in the hands of this process: where it is mapped, and blocks looked at with distrust.
 *
 * All functions of this room return 0 or -errno. -EUCLEAN: the file is damaged, `wrong` says where and
 * how. -EIO: pages are lost. -ENOSPC: the disk is full. -EFBIG: the mapping has no more room.
 *
 * SAFETY, for all of the room: an offset from the file becomes a pointer in emmap_bytes_at only, which has
 * compared it with the bytes that the file is known to have. Blocks that a pinned root reaches are not
 * written by anybody; the writer's lock excludes other writers.
 */
#ifndef EMMAP_STORE_H
#define EMMAP_STORE_H

#include "format.h"
#include "kernel.h"

#include "../locks/lock.h"

#include <errno.h>
#include <string.h>

struct emmap_store {
    unsigned char *base;        /* the mapping's first byte */
    size_t room;                /* bytes of address space it covers */
    _Atomic(uint64_t) size;     /* bytes that the file is known to have: at most `room` */
    int fd;                     /* kept as long as the store is open */
    int writable;
    const struct emmap_kernel *kernel;
    struct emmap_lost *lost;
    struct emmap_life *life;
    struct emmap_lock lock, flush_lock;
    uint64_t hash_key[2];
    struct emmap_pin *pin;      /* ours, for reads that are over before anybody else of us begins one */

    /* What is found wrong. */
    _Atomic(uint64_t) wrong_at;
    _Atomic(const char *) wrong;

    /* What the last scan of the pins has found: see pins.h. */
    struct emmap_protected *protected;
};

static inline struct emmap_live *emmap_live(const struct emmap_store *store)
{
    return (struct emmap_live *)(void *)(store->base + EMMAP_LIVE_AT);
}

static inline struct emmap_space *emmap_space(const struct emmap_store *store, int i)
{
    return (struct emmap_space *)(void *)(store->base + EMMAP_SPACE_AT(i));
}

static inline struct emmap_pin *emmap_pins(const struct emmap_store *store)
{
    return (struct emmap_pin *)(void *)(store->base + EMMAP_PINS_AT);
}

/* Notes what is wrong with the file: -EUCLEAN, or -EIO where pages are lost, which explains it. */
int emmap_wrong(struct emmap_store *store, uint64_t at, const char *what);

/* Learns how long the file is by now. */
int emmap_store_look(struct emmap_store *store);

/* Does the file have `n` bytes at this offset, by now? Out of line, for what the known size does not hold. */
int emmap_has_now(struct emmap_store *store, uint64_t at, uint64_t n);

static inline int emmap_has(struct emmap_store *store, uint64_t at, uint64_t n)
{
    uint64_t size = atomic_load_explicit(&store->size, memory_order_relaxed);
    if (__builtin_expect(n <= size && at <= size - n, 1))
        return 1;
    return emmap_has_now(store, at, n);
}

/* The bytes at an offset that was found in the file; NULL where there are not so many. */
static inline void *emmap_bytes_at(struct emmap_store *store, uint64_t at, uint64_t n)
{
    if (__builtin_expect((at & 15) != 0 || at < EMMAP_BLOCKS_AT || !emmap_has(store, at, n), 0))
        return NULL;
    return store->base + at;
}

/* Bytes in a block of this class, and the class of blocks of at least so many; EMMAP_CLASSES: none. */
static inline uint64_t emmap_class_size(unsigned class)
{
    if (class < 16)
        return 16 * (uint64_t)(class + 1);
    return (uint64_t)(9 + (class & 7)) << ((class >> 3) + 3);
}

static inline unsigned emmap_class_of(uint64_t n)
{
    if (n <= 256)
        return n == 0 ? 0 : (unsigned)((n - 1) >> 4);
    if (n > (uint64_t)64 << 30)
        return EMMAP_CLASSES;
    unsigned log = 63 - (unsigned)__builtin_clzll(n - 1);      /* 2^log <= n - 1 < 2^(log + 1) */
    return (log - 6) * 8 + (unsigned)((n - 1) >> (log - 3) & 7);
}

/* What a block's offset is a multiple of. */
static inline uint64_t emmap_class_alignment(unsigned class)
{
    return class < 24 ? 16 : class < 72 ? 64 : 4096;
}

/* Tells the store that there is no such block here: NULL. */
void *emmap_no_block(struct emmap_store *store, uint64_t at, unsigned kind);

/* The block of this kind with at least so many bytes in the file; else NULL, and the store is told what is
 * wrong. */
static inline void *emmap_block_at(struct emmap_store *store, uint64_t at, unsigned kind, uint64_t least)
{
    void *block = emmap_bytes_at(store, at, least);
    if (__builtin_expect(block == NULL || EMMAP_KIND(*(const uint64_t *)block) != kind, 0))
        return emmap_no_block(store, at, kind);
    return block;
}

/* The error that belongs to what emmap_no_block or emmap_wrong has said. */
int emmap_wrong_rc(struct emmap_store *store);

/* SipHash-1-3 (Aumasson and Bernstein, 2012) of the bytes; `tweak` makes another function of it. */
uint64_t emmap_hash(const uint64_t key[2], const void *bytes, size_t n, uint64_t tweak);

#endif
