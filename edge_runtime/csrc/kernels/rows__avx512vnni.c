/* rows, avx512vnni. */
#if defined(__x86_64__)
#include "edges_avx512.h"

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

/* ---- one set of rows for all channels: vectors of 64 values, whatever the channels are ---- */

typedef struct {
  __m512i za, zb, zp, lo, hi;
  __m512 ra, rb;
} uniform;

EQ_TARGET static bool same(const void *row, int n) {
  const int32_t *v = row;
  int32_t other = 0;
  for (int i = 1; i < n; i++) other |= v[i] ^ v[0];
  return !other;
}

/* False when a row differs between channels, or when a sum may not fit int32 or a zero point int8:
 * then saturating packs and bounds on bytes are not the law. */
EQ_TARGET EQ_INLINE bool uniform_of(const eq_pixels *p, uniform *u) {
  const int n = p->channels;
  if (!same(p->za, n) || !same(p->zb, n) || !same(p->ra, n) || !same(p->rb, n) || !same(p->zp, n) ||
      !same(p->lo, n) || !same(p->hi, n))
    return false;
  const float most = 8192; /* * 255 * 255 < 2^30 */
  if (!(p->ra[0] < most && p->ra[0] > -most && p->rb[0] < most && p->rb[0] > -most) ||
      p->zp[0] < -128 || p->zp[0] > 127)
    return false;
  *u = (uniform){_mm512_set1_epi32(p->za[0]),
                 _mm512_set1_epi32(p->zb[0]),
                 _mm512_set1_epi16((int16_t)p->zp[0]),
                 _mm512_set1_epi8((int8_t)p->lo[0]),
                 _mm512_set1_epi8((int8_t)p->hi[0]),
                 _mm512_set1_ps(p->ra[0]),
                 _mm512_set1_ps(p->rb[0])};
  return true;
}

/* Four times 16 values. vpacks* interleave 128-bit lanes; `order` undoes that. */
EQ_TARGET EQ_INLINE __m512i sixty_four(const int8_t *const *a, const int8_t *const *b,
                                       const uniform *u, const bool MUL) {
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  __m512i v[4];
#pragma GCC unroll 4
  for (int k = 0; k < 4; k++) {
    const __m512 x = _mm512_cvtepi32_ps(load(a[k], u->za));
    const __m512 y = _mm512_cvtepi32_ps(load(b[k], u->zb));
    v[k] = _mm512_cvtps_epi32(
        MUL ? _mm512_mul_ps(_mm512_mul_ps(x, y), u->ra) /* the product is below 2^24: exact */
            : _mm512_add_ps(_mm512_mul_ps(x, u->ra), _mm512_mul_ps(y, u->rb)));
  }
  const __m512i low = _mm512_adds_epi16(_mm512_packs_epi32(v[0], v[1]), u->zp);
  const __m512i high = _mm512_adds_epi16(_mm512_packs_epi32(v[2], v[3]), u->zp);
  const __m512i y = _mm512_permutexvar_epi32(order, _mm512_packs_epi16(low, high));
  return _mm512_min_epi8(_mm512_max_epi8(y, u->lo), u->hi);
}

EQ_TARGET EQ_INLINE void run(int8_t *y, const int8_t *a, const int8_t *b, int64_t n,
                             const uniform *u, const bool MUL) {
  int64_t i = 0;
#define QUARTERS(p) ((const int8_t *const[4]){(p), (p) + 16, (p) + 32, (p) + 48})
  for (; i + 64 <= n; i += 64)
    _mm512_storeu_si512(y + i, sixty_four(QUARTERS(a + i), QUARTERS(b + i), u, MUL));
  if (i == n) return;
  int8_t x[64], z[64];
  const __mmask64 some = ~0ull >> (64 - (n - i));
  _mm512_storeu_si512(x, _mm512_maskz_loadu_epi8(some, a + i));
  _mm512_storeu_si512(z, _mm512_maskz_loadu_epi8(some, b + i));
  _mm512_mask_storeu_epi8(y + i, some, sixty_four(QUARTERS(x), QUARTERS(z), u, MUL));
#undef QUARTERS
}

/* Pixels apart whose channels are whole sixteens. */
EQ_TARGET EQ_INLINE void sixteens(const eq_pixels *p, const uniform *u, const bool MUL) {
  const int8_t *a = p->a, *b = p->b;
  int8_t *y = p->y;
  int c = 0;
  for (int64_t left = (int64_t)p->pixels * p->channels / 16; left > 0; left -= 4) {
    const int8_t *from[4] = {a, a, a, a}, *with[4] = {b, b, b, b};
    int8_t *to[4] = {y, y, y, y};
    for (int k = 0; k < 4 && k < left; k++) {
      from[k] = a + c, with[k] = b + c, to[k] = y + c;
      if ((c += 16) == p->channels) c = 0, a += p->sa, b += p->sb, y += p->sy;
    }
    const __m512i v = sixty_four(from, with, u, MUL);
    _mm_storeu_si128((__m128i *)(void *)to[0], _mm512_castsi512_si128(v));
    if (left > 1) _mm_storeu_si128((__m128i *)(void *)to[1], _mm512_extracti32x4_epi32(v, 1));
    if (left > 2) _mm_storeu_si128((__m128i *)(void *)to[2], _mm512_extracti32x4_epi32(v, 2));
    if (left > 3) _mm_storeu_si128((__m128i *)(void *)to[3], _mm512_extracti32x4_epi32(v, 3));
  }
}

/* ---- rows of their own for every channel ---- */

EQ_TARGET EQ_INLINE void column(const eq_pixels *p, int c, int n, const bool MUL) {
  const __mmask16 some = (__mmask16)((1u << n) - 1);
#define ROW(name) _mm512_maskz_loadu_epi32(some, p->name + c)
  const __m512i za = ROW(za), zb = ROW(zb), zp = ROW(zp);
  const __m512 ra = _mm512_castsi512_ps(ROW(ra)), rb = _mm512_castsi512_ps(ROW(rb));
  const __m512 lo = _mm512_cvtepi32_ps(_mm512_sub_epi32(ROW(lo), zp));
  const __m512 hi = _mm512_cvtepi32_ps(_mm512_sub_epi32(ROW(hi), zp));
#undef ROW
  const __m128i tail = eq_tail512(n);
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

EQ_TARGET EQ_INLINE void pixels(const eq_pixels *p, const bool MUL) {
  const int n = p->channels;
  uniform u;
  const bool dense = p->sa == n && p->sb == n && p->sy == n;
  const bool narrow = !dense && n < 64 && n % 16; /* `run` would take its tail for every pixel */
  if (narrow || !uniform_of(p, &u)) {
    for (int c = 0; c < n; c += 16) column(p, c, n - c < 16 ? n - c : 16, MUL);
  } else if (dense) {
    run(p->y, p->a, p->b, (int64_t)n * p->pixels, &u, MUL);
  } else if (n % 16 == 0) {
    sixteens(p, &u, MUL);
  } else {
    for (ptrdiff_t i = 0; i < p->pixels; i++)
      run(p->y + i * p->sy, p->a + i * p->sa, p->b + i * p->sb, n, &u, MUL);
  }
}

EQ_TARGET static void add_pixels(const eq_pixels *p) { pixels(p, false); }
EQ_TARGET static void mul_pixels(const eq_pixels *p) { pixels(p, true); }

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
#define EQ_QUANTIZE8  eq_quantize8_512
#define EQ_DEQUANTIZE eq_dequantize512
#define EQ_ADD_PIXELS add_pixels
#define EQ_MUL_PIXELS mul_pixels
#define EQ_ROWS       eq_rows__avx512vnni
#include "rows_body.h"
#else
typedef int eq_empty; /* ISO C wants a declaration */
#endif
