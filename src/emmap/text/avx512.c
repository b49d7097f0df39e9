/* Blocks for AVX-512 with BW and VBMI: one vector of 64 bytes, whose comparisons give masks. */
#if defined(__x86_64__)

#include <immintrin.h>
#include <string.h>

#include "kernels.h"

#if defined(__clang__)
#pragma clang attribute push( \
    __attribute__((target("avx512f,avx512bw,avx512vbmi,bmi,bmi2,popcnt"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vbmi,bmi,bmi2,popcnt")
#endif

#define EMMAP_BLOCK

struct block {
    __m512i all;
};

static inline struct block block_load(const uint8_t *p)
{
    return (struct block){_mm512_loadu_si512(p)}; /* SAFETY: the caller has 64 bytes. */
}

static inline void block_store(uint8_t *p, struct block block)
{
    _mm512_storeu_si512(p, block.all); /* SAFETY: the caller has 64 bytes. */
}

static inline uint64_t block_high(struct block block)
{
    return _mm512_movepi8_mask(block.all);
}

static inline uint64_t block_equal(struct block block, uint8_t byte)
{
    return _mm512_cmpeq_epi8_mask(block.all, _mm512_set1_epi8((char)byte));
}

static inline uint64_t block_between(struct block block, uint8_t low, uint8_t high)
{
    __m512i from_low = _mm512_sub_epi8(block.all, _mm512_set1_epi8((char)low));
    return _mm512_cmple_epu8_mask(from_low, _mm512_set1_epi8((char)(high - low)));
}

static inline uint64_t block_white(struct block block)
{
    /* By its lower four bits, each byte meets the one white byte that it might be. */
    __m512i white = _mm512_broadcast_i32x4(
        _mm_setr_epi8(' ', 0, 0, 0, 0, 0, 0, 0, 0, '\t', '\n', '\v', '\f', '\r', 0, 0));
    return _mm512_cmpeq_epi8_mask(_mm512_shuffle_epi8(white, block.all), block.all);
}

static inline uint64_t block_pair(struct block a, uint8_t a_bits, uint8_t a_byte, struct block b,
                                  uint8_t b_bits, uint8_t b_byte)
{
    __m512i a_set = _mm512_or_si512(a.all, _mm512_set1_epi8((char)a_bits));
    __m512i b_set = _mm512_or_si512(b.all, _mm512_set1_epi8((char)b_bits));
    uint64_t a_places = _mm512_cmpeq_epi8_mask(a_set, _mm512_set1_epi8((char)a_byte));
    return _mm512_mask_cmpeq_epi8_mask(a_places, b_set, _mm512_set1_epi8((char)b_byte));
}

static inline struct block block_translate(struct block block,
                                           const struct emmap_translation *translation)
{
    /* Four vectors, in two pairs: the top bit of a byte chooses between them. */
    const uint8_t *table = translation->table;
    __m512i below = _mm512_permutex2var_epi8(_mm512_loadu_si512(table), block.all,
                                             _mm512_loadu_si512(table + 64));
    __m512i above = _mm512_permutex2var_epi8(_mm512_loadu_si512(table + 128), block.all,
                                             _mm512_loadu_si512(table + 192));
    return (struct block){_mm512_mask_blend_epi8(_mm512_movepi8_mask(block.all), below, above)};
}

static inline uint64_t block_differ(struct block a, struct block b)
{
    return _mm512_cmpneq_epi8_mask(a.all, b.all);
}

#include "count.h"
#include "find.h"
#include "newlines.h"
#include "translate.h"

const struct emmap_kernels emmap_avx512 = {"avx512", count, find, newlines, translate};

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#endif
