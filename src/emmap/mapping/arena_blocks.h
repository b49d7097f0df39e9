/* The blocks of an arena: headers, the chain, and the lists of free ones. Used by arena.c and
 * arena_repair.c only; the format is described in arena.h. */
#ifndef EMMAP_ARENA_BLOCKS_H
#define EMMAP_ARENA_BLOCKS_H

#include "arena.h"

#include <errno.h>

#define FIRST EMMAP_ARENA_FIRST
#define UNIT 16
#define WORD 8
#define SMALLEST 32                   /* header, two links and the extent of a free block */
#define LARGEST (UINT64_C(1) << 44)   /* 40 bits of units */
#define MOST_SLACK 40                 /* of an empty block with a rest too small for a block */

#define EXTENT_BITS ((UINT64_C(1) << 40) - 1)
#define IS_FREE (UINT64_C(1) << 40)
#define AFTER_FREE (UINT64_C(1) << 41)
#define SLACK_SHIFT 42
#define TAG_SHIFT 48

/* What each call reads once, and has checked: FIRST <= top <= size <= length. */
struct bounds {
    struct emmap_arena_head *head;
    uint64_t key, top, size;
};

/* Words. A store is never moved before one that stands above it, which is all that the death of a
 * process can reveal; on x86 it costs nothing. */

static inline uint64_t get(_Atomic(uint64_t) *word)
{
    return atomic_load_explicit(word, memory_order_relaxed);
}

static inline void put(_Atomic(uint64_t) *word, uint64_t value)
{
    atomic_store_explicit(word, value, memory_order_release);
}

/* SAFETY: each caller has an `offset` that is a multiple of 8, and with its eight bytes inside of
 * [FIRST - 8, top), or of the new block at the top, which ends inside of `size`. */
static inline _Atomic(uint64_t) *word_at(const struct bounds *b, uint64_t offset)
{
    return (_Atomic(uint64_t) *)((unsigned char *)b->head + offset);
}

static inline _Atomic(uint64_t) *header_of(const struct bounds *b, uint64_t block)
{
    return word_at(b, block - WORD);
}

static inline _Atomic(uint64_t) *next_of(const struct bounds *b, uint64_t block)
{
    return word_at(b, block);
}

static inline _Atomic(uint64_t) *previous_of(const struct bounds *b, uint64_t block)
{
    return word_at(b, block + WORD);
}

/* The last word before the header of the block that begins at `end`. */
static inline _Atomic(uint64_t) *footer_before(const struct bounds *b, uint64_t end)
{
    return word_at(b, end - 2 * WORD);
}

static inline int damaged(struct emmap_arena *arena, uint64_t offset)
{
    arena->at = offset;
    return -EILSEQ;
}

static inline uint64_t list_place(unsigned class)
{
    return offsetof(struct emmap_arena_head, lists) + class * sizeof(uint64_t);
}

/* Headers */

static inline uint64_t extent_in(uint64_t header)
{
    return (header & EXTENT_BITS) * UNIT;
}

static inline uint64_t slack_in(uint64_t header)
{
    return header >> SLACK_SHIFT & 63;
}

static inline uint64_t tag_of(const struct bounds *b, uint64_t block)
{
    return ((b->key ^ block) * UINT64_C(0x9e3779b97f4a7c15)) >> TAG_SHIFT;
}

static inline uint64_t header_for(const struct bounds *b, uint64_t block, uint64_t extent,
                                  uint64_t slack, uint64_t flags)
{
    return extent / UNIT | flags | slack << SLACK_SHIFT | tag_of(b, block) << TAG_SHIFT;
}

/* May a block begin here? */
static inline int is_inside(const struct bounds *b, uint64_t block)
{
    return block >= FIRST && block < b->top && block % UNIT == 0;
}

/* The header of the block at this offset; 0 where none begins. */
static inline uint64_t header_at(const struct bounds *b, uint64_t block)
{
    if (!is_inside(b, block))
        return 0;
    uint64_t header = get(header_of(b, block)), extent = extent_in(header);
    uint64_t slack = slack_in(header);
    if (header >> TAG_SHIFT != tag_of(b, block) || extent < SMALLEST || extent > b->top - block ||
        slack > (header & IS_FREE ? 0 : MOST_SLACK) || slack > extent - WORD)
        return 0;
    return header;
}

static inline uint64_t free_header_at(const struct bounds *b, uint64_t block)
{
    uint64_t header = header_at(b, block);
    return header & IS_FREE ? header : 0;
}

/* The header of a block that is handed out, if the one behind it agrees; else 0. */
static inline uint64_t taken_header_at(const struct bounds *b, uint64_t block)
{
    uint64_t header = header_at(b, block);
    if (header == 0 || header & IS_FREE)
        return 0;
    uint64_t next = block + extent_in(header);
    if (next < b->top) {
        uint64_t behind = header_at(b, next);
        if (behind == 0 || behind & AFTER_FREE)
            return 0;
    }
    return header;
}

/* The bytes from header to header that hold `n`, and what of them is left over. */
static inline uint64_t extent_for(uint64_t n)
{
    uint64_t extent = (n + WORD + UNIT - 1) / UNIT * UNIT;
    return extent < SMALLEST ? SMALLEST : extent;
}

/* Lists: each is for the extents of one class. Eight classes divide each doubling, so those below 256
 * bytes hold one extent only. */

static inline unsigned class_of(uint64_t extent)
{
    uint64_t units = extent / UNIT;
    if (units < 8)
        return (unsigned)units;
    unsigned log = 63 - (unsigned)__builtin_clzll(units);
    return (log - 2) * 8 + (unsigned)(units >> (log - 3) & 7);
}

/* The first class from `class` on whose list has members; EMMAP_ARENA_CLASSES: none. */
static inline unsigned class_with_members(const struct bounds *b, unsigned class)
{
    uint64_t mask = ~UINT64_C(0) << class % 64;
    for (unsigned i = class / 64; i < EMMAP_ARENA_MAPS; i++, mask = ~UINT64_C(0)) {
        uint64_t bits = get(&b->head->maps[i]) & mask;
        if (bits) {
            unsigned found = i * 64 + (unsigned)__builtin_ctzll(bits);
            return found < EMMAP_ARENA_CLASSES ? found : EMMAP_ARENA_CLASSES;
        }
    }
    return EMMAP_ARENA_CLASSES;
}

/* What a link says, if it may be followed: damage that was not seen before must not lead outside. */
static inline uint64_t follow(const struct bounds *b, _Atomic(uint64_t) *link)
{
    uint64_t block = get(link);
    return is_inside(b, block) ? block : 0;
}

/* Is the free block at this offset a member of its list, and is its extent in its last word? */
static inline int is_linked(const struct bounds *b, uint64_t block, uint64_t extent)
{
    uint64_t next = get(next_of(b, block)), previous = get(previous_of(b, block));
    if (get(footer_before(b, block + extent)) != extent)
        return 0;
    if (next && (!free_header_at(b, next) || get(previous_of(b, next)) != block))
        return 0;
    if (previous)
        return free_header_at(b, previous) && get(next_of(b, previous)) == block;
    return get(&b->head->lists[class_of(extent)]) == block;
}

/* Could a block be put at the head of this list? */
static inline int is_sound_list(const struct bounds *b, unsigned class)
{
    uint64_t first = get(&b->head->lists[class]);
    return first == 0 || (free_header_at(b, first) && get(previous_of(b, first)) == 0);
}

/* Writes a free block, but for its header, and puts it into its list. */
static inline void link_block(const struct bounds *b, uint64_t block, uint64_t extent)
{
    unsigned class = class_of(extent);
    uint64_t first = follow(b, &b->head->lists[class]);
    put(footer_before(b, block + extent), extent);
    put(next_of(b, block), first);
    put(previous_of(b, block), 0);
    if (first)
        put(previous_of(b, first), block);
    put(&b->head->lists[class], block);
    put(&b->head->maps[class / 64], get(&b->head->maps[class / 64]) | UINT64_C(1) << class % 64);
}

static inline void unlink_block(const struct bounds *b, uint64_t block, uint64_t extent)
{
    unsigned class = class_of(extent);
    uint64_t next = follow(b, next_of(b, block)), previous = follow(b, previous_of(b, block));
    if (next)
        put(previous_of(b, next), previous);
    if (previous) {
        put(next_of(b, previous), next);
    } else {
        put(&b->head->lists[class], next);
        if (!next)
            put(&b->head->maps[class / 64],
                get(&b->head->maps[class / 64]) & ~(UINT64_C(1) << class % 64));
    }
}

/* The first member of a list with at least `want` bytes, else the largest; 0 with an extent of 0 where the
 * list is empty. A walk ends: each member names the one before it, and the first one names none. */
static inline int search(struct emmap_arena *arena, const struct bounds *b, unsigned class,
                         uint64_t want, uint64_t *found, uint64_t *extent)
{
    uint64_t previous = 0, block = get(&b->head->lists[class]);
    *found = *extent = 0;
    while (block && *extent < want) {
        uint64_t header = free_header_at(b, block);
        if (header == 0 || class_of(extent_in(header)) != class ||
            get(previous_of(b, block)) != previous)
            return damaged(arena, previous ? previous : list_place(class));
        if (extent_in(header) > *extent) {
            *extent = extent_in(header);
            *found = block;
        }
        previous = block;
        block = get(next_of(b, block));
    }
    return 0;
}

/* Entering */

/* Reads and checks the bounds. */
static inline int look(struct emmap_arena *arena, struct bounds *b)
{
    if (arena->length < EMMAP_ARENA_FEWEST)
        return -EFBIG;
    /* SAFETY: the head lies inside, and the caller gives bytes that are aligned. */
    b->head = (struct emmap_arena_head *)arena->base;
    b->key = get(&b->head->key);
    b->top = get(&b->head->top);
    b->size = get(&b->head->size);
    if (b->size % UNIT || b->size < FIRST || b->size > LARGEST)
        return damaged(arena, offsetof(struct emmap_arena_head, size));
    if (b->size > arena->length)
        return -EFBIG;
    if (b->top % UNIT || b->top < FIRST || b->top > b->size)
        return damaged(arena, offsetof(struct emmap_arena_head, top));
    return 0;
}

/* The same before a change, or a look at all: nobody was killed on the way. */
static inline int enter(struct emmap_arena *arena, struct bounds *b)
{
    int rc = look(arena, b);
    if (rc)
        return rc;
    if (get(&b->head->busy))
        return -EOWNERDEAD;
    uint64_t fresh = get(&b->head->fresh);
    if (fresh < b->top || fresh > b->size)
        return damaged(arena, offsetof(struct emmap_arena_head, fresh));
    return 0;
}

#endif
