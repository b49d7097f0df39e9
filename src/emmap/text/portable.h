/* A block: 64 bytes, and masks with a bit for each byte that is of a class. The kernels
 * (count.h, find.h, newlines.h, translate.h) are written in blocks; each instruction set brings
 * its own. This is the one in portable C, eight bytes at a time, and says what each of the
 * functions does. */
#ifndef EMMAP_BLOCK
#define EMMAP_BLOCK

#include "kernels.h"

#include <string.h>

struct block {
    uint64_t part[8];
};

#define EVERY_BYTE UINT64_C(0x0101010101010101)
#define EVERY_TOP (EVERY_BYTE * 0x80)

/* The first byte is the lowest on each machine. */
static inline uint64_t in_order(uint64_t part)
{
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    return __builtin_bswap64(part);
#else
    return part;
#endif
}

static inline struct block block_load(const uint8_t *p)
{
    struct block block;
    memcpy(&block, p, 64); /* SAFETY: the caller has 64 bytes. */
    return block;
}

static inline void block_store(uint8_t *p, struct block block)
{
    memcpy(p, &block, 64); /* SAFETY: the caller has 64 bytes. */
}

/* The top bit of each byte of a part, as 8 bits. */
static inline uint64_t tops(uint64_t part)
{
    return ((in_order(part) & EVERY_TOP) >> 7) * UINT64_C(0x0102040810204080) >> 56;
}

/* Those from 0x80 on. */
static inline uint64_t block_high(struct block block)
{
    uint64_t mask = 0;
    for (int i = 0; i < 8; i++)
        mask |= tops(block.part[i]) << 8 * i;
    return mask;
}

/* Those equal to `byte`. */
static inline uint64_t block_equal(struct block block, uint8_t byte)
{
    struct block equal;
    for (int i = 0; i < 8; i++) {
        uint64_t part = block.part[i] ^ (EVERY_BYTE * byte);
        equal.part[i] = ~(((part & ~EVERY_TOP) + ~EVERY_TOP) | part);
    }
    return block_high(equal);
}

/* Those from `low` to `high`, both in 0..0x7f or both in 0x80..0xff. */
static inline uint64_t block_between(struct block block, uint8_t low, uint8_t high)
{
    struct block inside;
    uint64_t flip = low & 0x80 ? 0 : EVERY_TOP;
    for (int i = 0; i < 8; i++) {
        uint64_t seven = block.part[i] & ~EVERY_TOP;
        uint64_t from_low = seven + EVERY_BYTE * (0x80 - (low & 0x7f));
        uint64_t over_high = seven + EVERY_BYTE * (0x7f - (high & 0x7f));
        inside.part[i] = from_low & ~over_high & (block.part[i] ^ flip);
    }
    return block_high(inside);
}

/* The white space of the C locale. */
static inline uint64_t block_white(struct block block)
{
    return block_between(block, '\t', '\r') | block_equal(block, ' ');
}

/* The places where `a`, with the bits `a_bits` set, is `a_byte`, and `b` likewise. */
static inline uint64_t block_pair(struct block a, uint8_t a_bits, uint8_t a_byte, struct block b,
                                  uint8_t b_bits, uint8_t b_byte)
{
    for (int i = 0; i < 8; i++) {
        a.part[i] |= EVERY_BYTE * a_bits;
        b.part[i] |= EVERY_BYTE * b_bits;
    }
    return block_equal(a, a_byte) & block_equal(b, b_byte);
}

static inline struct block block_translate(struct block block,
                                           const struct emmap_translation *translation)
{
    uint8_t bytes[64];
    block_store(bytes, block);
    for (int i = 0; i < 64; i++)
        bytes[i] = translation->table[bytes[i]];
    return block_load(bytes);
}

/* The places where they differ. */
static inline uint64_t block_differ(struct block a, struct block b)
{
    for (int i = 0; i < 8; i++)
        a.part[i] ^= b.part[i];
    return ~block_equal(a, 0);
}

#endif
