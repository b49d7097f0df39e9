/* A copy that looks whether all of it is ASCII. */

#ifndef EMMAP_ASCII_H
#define EMMAP_ASCII_H

#include <stdint.h>
#include <string.h>

/* Copies n bytes; returns 1 when all are below 128. What was copied is what was looked at, whoever
   writes the source meanwhile: a string that calls itself ASCII and is not would harm Python.
   SAFETY: the caller has n bytes at both places. */
static inline int emmap_copy_ascii(unsigned char *to, const unsigned char *data, size_t n) {
    uint64_t a, b, seen = 0;
    size_t i = 0;
    if (n < 8) {
        unsigned char all = 0;
        for (; i < n; i++)
            all |= to[i] = data[i];
        return all < 0x80;
    }
    for (; i + 16 <= n; i += 16) {
        memcpy(&a, data + i, 8);
        memcpy(&b, data + i + 8, 8);
        memcpy(to + i, &a, 8);
        memcpy(to + i + 8, &b, 8);
        seen |= a | b;
    }
    if (i + 8 < n) {
        memcpy(&a, data + i, 8);
        memcpy(to + i, &a, 8);
        seen |= a;
    }
    /* The last 8, some of them for a second time. */
    memcpy(&a, data + n - 8, 8);
    memcpy(to + n - 8, &a, 8);
    seen |= a;
    return !(seen & 0x8080808080808080u);
}

#endif
