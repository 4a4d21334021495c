/* epilogue_avx2.h: the epilogue in AVX2, equal to epilogue.h lane by lane; see epilogue_avx512.h,
 * which it follows: after a rounding everything is int16, because saturation is the clamp of the
 * law where eq_prepare says so (e->words). A quad is four registers of 8 accumulators; vpackssdw
 * and vpacksswb make 32 bytes of it, whose dwords eq_order256 puts in order. */
#ifndef EDGEQ_EPILOGUE_AVX2_H
#define EDGEQ_EPILOGUE_AVX2_H
#include <immintrin.h>
#include <string.h>
#include "epilogue.h"

#define EQ_AVX2 EQ_TARGET_AVX2 EQ_INLINE

/* SMALL: no table and e->small. The others take any multiplier. */
typedef enum { EQ_SMALL256, EQ_PLAIN256, EQ_PIECES256, EQ_TABLE256, EQ_BYTES256 } eq_kind256;

static inline eq_kind256 eq_kind256_of(const eq_epilogue *e) {
  if (e->lut_kind == EQ_LUT_NONE) return e->small ? EQ_SMALL256 : EQ_PLAIN256;
  if (e->lut_kind == EQ_LUT_LUT8) return EQ_BYTES256;
  return e->pieces ? EQ_PIECES256 : EQ_TABLE256;
}

EQ_AVX2 __m256i eq_load256(const int32_t *p) {
  return _mm256_loadu_si256((const __m256i *)(const void *)p);
}

/* Bytes of four registers after vpackssdw and vpacksswb, in the order of memory. */
EQ_AVX2 __m256i eq_order256(__m256i v) {
  return _mm256_permutevar8x32_epi32(v, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

/* Eight int32 as saturated bytes, in the low half. */
EQ_AVX2 __m128i eq_bytes256(__m256i v) {
  const __m128i w = _mm_packs_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  return _mm_packs_epi16(w, w);
}

/* ---- tables ---- */

/* base + ((slope * f + 64) >> 7) = base + ((8 * slope * (f << 5) + 2^14) >> 15) = vpmulhrsw, for 32
 * int16. Each of the four planes of bytes is four registers of 16 entries; vpshufb gives 0 where
 * bit 7 of an index is set, so that three of the four do. */
EQ_AVX2 void eq_pieces256_at(__m256i *x, const uint8_t *planes) {
  const __m256i piece = /* -32 .. 31 */
      _mm256_packs_epi16(_mm256_srai_epi16(x[0], 10), _mm256_srai_epi16(x[1], 10));
  const __m256i only = _mm256_set1_epi8(0x70);
  const __m256i at[4] = {
      _mm256_adds_epu8(_mm256_add_epi8(piece, _mm256_set1_epi8(32)), only),
      _mm256_adds_epu8(_mm256_add_epi8(piece, _mm256_set1_epi8(16)), only),
      _mm256_adds_epu8(piece, only),
      _mm256_sub_epi8(piece, _mm256_set1_epi8(16)),
  };
  __m256i plane[4];
#pragma GCC unroll 4
  for (int p = 0; p < 4; p++) {
    __m256i v[4];
#pragma GCC unroll 4
    for (int k = 0; k < 4; k++)
      v[k] = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_loadu_si128(
                                     (const __m128i *)(const void *)(planes + 64 * p + 16 * k))),
                                 at[k]);
    plane[p] = _mm256_or_si256(_mm256_or_si256(v[0], v[1]), _mm256_or_si256(v[2], v[3]));
  }
#pragma GCC unroll 2
  for (int i = 0; i < 2; i++) {
    const __m256i base =
        i ? _mm256_unpackhi_epi8(plane[0], plane[1]) : _mm256_unpacklo_epi8(plane[0], plane[1]);
    const __m256i slope =
        i ? _mm256_unpackhi_epi8(plane[2], plane[3]) : _mm256_unpacklo_epi8(plane[2], plane[3]);
    const __m256i f = _mm256_and_si256(_mm256_slli_epi16(x[i], 5), _mm256_set1_epi16(0x7fff));
    x[i] = _mm256_add_epi16(base, _mm256_mulhrs_epi16(slope, f));
  }
}

/* Gathers of 32 bits. LUT8 reads one entry before the one it wants and keeps the high half, so that
 * nothing beyond the table is read; entry 0 comes from a gather at 0. */
EQ_AVX2 __m256i eq_lut8_256(__m256i x, const int16_t *table) {
  const __m256i i = _mm256_add_epi32(x, _mm256_set1_epi32(127)); /* index - 1 */
  const __m256i first = _mm256_cmpgt_epi32(_mm256_setzero_si256(), i);
  const __m256i at = _mm256_max_epi32(i, _mm256_setzero_si256());
  const __m256i pair = _mm256_i32gather_epi32((const int *)(const void *)table, at, 2);
  const __m256i low = _mm256_srai_epi32(_mm256_slli_epi32(pair, 16), 16);
  return _mm256_blendv_epi8(_mm256_srai_epi32(pair, 16), low, first);
}

/* One gather brings T[i] and T[i+1]; i <= 511, so the last pair is the table's end. */
EQ_AVX2 __m256i eq_lut16_256(__m256i x, const int16_t *table) {
  const __m256i u = _mm256_add_epi32(x, _mm256_set1_epi32(32768));
  const __m256i pair =
      _mm256_i32gather_epi32((const int *)(const void *)table, _mm256_srai_epi32(u, 7), 2);
  const __m256i f = _mm256_and_si256(u, _mm256_set1_epi32(127));
  const __m256i t = _mm256_srai_epi32(_mm256_slli_epi32(pair, 16), 16);
  const __m256i rise = _mm256_mullo_epi32(_mm256_sub_epi32(_mm256_srai_epi32(pair, 16), t), f);
  return _mm256_add_epi32(t, _mm256_srai_epi32(_mm256_add_epi32(rise, _mm256_set1_epi32(64)), 7));
}

/* ---- rounding ---- */

/* What a register of 8 accumulators meets: m before the table, r after it. */
typedef struct {
  __m256 m, r;
} eq_scale256;

/* r, times 2^-16 where table values enter the product in the upper half of 32 bits. */
EQ_AVX2 __m256 eq_after256(const eq_epilogue *e, __m256 r, const eq_kind256 KIND) {
  const __m256 unit = _mm256_set1_ps(KIND == EQ_PIECES256 ? 0x1p-16f : 1.0f);
  return e->step || e->gate ? _mm256_mul_ps(r, unit) : unit;
}

EQ_AVX2 eq_scale256 eq_scale256_of(const eq_epilogue *e, int c, const eq_kind256 KIND) {
  return (eq_scale256){_mm256_loadu_ps(e->m + c), eq_after256(e, _mm256_loadu_ps(e->r + c), KIND)};
}

/* Saturation cuts what is too low; vcvtps2dq makes 2^31 and more INT_MIN, so the top is cut here.
 */
EQ_AVX2 __m256i eq_round256(__m256 v) {
  return _mm256_cvtps_epi32(_mm256_min_ps(v, _mm256_set1_ps(32767.0f)));
}

/* Four roundings, packed. int16 outputs need their zero points `zero` before saturation, the others
 * (NULL) after it. */
EQ_AVX2 void eq_pack256(const __m256 *v, __m256i *to, const __m256i *zero, const bool SMALL) {
  __m256i x[4];
#pragma GCC unroll 4
  for (int k = 0; k < 4; k++) {
    if (zero)
      x[k] = _mm256_add_epi32(
          zero[k], _mm256_cvtps_epi32(_mm256_min_ps(_mm256_max_ps(v[k], _mm256_set1_ps(-EQ_FAR)),
                                                    _mm256_set1_ps(EQ_FAR))));
    else
      x[k] = SMALL ? _mm256_cvtps_epi32(v[k]) : eq_round256(v[k]);
  }
  to[0] = _mm256_packs_epi32(x[0], x[1]), to[1] = _mm256_packs_epi32(x[2], x[3]);
}

/* The table's values for four registers of arguments, as floats in the scale of eq_after256. */
EQ_AVX2 void eq_table256(const __m256 *v, __m256 *t, const eq_epilogue *e, const eq_kind256 KIND) {
  if (KIND == EQ_PIECES256) {
    __m256i x[2];
    eq_pack256(v, x, NULL, false);
    eq_pieces256_at(x, (const uint8_t *)(e->pieces + 2 * EQ_PIECES));
    const __m256i none = _mm256_setzero_si256(); /* the values times 2^16 */
#pragma GCC unroll 4
    for (int k = 0; k < 4; k++)
      t[k] = _mm256_cvtepi32_ps(k % 2 ? _mm256_unpackhi_epi16(none, x[k / 2])
                                      : _mm256_unpacklo_epi16(none, x[k / 2]));
    return;
  }
  const bool bytes = KIND == EQ_BYTES256;
  const float zero = bytes ? (float)e->pre_zero : 0; /* words: the others have none */
  const __m256 lo = _mm256_set1_ps((bytes ? -128.0f : -32768.0f) - zero);
  const __m256 hi = _mm256_set1_ps((bytes ? 127.0f : 32767.0f) - zero);
#pragma GCC unroll 4
  for (int k = 0; k < 4; k++) {
    const __m256i x = _mm256_cvtps_epi32(_mm256_min_ps(_mm256_max_ps(v[k], lo), hi));
    t[k] = _mm256_cvtepi32_ps(
        bytes ? eq_lut8_256(_mm256_add_epi32(x, _mm256_set1_epi32(e->pre_zero)), e->table)
              : eq_lut16_256(x, e->table));
  }
}

/* A quad -> 32 int16 without the last bounds and, unless given as `zero`, zero points, in the order
 * of vpackssdw. KIND and GATE are constant after inlining. */
EQ_AVX2 void eq_words256(const __m256i *acc, const eq_scale256 *const *s, const __m256i *zero,
                         const eq_epilogue *e, __m256i *to, const eq_kind256 KIND,
                         const bool GATE) {
  __m256 f[4], v[4], t[4];
#pragma GCC unroll 4
  for (int k = 0; k < 4; k++) {
    f[k] = _mm256_cvtepi32_ps(acc[k]);
    v[k] = _mm256_mul_ps(f[k], s[k]->m);
  }
  if (KIND > EQ_PLAIN256) {
    eq_table256(v, t, e, KIND);
#pragma GCC unroll 4
    for (int k = 0; k < 4; k++)
      v[k] = _mm256_mul_ps(GATE ? _mm256_mul_ps(f[k], s[k]->r) : s[k]->r, t[k]);
  }
  eq_pack256(v, to, zero, KIND == EQ_SMALL256);
}

/* ---- bounds ---- */

/* Zero points and bounds of two registers. */
typedef struct {
  __m256i zero[2];    /* int32 */
  __m256i zp, lo, hi; /* 16 int16 in the order of vpackssdw */
} eq_bounds256;

/* Without a step after a table only the type bounds its values. */
EQ_AVX2 eq_bounds256 eq_bounds256_from(const eq_epilogue *e, __m256i za, __m256i zb, __m256i la,
                                       __m256i lb, __m256i ha, __m256i hb) {
  const __m256i zero = _mm256_setzero_si256();
  if (e->lut_kind != EQ_LUT_NONE && !e->step && !e->gate)
    return (eq_bounds256){{zero, zero},
                          zero,
                          _mm256_set1_epi16(e->out16 ? -32768 : -128),
                          _mm256_set1_epi16(e->out16 ? 32767 : 127)};
  return (eq_bounds256){
      {za, zb}, _mm256_packs_epi32(za, zb), _mm256_packs_epi32(la, lb), _mm256_packs_epi32(ha, hb)};
}

/* Channels ca.. and cb.. ; rows are padded to 16, so full loads are inside. */
EQ_AVX2 eq_bounds256 eq_bounds256_of(const eq_epilogue *e, int ca, int cb) {
#define ROW(name) eq_load256(e->name + ca), eq_load256(e->name + cb)
  return eq_bounds256_from(e, ROW(zp), ROW(lo), ROW(hi));
#undef ROW
}

/* 32 bytes in the order of vpacksswb from the words of a quad. */
EQ_AVX2 __m256i eq_narrow256(const __m256i *words, __m256i za, __m256i zb, __m256i lo, __m256i hi) {
  const __m256i v =
      _mm256_packs_epi16(_mm256_adds_epi16(words[0], za), _mm256_adds_epi16(words[1], zb));
  return _mm256_min_epi8(_mm256_max_epi8(v, lo), hi);
}

/* ---- writing ---- */

/* A shuffle that brings bytes n - 8 .. (n >= 8) or n - 4 .. (4 <= n < 8) of a register to its
 * start. */
EQ_AVX2 __m128i eq_tail256(int n) {
  const int by = n >= 8 ? n - 8 : n >= 4 ? n - 4 : 0;
  return _mm_add_epi8(_mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
                      _mm_set1_epi8((char)by));
}

/* Write the first `n` <= 16 bytes of v, tail = eq_tail256(n). */
EQ_AVX2 void eq_write256(uint8_t *out, __m128i v, int n, __m128i tail) {
  if (n == 16) {
    _mm_storeu_si128((__m128i *)(void *)out, v);
  } else if (n >= 8) {
    _mm_storel_epi64((__m128i *)(void *)out, v);
    if (n > 8) _mm_storel_epi64((__m128i *)(void *)(out + n - 8), _mm_shuffle_epi8(v, tail));
  } else if (n >= 4) {
    _mm_storeu_si32(out, v);
    if (n > 4) _mm_storeu_si32(out + n - 4, _mm_shuffle_epi8(v, tail));
  } else {
    const uint32_t few = (uint32_t)_mm_cvtsi128_si32(v);
    for (int i = 0; i < n; i++) out[i] = (uint8_t)(few >> 8 * i);
  }
}

/* Repeat the first `n` lanes, n a power of two. */
EQ_AVX2 __m256i eq_repeat256(__m256i row, int n) {
  const __m256i lane =
      _mm256_and_si256(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_set1_epi32(n - 1));
  return _mm256_permutevar8x32_epi32(row, lane);
}

/* Accumulators of `pixels` pixels, acc[i * step + j] channels c + 8 * j .., to out[i] + at; j <
 * regs, which is 1 or 2, and channels <= 8 * regs. regs = 0: 2 or 4 channels, 4 or 2 pixels in a
 * register.
 */
void eq_finish256(const eq_epilogue *e, int c, int channels, const __m256i *acc, int regs, int step,
                  uint8_t *const *out, ptrdiff_t at, int pixels);

/* ---- dw_row: 16 channels in each 128-bit lane, register v of a quad with 4v .. 4v + 3 of them
 * ---- */

typedef struct {
  eq_scale256 s[4];
  __m256i zp[2], lo, hi;
} eq_lanes256;

/* Registers 4v .. 4v + 3 of a row's lanes: entries from p and from p + second. */
EQ_AVX2 __m256i eq_spread256(const void *p, int second, int v) {
  const __m128i *from = (const __m128i *)p + v;
  return _mm256_set_m128i(_mm_loadu_si128((const __m128i *)((const int32_t *)from + second)),
                          _mm_loadu_si128(from));
}

/* Lanes of channels c .. c + 15 and c + second .. */
void eq_lanes256_of(eq_lanes256 *to, const eq_epilogue *e, int c, int second);

/* `count` quads: n[l] bytes of lane l of quad i to to[l] + i * step. */
void eq_finish_lanes256(const eq_epilogue *e, const eq_lanes256 *r, const __m256i (*acc)[4],
                        int count, uint8_t *const *to, ptrdiff_t step, const int *n);
#endif
