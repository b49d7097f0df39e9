/* Columns of lines. */
#ifndef EMMAP_COLUMNS_H
#define EMMAP_COLUMNS_H

#include "part.h"

enum which_line { FIRST_LINE, BEHIND_FIRST_TAB, LATER_LINE };

struct columns {
    enum which_line line;
    uint64_t column; /* since the range or its first tab or a later line began, as `line` says */
    uint64_t before, after, inner; /* as in emmap_counts */
    int tab;
};

/* Ends what `column` counts, which was for `later` behind the first line. */
INLINE void end_columns(struct columns *state, uint64_t *later)
{
    if (state->line == FIRST_LINE)
        state->before = state->column;
    else if (state->line == BEHIND_FIRST_TAB)
        state->after = state->column;
    else if (state->column > *later)
        *later = state->column;
    state->column = 0;
}

static inline void count_columns(struct columns *result, const uint8_t *p, size_t n)
{
    struct columns state = *result;
    for (size_t at = 0; at < n; at += 64) {
        struct block b = block_of(p + at, n - at); /* SAFETY: at < n. */
        uint64_t wide = block_between(b, ' ', '~'), tabs = block_equal(b, '\t');
        fetch_ahead(p + at);
        uint64_t ends = block_equal(b, '\n') | block_between(b, '\f', '\r');
        for (uint64_t turns = tabs | ends; turns != 0; turns &= turns - 1) {
            uint64_t turn = turns & -turns;
            state.column += how_many(wide & (turn - 1));
            wide &= -turn;
            if (ends & turn) {
                end_columns(&state, &state.inner);
                state.line = LATER_LINE;
            } else if (state.line == FIRST_LINE) {
                end_columns(&state, &state.inner);
                state.line = BEHIND_FIRST_TAB;
                state.tab = 1;
            } else
                state.column = (state.column | 7) + 1;
        }
        state.column += how_many(wide);
    }
    *result = state;
}

#endif
