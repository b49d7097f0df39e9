/* Translating, in the blocks that were defined before. */
#ifndef EMMAP_TRANSLATE_H
#define EMMAP_TRANSLATE_H

#include "part.h"

#define TRANSLATED_PAGE 4096

/* What lies in one page: it is written from the first block on that changes. */
static inline uint64_t translate_page(const struct emmap_translation *translation, uint8_t *p,
                                      size_t n)
{
    uint64_t changed = 0;
    for (size_t at = 0; at < n; at += 64) {
        size_t left = n - at;
        struct block old = block_of(p + at, left); /* SAFETY: at < n. */
        struct block new = block_translate(old, translation);
        changed += how_many(block_differ(old, new) & bits_of(left));
        if (changed == 0)
            continue;
        if (left >= 64)
            block_store(p + at, new);
        else {
            uint8_t bytes[64];
            block_store(bytes, new);
            memcpy(p + at, bytes, left);
        }
    }
    return changed;
}

static inline uint64_t translate(const struct emmap_translation *translation, uint8_t *p, size_t n)
{
    uint64_t changed = 0;
    while (n > 0) {
        size_t here = TRANSLATED_PAGE - (uintptr_t)p % TRANSLATED_PAGE;
        if (here > n)
            here = n;
        changed += translate_page(translation, p, here);
        p += here; /* SAFETY: here <= n. */
        n -= here;
    }
    return changed;
}

#endif
