/* epilogue_avx2.h: 8 int32 accumulators -> 8 output integers, equal to epilogue.h lane by lane.
 * See epilogue_avx512.h for why the bounds move before the rounding. */
#ifndef EDGEQ_EPILOGUE_AVX2_H
#define EDGEQ_EPILOGUE_AVX2_H
#include <immintrin.h>
#include <string.h>
#include "epilogue.h"

/* One rounding step for 8 channels: multiplier, bounds relative to zp, zp. */
typedef struct {
  __m256 m, lo, hi;
  __m256i zp;
} eq_step256;

/* Rows of 8 channels; without a table `pre` is the whole epilogue. */
typedef struct {
  eq_step256 pre, post;
  int channels; /* of the 8, those that exist */
} eq_panel256;

EQ_TARGET_AVX2 EQ_INLINE eq_step256 eq_step256_of(const float *m, __m256i zp, __m256i lo,
                                                  __m256i hi) {
  return (eq_step256){_mm256_loadu_ps(m), _mm256_cvtepi32_ps(_mm256_sub_epi32(lo, zp)),
                      _mm256_cvtepi32_ps(_mm256_sub_epi32(hi, zp)), zp};
}

EQ_TARGET_AVX2 EQ_INLINE __m256i eq_load256(const int32_t *p) {
  return _mm256_loadu_si256((const __m256i *)(const void *)p);
}

/* Bytes of four registers of 8 after vpackssdw and vpacksswb, in the order of memory. */
EQ_TARGET_AVX2 EQ_INLINE __m256i eq_order256(__m256i v) {
  return _mm256_permutevar8x32_epi32(v, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

/* Eight int32 as saturated bytes, in the low half. */
EQ_TARGET_AVX2 EQ_INLINE __m128i eq_bytes256(__m256i v) {
  const __m128i w = _mm_packs_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  return _mm_packs_epi16(w, w);
}

/* Rows of channels c..c+7; rows are padded to 16, so full loads are inside. */
EQ_TARGET_AVX2 EQ_INLINE eq_panel256 eq_panel256_of(const eq_epilogue *e, int c, int channels) {
  const __m256i zp = eq_load256(e->zp + c), lo = eq_load256(e->lo + c), hi = eq_load256(e->hi + c);
  eq_panel256 p = {.channels = channels < 0 ? 0 : channels > 8 ? 8 : channels};
  if (e->lut_kind == EQ_LUT_NONE) {
    p.pre = eq_step256_of(e->m + c, zp, lo, hi);
    p.post = p.pre;
  } else {
    const int32_t end = e->lut_kind == EQ_LUT_LUT8 ? 127 : 32767;
    p.pre = eq_step256_of(e->m + c, _mm256_set1_epi32(e->pre_zero), _mm256_set1_epi32(-end - 1),
                          _mm256_set1_epi32(end));
    p.post = eq_step256_of(e->r + c, zp, lo, hi);
  }
  return p;
}

EQ_TARGET_AVX2 EQ_INLINE __m256i eq_apply256(__m256i x, const eq_step256 *s) {
  __m256 v = _mm256_mul_ps(_mm256_cvtepi32_ps(x), s->m);
  v = _mm256_min_ps(_mm256_max_ps(v, s->lo), s->hi);
  return _mm256_add_epi32(_mm256_cvtps_epi32(v), s->zp);
}

/* Gated activation: the accumulator, its multiplier and the table value t. */
EQ_TARGET_AVX2 EQ_INLINE __m256i eq_gate256(__m256i acc, __m256i t, const eq_step256 *s) {
  __m256 v = _mm256_mul_ps(_mm256_cvtepi32_ps(acc), s->m);
  v = _mm256_mul_ps(v, _mm256_cvtepi32_ps(t));
  v = _mm256_min_ps(_mm256_max_ps(v, s->lo), s->hi);
  return _mm256_add_epi32(_mm256_cvtps_epi32(v), s->zp);
}

/* Tables by gathers of 32 bits. LUT8 reads one entry before the one it wants and keeps the high
 * half, so that nothing beyond the table is read; entry 0 comes from a gather at 0. */
EQ_TARGET_AVX2 EQ_INLINE __m256i eq_lut8_256(__m256i x, const int16_t *table) {
  const __m256i i = _mm256_add_epi32(x, _mm256_set1_epi32(127)); /* index - 1 */
  const __m256i first = _mm256_cmpgt_epi32(_mm256_setzero_si256(), i);
  const __m256i at = _mm256_max_epi32(i, _mm256_setzero_si256());
  const __m256i pair = _mm256_i32gather_epi32((const int *)(const void *)table, at, 2);
  const __m256i low = _mm256_srai_epi32(_mm256_slli_epi32(pair, 16), 16);
  return _mm256_blendv_epi8(_mm256_srai_epi32(pair, 16), low, first);
}

/* One gather brings T[i] and T[i+1]; i <= 511, so the last pair is the table's end. */
EQ_TARGET_AVX2 EQ_INLINE __m256i eq_lut16_256(__m256i x, const int16_t *table) {
  const __m256i u = _mm256_add_epi32(x, _mm256_set1_epi32(32768));
  const __m256i pair =
      _mm256_i32gather_epi32((const int *)(const void *)table, _mm256_srai_epi32(u, 7), 2);
  const __m256i f = _mm256_and_si256(u, _mm256_set1_epi32(127));
  const __m256i t = _mm256_srai_epi32(_mm256_slli_epi32(pair, 16), 16);
  const __m256i rise = _mm256_mullo_epi32(_mm256_sub_epi32(_mm256_srai_epi32(pair, 16), t), f);
  return _mm256_add_epi32(t, _mm256_srai_epi32(_mm256_add_epi32(rise, _mm256_set1_epi32(64)), 7));
}

EQ_TARGET_AVX2 EQ_INLINE __m256i eq_table256(const eq_epilogue *e, __m256i x) {
  return e->lut_kind == EQ_LUT_LUT8 ? eq_lut8_256(x, e->table) : eq_lut16_256(x, e->table);
}

/* Write the channels that exist to `out`, the address of the first of the 8. */
EQ_TARGET_AVX2 EQ_INLINE void eq_store256(const eq_epilogue *e, const eq_panel256 *p, __m256i acc,
                                          uint8_t *out) {
  __m256i y = eq_apply256(acc, &p->pre);
  if (e->lut_kind != EQ_LUT_NONE) {
    y = eq_table256(e, y);
    if (e->gate)
      y = eq_gate256(acc, y, &p->post);
    else if (e->step)
      y = eq_apply256(y, &p->post);
  }
  /* saturating packs: only a table value without a step can lie outside */
  const __m128i y16 = _mm_packs_epi32(_mm256_castsi256_si128(y), _mm256_extracti128_si256(y, 1));
  const __m128i bytes = e->out16 ? y16 : _mm_packs_epi16(y16, y16);
  if (p->channels == 8) {
    if (e->out16)
      _mm_storeu_si128((__m128i *)(void *)out, bytes);
    else
      _mm_storel_epi64((__m128i *)(void *)out, bytes);
    return;
  }
  uint8_t part[16];
  _mm_storeu_si128((__m128i *)(void *)part, bytes);
  memcpy(out, part, (size_t)(p->channels * (e->out16 ? 2 : 1)));
}
#endif
