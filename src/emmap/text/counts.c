/* Counts of ranges, joined. */
#include "kernels.h"

/* The column that the first line of `counts` leads to from `column`. */
static uint64_t emmap_column(const struct emmap_counts *counts, uint64_t column)
{
    column += counts->before;
    return counts->tab ? (column | 7) + 1 + counts->after : column;
}

void emmap_counts_join(struct emmap_counts *left, const struct emmap_counts *right)
{
    left->bytes += right->bytes;
    left->lines += right->lines;
    left->characters += right->characters;
    left->words += right->words;
    if (left->last == EMMAP_PRINTABLE && right->first == EMMAP_PRINTABLE)
        left->words--; /* the same word */
    if (left->first == EMMAP_NEUTRAL)
        left->first = right->first;
    if (right->last != EMMAP_NEUTRAL)
        left->last = right->last;

    if (left->ended) {
        uint64_t column = emmap_column(right, left->open);
        if (right->ended && column > left->inner)
            left->inner = column;
        if (right->inner > left->inner)
            left->inner = right->inner;
        left->open = right->ended ? right->open : column;
    } else {
        if (left->tab)
            left->after = emmap_column(right, left->after);
        else {
            left->before += right->before;
            left->after = right->after;
            left->tab = right->tab;
        }
        left->inner = right->inner;
        left->open = right->open;
        left->ended = right->ended;
    }
}

uint64_t emmap_counts_longest(const struct emmap_counts *counts)
{
    uint64_t first = emmap_column(counts, 0);
    uint64_t others = counts->inner > counts->open ? counts->inner : counts->open;
    return first > others ? first : others;
}

size_t emmap_encoding(const uint8_t *p, size_t available)
{
    /* By length: the first lead byte, and for that one the least second byte that is not
     * overlong. */
    static const struct {
        uint8_t lead, second;
    } forms[] = {{0xC2, 0x80}, {0xE0, 0xA0}, {0xF0, 0x90}, {0xF8, 0x88}, {0xFC, 0x84}, {0xFE, 0}};
    size_t form = 0;
    if (available == 0)
        return 0;
    if (p[0] < 0x80)
        return 1;
    if (p[0] < 0xC2 || p[0] >= 0xFE)
        return 0;
    while (p[0] >= forms[form + 1].lead)
        form++;
    size_t length = form + 2;
    if (available < length)
        return 0;
    for (size_t i = 1; i < length; i++)
        if ((p[i] & 0xC0) != 0x80)
            return 0;
    if (p[0] == forms[form].lead && p[1] < forms[form].second)
        return 0;
    return p[0] == 0xED && p[1] >= 0xA0 ? 0 : length; /* a surrogate */
}
