/* epilogue_avx512.h: the epilogue in AVX-512, equal to epilogue.h lane by lane. After a rounding
 * everything is int16, 32 values in a register, because saturation is the clamp of the law:
 * eq_prepare says where that holds (e->words). vpackssdw puts two registers
 * of accumulators side by side in every 128-bit lane; vpunpck* undo it. */
#ifndef EDGEQ_EPILOGUE_AVX512_H
#define EDGEQ_EPILOGUE_AVX512_H
#include <immintrin.h>
#include <string.h>
#include "epilogue.h"

#define EQ_TARGET EQ_TARGET_AVX512VNNI

/* SMALL: no table and e->small. The others take any multiplier. */
typedef enum { EQ_SMALL512, EQ_PLAIN512, EQ_PIECES512, EQ_TABLE512, EQ_BYTES512 } eq_kind512;

static inline eq_kind512 eq_kind512_of(const eq_epilogue *e) {
  if (e->lut_kind == EQ_LUT_NONE) return e->small ? EQ_SMALL512 : EQ_PLAIN512;
  if (e->lut_kind == EQ_LUT_LUT8) return EQ_BYTES512;
  return e->pieces ? EQ_PIECES512 : EQ_TABLE512;
}

/* Registers of a table of straight pieces; negative arguments use entries 0..31. */
typedef struct {
  __m512i base[2], slope[2];
} eq_pieces512;

/* Zeros where KIND has none. */
EQ_TARGET EQ_INLINE eq_pieces512 eq_pieces512_of(const eq_epilogue *e, const eq_kind512 KIND) {
  eq_pieces512 t;
  for (int i = 0; i < 2; i++) {
    const int16_t *p = e->pieces + (i ? 0 : 32);
    t.base[i] = KIND == EQ_PIECES512 ? _mm512_loadu_si512(p) : _mm512_setzero_si512();
    t.slope[i] = KIND == EQ_PIECES512 ? _mm512_loadu_si512(p + 64) : _mm512_setzero_si512();
  }
  return t;
}

/* base + ((slope * f + 64) >> 7) = base + ((8 * slope * (f << 5) + 2^14) >> 15) = vpmulhrsw. */
EQ_TARGET EQ_INLINE __m512i eq_pieces512_at(__m512i x, const eq_pieces512 *t) {
  const __m512i piece = _mm512_srai_epi16(x, 10); /* the permutes use its low 6 bits */
  const __m512i base = _mm512_permutex2var_epi16(t->base[0], piece, t->base[1]);
  const __m512i slope = _mm512_permutex2var_epi16(t->slope[0], piece, t->slope[1]);
  const __m512i f = _mm512_and_si512(_mm512_slli_epi16(x, 5), _mm512_set1_epi16(0x7fff));
  return _mm512_add_epi16(base, _mm512_mulhrs_epi16(slope, f));
}

/* 32 entries of table[0 .. 64 * groups) by their index; the low 6 bits go through a permute of two
 * registers, the others choose among the groups. */
EQ_TARGET EQ_INLINE __m512i eq_choose512(const int16_t *table, __m512i index, const int GROUPS) {
  __m512i v[8];
#pragma GCC unroll 8
  for (int k = 0; k < GROUPS; k++)
    v[k] = _mm512_permutex2var_epi16(_mm512_loadu_si512(table + 64 * k), index,
                                     _mm512_loadu_si512(table + 64 * k + 32));
#pragma GCC unroll 3
  for (int half = 1; half < GROUPS; half *= 2) {
    const __mmask32 upper = _mm512_test_epi16_mask(index, _mm512_set1_epi16((short)(64 * half)));
#pragma GCC unroll 4
    for (int k = 0; k < GROUPS; k += 2 * half)
      v[k] = _mm512_mask_blend_epi16(upper, v[k], v[k + half]);
  }
  return v[0];
}

/* 32 lookups by int16 in a table of 513 entries whose steps fit int16. */
EQ_TARGET EQ_INLINE __m512i eq_table512_at(__m512i x, const int16_t *table) {
  const __m512i i = _mm512_srli_epi16(_mm512_xor_si512(x, _mm512_set1_epi16(-32768)), 7);
  const __m512i f = _mm512_and_si512(_mm512_slli_epi16(x, 8), _mm512_set1_epi16(0x7fff));
  const __m512i t = eq_choose512(table, i, 8), next = eq_choose512(table + 1, i, 8);
  return _mm512_add_epi16(t, _mm512_mulhrs_epi16(_mm512_sub_epi16(next, t), f));
}

/* 32 lookups by x in [-128, 127] in a table of 256 entries. */
EQ_TARGET EQ_INLINE __m512i eq_bytes512_at(__m512i x, const int16_t *table) {
  return eq_choose512(table, _mm512_add_epi16(x, _mm512_set1_epi16(128)), 4);
}

/* What a register of 16 accumulators meets: m before the table, r after it. */
typedef struct {
  __m512 m, r;
} eq_scale512;

/* r times 2^-16, because table values enter the product in the upper half of 32 bits. */
EQ_TARGET EQ_INLINE __m512 eq_after512(const eq_epilogue *e, __m512 r) {
  return e->step || e->gate ? _mm512_mul_ps(r, _mm512_set1_ps(0x1p-16f)) : _mm512_set1_ps(0x1p-16f);
}

EQ_TARGET EQ_INLINE eq_scale512 eq_scale512_of(const eq_epilogue *e, int c) {
  return (eq_scale512){_mm512_loadu_ps(e->m + c), eq_after512(e, _mm512_loadu_ps(e->r + c))};
}

/* vcvtps2dq makes 2^31 and more INT_MIN, so the top is cut here; saturation cuts what is too low.
 * As integers floats compare like floats where one is positive, and any pipe compares integers. */
EQ_TARGET EQ_INLINE __m512 eq_cut512(__m512 v) {
  const __m512i top = _mm512_castps_si512(_mm512_set1_ps(32767.0f));
  return _mm512_castsi512_ps(_mm512_min_epi32(_mm512_castps_si512(v), top));
}

EQ_TARGET EQ_INLINE __m512i eq_round512(__m512 v) { return _mm512_cvtps_epi32(eq_cut512(v)); }

/* The last rounding of two registers, packed. int16 outputs need their zero points `zero` before
 * saturation, the others (NULL) after it. */
EQ_TARGET EQ_INLINE __m512i eq_pack512(__m512 a, __m512 b, const __m512i *zero, const bool SMALL) {
  if (zero) {
    const __m512 low = _mm512_set1_ps(-EQ_FAR), high = _mm512_set1_ps(EQ_FAR);
    a = _mm512_min_ps(_mm512_max_ps(a, low), high);
    b = _mm512_min_ps(_mm512_max_ps(b, low), high);
    return _mm512_packs_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(a), zero[0]),
                              _mm512_add_epi32(_mm512_cvtps_epi32(b), zero[1]));
  }
  if (SMALL) return _mm512_packs_epi32(_mm512_cvtps_epi32(a), _mm512_cvtps_epi32(b));
  return _mm512_packs_epi32(eq_round512(a), eq_round512(b));
}

/* Two registers of accumulators -> 32 int16 without the last bounds and, unless given as `zero`,
 * zero points, in the order of vpackssdw. KIND and GATE are constant after inlining. */
EQ_TARGET EQ_INLINE __m512i eq_words512(__m512i a, __m512i b, const eq_scale512 *sa,
                                        const eq_scale512 *sb, const __m512i *zero,
                                        const eq_epilogue *e, const eq_pieces512 *t,
                                        const eq_kind512 KIND, const bool GATE) {
  const __m512 fa = _mm512_cvtepi32_ps(a), fb = _mm512_cvtepi32_ps(b);
  const __m512 va = _mm512_mul_ps(fa, sa->m), vb = _mm512_mul_ps(fb, sb->m);
  if (KIND <= EQ_PLAIN512) return eq_pack512(va, vb, zero, KIND == EQ_SMALL512);
  __m512i x = eq_pack512(va, vb, NULL, false);
  if (KIND == EQ_BYTES512) {
    x = _mm512_adds_epi16(x, _mm512_set1_epi16((short)e->pre_zero));
    x = _mm512_max_epi16(_mm512_min_epi16(x, _mm512_set1_epi16(127)), _mm512_set1_epi16(-128));
    x = eq_bytes512_at(x, e->table);
  } else {
    x = KIND == EQ_PIECES512 ? eq_pieces512_at(x, t) : eq_table512_at(x, e->table);
  }
  const __m512i none = _mm512_setzero_si512(); /* the table's values times 2^16, as int32 */
  const __m512 ta = _mm512_cvtepi32_ps(_mm512_unpacklo_epi16(none, x));
  const __m512 tb = _mm512_cvtepi32_ps(_mm512_unpackhi_epi16(none, x));
  const __m512 ra = GATE ? _mm512_mul_ps(fa, sa->r) : sa->r;
  const __m512 rb = GATE ? _mm512_mul_ps(fb, sb->r) : sb->r;
  return eq_pack512(_mm512_mul_ps(ra, ta), _mm512_mul_ps(rb, tb), zero, false);
}

/* Zero points and bounds of two registers. */
typedef struct {
  __m512i zero[2];    /* int32 */
  __m512i zp, lo, hi; /* 32 int16 in the order of vpackssdw */
} eq_bounds512;

/* Without a step after a table only the type bounds its values. */
EQ_TARGET EQ_INLINE eq_bounds512 eq_bounds512_from(const eq_epilogue *e, __m512i za, __m512i zb,
                                                   __m512i la, __m512i lb, __m512i ha, __m512i hb) {
  const __m512i zero = _mm512_setzero_si512();
  if (e->lut_kind != EQ_LUT_NONE && !e->step && !e->gate)
    return (eq_bounds512){{zero, zero},
                          zero,
                          _mm512_set1_epi16(e->out16 ? -32768 : -128),
                          _mm512_set1_epi16(e->out16 ? 32767 : 127)};
  return (eq_bounds512){
      {za, zb}, _mm512_packs_epi32(za, zb), _mm512_packs_epi32(la, lb), _mm512_packs_epi32(ha, hb)};
}

/* Channels ca.. and cb.. ; rows are padded to 16, so full loads are inside. */
EQ_TARGET EQ_INLINE eq_bounds512 eq_bounds512_of(const eq_epilogue *e, int ca, int cb) {
#define ROW(name) _mm512_loadu_si512(e->name + ca), _mm512_loadu_si512(e->name + cb)
  return eq_bounds512_from(e, ROW(zp), ROW(lo), ROW(hi));
#undef ROW
}

/* 64 bytes in the order of memory from two eq_words512 with their zero points: the four registers
 * of accumulators they came from follow each other. */
EQ_TARGET EQ_INLINE __m512i eq_join512(__m512i first, __m512i second, __m512i lo, __m512i hi) {
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  const __m512i v = _mm512_packs_epi16(first, second);
  return _mm512_permutexvar_epi32(order, _mm512_min_epi8(_mm512_max_epi8(v, lo), hi));
}

/* The same from words without, which have one row of them in common. */
EQ_TARGET EQ_INLINE __m512i eq_quad512(__m512i first, __m512i second, __m512i zp, __m512i lo,
                                       __m512i hi) {
  return eq_join512(_mm512_adds_epi16(first, zp), _mm512_adds_epi16(second, zp), lo, hi);
}

/* 16-bit outputs: the two registers of accumulators follow each other. */
EQ_TARGET EQ_INLINE __m512i eq_pair512(__m512i words, __m512i lo, __m512i hi) {
  const __m512i order = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
  return _mm512_permutexvar_epi64(order, _mm512_min_epi16(_mm512_max_epi16(words, lo), hi));
}

/* A shuffle that brings bytes n - 8 .. (n >= 8) or n - 4 .. (4 <= n < 8) of a register to its
 * start. */
EQ_TARGET EQ_INLINE __m128i eq_tail512(int n) {
  const int by = n >= 8 ? n - 8 : n >= 4 ? n - 4 : 0;
  return _mm_add_epi8(_mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
                      _mm_set1_epi8((char)by));
}

/* Write the first `n` <= 16 bytes of v, tail = eq_tail512(n): masked stores cost more on the CPUs
 * measured. */
EQ_TARGET EQ_INLINE void eq_write512(uint8_t *out, __m128i v, int n, __m128i tail) {
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

/* The same for 16 < n <= 32, tail = eq_tail512(n - 16). */
EQ_TARGET EQ_INLINE void eq_write_two512(uint8_t *out, __m256i v, int n, __m128i tail) {
  if (n == 32) {
    _mm256_storeu_si256((__m256i *)(void *)out, v);
  } else {
    _mm_storeu_si128((__m128i *)(void *)out, _mm256_castsi256_si128(v));
    eq_write512(out + 16, _mm256_extracti128_si256(v, 1), n - 16, tail);
  }
}

/* The first n <= 32 int16 of v. */
EQ_TARGET EQ_INLINE void eq_write_words512(uint8_t *out, __m512i v, int n) {
  if (n == 32)
    _mm512_storeu_si512(out, v);
  else if (n == 16)
    _mm256_storeu_si256((__m256i *)(void *)out, _mm512_castsi512_si256(v));
  else
    _mm512_mask_storeu_epi16(out, ((__mmask32)1 << n) - 1, v);
}

/* Repeat the first `n` lanes, n a power of two. */
EQ_TARGET EQ_INLINE __m512i eq_repeat512(__m512i row, int n) {
  const __m512i lane =
      _mm512_and_si512(_mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
                       _mm512_set1_epi32(n - 1));
  return _mm512_permutexvar_epi32(lane, row);
}

/* Accumulators of `pixels` pixels, acc[i * panels + j] channels c + 16 * j .. , to out[i] + at.
 * `channels` > 16 needs panels = 2. */
void eq_finish512(const eq_epilogue *e, int c, int channels, const __m512i *acc, int panels,
                  uint8_t *const *out, ptrdiff_t at, int pixels);

/* The same for n = 1, 2, 4 or 8 channels, 16 / n pixels in a register. */
void eq_finish_few512(const eq_epilogue *e, int c, int n, const __m512i *acc, uint8_t *const *out,
                      ptrdiff_t at, int pixels);
#endif
