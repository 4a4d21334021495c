/* pixels_avx512.h: sums and products of int8 pixels in AVX-512, for rows__avx512vnni.c.
 *
 * 64 values at a time, whatever the channels are. Unpacks put a byte into the low mantissa bits of
 * 2^23, and one subtraction takes that away with the zero point. Register k of the four that follow
 * holds bytes 4k .. 4k + 3 of every 128-bit lane, so that packs bring them back in the order of
 * memory. */
#ifndef EQ_PIXELS_AVX512_H
#define EQ_PIXELS_AVX512_H
#include "epilogue_avx512.h"

enum { EQ_BLOCKS512 = 16 }; /* blocks of rows that differ by channel */

/* What 64 values meet, floats in the order of the four registers. */
typedef struct {
  float za[64], ra[64]; /* za: what is taken away */
  float zb[64], rb[64]; /* of a constant operand: zb its values (products with rb in sums) */
  int16_t zp[64];       /* in the order of two vpackssdw */
  int8_t lo[64], hi[64];
} eq_block512;

typedef struct {
  int period; /* blocks until the channels repeat */
  eq_block512 at[EQ_BLOCKS512];
} eq_blocks512;

EQ_TARGET static bool eq_same512(const void *row, int n) {
  const int32_t *v = row;
  int32_t other = 0;
  for (int i = 1; i < n; i++) other |= v[i] ^ v[0];
  return !other;
}

EQ_TARGET static bool eq_uniform512(const eq_pixels *p) {
  const int n = p->channels;
  return eq_same512(p->za, n) && eq_same512(p->zb, n) && eq_same512(p->ra, n) &&
         eq_same512(p->rb, n) && eq_same512(p->zp, n) && eq_same512(p->lo, n) &&
         eq_same512(p->hi, n);
}

/* False when a sum may not fit int32 or a zero point int8: then saturating packs and bounds on
 * bytes are not the law. */
EQ_TARGET static bool eq_packs512(const eq_pixels *p, int n) {
  bool fits = true;
  for (int c = 0; c < n; c++) {
    const float most = 8192; /* * 255 * 255 < 2^30 */
    fits &= p->ra[c] < most && p->ra[c] > -most && p->rb[c] < most && p->rb[c] > -most;
    fits &= p->zp[c] >= -128 && p->zp[c] <= 127;
    fits &= p->za[c] >= -128 && p->za[c] <= 127 && p->zb[c] >= -128 && p->zb[c] <= 127;
  }
  return fits;
}

/* What takes a zero point and the unpacked sign away. */
EQ_TARGET EQ_INLINE float eq_taken512(int32_t zero) { return (float)((1 << 23) + 128 + zero); }

/* Channel c for value i of a block. */
EQ_TARGET EQ_INLINE void eq_fill512(eq_block512 *b, int i, const eq_pixels *p, int c, bool constant,
                                    const bool MUL) {
  const int in_lane = i % 16, at = in_lane / 4 * 16 + i / 16 * 4 + i % 4;
  const int word = in_lane / 8 * 32 + i / 16 * 8 + i % 8;
  b->za[at] = eq_taken512(p->za[c]), b->zb[at] = eq_taken512(p->zb[c]);
  b->ra[at] = p->ra[c], b->rb[at] = p->rb[c];
  if (constant) {
    const float v = (float)(p->b[c] - p->zb[c]);
    b->zb[at] = MUL ? v : v * p->rb[c];
  }
  b->zp[word] = (int16_t)p->zp[c];
  b->lo[i] = (int8_t)p->lo[c], b->hi[i] = (int8_t)p->hi[c];
}

/* Four registers of floats from 64 bytes; exact. */
EQ_TARGET EQ_INLINE void eq_floats512(__m512 *y, __m512i bytes, const __m512 *zero) {
  const __m512i none = _mm512_setzero_si512(), magic = _mm512_set1_epi16(0x4b00);
  const __m512i u = _mm512_xor_si512(bytes, _mm512_set1_epi8(-128));
  const __m512i low = _mm512_unpacklo_epi8(u, none), high = _mm512_unpackhi_epi8(u, none);
  const __m512i v[4] = {_mm512_unpacklo_epi16(low, magic), _mm512_unpackhi_epi16(low, magic),
                        _mm512_unpacklo_epi16(high, magic), _mm512_unpackhi_epi16(high, magic)};
#pragma GCC unroll 4
  for (int k = 0; k < 4; k++) y[k] = _mm512_sub_ps(_mm512_castsi512_ps(v[k]), zero[k]);
}

/* A constant operand where all channels share the rows. */
EQ_TARGET EQ_INLINE void eq_repeat_b512(eq_blocks512 *t, const eq_pixels *p, const bool MUL) {
  int8_t values[64 * EQ_BLOCKS512];
  for (int i = 0; i < 64 * t->period; i += p->channels)
    memcpy(values + i, p->b, (size_t)p->channels);
  const __m512 zero = _mm512_set1_ps(eq_taken512(p->zb[0])), zb[4] = {zero, zero, zero, zero};
  for (int i = 0; i < t->period; i++) {
    __m512 v[4];
    eq_floats512(v, _mm512_loadu_si512(values + 64 * i), zb);
    for (int k = 0; k < 4; k++)
      _mm512_storeu_ps(t->at[i].zb + 16 * k,
                       MUL ? v[k] : _mm512_mul_ps(v[k], _mm512_set1_ps(p->rb[0])));
  }
}

typedef struct {
  __m512 za[4], ra[4], zb[4], rb[4];
  __m512i zp[2], lo, hi;
} eq_regs512;

EQ_TARGET EQ_INLINE eq_regs512 eq_regs512_of(const eq_block512 *b) {
  eq_regs512 r;
#pragma GCC unroll 4
  for (int k = 0; k < 4; k++) {
    r.za[k] = _mm512_loadu_ps(b->za + 16 * k), r.ra[k] = _mm512_loadu_ps(b->ra + 16 * k);
    r.zb[k] = _mm512_loadu_ps(b->zb + 16 * k), r.rb[k] = _mm512_loadu_ps(b->rb + 16 * k);
  }
  r.zp[0] = _mm512_loadu_si512(b->zp), r.zp[1] = _mm512_loadu_si512(b->zp + 32);
  r.lo = _mm512_loadu_si512(b->lo), r.hi = _mm512_loadu_si512(b->hi);
  return r;
}

/* The same for all channels. */
EQ_TARGET EQ_INLINE eq_regs512 eq_regs512_uniform(const eq_pixels *p) {
  const __m512 za = _mm512_set1_ps(eq_taken512(p->za[0])),
               zb = _mm512_set1_ps(eq_taken512(p->zb[0]));
  const __m512 ra = _mm512_set1_ps(p->ra[0]), rb = _mm512_set1_ps(p->rb[0]);
  const __m512i zp = _mm512_set1_epi16((int16_t)p->zp[0]);
  return (eq_regs512){{za, za, za, za},
                      {ra, ra, ra, ra},
                      {zb, zb, zb, zb},
                      {rb, rb, rb, rb},
                      {zp, zp},
                      _mm512_set1_epi8((int8_t)p->lo[0]),
                      _mm512_set1_epi8((int8_t)p->hi[0])};
}

/* MUL, CONST (a constant second operand) and ROWS (of their own for every channel) are constant
 * after inlining. */
EQ_TARGET EQ_INLINE __m512i eq_sixty_four512(__m512i a, __m512i b, const eq_regs512 *r,
                                             const bool MUL, const bool CONST) {
  __m512i v[4];
  __m512 fa[4], fb[4];
  eq_floats512(fa, a, r->za);
  if (!CONST) eq_floats512(fb, b, r->zb);
#pragma GCC unroll 4
  for (int k = 0; k < 4; k++) {
    const __m512 x = fa[k], y = CONST ? r->zb[k] : fb[k];
    v[k] = _mm512_cvtps_epi32(
        MUL     ? _mm512_mul_ps(_mm512_mul_ps(x, y), r->ra[k]) /* below 2^24, so exact, times ra */
        : CONST ? _mm512_add_ps(_mm512_mul_ps(x, r->ra[k]), y)
                : _mm512_add_ps(_mm512_mul_ps(x, r->ra[k]), _mm512_mul_ps(y, r->rb[k])));
  }
  const __m512i low = _mm512_adds_epi16(_mm512_packs_epi32(v[0], v[1]), r->zp[0]);
  const __m512i high = _mm512_adds_epi16(_mm512_packs_epi32(v[2], v[3]), r->zp[1]);
  return _mm512_min_epi8(_mm512_max_epi8(_mm512_packs_epi16(low, high), r->lo), r->hi);
}

/* n values that adjoin, from the first channel on. `blocks` are what differs by channel. */
EQ_TARGET EQ_INLINE void eq_run512(const eq_pixels *p, int8_t *y, const int8_t *a, const int8_t *b,
                                   int64_t n, const eq_blocks512 *blocks, const bool MUL,
                                   const bool CONST, const bool ROWS) {
  const eq_block512 *block = blocks->at;
  eq_regs512 r = eq_regs512_uniform(p);
  for (; n > 0; n -= 64, y += 64, a += 64, b += 64) {
    if (ROWS) r = eq_regs512_of(block);
    if (CONST && !ROWS)
#pragma GCC unroll 4
      for (int k = 0; k < 4; k++) r.zb[k] = _mm512_loadu_ps(block->zb + 16 * k);
    if ((ROWS || CONST) && ++block == blocks->at + blocks->period) block = blocks->at;
    if (n >= 64) {
      const __m512i va = _mm512_loadu_si512(a), vb = CONST ? va : _mm512_loadu_si512(b);
      _mm512_storeu_si512(y, eq_sixty_four512(va, vb, &r, MUL, CONST));
    } else {
      const __mmask64 some = ~0ull >> (64 - n);
      const __m512i va = _mm512_maskz_loadu_epi8(some, a);
      const __m512i vb = CONST ? va : _mm512_maskz_loadu_epi8(some, b);
      _mm512_mask_storeu_epi8(y, some, eq_sixty_four512(va, vb, &r, MUL, CONST));
    }
  }
}

/* ---- pixels apart: through a dense copy of some of them ---- */

enum { EQ_DENSE512 = 2048 };

/* n >= 8 bytes in blocks, the last one over the one before; fewer one by one. */
EQ_TARGET EQ_INLINE void eq_move512(int8_t *to, const int8_t *from, int n) {
  int i = 0;
  for (; i + 16 <= n; i += 16)
    _mm_storeu_si128((__m128i *)(void *)(to + i),
                     _mm_loadu_si128((const __m128i *)(const void *)(from + i)));
  if (i == n) return;
  const __mmask16 some = (__mmask16)((1u << (n - i)) - 1);
  _mm_mask_storeu_epi8(to + i, some, _mm_maskz_loadu_epi8(some, from + i));
}

/* Where these pixels adjoin: themselves or their copy. */
EQ_TARGET EQ_INLINE const int8_t *eq_gather512(int8_t *room, const int8_t *x, ptrdiff_t step, int n,
                                               int pixels) {
  if (step == n) return x;
  for (int i = 0; i < pixels; i++) eq_move512(room + (ptrdiff_t)i * n, x + i * step, n);
  return room;
}

EQ_TARGET EQ_INLINE void eq_apart512(const eq_pixels *p, const eq_blocks512 *t, const bool MUL,
                                     const bool CONST, const bool ROWS) {
  int8_t a[EQ_DENSE512 + 64], b[EQ_DENSE512 + 64], y[EQ_DENSE512 + 64];
  const int n = p->channels, most = n < EQ_DENSE512 && n % 64 ? EQ_DENSE512 / n : 1;
  for (int i = 0; i < p->pixels; i += most) {
    const int count = p->pixels - i < most ? p->pixels - i : most;
    const int8_t *pa = p->a + i * p->sa, *pb = CONST ? p->b : p->b + i * p->sb;
    int8_t *py = p->y + i * p->sy, *to = count == 1 || p->sy == n ? py : y;
    if (count > 1) {
      pa = eq_gather512(a, pa, p->sa, n, count);
      if (!CONST) pb = eq_gather512(b, pb, p->sb, n, count);
    }
    eq_run512(p, to, pa, pb, (int64_t)n * count, t, MUL, CONST, ROWS);
    for (int k = 0; to == y && k < count; k++) eq_move512(py + k * p->sy, y + (ptrdiff_t)k * n, n);
  }
}

EQ_TARGET EQ_INLINE void eq_pixels_run512(const eq_pixels *p, const eq_blocks512 *t, const bool MUL,
                                          const bool CONST, const bool ROWS) {
  const int n = p->channels;
  if (p->sa == n && p->sy == n && (CONST || p->sb == n))
    eq_run512(p, p->y, p->a, p->b, (int64_t)n * p->pixels, t, MUL, CONST, ROWS);
  else
    eq_apart512(p, t, MUL, CONST, ROWS);
}

/* ---- rows that the blocks do not hold, or whose values may leave int16 ---- */

/* Products of one operand and a row; NaN becomes 0, which only infinite sums can need. */
EQ_TARGET EQ_INLINE __m512i eq_finish_pixels512(__m512 v, __m512i zp, __m512 lo, __m512 hi) {
  v = _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(v, v, _CMP_ORD_Q), v);
  v = _mm512_min_ps(_mm512_max_ps(v, lo), hi);
  return _mm512_add_epi32(_mm512_cvtps_epi32(v), zp);
}

EQ_TARGET EQ_INLINE void eq_column512(const eq_pixels *p, int c, int n, const bool MUL) {
  const __mmask16 some = (__mmask16)((1u << n) - 1);
#define ROW(name) _mm512_maskz_loadu_epi32(some, p->name + c)
  const __m512i za = ROW(za), zb = ROW(zb), zp = ROW(zp);
  const __m512 ra = _mm512_castsi512_ps(ROW(ra)), rb = _mm512_castsi512_ps(ROW(rb));
  const __m512 lo = _mm512_cvtepi32_ps(_mm512_sub_epi32(ROW(lo), zp));
  const __m512 hi = _mm512_cvtepi32_ps(_mm512_sub_epi32(ROW(hi), zp));
#undef ROW
  const int8_t *a = p->a + c, *b = p->b + c;
  int8_t *y = p->y + c;
#define LOAD(p, zero) _mm512_sub_epi32(_mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(some, p)), zero)
  for (int i = 0; i < p->pixels; i++, a += p->sa, b += p->sb, y += p->sy) {
    const __m512i va = LOAD(a, za), vb = LOAD(b, zb);
    const __m512 v = MUL ? _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_mullo_epi32(va, vb)), ra)
                         : _mm512_add_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(va), ra),
                                         _mm512_mul_ps(_mm512_cvtepi32_ps(vb), rb));
    _mm_mask_storeu_epi8(y, some, _mm512_cvtsepi32_epi8(eq_finish_pixels512(v, zp, lo, hi)));
  }
#undef LOAD
}

EQ_TARGET EQ_INLINE void eq_pixels512(const eq_pixels *p, const bool MUL) {
  const int n = p->channels;
  const bool uniform = eq_uniform512(p), constant = p->sb == 0 && p->pixels > 1;
  eq_blocks512 t;
  t.period = 0;
  bool fits = eq_packs512(p, uniform ? 1 : n);
  if (!uniform || constant) {
    int odd = n;
    while (odd % 2 == 0 && n / odd < 64) odd /= 2;
    t.period = odd;
    fits &= odd <= EQ_BLOCKS512;
  }
  if (!fits) {
    for (int c = 0; c < n; c += 16) eq_column512(p, c, n - c < 16 ? n - c : 16, MUL);
    return;
  }
  if (uniform)
    eq_repeat_b512(&t, p, MUL);
  else
    for (int i = 0, c = 0; i < t.period * 64; i++, c = c + 1 == n ? 0 : c + 1)
      eq_fill512(&t.at[i / 64], i % 64, p, c, constant, MUL);
  if (constant)
    uniform ? eq_pixels_run512(p, &t, MUL, true, false) : eq_pixels_run512(p, &t, MUL, true, true);
  else
    uniform ? eq_pixels_run512(p, &t, MUL, false, false)
            : eq_pixels_run512(p, &t, MUL, false, true);
}

EQ_TARGET static void eq_add_pixels512(const eq_pixels *p) { eq_pixels512(p, false); }
EQ_TARGET static void eq_mul_pixels512(const eq_pixels *p) { eq_pixels512(p, true); }
#endif
