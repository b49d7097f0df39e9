/* Counting: each count that is wanted has a loop of its own over a slice that stays in the
 * nearest cache. */
#ifndef EMMAP_COUNT_H
#define EMMAP_COUNT_H

#include "characters.h"
#include "columns.h"
#include "words.h"

enum { SLICE = 16384 }; /* whole blocks, and half of a small cache */

static inline void count(const uint8_t *p, size_t n, size_t ahead, unsigned wanted,
                         struct emmap_counts *counts)
{
    struct words words = {.closed = 1};
    struct characters characters = {0};
    struct columns columns = {0};
    /* With one loop there is nothing to share. */
    size_t slice = wanted & (EMMAP_CHARACTERS | EMMAP_LONGEST) ? SLICE : n;
    *counts = (struct emmap_counts){.bytes = n};
    for (size_t at = 0; at < n; at += slice) {
        size_t here = n - at < slice ? n - at : slice; /* SAFETY: at < n, and here <= n - at. */
        if (wanted & EMMAP_WORDS && wanted & EMMAP_LINES)
            count_words(&words, p + at, here, 1, 1);
        else if (wanted & EMMAP_WORDS)
            count_words(&words, p + at, here, 0, 1);
        else if (wanted & EMMAP_LINES)
            count_words(&words, p + at, here, 1, 0);
        if (wanted & EMMAP_CHARACTERS)
            count_characters(&characters, p + at, here, n - at - here + ahead);
        if (wanted & EMMAP_LONGEST)
            count_columns(&columns, p + at, here);
    }
    counts->lines = words.lines;
    if (wanted & EMMAP_WORDS) {
        counts->words = words.words;
        counts->first = first_kind(p, n);
        if (counts->first != EMMAP_NEUTRAL)
            counts->last = words.closed ? EMMAP_WHITE : EMMAP_PRINTABLE;
    }
    if (wanted & EMMAP_CHARACTERS)
        counts->characters = characters.characters + count_cut_characters(p, n, ahead);
    if (wanted & EMMAP_LONGEST) {
        end_columns(&columns, &counts->open);
        counts->before = columns.before;
        counts->after = columns.after;
        counts->inner = columns.inner;
        counts->tab = (uint8_t)columns.tab;
        counts->ended = columns.line == LATER_LINE;
    }
}

#endif
