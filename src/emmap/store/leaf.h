/* A leaf of a trie, looked at with distrust, and searched by tags. Used by trie.c and cursor.c. */
#ifndef EMMAP_LEAF_H
#define EMMAP_LEAF_H

#include "trie.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#define EMMAP_DEEPEST 12        /* nodes above a leaf */
#define EMMAP_DEEPEST_BITS (EMMAP_DEEPEST * EMMAP_WAY_BITS)

static inline uint64_t emmap_leaf_bytes(unsigned capacity)
{
    return sizeof(struct emmap_leaf) + (uint64_t)capacity * (sizeof(uint32_t) + sizeof(uint64_t));
}

/* SAFETY, for both: `capacity` was compared with the file by emmap_leaf_at. */
static inline uint64_t *emmap_leaf_entries(const struct emmap_leaf *leaf)
{
    return (uint64_t *)(void *)(leaf->tags + leaf->capacity);
}

static inline uint32_t emmap_tag(uint64_t hash)
{
    return (uint32_t)(hash >> 24);
}

static inline unsigned emmap_slot_of(uint64_t hash, unsigned level)
{
    return (unsigned)(hash >> (64 - EMMAP_WAY_BITS * (level + 1))) & (EMMAP_WAYS - 1);
}

/* Slots of its node that refer to a leaf which has `level` nodes above it. */
static inline unsigned emmap_leaf_width(const struct emmap_leaf *leaf, unsigned level)
{
    return 1U << (EMMAP_WAY_BITS * level - leaf->bits);
}

/* The leaf at an offset where a block of that kind was found, under so many nodes: NULL where it is damaged. */
static inline const struct emmap_leaf *emmap_leaf_at(struct emmap_store *store, uint64_t at, unsigned level)
{
    const struct emmap_leaf *leaf = emmap_block_at(store, at, EMMAP_LEAF, sizeof *leaf);
    if (leaf == NULL)
        return NULL;
    unsigned above = EMMAP_WAY_BITS * level;
    if (__builtin_expect(leaf->n > leaf->capacity || leaf->capacity % 4 != 0 || leaf->capacity > 256 ||
                             leaf->bits > above || (level != 0 && leaf->bits + (unsigned)EMMAP_WAY_BITS <= above) ||
                             !emmap_has(store, at, emmap_leaf_bytes(leaf->capacity)), 0)) {
        emmap_wrong(store, at, "a leaf of a dict is damaged");
        return NULL;
    }
    return leaf;
}

/* A bit for each of four tags that is this one. */
static inline unsigned emmap_match_tags(const uint32_t *tags, uint32_t tag)
{
#if defined(__SSE2__)
    __m128i four = _mm_loadu_si128((const __m128i *)(const void *)tags);
    return (unsigned)_mm_movemask_ps(_mm_castsi128_ps(_mm_cmpeq_epi32(four, _mm_set1_epi32((int)tag))));
#else
    return (unsigned)(tags[0] == tag) | (unsigned)(tags[1] == tag) << 1 | (unsigned)(tags[2] == tag) << 2 |
           (unsigned)(tags[3] == tag) << 3;
#endif
}

#endif
