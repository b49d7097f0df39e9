/* Blocks for AVX2: two vectors of 32 bytes. */
#if defined(__x86_64__)

#include <immintrin.h>
#include <string.h>

#include "kernels.h"

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,bmi,bmi2,popcnt"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,bmi,bmi2,popcnt")
#endif

#define EMMAP_BLOCK

struct block {
    __m256i a, b;
};

static inline struct block block_load(const uint8_t *p)
{
    /* SAFETY: the caller has 64 bytes. */
    return (struct block){_mm256_loadu_si256((const __m256i *)p),
                          _mm256_loadu_si256((const __m256i *)(p + 32))};
}

static inline void block_store(uint8_t *p, struct block block)
{
    _mm256_storeu_si256((__m256i *)p, block.a); /* SAFETY: the caller has 64 bytes. */
    _mm256_storeu_si256((__m256i *)(p + 32), block.b);
}

static inline uint64_t tops(__m256i a, __m256i b)
{
    return (uint32_t)_mm256_movemask_epi8(a) | (uint64_t)(uint32_t)_mm256_movemask_epi8(b) << 32;
}

static inline uint64_t block_high(struct block block)
{
    return tops(block.a, block.b);
}

static inline uint64_t block_equal(struct block block, uint8_t byte)
{
    __m256i wanted = _mm256_set1_epi8((char)byte);
    return tops(_mm256_cmpeq_epi8(block.a, wanted), _mm256_cmpeq_epi8(block.b, wanted));
}

static inline uint64_t block_between(struct block block, uint8_t low, uint8_t high)
{
    /* Counted from `low`, as unsigned bytes, those inside are at most the width. */
    __m256i from = _mm256_set1_epi8((char)low), width = _mm256_set1_epi8((char)(high - low));
    __m256i a = _mm256_sub_epi8(block.a, from), b = _mm256_sub_epi8(block.b, from);
    return tops(_mm256_cmpeq_epi8(_mm256_min_epu8(a, width), a),
                _mm256_cmpeq_epi8(_mm256_min_epu8(b, width), b));
}

static inline uint64_t block_white(struct block block)
{
    /* By its lower four bits, each byte meets the one white byte that it might be. */
    __m256i white = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(' ', 0, 0, 0, 0, 0, 0, 0, 0, '\t', '\n', '\v', '\f', '\r', 0, 0));
    return tops(_mm256_cmpeq_epi8(_mm256_shuffle_epi8(white, block.a), block.a),
                _mm256_cmpeq_epi8(_mm256_shuffle_epi8(white, block.b), block.b));
}

static inline uint64_t block_pair(struct block a, uint8_t a_bits, uint8_t a_byte, struct block b,
                                  uint8_t b_bits, uint8_t b_byte)
{
    __m256i a_set = _mm256_set1_epi8((char)a_bits), a_wanted = _mm256_set1_epi8((char)a_byte);
    __m256i b_set = _mm256_set1_epi8((char)b_bits), b_wanted = _mm256_set1_epi8((char)b_byte);
    return tops(
        _mm256_and_si256(_mm256_cmpeq_epi8(_mm256_or_si256(a.a, a_set), a_wanted),
                         _mm256_cmpeq_epi8(_mm256_or_si256(b.a, b_set), b_wanted)),
        _mm256_and_si256(_mm256_cmpeq_epi8(_mm256_or_si256(a.b, a_set), a_wanted),
                         _mm256_cmpeq_epi8(_mm256_or_si256(b.b, b_set), b_wanted)));
}

/* What a row of 16 values is to be xored with. Other bytes get their top bit set: for them it is
 * 0. */
static inline __m256i changes(__m256i bytes, __m256i row, __m256i table)
{
    __m256i within = _mm256_adds_epu8(_mm256_xor_si256(bytes, row), _mm256_set1_epi8(0x70));
    return _mm256_shuffle_epi8(table, within);
}

static inline struct block block_translate(struct block block,
                                           const struct emmap_translation *translation)
{
    struct block result = block;
    for (int i = 0; i < translation->n_rows; i++) {
        __m256i row = _mm256_set1_epi8((char)translation->rows[i]);
        const uint8_t *bytes = translation->changes[translation->rows[i] / 16];
        __m256i table = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)bytes));
        result.a = _mm256_xor_si256(result.a, changes(block.a, row, table));
        result.b = _mm256_xor_si256(result.b, changes(block.b, row, table));
    }
    return result;
}

static inline uint64_t block_differ(struct block a, struct block b)
{
    return ~tops(_mm256_cmpeq_epi8(a.a, b.a), _mm256_cmpeq_epi8(a.b, b.b));
}

#include "count.h"
#include "find.h"
#include "newlines.h"
#include "translate.h"

const struct emmap_kernels emmap_avx2 = {"avx2", count, find, newlines, translate};

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#endif
