/* Where lines begin, in the blocks that were defined before. */
#ifndef EMMAP_NEWLINES_H
#define EMMAP_NEWLINES_H

#include "part.h"

/* The place of the `nth` bit, from 1, of a mask that has as many. */
static inline size_t nth_of(uint64_t mask, uint64_t nth)
{
    while (--nth > 0)
        mask &= mask - 1;
    return first_of(mask);
}

static inline size_t newlines(const uint8_t *p, size_t n, uint64_t first, uint64_t every,
                              uint64_t *offsets, size_t capacity, uint64_t *seen)
{
    size_t written = 0;
    uint64_t passed = 0, next = first;
    if (capacity == 0)
        n = 0;
    for (size_t at = 0; at < n; at += 64) {
        uint64_t ends = block_equal(block_of(p + at, n - at), '\n'); /* SAFETY: at < n. */
        uint64_t here = how_many(ends);
        fetch_ahead(p + at);
        while (passed + here >= next) {
            offsets[written++] = at + nth_of(ends, next - passed) + 1;
            if (written == capacity) {
                *seen = next;
                return written;
            }
            next += every;
        }
        passed += here;
    }
    *seen = passed;
    return written;
}

#endif
