/* Blocks for NEON: four vectors of 16 bytes. */
#if defined(__aarch64__)

#include <arm_neon.h>
#include <string.h>

#include "kernels.h"

#define EMMAP_BLOCK

struct block {
    uint8x16_t part[4];
};

static inline struct block block_load(const uint8_t *p)
{
    /* SAFETY: the caller has 64 bytes. */
    return (struct block){{vld1q_u8(p), vld1q_u8(p + 16), vld1q_u8(p + 32), vld1q_u8(p + 48)}};
}

static inline void block_store(uint8_t *p, struct block block)
{
    for (int i = 0; i < 4; i++)
        vst1q_u8(p + 16 * i, block.part[i]); /* SAFETY: the caller has 64 bytes. */
}

/* The bits of bytes that are 0 or 0xff: each byte keeps the bit of its place, and neighbours add
 * up. */
static inline uint64_t mask_of(struct block block)
{
    static const uint8_t places[16] = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
    uint8x16_t place = vld1q_u8(places);
    uint8x16_t low = vpaddq_u8(vandq_u8(block.part[0], place), vandq_u8(block.part[1], place));
    uint8x16_t high = vpaddq_u8(vandq_u8(block.part[2], place), vandq_u8(block.part[3], place));
    uint8x16_t all = vpaddq_u8(low, high);
    return vgetq_lane_u64(vreinterpretq_u64_u8(vpaddq_u8(all, all)), 0);
}

static inline uint64_t block_high(struct block block)
{
    for (int i = 0; i < 4; i++)
        block.part[i] = vcgeq_u8(block.part[i], vdupq_n_u8(0x80));
    return mask_of(block);
}

static inline uint64_t block_equal(struct block block, uint8_t byte)
{
    for (int i = 0; i < 4; i++)
        block.part[i] = vceqq_u8(block.part[i], vdupq_n_u8(byte));
    return mask_of(block);
}

static inline uint64_t block_between(struct block block, uint8_t low, uint8_t high)
{
    for (int i = 0; i < 4; i++)
        block.part[i] = vcleq_u8(vsubq_u8(block.part[i], vdupq_n_u8(low)),
                                 vdupq_n_u8((uint8_t)(high - low)));
    return mask_of(block);
}

static inline uint64_t block_white(struct block block)
{
    for (int i = 0; i < 4; i++)
        block.part[i] = vorrq_u8(vceqq_u8(block.part[i], vdupq_n_u8(' ')),
                                 vcleq_u8(vsubq_u8(block.part[i], vdupq_n_u8('\t')),
                                          vdupq_n_u8('\r' - '\t')));
    return mask_of(block);
}

static inline uint64_t block_pair(struct block a, uint8_t a_bits, uint8_t a_byte, struct block b,
                                  uint8_t b_bits, uint8_t b_byte)
{
    for (int i = 0; i < 4; i++)
        a.part[i] =
            vandq_u8(vceqq_u8(vorrq_u8(a.part[i], vdupq_n_u8(a_bits)), vdupq_n_u8(a_byte)),
                     vceqq_u8(vorrq_u8(b.part[i], vdupq_n_u8(b_bits)), vdupq_n_u8(b_byte)));
    return mask_of(a);
}

static inline struct block block_translate(struct block block,
                                           const struct emmap_translation *translation)
{
    for (int i = 0; i < 4; i++) {
        /* A lookup takes an index below 64, and leaves what is there for any other. */
        uint8x16_t index = block.part[i], result = index;
        for (int quarter = 0; quarter < 4; quarter++) {
            uint8x16x4_t table = vld1q_u8_x4(translation->table + 64 * quarter);
            result = vqtbx4q_u8(result, table, index);
            index = vsubq_u8(index, vdupq_n_u8(64));
        }
        block.part[i] = result;
    }
    return block;
}

static inline uint64_t block_differ(struct block a, struct block b)
{
    for (int i = 0; i < 4; i++)
        a.part[i] = vmvnq_u8(vceqq_u8(a.part[i], b.part[i]));
    return mask_of(a);
}

#include "count.h"
#include "find.h"
#include "newlines.h"
#include "translate.h"

const struct emmap_kernels emmap_neon = {"neon", count, find, newlines, translate};

#endif
