/* rows, avx512vnni. */
#if defined(__x86_64__)
#include "epilogue_avx512.h"

/* Products of one operand and a row; NaN becomes 0, which only infinite sums can need. */
EQ_TARGET EQ_INLINE __m512i finish(__m512 v, __m512i zp, __m512 lo, __m512 hi) {
  v = _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(v, v, _CMP_ORD_Q), v);
  v = _mm512_min_ps(_mm512_max_ps(v, lo), hi);
  return _mm512_add_epi32(_mm512_cvtps_epi32(v), zp);
}

EQ_TARGET EQ_INLINE __m512i load(const int8_t *p, __m512i zero) {
  return _mm512_sub_epi32(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p)),
                          zero);
}

EQ_TARGET EQ_INLINE void pixels(const eq_pixels *p, const bool MUL) {
  for (int c = 0; c < p->channels; c += 16) {
    const int n = p->channels - c < 16 ? p->channels - c : 16;
    const __m128i tail = eq_tail512(n);
    const __m512i za = _mm512_loadu_si512(p->za + c), zb = _mm512_loadu_si512(p->zb + c);
    const __m512 ra = _mm512_loadu_ps(p->ra + c), rb = _mm512_loadu_ps(p->rb + c);
    const __m512i zp = _mm512_loadu_si512(p->zp + c);
    const __m512 lo = _mm512_cvtepi32_ps(_mm512_sub_epi32(_mm512_loadu_si512(p->lo + c), zp));
    const __m512 hi = _mm512_cvtepi32_ps(_mm512_sub_epi32(_mm512_loadu_si512(p->hi + c), zp));
    const int8_t *a = p->a + c, *b = p->b + c;
    int8_t *y = p->y + c;
    for (int i = 0; i < p->pixels; i++, a += p->sa, b += p->sb, y += p->sy) {
      const __m512i va = load(a, za), vb = load(b, zb);
      const __m512 v = MUL ? _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_mullo_epi32(va, vb)), ra)
                           : _mm512_add_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(va), ra),
                                           _mm512_mul_ps(_mm512_cvtepi32_ps(vb), rb));
      eq_write512((uint8_t *)y, _mm512_cvtsepi32_epi8(finish(v, zp, lo, hi)), n, tail);
    }
  }
}

EQ_TARGET static void add_pixels(const eq_pixels *p) { pixels(p, false); }
EQ_TARGET static void mul_pixels(const eq_pixels *p) { pixels(p, true); }

EQ_TARGET EQ_INLINE bool quantize_all(int8_t *y, const float *x, float scale, int32_t zp, int n,
                                      const int STEP) {
  const __m512 by = _mm512_set1_ps(scale), lo = _mm512_set1_ps((float)(-128 - zp)),
               hi = _mm512_set1_ps((float)(127 - zp));
  const __m512i zero = _mm512_set1_epi32(zp);
  const __m128i spread = _mm_setr_epi8(0, 1, 2, -1, 3, 4, 5, -1, 6, 7, 8, -1, 9, 10, 11, -1);
  __mmask16 nan = 0;
  for (int i = 0; i < n; i += STEP, y += 16) {
    const int most = n - i < STEP ? n - i : STEP;
    const __m512 v = _mm512_maskz_loadu_ps((__mmask16)((1u << most) - 1), x + i);
    nan |= _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
    const __m128i q = _mm512_cvtsepi32_epi8(finish(_mm512_div_ps(v, by), zero, lo, hi));
    if (STEP == 12)
      eq_write512((uint8_t *)y, _mm_shuffle_epi8(q, spread), most / 3 * 4,
                  eq_tail512(most / 3 * 4));
    else
      eq_write512((uint8_t *)y, q, most, eq_tail512(most));
  }
  return nan != 0;
}

EQ_TARGET static bool quantize8(int8_t *y, const float *x, float scale, int32_t zp, bool expand,
                                int n) {
  return expand ? quantize_all(y, x, scale, zp, n, 12) : quantize_all(y, x, scale, zp, n, 16);
}

/* 32 lookups at a time where no step of the table leaves int16, which is checked first. */
EQ_TARGET static void lut16_by_permutes(int32_t *x, const int16_t *table, int n) {
  int i = 0;
  __mmask32 wide = 0;
  for (int k = 0; k < EQ_LUT16_INTERVALS; k += 32) {
    const __m512i a = _mm512_loadu_si512(table + k), b = _mm512_loadu_si512(table + k + 1);
    wide |= _mm512_cmpneq_epi16_mask(_mm512_sub_epi16(b, a), _mm512_subs_epi16(b, a));
  }
  for (; i + 32 <= n && !wide; i += 32) {
    const __m512i a = _mm512_loadu_si512(x + i), b = _mm512_loadu_si512(x + i + 16);
    const __m512i y = eq_table512_at(_mm512_packs_epi32(a, b), table);
    _mm512_storeu_si512(x + i, _mm512_srai_epi32(_mm512_unpacklo_epi16(y, y), 16));
    _mm512_storeu_si512(x + i + 16, _mm512_srai_epi32(_mm512_unpackhi_epi16(y, y), 16));
  }
  for (; i < n; i++) x[i] = eq_lut16(x[i], table);
}

#define EQ_LUT16      lut16_by_permutes
#define EQ_QUANTIZE8  quantize8
#define EQ_ADD_PIXELS add_pixels
#define EQ_MUL_PIXELS mul_pixels
#define EQ_ROWS       eq_rows__avx512vnni
#include "rows_body.h"
#else
typedef int eq_empty; /* ISO C wants a declaration */
#endif
