/* Searching, in the blocks that were defined before. */
#ifndef EMMAP_FIND_H
#define EMMAP_FIND_H

#include "part.h"

/* A search under way. Two rare bytes tell where the needle may be; when that has told wrong too
 * often for the bytes passed, the two-way search goes on. */
struct search {
    const struct emmap_needle *needle;
    const uint8_t *p;
    size_t n;
    size_t work;  /* bytes compared */
    size_t found;
};

enum { FREE_WORK = 4096, WORK_PER_BYTE = 2 };

/* Looks at the places `at + i` for each bit i. True when the search is over. */
static __attribute__((noinline)) int look(struct search *s, size_t at, uint64_t places)
{
    for (; places != 0; places &= places - 1) {
        size_t place = at + first_of(places);
        /* SAFETY: only places that leave room for the needle have a bit. */
        size_t agree = emmap_needle_agree(s->needle, s->p + place);
        if (agree == s->needle->length) {
            s->found = place;
            return 1;
        }
        s->work += agree + 8;
        if (s->work > FREE_WORK + WORK_PER_BYTE * place) {
            s->found = emmap_needle_two_way(s->needle, s->p, s->n, place + 1);
            return 1;
        }
    }
    return 0;
}

INLINE size_t find_pair(const struct emmap_needle *needle, const uint8_t *p, size_t n,
                        uint8_t rare_case, uint8_t other_case)
{
    struct search s = {needle, p, n, 0, EMMAP_NOWHERE};
    size_t places = n - needle->length + 1, at = 0;
    /* SAFETY: both offsets are inside the needle, so a place below `places` plus an offset is
     * below n. */
    const uint8_t *rare = p + needle->rare, *other = p + needle->other;
    uint8_t rare_byte = needle->bytes[needle->rare], other_byte = needle->bytes[needle->other];
#define PAIR(rare_block, other_block) \
    block_pair(rare_block, rare_case, rare_byte, other_block, other_case, other_byte)
    for (; at + 256 <= places; at += 256) {
        uint64_t a = PAIR(block_load(rare + at), block_load(other + at));
        uint64_t b = PAIR(block_load(rare + at + 64), block_load(other + at + 64));
        uint64_t c = PAIR(block_load(rare + at + 128), block_load(other + at + 128));
        uint64_t d = PAIR(block_load(rare + at + 192), block_load(other + at + 192));
        if (__builtin_expect((a | b | c | d) != 0, 0) &&
            (look(&s, at, a) || look(&s, at + 64, b) || look(&s, at + 128, c) ||
             look(&s, at + 192, d)))
            return s.found;
    }
    for (; at < places; at += 64) {
        size_t left = places - at;
        uint64_t a = PAIR(block_of(rare + at, left), block_of(other + at, left)) & bits_of(left);
        if (a != 0 && look(&s, at, a))
            return s.found;
    }
#undef PAIR
    return EMMAP_NOWHERE;
}

static inline size_t find(const struct emmap_needle *needle, const uint8_t *p, size_t n)
{
    if (n < needle->length)
        return EMMAP_NOWHERE;
    if (needle->rare_case | needle->other_case)
        return find_pair(needle, p, n, needle->rare_case, needle->other_case);
    return find_pair(needle, p, n, 0, 0); /* which spares setting the bits */
}

#endif
