/* The kernels of the text room: scans of bytes that need no Python and no lock.
 *
 * All of them read [p, p + n) and nothing else (but for the look-ahead of `count`), want no
 * alignment, and cannot fail. There is one table of them for each instruction set;
 * `emmap_kernels_find` tells which of them this machine has. */
#ifndef EMMAP_KERNELS_H
#define EMMAP_KERNELS_H

#include <stddef.h>
#include <stdint.h>

/* Counting */

/* What `count` shall count; it always tells the bytes. */
enum {
    EMMAP_LINES = 1,      /* '\n', as `wc -l` */
    EMMAP_WORDS = 2,      /* as `wc -w` in the C locale */
    EMMAP_CHARACTERS = 4, /* as `wc -m` in C.UTF-8: places where a valid encoding begins */
    EMMAP_LONGEST = 8     /* as `wc -L` in the C locale: columns of the longest line */
};

/* A byte begins a word if it is printable and no word is open, and white space ends it. All
 * others are neutral: they leave the word as it is. */
enum emmap_kind { EMMAP_NEUTRAL, EMMAP_PRINTABLE, EMMAP_WHITE };

/* The counts of a range, and what joins them with those of the ranges before and behind.
 *
 * Words: the kinds of the first and the last byte that is not neutral; a word that is cut
 * counts on both sides. Longest line: a tab goes to the next multiple of 8, so the column at the
 * end of the first line depends on where it began. `before` columns lie in front of its first
 * tab and `after` behind it; a range without a line end is all first line. */
struct emmap_counts {
    uint64_t bytes, lines, words, characters;
    uint64_t before, after; /* columns of the first line */
    uint64_t inner;         /* of the longest line that begins and ends here */
    uint64_t open;          /* of the last line, which goes on behind; 0 unless `ended` */
    uint8_t tab, ended;     /* has the first line a tab, does it end here? */
    uint8_t first, last;    /* enum emmap_kind */
};

/* The counts of two neighbouring ranges as one. It is associative, and a zeroed struct changes
 * nothing. */
void emmap_counts_join(struct emmap_counts *left, const struct emmap_counts *right);

/* The columns of the longest line, when the range is the whole text. */
uint64_t emmap_counts_longest(const struct emmap_counts *counts);

/* The length of the UTF-8 encoding that begins at `p`, or 0. It is glibc's notion: overlong
 * forms and surrogates are refused, but five and six bytes (to 0x7fffffff) are not. */
enum { EMMAP_LOOK_AHEAD = 5 };
size_t emmap_encoding(const uint8_t *p, size_t available);

/* Searching */

/* What to search for. `bytes` belong to the caller, and are lower case if case is ignored. */
struct emmap_needle {
    const uint8_t *bytes;
    size_t length;           /* at least 1 */
    int ignore_case;         /* of ASCII letters */
    size_t rare, other;      /* the offsets of two bytes that will be rare in the haystack */
    uint8_t rare_case, other_case; /* the bit that makes them lower case, if that is ignored */
    size_t critical, period; /* for the two-way search, which no haystack slows down */
    int periodic;
};

#define EMMAP_NOWHERE SIZE_MAX

void emmap_needle_prepare(struct emmap_needle *needle, const uint8_t *bytes, size_t length,
                          int ignore_case);

/* How many bytes at `p` agree with the needle. */
size_t emmap_needle_agree(const struct emmap_needle *needle, const uint8_t *p);

/* The first offset of the needle at `from` or later, or EMMAP_NOWHERE, in linear time for any
 * bytes. */
size_t emmap_needle_two_way(const struct emmap_needle *needle, const uint8_t *p, size_t n,
                            size_t from);

/* Translating */

/* A table for single bytes, and what it does to each row of 16 values: what to xor them with. */
struct emmap_translation {
    uint8_t table[256];
    uint8_t changes[16][16];
    uint8_t rows[16]; /* the first `n_rows`: 16 times the number of each row that changes */
    int n_rows;
};

void emmap_translation_prepare(struct emmap_translation *translation, const uint8_t *table);

/* The kernels of one instruction set */
struct emmap_kernels {
    const char *name;

    /* Counts what is `wanted` in [p, p + n). `ahead` bytes behind it (as many as there are, up to
     * EMMAP_LOOK_AHEAD) may be read, to see where an encoding that begins inside ends. */
    void (*count)(const uint8_t *p, size_t n, size_t ahead, unsigned wanted,
                  struct emmap_counts *counts);

    /* The first offset of the needle, or EMMAP_NOWHERE. */
    size_t (*find)(const struct emmap_needle *needle, const uint8_t *p, size_t n);

    /* Writes the offsets just behind the newlines number `first`, `first + every`, ... (from 1),
     * and stops when there are `capacity` of them. Returns how many; `*seen` are the newlines
     * passed. */
    size_t (*newlines)(const uint8_t *p, size_t n, uint64_t first, uint64_t every,
                       uint64_t *offsets, size_t capacity, uint64_t *seen);

    /* Translates in place and returns how many bytes changed. A page of 4 KiB in which none does
     * is not written; in others, bytes that stay as they are may be. */
    uint64_t (*translate)(const struct emmap_translation *translation, uint8_t *p, size_t n);
};

extern const struct emmap_kernels emmap_portable, emmap_avx2, emmap_avx512, emmap_neon;

/* The kernels of the `i`-th best instruction set that this machine has; NULL behind the last,
 * which is the portable one. */
const struct emmap_kernels *emmap_kernels_find(unsigned i);

#endif
