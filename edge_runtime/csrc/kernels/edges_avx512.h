/* edges_avx512.h: between float32 and int8 or int16 in AVX-512, for rows__avx512vnni.c. */
#ifndef EQ_EDGES_AVX512_H
#define EQ_EDGES_AVX512_H
#include "epilogue_avx512.h"

/* ---- floats to int8 ---- */

typedef struct {
  __m512 scale, inverse;
  __m512i zp; /* 32 int16 */
} eq_quant512;

/* N registers of floats to integers without zero point; packs cut them to the law's bounds. Within
 * these a product with the inverse is off by less than 2^-14: far enough from a tie it rounds as
 * the quotient does, else quotients are taken. */
EQ_TARGET EQ_INLINE void eq_quotients512(__m512i *y, const __m512 *x, const eq_quant512 *s,
                                         const int N) {
  __m512 off = _mm512_setzero_ps();
#pragma GCC unroll 4
  for (int k = 0; k < N; k++) {
    const __m512 v = _mm512_min_ps(_mm512_mul_ps(x[k], s->inverse), _mm512_set1_ps(EQ_FAR));
    const __m512 whole = _mm512_roundscale_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    off = _mm512_max_ps(_mm512_abs_ps(_mm512_sub_ps(v, whole)), off); /* off where v is infinite */
    y[k] = _mm512_cvtps_epi32(v);
  }
  if (__builtin_expect(!_mm512_cmp_ps_mask(off, _mm512_set1_ps(0.5f - 0x1p-13f), _CMP_GE_OQ), 1))
    return;
#pragma GCC unroll 4
  for (int k = 0; k < N; k++) {
    const __m512 v = _mm512_div_ps(x[k], s->scale);
    y[k] = _mm512_cvtps_epi32(_mm512_min_ps(v, _mm512_set1_ps(EQ_FAR)));
  }
}

/* The bytes of four registers in the order of memory; of three when every pixel of three values
 * becomes four bytes. */
EQ_TARGET EQ_INLINE __m512i eq_bytes_of512(const __m512i *v, __m512i zp, const bool EXPAND) {
  const __m512i all = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  const __m512i three = _mm512_setr_epi32(0, 4, 8, 0, 12, 1, 5, 0, 9, 13, 2, 0, 6, 10, 14, 0);
  const __m512i spread =
      _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 2, -1, 3, 4, 5, -1, 6, 7, 8, -1, 9, 10, 11, -1));
  const __m512i low = _mm512_adds_epi16(_mm512_packs_epi32(v[0], v[1]), zp);
  const __m512i high = _mm512_adds_epi16(_mm512_packs_epi32(v[2], v[EXPAND ? 2 : 3]), zp);
  const __m512i y = _mm512_packs_epi16(low, high);
  if (!EXPAND) return _mm512_permutexvar_epi32(all, y);
  return _mm512_shuffle_epi8(_mm512_permutexvar_epi32(three, y), spread);
}

/* 48 values to 64 bytes with EXPAND, else 64 to 64; fewer where `left` is less. */
EQ_TARGET EQ_INLINE __mmask16 eq_quantize512(int8_t *y, const float *x, int64_t left,
                                             const eq_quant512 *s, const bool EXPAND) {
  const int registers = EXPAND ? 3 : 4;
  __m512 v[4];
  __m512i q[4];
  for (int k = 0; k < registers; k++) {
    const int64_t few = left - 16 * k;
    const __mmask16 some = few >= 16 ? 0xffff : few > 0 ? (__mmask16)((1u << few) - 1) : 0;
    v[k] = left >= 16 * registers ? _mm512_loadu_ps(x + 16 * k)
                                  : _mm512_maskz_loadu_ps(some, x + 16 * k);
  }
  const __mmask16 nan = _mm512_cmp_ps_mask(v[0], v[1], _CMP_UNORD_Q) |
                        _mm512_cmp_ps_mask(v[2], v[registers - 1], _CMP_UNORD_Q);
  eq_quotients512(q, v, s, registers);
  const __m512i bytes = eq_bytes_of512(q, s->zp, EXPAND);
  if (left >= 16 * registers)
    _mm512_storeu_si512(y, bytes);
  else
    _mm512_mask_storeu_epi8(y, ~0ull >> (64 - (EXPAND ? left / 3 * 4 : left)), bytes);
  return nan;
}

EQ_TARGET EQ_INLINE bool eq_quantize_run512(int8_t *y, const float *x, const eq_quant512 *s,
                                            int64_t n, const bool EXPAND) {
  const int64_t step = EXPAND ? 48 : 64;
  __mmask16 nan = 0;
  for (; n >= step; n -= step, x += step, y += 64) nan |= eq_quantize512(y, x, step, s, EXPAND);
  if (n) nan |= eq_quantize512(y, x, n, s, EXPAND);
  return nan != 0;
}

EQ_TARGET static bool eq_quantize8_512(int8_t *y, const float *x, float scale, int32_t zp,
                                       bool expand, int64_t n) {
  const eq_quant512 s = {_mm512_set1_ps(scale), _mm512_set1_ps(1.0f / scale),
                         _mm512_set1_epi16((int16_t)zp)};
  return expand ? eq_quantize_run512(y, x, &s, n, true) : eq_quantize_run512(y, x, &s, n, false);
}

/* ---- integers to floats ---- */

EQ_TARGET EQ_INLINE __m512i eq_widen512(const void *x, int64_t at, __mmask16 some,
                                        const bool WIDE) {
  if (WIDE) return _mm512_cvtepi16_epi32(_mm256_maskz_loadu_epi16(some, (const int16_t *)x + at));
  return _mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(some, (const int8_t *)x + at));
}

EQ_TARGET EQ_INLINE void eq_dequantize_run512(float *y, const eq_reals *r, const bool WIDE,
                                              const bool EACH) {
  __m512i zp = _mm512_set1_epi32(r->zp[0]);
  __m512 scale = _mm512_set1_ps(r->scale[0]);
  int64_t at = 0;
  for (int64_t p = 0; p < r->pixels; p++, at += r->pixel, y += r->n)
    for (int c = 0; c < r->n; c += 16) {
      const __mmask16 some =
          r->n - c < 16 ? (__mmask16)((1u << (r->n - c)) - 1) : (__mmask16)0xffff;
      if (EACH) {
        zp = _mm512_maskz_loadu_epi32(some, r->zp + c);
        scale = _mm512_maskz_loadu_ps(some, r->scale + c);
      }
      const __m512i v = _mm512_sub_epi32(eq_widen512(r->x, at + c, some, WIDE), zp);
      _mm512_mask_storeu_ps(y + c, some, _mm512_mul_ps(_mm512_cvtepi32_ps(v), scale));
    }
}

EQ_TARGET static void eq_dequantize512(float *y, const eq_reals *r) {
  if (r->wide)
    r->each ? eq_dequantize_run512(y, r, true, true) : eq_dequantize_run512(y, r, true, false);
  else
    r->each ? eq_dequantize_run512(y, r, false, true) : eq_dequantize_run512(y, r, false, false);
}
#endif
