/* What the kernels share: blocks that the bytes do not fill, and masks. */
#ifndef EMMAP_PART_H
#define EMMAP_PART_H

#ifndef EMMAP_BLOCK
#include "portable.h"
#endif

#define INLINE static inline __attribute__((always_inline))

/* Asks for bytes that will be read soon. The processor does so by itself, but not across pages
 * of 4 KiB; an address behind the end does no harm. */
INLINE void fetch_ahead(const uint8_t *p)
{
    __builtin_prefetch((const void *)((uintptr_t)p + 2048));
}

/* The next block of `n` bytes, with zeros behind the last. */
INLINE struct block block_of(const uint8_t *p, size_t n)
{
    if (__builtin_expect(n >= 64, 1))
        return block_load(p);
    uint8_t bytes[64] = {0};
    memcpy(bytes, p, n); /* SAFETY: n < 64, and the caller has as many. */
    return block_load(bytes);
}

/* The bits of those of its bytes that are there. */
INLINE uint64_t bits_of(size_t n)
{
    return n >= 64 ? ~UINT64_C(0) : (UINT64_C(1) << n) - 1;
}

/* The first place of a mask that is not empty. */
INLINE size_t first_of(uint64_t mask)
{
    return (size_t)__builtin_ctzll(mask);
}

INLINE uint64_t how_many(uint64_t mask)
{
    return (uint64_t)__builtin_popcountll(mask);
}

#endif
