/* The kernels of each instruction set that this machine has: the portable ones against plain loops, and
 * the others against those. Each range is allocated by itself, so that a sanitizer sees a byte too many. */
#include "kernels.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                                        \
    do {                                                                                        \
        if (!(condition)) {                                                                     \
            fprintf(stderr, "%s:%d: %s, %zu bytes: not so: %s\n", __FILE__, __LINE__,           \
                    kernels->name, n, #condition);                                              \
            exit(1);                                                                            \
        }                                                                                       \
    } while (0)

enum { LONGEST_RANGE = 700, MANY = 40000, ALL = 15 };

static uint64_t seed = 88172645463325252u;

static uint64_t below(uint64_t bound)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed % bound;
}

/* `n` bytes in a block of memory of just that size. */
static uint8_t *some_bytes(size_t n)
{
    static const char *const tokens[] = {"a",        "b",    " ",    "\n",       "\t",   "\r",
                                         "\x1f",     "word", "\xc3\xa9", "\xe4\xb8\xad", "\x80", "\xc3",
                                         "\xe4\xb8", "\xf0\x9f\x98\x80", "\xed\xa0\x80",
                                         "\xe0\x80\x80", "\xf8\x88\x80\x80\x80", "~", "\xff", "\v\f"};
    uint8_t *bytes = malloc(n ? n : 1);
    uint64_t kinds = 2 + below(sizeof tokens / sizeof *tokens - 1);
    for (size_t at = 0; at < n;) {
        const char *token = tokens[below(kinds)];
        size_t length = strlen(token);
        if (length > n - at)
            length = n - at;
        memcpy(bytes + at, token, length);
        at += length;
    }
    return bytes;
}

/* What plain loops say */

static struct emmap_counts plain_counts(const uint8_t *p, size_t n, size_t ahead)
{
    struct emmap_counts counts = {.bytes = n};
    uint64_t column = 0;
    for (size_t i = 0; i < n; i++) {
        uint8_t kind = EMMAP_NEUTRAL;
        if (p[i] == ' ' || (p[i] >= '\t' && p[i] <= '\r'))
            kind = EMMAP_WHITE;
        else if (p[i] > ' ' && p[i] < 0x7f)
            kind = EMMAP_PRINTABLE;
        counts.lines += p[i] == '\n';
        counts.words += kind == EMMAP_PRINTABLE && counts.last != EMMAP_PRINTABLE;
        counts.characters += emmap_encoding(p + i, n - i + ahead) != 0;
        if (kind != EMMAP_NEUTRAL) {
            counts.last = kind;
            if (counts.first == EMMAP_NEUTRAL)
                counts.first = kind;
        }
        if (p[i] == '\n' || p[i] == '\f' || p[i] == '\r')
            column = 0;
        else if (p[i] == '\t')
            column = column / 8 * 8 + 8;
        else
            column += p[i] >= ' ' && p[i] < 0x7f;
        if (column > counts.inner)
            counts.inner = column; /* here: the longest of all */
    }
    return counts;
}

static size_t plain_find(const uint8_t *needle, size_t length, const uint8_t *p, size_t n)
{
    for (size_t at = 0; at + length <= n; at++)
        if (memcmp(p + at, needle, length) == 0)
            return at;
    return EMMAP_NOWHERE;
}

/* The kernels */

static void check_count(const struct emmap_kernels *kernels, const uint8_t *p, size_t n)
{
    size_t ahead = n ? below(n < EMMAP_LOOK_AHEAD ? n : EMMAP_LOOK_AHEAD) : 0;
    struct emmap_counts plain = plain_counts(p, n - ahead, ahead), found, left, right;
    kernels->count(p, n - ahead, ahead, ALL, &found);
    CHECK(found.bytes == plain.bytes && found.lines == plain.lines && found.words == plain.words);
    CHECK(found.characters == plain.characters);
    CHECK(found.first == plain.first && found.last == plain.last);
    CHECK(emmap_counts_longest(&found) == plain.inner);
    size_t cut = below(n - ahead + 1);
    kernels->count(p, cut, n - cut, ALL, &left);
    kernels->count(p + cut, n - ahead - cut, ahead, ALL, &right);
    emmap_counts_join(&left, &right);
    CHECK(memcmp(&left, &found, offsetof(struct emmap_counts, tab)) == 0);
    CHECK(left.tab == found.tab && left.ended == found.ended && left.first == found.first &&
          left.last == found.last);
}

static void check_find(const struct emmap_kernels *kernels, const uint8_t *p, size_t n)
{
    struct emmap_needle needle;
    uint8_t bytes[40];
    size_t length = 1 + below(sizeof bytes), first = below(2), letters = 1 + below(2);
    for (size_t i = 0; i < length; i++)
        bytes[i] = (uint8_t)"\0ab"[first + below(letters)]; /* zeros also pad a block */
    if (length <= n && below(2))
        memcpy(bytes, p + below(n - length + 1), length);
    emmap_needle_prepare(&needle, bytes, length, 0);
    size_t found = kernels->find(&needle, p, n);
    CHECK(found == plain_find(bytes, length, p, n));
    CHECK(emmap_needle_two_way(&needle, p, n, 0) == found);
    emmap_needle_prepare(&needle, bytes, length, 1); /* the data has no upper case */
    CHECK(kernels->find(&needle, p, n) == found);
    CHECK(emmap_needle_two_way(&needle, p, n, 0) == found);
}

static void check_newlines(const struct emmap_kernels *kernels, const uint8_t *p, size_t n)
{
    static uint64_t offsets[MANY];
    uint64_t first = 1 + below(5), every = 1 + below(5), seen, passed = 0, next = first;
    size_t capacity = below(2) ? MANY : below(10), written = 0;
    size_t found = kernels->newlines(p, n, first, every, offsets, capacity, &seen);
    for (size_t i = 0; i < n && written < capacity; i++)
        if (p[i] == '\n' && ++passed == next) {
            CHECK(written < found && offsets[written] == i + 1);
            written++;
            next += every;
        }
    CHECK(found == written && seen == passed);
}

static void check_translate(const struct emmap_kernels *kernels, const uint8_t *p, size_t n)
{
    struct emmap_translation translation;
    uint8_t table[256], *copy = malloc(n ? n : 1);
    uint64_t changed = 0;
    for (int i = 0; i < 256; i++)
        table[i] = below(3) ? (uint8_t)i : (uint8_t)below(256);
    memcpy(copy, p, n);
    emmap_translation_prepare(&translation, table);
    uint64_t found = kernels->translate(&translation, copy, n);
    for (size_t i = 0; i < n; i++) {
        CHECK(copy[i] == table[p[i]]);
        changed += copy[i] != p[i];
    }
    CHECK(found == changed);
    free(copy);
}

static void check_all(const struct emmap_kernels *kernels, size_t n)
{
    uint8_t *bytes = some_bytes(n);
    check_count(kernels, bytes, n);
    check_find(kernels, bytes, n);
    check_newlines(kernels, bytes, n);
    check_translate(kernels, bytes, n);
    free(bytes);
}

int main(void)
{
    const struct emmap_kernels *kernels;
    for (unsigned i = 0; (kernels = emmap_kernels_find(i)) != NULL; i++) {
        for (size_t n = 0; n < LONGEST_RANGE; n++)
            for (int round = 0; round < 4; round++)
                check_all(kernels, n);
        for (int round = 0; round < 20; round++)
            check_all(kernels, MANY - below(LONGEST_RANGE));
        printf("%s: ok\n", kernels->name);
    }
    return 0;
}
