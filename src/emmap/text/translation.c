/* What a table for single bytes does, row by row. */
#include "kernels.h"

#include <string.h>

void emmap_translation_prepare(struct emmap_translation *translation, const uint8_t *table)
{
    memcpy(translation->table, table, 256);
    translation->n_rows = 0;
    for (int row = 0; row < 16; row++) {
        int changes = 0;
        for (int i = 0; i < 16; i++) {
            translation->changes[row][i] = table[16 * row + i] ^ (uint8_t)(16 * row + i);
            changes |= translation->changes[row][i];
        }
        if (changes)
            translation->rows[translation->n_rows++] = (uint8_t)(16 * row);
    }
}
