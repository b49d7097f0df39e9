/* Lines and words. */
#ifndef EMMAP_WORDS_H
#define EMMAP_WORDS_H

#include "part.h"

struct words {
    uint64_t lines, words;
    uint64_t closed; /* 1 where no word is open */
};

INLINE uint64_t block_printable(struct block b)
{
    return block_between(b, 0x21, 0x7E);
}

INLINE uint64_t lines_of_four(const struct block *b)
{
    return how_many(block_equal(b[0], '\n')) + how_many(block_equal(b[1], '\n')) +
           how_many(block_equal(b[2], '\n')) + how_many(block_equal(b[3], '\n'));
}

INLINE void words_of_block(struct words *state, struct block b)
{
    uint64_t printable = block_printable(b), white = block_white(b);
    uint64_t neutral = ~(printable | white), behind_white = white << 1 | state->closed;
    /* White space reaches over neutral bytes: a carry runs through them to the byte behind. */
    uint64_t over = (behind_white & neutral) + neutral;
    state->words += how_many(printable & (behind_white | (over & ~neutral)));
    state->closed = white >> 63 | (over < neutral);
}

/* The short way for four blocks without a neutral byte, where all that is not white is
 * printable. */
INLINE void words_of_four(struct words *state, const struct block *b)
{
    uint64_t w0 = block_white(b[0]), w1 = block_white(b[1]);
    uint64_t w2 = block_white(b[2]), w3 = block_white(b[3]);
    uint64_t known = (block_printable(b[0]) | w0) & (block_printable(b[1]) | w1) &
                     (block_printable(b[2]) | w2) & (block_printable(b[3]) | w3);
    if (~known != 0) {
        for (int i = 0; i < 4; i++)
            words_of_block(state, b[i]);
        return;
    }
    state->words += how_many(~w0 & (w0 << 1 | state->closed)) +
                    how_many(~w1 & (w1 << 1 | w0 >> 63)) + how_many(~w2 & (w2 << 1 | w1 >> 63)) +
                    how_many(~w3 & (w3 << 1 | w2 >> 63));
    state->closed = w3 >> 63;
}

/* `lines` and `words` tell what to count; they are constants where this is called. */
INLINE void count_words(struct words *result, const uint8_t *p, size_t n, int lines, int words)
{
    struct words state = *result;
    size_t at = 0;
    for (; n - at >= 256; at += 256) { /* SAFETY: four blocks are inside. */
        struct block b[4] = {block_load(p + at), block_load(p + at + 64), block_load(p + at + 128),
                             block_load(p + at + 192)};
        for (int i = 0; i < 256; i += 64)
            fetch_ahead(p + at + i);
        if (lines)
            state.lines += lines_of_four(b);
        if (words)
            words_of_four(&state, b);
    }
    for (; at < n; at += 64) {
        struct block b = block_of(p + at, n - at); /* SAFETY: at < n. */
        if (lines)
            state.lines += how_many(block_equal(b, '\n'));
        if (words)
            words_of_block(&state, b);
    }
    *result = state;
}

/* The kind of the first byte that is not neutral. */
static inline enum emmap_kind first_kind(const uint8_t *p, size_t n)
{
    for (size_t at = 0; at < n; at += 64) {
        struct block b = block_of(p + at, n - at); /* SAFETY: at < n. */
        uint64_t printable = block_printable(b), white = block_white(b);
        if (printable | white)
            return printable >> first_of(printable | white) & 1 ? EMMAP_PRINTABLE : EMMAP_WHITE;
    }
    return EMMAP_NEUTRAL;
}

#endif
