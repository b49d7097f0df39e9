/* Characters of UTF-8. */
#ifndef EMMAP_CHARACTERS_H
#define EMMAP_CHARACTERS_H

#include "part.h"

struct characters {
    uint64_t characters;
    /* Of the last block: lead bytes of encodings of 2, 3 and 4 bytes; good second bytes of those
     * of 3 and 4; good third bytes of those of 4; and the lead bytes whose second byte has a
     * bound. */
    uint64_t two, three, four, three_second, four_second, four_third, e0, ed, f0;
};

/* The mask one byte further on, with what is left over from the block before. */
INLINE uint64_t moved_on(uint64_t mask, uint64_t *before)
{
    uint64_t moved = mask << 1 | *before >> 63;
    *before = mask;
    return moved;
}

/* The last bytes of encodings of two to four bytes, in a block that has bytes from 0x80 on. */
INLINE uint64_t last_bytes(struct characters *state, struct block b)
{
    uint64_t more = block_between(b, 0x80, 0xBF), low = block_between(b, 0x80, 0x9F);
    uint64_t wrong = (moved_on(block_equal(b, 0xE0), &state->e0) & low) |
                     (moved_on(block_equal(b, 0xED), &state->ed) & ~low) |
                     (moved_on(block_equal(b, 0xF0), &state->f0) & block_between(b, 0x80, 0x8F));
    uint64_t second = more & ~wrong;
    uint64_t three_second = second & moved_on(block_between(b, 0xE0, 0xEF), &state->three);
    uint64_t four_second = second & moved_on(block_between(b, 0xF0, 0xF7), &state->four);
    uint64_t four_third = more & moved_on(four_second, &state->four_second);
    return more & (moved_on(block_between(b, 0xC2, 0xDF), &state->two) |
                   moved_on(three_second, &state->three_second) |
                   moved_on(four_third, &state->four_third));
}

/* Encodings of five and six bytes, which nobody uses, one by one. */
static inline uint64_t count_longer(const uint8_t *p, uint64_t leads, size_t available)
{
    uint64_t longer = 0;
    for (; leads != 0; leads &= leads - 1) {
        size_t at = first_of(leads); /* SAFETY: the byte is inside, so at < available. */
        longer += emmap_encoding(p + at, available - at) != 0;
    }
    return longer;
}

/* Counts each encoding of up to four bytes where it ends, and longer ones where they begin. The
 * state goes on from call to call; all but the last shall have whole blocks. */
static inline void count_characters(struct characters *result, const uint8_t *p, size_t n,
                                    size_t ahead)
{
    struct characters state = *result;
    for (size_t at = 0; at < n; at += 64) {
        struct block b = block_of(p + at, n - at); /* SAFETY: at < n. */
        uint64_t high = block_high(b), longer;
        fetch_ahead(p + at);
        state.characters += how_many(~high);
        if (high == 0) {
            state = (struct characters){.characters = state.characters};
            continue;
        }
        state.characters += how_many(last_bytes(&state, b));
        if ((longer = block_between(b, 0xF8, 0xFD)) != 0)
            state.characters += count_longer(p + at, longer, n - at + ahead);
    }
    state.characters -= -n & 63; /* the zeros behind the end were counted too */
    *result = state;
}

/* Encodings of two to four bytes that begin in [p, p + n) and end in the bytes ahead. */
static inline uint64_t count_cut_characters(const uint8_t *p, size_t n, size_t ahead)
{
    uint64_t cut = 0;
    for (size_t left = n < 3 ? n : 3; left > 0; left--) {
        /* SAFETY: left <= n, and `ahead` bytes may be read behind the end. */
        size_t length = emmap_encoding(p + n - left, left + ahead);
        cut += length > left && length <= 4;
    }
    return cut;
}

#endif
