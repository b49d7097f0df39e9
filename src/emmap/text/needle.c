/* What is searched for: which of its bytes to look for, and a search that nothing slows down. */
#include "kernels.h"

#include <string.h>

/* The bytes of English, source code and UTF-8, from the most common on; all others are rare. */
static const uint8_t COMMON[] =
    " etisornalcp\n/_duhmfb.gETSI,y0LANRO)(Cx-'vk:wP21=DF*\"#MGUHB93>WY5X;q\\V48zK6<j\t7[]+@J{}%QZ"
    "`&|!"
    "\xc3\xe2\x80\xd0\xd1\xe3\xe4\xe5\xe6\xe7\xe8\xe9\xce\xcf\xd7\xd8\xd9\xf0\x9f\xc2";

/* Both bytes lie this near, so that what is read for one soon serves the other. */
enum { NEAR = 256 };

static uint8_t lower(uint8_t byte)
{
    return byte >= 'A' && byte <= 'Z' ? byte | 0x20 : byte;
}

static size_t rarity(const struct emmap_needle *needle, size_t offset)
{
    uint8_t byte = needle->bytes[offset];
    const uint8_t *place = memchr(COMMON, byte, sizeof COMMON - 1);
    if (place == NULL)
        return byte == 0 ? sizeof COMMON / 2 : sizeof COMMON; /* zeros abound in data */
    return (size_t)(place - COMMON);
}

static uint8_t case_bit(const struct emmap_needle *needle, size_t offset)
{
    uint8_t byte = needle->bytes[offset];
    return needle->ignore_case && byte >= 'a' && byte <= 'z' ? 0x20 : 0;
}

static void choose_rare_bytes(struct emmap_needle *needle)
{
    size_t near = needle->length < NEAR ? needle->length : NEAR;
    needle->rare = needle->other = 0;
    for (size_t i = 1; i < near; i++)
        if (rarity(needle, i) > rarity(needle, needle->rare))
            needle->rare = i;
    if (needle->rare == 0 && near > 1)
        needle->other = near - 1;
    for (size_t i = 0; i < near; i++)
        if (needle->bytes[i] != needle->bytes[needle->rare] &&
            (needle->bytes[needle->other] == needle->bytes[needle->rare] ||
             rarity(needle, i) > rarity(needle, needle->other)))
            needle->other = i;
    needle->rare_case = case_bit(needle, needle->rare);
    needle->other_case = case_bit(needle, needle->other);
}

/* Where the greatest suffix begins (in the order of bytes, or in its reverse), and its period. */
static size_t greatest_suffix(const struct emmap_needle *needle, int reversed, size_t *period)
{
    const uint8_t *bytes = needle->bytes;
    size_t suffix = 0, other = 1, k = 0;
    *period = 1;
    while (other + k < needle->length) {
        uint8_t a = bytes[other + k], b = bytes[suffix + k];
        if (a == b) {
            if (++k == *period) {
                other += *period;
                k = 0;
            }
        } else if ((a < b) != reversed) {
            other += k + 1;
            k = 0;
            *period = other - suffix;
        } else {
            suffix = other++;
            k = 0;
            *period = 1;
        }
    }
    return suffix;
}

void emmap_needle_prepare(struct emmap_needle *needle, const uint8_t *bytes, size_t length,
                          int ignore_case)
{
    size_t period, reversed_period;
    needle->bytes = bytes;
    needle->length = length;
    needle->ignore_case = ignore_case;
    choose_rare_bytes(needle);
    /* The critical factorization of Crochemore and Perrin: the later of two greatest suffixes. */
    size_t suffix = greatest_suffix(needle, 0, &period);
    size_t reversed = greatest_suffix(needle, 1, &reversed_period);
    needle->critical = suffix > reversed ? suffix : reversed;
    needle->period = suffix > reversed ? period : reversed_period;
    /* SAFETY: a period is at most the length less where its suffix begins, so both lie inside. */
    needle->periodic = memcmp(bytes, bytes + needle->period, needle->critical) == 0;
    if (!needle->periodic) {
        size_t right = length - needle->critical;
        needle->period = (needle->critical > right ? needle->critical : right) + 1;
    }
}

size_t emmap_needle_agree(const struct emmap_needle *needle, const uint8_t *p)
{
    size_t i = 0;
    /* SAFETY: the caller has `length` bytes at `p`, and i + 8 <= length. */
    if (needle->ignore_case) {
        while (i < needle->length && lower(p[i]) == needle->bytes[i])
            i++;
        return i;
    }
    for (; i + 8 <= needle->length; i += 8)
        if (memcmp(p + i, needle->bytes + i, 8) != 0)
            break;
    while (i < needle->length && p[i] == needle->bytes[i])
        i++;
    return i;
}

/* Compares the part from the critical place on forwards, and the rest backwards; what agreed
 * tells how far to go on. */
size_t emmap_needle_two_way(const struct emmap_needle *needle, const uint8_t *p, size_t n,
                            size_t from)
{
    const uint8_t *bytes = needle->bytes;
    size_t length = needle->length, known = 0; /* bytes at the front that are known to agree */
    int fold = needle->ignore_case;
    /* SAFETY: at + length <= n, and i < length. */
    for (size_t at = from; at <= n && length <= n - at;) {
        size_t i = needle->critical > known ? needle->critical : known;
        while (i < length && (fold ? lower(p[at + i]) : p[at + i]) == bytes[i])
            i++;
        if (i < length) {
            at += i - needle->critical + 1;
            known = 0;
            continue;
        }
        i = needle->critical;
        while (i > known && (fold ? lower(p[at + i - 1]) : p[at + i - 1]) == bytes[i - 1])
            i--;
        if (i <= known)
            return at;
        at += needle->period;
        known = needle->periodic ? length - needle->period : 0;
    }
    return EMMAP_NOWHERE;
}
