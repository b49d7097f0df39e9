/* An arena and what it should hold. Its sources are part of the program, so that each of its stores can be
 * watched. The bytes come from malloc and are as many as it may touch: a sanitizer sees one more. */
#ifndef ARENA_ORACLE_H
#define ARENA_ORACLE_H

#include "check.h"

#include <stdatomic.h>

static void (*after_store)(void);

#define WATCHED(word, value, order)                     \
    do {                                                \
        *(word) = (value); /* of an atomic type */     \
        if (after_store)                                \
            after_store();                              \
    } while (0)
#undef atomic_store_explicit
#define atomic_store_explicit(word, value, order) WATCHED(word, value, order)

#include <arena.c> /* those of the package */
#include <arena_repair.c>

static uint64_t seed = 88172645463325252u;

static inline uint64_t below(uint64_t bound)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed % bound;
}

/* Exactly `length` bytes of zeros, made an arena. */
static inline struct emmap_arena new_arena(size_t length)
{
    struct emmap_arena arena = {calloc(1, length), length, 0};
    CHECK(arena.base != NULL);
    CHECK(emmap_arena_open(&arena) == -ENODATA);
    CHECK(emmap_arena_format(&arena, 12345) == 0);
    CHECK(emmap_arena_open(&arena) == 0);
    return arena;
}

/* The oracle: the blocks that are handed out, each full of a byte of its own. */

#define MOST 400

struct block {
    uint64_t offset, n;
    unsigned char value;
};

struct oracle {
    struct block blocks[MOST];
    unsigned n;
    uint64_t used;
};

static inline void verify_block(struct emmap_arena *arena, const struct block *block)
{
    uint64_t n;
    CHECK(emmap_arena_length_of(arena, block->offset, &n) == 0 && n == block->n);
    CHECK(block->offset % 16 == 0 && block->offset >= EMMAP_ARENA_FIRST);
    CHECK(block->offset + n <= arena->length);
    for (uint64_t i = 0; i < n; i++)
        CHECK(arena->base[block->offset + i] == block->value);
}

static inline void verify(struct emmap_arena *arena, const struct oracle *oracle)
{
    struct emmap_arena_statistics found;
    for (unsigned i = 0; i < oracle->n; i++)
        verify_block(arena, &oracle->blocks[i]);
    CHECK(emmap_arena_check(arena) == 0);
    CHECK(emmap_arena_statistics(arena, &found) == 0);
    CHECK(found.blocks == oracle->n && found.used == oracle->used);
}

/* A block of `n` bytes, which must be zero once the dirty ones have been zeroed. */
static inline int allocate(struct emmap_arena *arena, struct oracle *oracle, uint64_t n)
{
    uint64_t offset, dirty;
    struct block *block = &oracle->blocks[oracle->n];
    int rc = emmap_arena_allocate(arena, n, &offset, &dirty);
    if (rc)
        return rc;
    CHECK(dirty <= n);
    memset(arena->base + offset, 0, dirty);
    for (uint64_t i = 0; i < n; i++)
        CHECK(arena->base[offset + i] == 0);
    *block = (struct block){offset, n, (unsigned char)(1 + below(255))};
    memset(arena->base + offset, block->value, n);
    oracle->n++;
    oracle->used += n;
    return 0;
}

static inline void free_one(struct emmap_arena *arena, struct oracle *oracle, unsigned i)
{
    struct block *block = &oracle->blocks[i];
    verify_block(arena, block);
    CHECK(emmap_arena_free(arena, block->offset) == 0);
    CHECK(emmap_arena_free(arena, block->offset) == -EINVAL);
    oracle->used -= block->n;
    *block = oracle->blocks[--oracle->n];
}

static inline uint64_t some_size(void)
{
    return below(8) ? below(200) : below(3000);
}

static inline struct emmap_arena copy_of(const struct emmap_arena *arena)
{
    struct emmap_arena copy = {malloc(arena->length), arena->length, 0};
    CHECK(copy.base != NULL);
    memcpy(copy.base, arena->base, arena->length);
    return copy;
}

#endif
