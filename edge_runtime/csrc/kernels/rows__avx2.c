/* rows, AVX2: what the compiler's own loops leave behind; the law is in numerics.h. */
#if defined(__x86_64__)
#include <string.h>
#include "epilogue_avx2.h"

#define T EQ_TARGET_AVX2

/* Eight int8 minus their zero points, as floats: exact. */
T EQ_INLINE __m256 load(const int8_t *p, __m256i zero) {
  const __m256i v = _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p));
  return _mm256_cvtepi32_ps(_mm256_sub_epi32(v, zero));
}

/* ---- one set of rows for all channels: vectors of 32 values, whatever the channels are ---- */

typedef struct {
  __m256i za, zb, zp, lo, hi;
  __m256 ra, rb;
} uniform;

T static bool same(const void *row, int n) {
  const int32_t *v = row;
  int32_t other = 0;
  for (int i = 1; i < n; i++) other |= v[i] ^ v[0];
  return !other;
}

/* False when a row differs between channels, or when a sum may not fit int32 or a zero point int8:
 * then saturating packs and bounds on bytes are not the law. */
T EQ_INLINE bool uniform_of(const eq_pixels *p, uniform *u) {
  const int n = p->channels;
  if (!same(p->za, n) || !same(p->zb, n) || !same(p->ra, n) || !same(p->rb, n) || !same(p->zp, n) ||
      !same(p->lo, n) || !same(p->hi, n))
    return false;
  const float most = 8192; /* * 255 * 255 < 2^30 */
  if (!(p->ra[0] < most && p->ra[0] > -most && p->rb[0] < most && p->rb[0] > -most) ||
      p->zp[0] < -128 || p->zp[0] > 127)
    return false;
  *u = (uniform){_mm256_set1_epi32(p->za[0]),
                 _mm256_set1_epi32(p->zb[0]),
                 _mm256_set1_epi16((int16_t)p->zp[0]),
                 _mm256_set1_epi8((int8_t)p->lo[0]),
                 _mm256_set1_epi8((int8_t)p->hi[0]),
                 _mm256_set1_ps(p->ra[0]),
                 _mm256_set1_ps(p->rb[0])};
  return true;
}

/* Four times 8 values. vpacks* interleave 128-bit lanes; eq_order256 undoes that. */
T EQ_INLINE __m256i thirty_two(const int8_t *const *a, const int8_t *const *b, const uniform *u,
                               const bool MUL) {
  __m256i v[4];
#pragma GCC unroll 4
  for (int k = 0; k < 4; k++) {
    const __m256 x = load(a[k], u->za), y = load(b[k], u->zb);
    v[k] = _mm256_cvtps_epi32(
        MUL ? _mm256_mul_ps(_mm256_mul_ps(x, y), u->ra) /* the product is below 2^24: exact */
            : _mm256_add_ps(_mm256_mul_ps(x, u->ra), _mm256_mul_ps(y, u->rb)));
  }
  const __m256i low = _mm256_adds_epi16(_mm256_packs_epi32(v[0], v[1]), u->zp);
  const __m256i high = _mm256_adds_epi16(_mm256_packs_epi32(v[2], v[3]), u->zp);
  const __m256i y = eq_order256(_mm256_packs_epi16(low, high));
  return _mm256_min_epi8(_mm256_max_epi8(y, u->lo), u->hi);
}

T EQ_INLINE void run(int8_t *y, const int8_t *a, const int8_t *b, int64_t n, const uniform *u,
                     const bool MUL) {
  int64_t i = 0;
#define QUARTERS(p) ((const int8_t *const[4]){(p), (p) + 8, (p) + 16, (p) + 24})
  for (; i + 32 <= n; i += 32)
    _mm256_storeu_si256((__m256i *)(void *)(y + i),
                        thirty_two(QUARTERS(a + i), QUARTERS(b + i), u, MUL));
  if (i == n) return;
  int8_t x[32] = {0}, z[32] = {0};
  memcpy(x, a + i, (size_t)(n - i));
  memcpy(z, b + i, (size_t)(n - i));
  _mm256_storeu_si256((__m256i *)(void *)x, thirty_two(QUARTERS(x), QUARTERS(z), u, MUL));
  memcpy(y + i, x, (size_t)(n - i));
#undef QUARTERS
}

/* Pixels apart whose channels are whole eights. */
T EQ_INLINE void eights(const eq_pixels *p, const uniform *u, const bool MUL) {
  const int8_t *a = p->a, *b = p->b;
  int8_t *y = p->y;
  int c = 0;
  for (int64_t left = (int64_t)p->pixels * p->channels / 8; left > 0; left -= 4) {
    const int8_t *from[4] = {a, a, a, a}, *with[4] = {b, b, b, b};
    int8_t *to[4] = {y, y, y, y};
    for (int k = 0; k < 4 && k < left; k++) {
      from[k] = a + c, with[k] = b + c, to[k] = y + c;
      if ((c += 8) == p->channels) c = 0, a += p->sa, b += p->sb, y += p->sy;
    }
    int8_t v[32];
    _mm256_storeu_si256((__m256i *)(void *)v, thirty_two(from, with, u, MUL));
    for (int k = 0; k < 4 && k < left; k++) memcpy(to[k], v + 8 * k, 8);
  }
}

/* ---- rows of their own for every channel ---- */

T EQ_INLINE void column(const eq_pixels *p, int c, int n, const bool MUL) {
  int32_t rows[7][8] = {0};
  const void *const from[7] = {p->za + c, p->zb + c, p->zp + c, p->lo + c,
                               p->hi + c, p->ra + c, p->rb + c};
  for (int k = 0; k < 7; k++) memcpy(rows[k], from[k], (size_t)n * 4);
  const __m256i za = eq_load256(rows[0]), zb = eq_load256(rows[1]), zp = eq_load256(rows[2]);
  const __m256 lo = _mm256_cvtepi32_ps(_mm256_sub_epi32(eq_load256(rows[3]), zp));
  const __m256 hi = _mm256_cvtepi32_ps(_mm256_sub_epi32(eq_load256(rows[4]), zp));
  const __m256 ra = _mm256_castsi256_ps(eq_load256(rows[5]));
  const __m256 rb = _mm256_castsi256_ps(eq_load256(rows[6]));
  const int8_t *a = p->a + c, *b = p->b + c;
  int8_t *y = p->y + c;
  for (int i = 0; i < p->pixels; i++, a += p->sa, b += p->sb, y += p->sy) {
    int8_t x[8] = {0}, z[8] = {0};
    memcpy(x, a, (size_t)n), memcpy(z, b, (size_t)n);
    const __m256 va = load(x, za), vb = load(z, zb);
    __m256 v = MUL ? _mm256_mul_ps(_mm256_mul_ps(va, vb), ra)
                   : _mm256_add_ps(_mm256_mul_ps(va, ra), _mm256_mul_ps(vb, rb));
    v = _mm256_and_ps(v, _mm256_cmp_ps(v, v, _CMP_ORD_Q)); /* NaN becomes 0 */
    v = _mm256_min_ps(_mm256_max_ps(v, lo), hi);
    _mm_storel_epi64((__m128i *)(void *)x,
                     eq_bytes256(_mm256_add_epi32(_mm256_cvtps_epi32(v), zp)));
    memcpy(y, x, (size_t)n);
  }
}

T EQ_INLINE void pixels(const eq_pixels *p, const bool MUL) {
  const int n = p->channels;
  uniform u;
  if (!uniform_of(p, &u)) {
    for (int c = 0; c < n; c += 8)
      if (n - c >= 8)
        column(p, c, 8, MUL);
      else
        column(p, c, n - c, MUL);
  } else if (p->sa == n && p->sb == n && p->sy == n) {
    run(p->y, p->a, p->b, (int64_t)n * p->pixels, &u, MUL);
  } else if (n % 8 == 0 && n < 64) {
    eights(p, &u, MUL);
  } else {
    for (ptrdiff_t i = 0; i < p->pixels; i++)
      run(p->y + i * p->sy, p->a + i * p->sa, p->b + i * p->sb, n, &u, MUL);
  }
}

T static void add_pixels(const eq_pixels *p) { pixels(p, false); }
T static void mul_pixels(const eq_pixels *p) { pixels(p, true); }

T static void lut16_by_gathers(int32_t *x, const int16_t *table, int n) {
  int i = 0;
  for (; i + 8 <= n; i += 8)
    _mm256_storeu_si256((__m256i *)(void *)(x + i), eq_lut16_256(eq_load256(x + i), table));
  for (; i < n; i++) x[i] = eq_lut16(x[i], table);
}

/* Eight floats by the edge rule. */
T EQ_INLINE __m128i quantized(const float *x, __m256 scale, __m256i zp, __m256 lo, __m256 hi,
                              __m256 *nan) {
  const __m256 v = _mm256_loadu_ps(x);
  *nan = _mm256_or_ps(*nan, _mm256_cmp_ps(v, v, _CMP_UNORD_Q));
  __m256 q = _mm256_div_ps(v, scale);
  q = _mm256_and_ps(q, _mm256_cmp_ps(q, q, _CMP_ORD_Q)); /* NaN becomes 0 */
  q = _mm256_min_ps(_mm256_max_ps(q, lo), hi);
  return eq_bytes256(_mm256_add_epi32(_mm256_cvtps_epi32(q), zp));
}

T static bool quantize8(int8_t *y, const float *x, float scale, int32_t zp, bool expand,
                        int64_t n) {
  const __m256 by = _mm256_set1_ps(scale), lo = _mm256_set1_ps((float)(-128 - zp)),
               hi = _mm256_set1_ps((float)(127 - zp));
  const __m256i zero = _mm256_set1_epi32(zp);
  const __m128i spread = _mm_setr_epi8(0, 1, 2, -1, 3, 4, 5, -1, 6, 7, 8, -1, 9, 10, 11, -1);
  __m256 nan = _mm256_setzero_ps();
  int64_t i = 0;
  if (!expand) {
    for (; i + 8 <= n; i += 8, y += 8)
      _mm_storel_epi64((__m128i *)(void *)y, quantized(x + i, by, zero, lo, hi, &nan));
  } else {
    for (; i + 16 <= n; i += 12, y += 16) { /* four pixels; 16 values are read */
      const __m128i q = _mm_unpacklo_epi64(quantized(x + i, by, zero, lo, hi, &nan),
                                           quantized(x + i + 8, by, zero, lo, hi, &nan));
      _mm_storeu_si128((__m128i *)(void *)y, _mm_shuffle_epi8(q, spread));
    }
  }
  int some = _mm256_movemask_ps(nan);
  for (int64_t k = 0; i < n; i++, k++) {
    some |= x[i] != x[i];
    y[expand ? k / 3 * 4 + k % 3 : k] = (int8_t)eq_quantize(x[i], scale, zp, -128, 127);
  }
  return some != 0;
}

#define EQ_LUT16      lut16_by_gathers
#define EQ_QUANTIZE8  quantize8
#define EQ_ADD_PIXELS add_pixels
#define EQ_MUL_PIXELS mul_pixels
#define EQ_TARGET     EQ_TARGET_AVX2
#define EQ_ROWS       eq_rows__avx2
#include "rows_body.h"
#else
typedef int eq_empty; /* ISO C wants a declaration */
#endif
