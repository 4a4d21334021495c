/* lookup_avx512.h: standalone table functions in AVX-512, for rows__avx512vnni.c. */
#ifndef EQ_LOOKUP_AVX512_H
#define EQ_LOOKUP_AVX512_H
#include "epilogue_avx512.h"

/* The step after a table for 32 channels in the order of memory; bounds without the zero point. */
typedef struct {
  __m512 r[2], lo[2], hi[2];
  __m512i zp[2];
} eq_step512;

EQ_TARGET EQ_INLINE eq_step512 eq_step512_of(const eq_lookup *l, int c, __mmask32 some) {
  eq_step512 s;
#pragma GCC unroll 2
  for (int k = 0; k < 2; k++) {
    const __mmask16 half = (__mmask16)(some >> 16 * k);
#define ROW(name) _mm512_maskz_loadu_epi32(half, l->name + c + 16 * k)
    s.zp[k] = ROW(zp);
    s.r[k] = _mm512_castsi512_ps(ROW(r));
    s.lo[k] = _mm512_cvtepi32_ps(_mm512_sub_epi32(ROW(lo), s.zp[k]));
    s.hi[k] = _mm512_cvtepi32_ps(_mm512_sub_epi32(ROW(hi), s.zp[k]));
#undef ROW
  }
  return s;
}

EQ_TARGET EQ_INLINE __m512i eq_stepped512(__m512i t, const eq_step512 *s) {
  __m512i y[2] = {_mm512_cvtepi16_epi32(_mm512_castsi512_si256(t)),
                  _mm512_cvtepi16_epi32(_mm512_extracti64x4_epi64(t, 1))};
#pragma GCC unroll 2
  for (int k = 0; k < 2; k++) { /* neither a table value nor r is NaN */
    __m512 v = _mm512_mul_ps(_mm512_cvtepi32_ps(y[k]), s->r[k]);
    v = _mm512_min_ps(_mm512_max_ps(v, s->lo[k]), s->hi[k]);
    y[k] = _mm512_add_epi32(_mm512_cvtps_epi32(v), s->zp[k]);
  }
  const __m512i order = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
  return _mm512_permutexvar_epi64(order, _mm512_packs_epi32(y[0], y[1]));
}

/* A table of 513 entries whose steps fit int16, held in registers. */
typedef struct {
  __m512i entries[16], last;
} eq_table512;

EQ_TARGET EQ_INLINE eq_table512 eq_table512_of(const int16_t *table) {
  eq_table512 t = {.last = _mm512_set1_epi16(table[EQ_LUT16_INTERVALS])};
  for (int k = 0; k < 16; k++) t.entries[k] = _mm512_loadu_si512(table + 32 * k);
  return t;
}

EQ_TARGET EQ_INLINE __m512i eq_entries512(const eq_table512 *t, __m512i index) {
  __m512i v[8];
#pragma GCC unroll 8
  for (int k = 0; k < 8; k++)
    v[k] = _mm512_permutex2var_epi16(t->entries[2 * k], index, t->entries[2 * k + 1]);
#pragma GCC unroll 3
  for (int half = 1; half < 8; half *= 2) {
    const __mmask32 upper = _mm512_test_epi16_mask(index, _mm512_set1_epi16((short)(64 * half)));
#pragma GCC unroll 4
    for (int k = 0; k < 8; k += 2 * half) v[k] = _mm512_mask_blend_epi16(upper, v[k], v[k + half]);
  }
  return v[0];
}

EQ_TARGET EQ_INLINE __m512i eq_interpolate512(__m512i x, const eq_table512 *t) {
  const __m512i i = _mm512_srli_epi16(_mm512_xor_si512(x, _mm512_set1_epi16(-32768)), 7);
  const __m512i f = _mm512_and_si512(_mm512_slli_epi16(x, 8), _mm512_set1_epi16(0x7fff));
  const __mmask32 end = _mm512_cmpeq_epi16_mask(i, _mm512_set1_epi16(EQ_LUT16_INTERVALS - 1));
  const __m512i at = eq_entries512(t, i);
  const __m512i next = eq_entries512(t, _mm512_add_epi16(i, _mm512_set1_epi16(1)));
  const __m512i rise = _mm512_sub_epi16(_mm512_mask_blend_epi16(end, next, t->last), at);
  return _mm512_add_epi16(at, _mm512_mulhrs_epi16(rise, f));
}

/* KIND, STEP and OUT16 are constant after inlining. */
EQ_TARGET EQ_INLINE void eq_look_up_run512(const eq_lookup *l, const eq_kind512 KIND,
                                           const bool STEP, const bool OUT16) {
  const eq_epilogue e = {.pieces = l->pieces};
  const eq_pieces512 pieces = eq_pieces512_of(&e, KIND);
  eq_table512 table;
  if (KIND == EQ_TABLE512) table = eq_table512_of(l->table);
  for (int c = 0; c < l->n; c += 32) {
    const __mmask32 some = l->n - c < 32 ? (1u << (l->n - c)) - 1 : ~0u;
    const eq_step512 step = STEP ? eq_step512_of(l, c, some) : (eq_step512){0};
    const int16_t *wide = (const int16_t *)l->x + c;
    const int8_t *narrow = (const int8_t *)l->x + c;
    int16_t *y16 = (int16_t *)l->y + c;
    int8_t *y8 = (int8_t *)l->y + c;
    for (int64_t i = 0; i < l->pixels;
         i++, wide += l->sx, narrow += l->sx, y16 += l->sy, y8 += l->sy) {
      __m512i v;
      if (KIND == EQ_BYTES512)
        v = eq_bytes512_at(_mm512_cvtepi8_epi16(_mm256_maskz_loadu_epi8(some, narrow)), l->table);
      else if (KIND == EQ_PIECES512)
        v = eq_pieces512_at(_mm512_maskz_loadu_epi16(some, wide), &pieces);
      else
        v = eq_interpolate512(_mm512_maskz_loadu_epi16(some, wide), &table);
      if (STEP) v = eq_stepped512(v, &step);
      if (OUT16)
        _mm512_mask_storeu_epi16(y16, some, v);
      else
        _mm256_mask_storeu_epi8(y8, some, _mm512_cvtsepi16_epi8(v));
    }
  }
}

EQ_TARGET EQ_INLINE void eq_look_up_kind512(const eq_lookup *l, const eq_kind512 KIND) {
  if (l->r)
    l->out16 ? eq_look_up_run512(l, KIND, true, true) : eq_look_up_run512(l, KIND, true, false);
  else
    l->out16 ? eq_look_up_run512(l, KIND, false, true) : eq_look_up_run512(l, KIND, false, false);
}

EQ_TARGET static void eq_look_up512(const eq_lookup *l) {
  if (l->in8)
    eq_look_up_kind512(l, EQ_BYTES512);
  else if (l->pieces)
    eq_look_up_kind512(l, EQ_PIECES512);
  else
    eq_look_up_kind512(l, EQ_TABLE512);
}
#endif
