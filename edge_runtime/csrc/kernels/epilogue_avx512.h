/* epilogue_avx512.h: 16 int32 accumulators -> 16 output integers, equal to epilogue.h lane by lane.
 * clamp(rint(x) + zp, lo, hi) is computed as rint(clamp(x, lo - zp, hi - zp)) + zp: the bounds are
 * integers, so both are the same number, and nothing overflows. */
#ifndef EDGEQ_EPILOGUE_AVX512_H
#define EDGEQ_EPILOGUE_AVX512_H
#include <immintrin.h>
#include <string.h>
#include "epilogue.h"

#define EQ_TARGET EQ_TARGET_AVX512VNNI

/* One rounding step for 16 channels: multiplier, bounds relative to zp, zp. */
typedef struct {
  __m512 m, lo, hi;
  __m512i zp;
} eq_step512;

/* Rows of one 16-channel panel. */
typedef struct {
  eq_step512 pre, post; /* without a table `pre` is the whole epilogue */
  int channels;         /* of the 16, those that exist */
} eq_panel512;

EQ_TARGET EQ_INLINE eq_step512 eq_step512_of(const float *m, __m512i zp, __m512i lo, __m512i hi) {
  return (eq_step512){_mm512_loadu_ps(m), _mm512_cvtepi32_ps(_mm512_sub_epi32(lo, zp)),
                      _mm512_cvtepi32_ps(_mm512_sub_epi32(hi, zp)), zp};
}

/* Rows of the panel that starts at channel c; rows are padded to 16, so full loads are inside. */
EQ_TARGET EQ_INLINE eq_panel512 eq_panel512_of(const eq_epilogue *e, int c, int channels) {
  const __m512i zp = _mm512_loadu_si512(e->zp + c);
  const __m512i lo = _mm512_loadu_si512(e->lo + c), hi = _mm512_loadu_si512(e->hi + c);
  eq_panel512 p = {.channels = channels < 16 ? channels : 16};
  if (e->lut_kind == EQ_LUT_NONE) {
    p.pre = eq_step512_of(e->m + c, zp, lo, hi);
    p.post = p.pre;
  } else {
    const int32_t end = e->lut_kind == EQ_LUT_LUT8 ? 127 : 32767;
    p.pre = eq_step512_of(e->m + c, _mm512_set1_epi32(e->pre_zero), _mm512_set1_epi32(-end - 1),
                          _mm512_set1_epi32(end));
    p.post = eq_step512_of(e->r + c, zp, lo, hi);
  }
  return p;
}

EQ_TARGET EQ_INLINE __m512i eq_apply512(__m512i x, const eq_step512 *s) {
  __m512 v = _mm512_mul_ps(_mm512_cvtepi32_ps(x), s->m);
  v = _mm512_min_ps(_mm512_max_ps(v, s->lo), s->hi);
  return _mm512_add_epi32(_mm512_cvtps_epi32(v), s->zp);
}

/* Gated activation: the accumulator, its multiplier and the table value t. */
EQ_TARGET EQ_INLINE __m512i eq_gate512(__m512i acc, __m512i t, const eq_step512 *s) {
  __m512 v = _mm512_mul_ps(_mm512_cvtepi32_ps(acc), s->m);
  v = _mm512_mul_ps(v, _mm512_cvtepi32_ps(t));
  v = _mm512_min_ps(_mm512_max_ps(v, s->lo), s->hi);
  return _mm512_add_epi32(_mm512_cvtps_epi32(v), s->zp);
}

/* 16 lookups in a table of 256 int16 values by x in [-128, 127]: the table is eight registers of
 * 32, four two-register permutes cover it. */
EQ_TARGET EQ_INLINE __m512i eq_lut8_512(__m512i x, const int16_t *table) {
  const __m256i i = _mm512_cvtepi32_epi16(_mm512_add_epi32(x, _mm512_set1_epi32(128)));
  const __m512i at = _mm512_castsi256_si512(i); /* only the low half matters */
  __m512i t[8];
#pragma GCC unroll 8
  for (int k = 0; k < 8; k++) t[k] = _mm512_loadu_si512(table + 32 * k);
  const __mmask32 bit6 = _mm512_test_epi16_mask(at, _mm512_set1_epi16(64));
  const __mmask32 bit7 = _mm512_test_epi16_mask(at, _mm512_set1_epi16(128));
  const __m512i a = _mm512_permutex2var_epi16(t[0], at, t[1]);
  const __m512i b = _mm512_permutex2var_epi16(t[2], at, t[3]);
  const __m512i c = _mm512_permutex2var_epi16(t[4], at, t[5]);
  const __m512i d = _mm512_permutex2var_epi16(t[6], at, t[7]);
  const __m512i low = _mm512_mask_blend_epi16(bit6, a, b),
                high = _mm512_mask_blend_epi16(bit6, c, d);
  const __m512i v = _mm512_mask_blend_epi16(bit7, low, high);
  return _mm512_cvtepi16_epi32(_mm512_castsi512_si256(v));
}

/* One gather of 32 bits brings T[i] and T[i+1]; i <= 511, so the last pair is the table's end. */
EQ_TARGET EQ_INLINE __m512i eq_lut16_512(__m512i x, const int16_t *table) {
  const __m512i u = _mm512_add_epi32(x, _mm512_set1_epi32(32768));
  const __m512i pair = _mm512_i32gather_epi32(_mm512_srai_epi32(u, 7), table, 2);
  const __m512i f = _mm512_and_si512(u, _mm512_set1_epi32(127));
  const __m512i t = _mm512_srai_epi32(_mm512_slli_epi32(pair, 16), 16);
  const __m512i rise = _mm512_mullo_epi32(_mm512_sub_epi32(_mm512_srai_epi32(pair, 16), t), f);
  return _mm512_add_epi32(t, _mm512_srai_epi32(_mm512_add_epi32(rise, _mm512_set1_epi32(64)), 7));
}

/* Knots of a table of 64 straight pieces in four registers. */
typedef struct {
  __m512i k[4];
} eq_knots512;

EQ_TARGET EQ_INLINE eq_knots512 eq_knots512_of(const int32_t *knots) {
  return (eq_knots512){{_mm512_loadu_si512(knots), _mm512_loadu_si512(knots + 16),
                        _mm512_loadu_si512(knots + 32), _mm512_loadu_si512(knots + 48)}};
}

/* base + ((slope * f + 64) >> 7) is (64 + base * 128 + slope * f) >> 7: one vpdpwssd. */
EQ_TARGET EQ_INLINE __m512i eq_pieces512(__m512i x, const eq_knots512 *t) {
  /* the permutes use 5 bits of the index: the sign of x tells the halves of the table apart */
  const __m512i piece = _mm512_srai_epi32(x, 10);
  const __m512i low = _mm512_permutex2var_epi32(t->k[0], piece, t->k[1]);
  const __m512i high = _mm512_permutex2var_epi32(t->k[2], piece, t->k[3]);
  const __mmask16 negative = _mm512_cmplt_epi32_mask(x, _mm512_setzero_si512());
  const __m512i pair = _mm512_mask_blend_epi32(negative, high, low);
  const __m512i factors =
      _mm512_ternarylogic_epi32(/* (x << 16 & mask) | 128 */
                                _mm512_slli_epi32(x, 16), _mm512_set1_epi32(1023 << 16),
                                _mm512_set1_epi32(128), 0xea);
  return _mm512_srai_epi32(_mm512_dpwssd_epi32(_mm512_set1_epi32(64), pair, factors), 7);
}

/* Write `n` <= 16 bytes of v without a masked store, which costs more on the CPUs measured. */
EQ_TARGET EQ_INLINE void eq_write512(uint8_t *out, __m128i v, int n) {
  uint8_t part[16];
  if (n == 16) {
    _mm_storeu_si128((__m128i *)(void *)out, v);
    return;
  }
  _mm_storeu_si128((__m128i *)(void *)part, v);
  if (n >= 8) {
    memcpy(out, part, 8);
    memcpy(out + n - 8, part + n - 8, 8);
  } else if (n >= 4) {
    memcpy(out, part, 4);
    memcpy(out + n - 4, part + n - 4, 4);
  } else {
    for (int i = 0; i < n; i++) out[i] = part[i];
  }
}

/* int32 outputs -> bytes or int16; saturating: only a table value without a step can lie outside.
 */
EQ_TARGET EQ_INLINE void eq_narrow512(const eq_epilogue *e, __m512i y, int channels, uint8_t *out) {
  if (e->out16) {
    const __m256i v = _mm512_cvtsepi32_epi16(y);
    if (channels == 16) {
      _mm256_storeu_si256((__m256i *)(void *)out, v);
    } else {
      int16_t part[16];
      _mm256_storeu_si256((__m256i *)(void *)part, v);
      memcpy(out, part, (size_t)channels * 2);
    }
  } else {
    eq_write512(out, _mm512_cvtsepi32_epi8(y), channels);
  }
}

/* Accumulators of `pixels` pixels, acc[i * step] 16 channels each from channel c, to out[i] + at.
 */
void eq_finish512(const eq_epilogue *e, int c, int channels, const __m512i *acc, int step,
                  uint8_t *const *out, ptrdiff_t at, int pixels);
#endif
