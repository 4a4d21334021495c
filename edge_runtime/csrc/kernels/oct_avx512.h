/* oct_avx512.h: the epilogue with e->small of eight registers of sums at once, as epilogue_avx512.h
 * has it for two. About 60 cycles pass from the first conversion to the store while 114
 * instructions wait at most: so each stage does one thing to all eight before the next, and other
 * work may come between the stages. Internal. */
#ifndef EDGEQ_OCT_AVX512_H
#define EDGEQ_OCT_AVX512_H
#include "epilogue_avx512.h"

enum { EQ_OCT = 8 };
#define EQ_EACH(i, n) _Pragma("GCC unroll 8") for (int i = 0; i < (n); i++)
#define EQ_PIN(v)     __asm__("" : "+v"(v)) /* keeps the order of the source */

/* What comes behind the rounding: no table, one whose values are multiplied by r, or by r and the
 * sum. */
typedef enum { EQ_OCT_SMALL, EQ_OCT_STEP, EQ_OCT_GATE } eq_oct_kind;

/* Of a block of 16 * PANELS channels. Register i belongs to panel i % PANELS. */
typedef struct {
  __m512 m[2], r[2];
  eq_pieces512 t;
  __m512i zero[2], low, high;
} eq_oct;

EQ_TARGET EQ_INLINE eq_oct eq_oct_of(const eq_epilogue *e, const int PANELS,
                                     const eq_oct_kind KIND) {
  const int last = 16 * (PANELS - 1);
  const eq_scale512 a = eq_scale512_of(e, 0), b = eq_scale512_of(e, last);
  const eq_bounds512 n = eq_bounds512_of(e, 0, last);
  return (eq_oct){{a.m, b.m},
                  {a.r, b.r},
                  eq_pieces512_of(e, KIND == EQ_OCT_SMALL ? EQ_SMALL512 : EQ_PIECES512),
                  {n.zero[0], n.zero[1]},
                  e->out16 ? n.lo : _mm512_packs_epi16(n.lo, n.lo),
                  e->out16 ? n.hi : _mm512_packs_epi16(n.hi, n.hi)};
}

/* Rounded, plus the zero points when `zero`, packed. */
EQ_TARGET EQ_INLINE void eq_oct_pack(__m512i *x, __m512 *v, const __m512i *zero, const int PANELS) {
  __m512i n[EQ_OCT];
  EQ_EACH(i, EQ_OCT) {
    n[i] = _mm512_cvtps_epi32(v[i]);
    EQ_PIN(n[i]);
  }
  if (zero) EQ_EACH(i, EQ_OCT) {
      n[i] = _mm512_add_epi32(n[i], zero[i % PANELS]);
      EQ_PIN(n[i]);
    }
  EQ_EACH(i, EQ_OCT / 2) {
    x[i] = _mm512_packs_epi32(n[2 * i], n[2 * i + 1]);
    EQ_PIN(x[i]);
  }
}

/* Sums to words: of the output, or what goes into the table. `gate` keeps sums times r. */
EQ_TARGET EQ_INLINE void eq_oct_words(__m512i *x, const eq_oct *o, const __m512i *sums,
                                      __m512 *gate, const int PANELS, const eq_oct_kind KIND) {
  __m512 f[EQ_OCT], v[EQ_OCT];
  EQ_EACH(i, EQ_OCT) {
    f[i] = _mm512_cvtepi32_ps(sums[i]);
    EQ_PIN(f[i]);
  }
  EQ_EACH(i, EQ_OCT) {
    v[i] = _mm512_mul_ps(f[i], o->m[i % PANELS]);
    EQ_PIN(v[i]);
  }
  if (KIND != EQ_OCT_SMALL) EQ_EACH(i, EQ_OCT) {
      v[i] = eq_cut512(v[i]);
      EQ_PIN(v[i]);
    }
  if (KIND == EQ_OCT_GATE) EQ_EACH(i, EQ_OCT) gate[i] = _mm512_mul_ps(f[i], o->r[i % PANELS]);
  eq_oct_pack(x, v, KIND == EQ_OCT_SMALL ? o->zero : NULL, PANELS);
}

/* eq_pieces512_at */
EQ_TARGET EQ_INLINE void eq_oct_look_up(__m512i *x, const eq_pieces512 *t) {
  __m512i f[EQ_OCT / 2], slope[EQ_OCT / 2];
  EQ_EACH(i, EQ_OCT / 2) {
    f[i] = _mm512_slli_epi16(x[i], 5);
    EQ_PIN(f[i]);
  }
  EQ_EACH(i, EQ_OCT / 2) {
    x[i] = _mm512_srai_epi16(x[i], 10);
    EQ_PIN(x[i]);
  }
  EQ_EACH(i, EQ_OCT / 2) {
    slope[i] = _mm512_permutex2var_epi16(t->slope[0], x[i], t->slope[1]);
    EQ_PIN(slope[i]);
  }
  EQ_EACH(i, EQ_OCT / 2) {
    f[i] = _mm512_and_si512(f[i], _mm512_set1_epi16(0x7fff));
    EQ_PIN(f[i]);
  }
  EQ_EACH(i, EQ_OCT / 2) {
    x[i] = _mm512_permutex2var_epi16(t->base[0], x[i], t->base[1]);
    EQ_PIN(x[i]);
  }
  EQ_EACH(i, EQ_OCT / 2) {
    slope[i] = _mm512_mulhrs_epi16(slope[i], f[i]);
    EQ_PIN(slope[i]);
  }
  EQ_EACH(i, EQ_OCT / 2) {
    x[i] = _mm512_add_epi16(x[i], slope[i]);
    EQ_PIN(x[i]);
  }
}

/* From the table's values to words of the output. */
EQ_TARGET EQ_INLINE void eq_oct_behind(__m512i *x, const eq_oct *o, const __m512 *gate,
                                       const int PANELS, const eq_oct_kind KIND) {
  __m512 v[EQ_OCT];
  __m512i n[EQ_OCT];
  const __m512i none = _mm512_setzero_si512(); /* the values times 2^16, as int32 */
  EQ_EACH(i, EQ_OCT) {
    n[i] = i % 2 ? _mm512_unpackhi_epi16(none, x[i / 2]) : _mm512_unpacklo_epi16(none, x[i / 2]);
    EQ_PIN(n[i]);
  }
  EQ_EACH(i, EQ_OCT) {
    v[i] = _mm512_cvtepi32_ps(n[i]);
    EQ_PIN(v[i]);
  }
  EQ_EACH(i, EQ_OCT) {
    v[i] = _mm512_mul_ps(KIND == EQ_OCT_GATE ? gate[i] : o->r[i % PANELS], v[i]);
    EQ_PIN(v[i]);
  }
  eq_oct_pack(x, v, o->zero, PANELS);
}

/* To memory: 8 / PANELS pixels `step` bytes apart. */
EQ_TARGET EQ_INLINE void eq_oct_store_wide(const eq_oct *o, const __m512i *x, uint8_t *out,
                                           ptrdiff_t step, int channels, const int PANELS) {
  EQ_EACH(i, EQ_OCT / 2) {
    const __m512i v = eq_pair512(x[i], o->low, o->high);
    eq_write_words512(out, v, channels);
    if (PANELS == 1) eq_write_words512(out + step, _mm512_shuffle_i64x2(v, v, 0xee), channels);
    out += 2 / PANELS * step;
  }
}

EQ_TARGET EQ_INLINE void eq_oct_store(const eq_oct *o, const __m512i *x, uint8_t *out,
                                      ptrdiff_t step, int channels, const int PANELS) {
  const __m128i tail = eq_tail512(channels - 16 * (PANELS - 1));
  EQ_EACH(i, EQ_OCT / 4) {
    const __m512i v = eq_join512(x[2 * i], x[2 * i + 1], o->low, o->high);
    if (PANELS == 2) {
      __m256i second = _mm512_extracti64x4_epi64(v, 1);
      EQ_PIN(second); /* in a register: the instruction that stores it takes longer */
      eq_write_two512(out, _mm512_castsi512_si256(v), channels, tail);
      eq_write_two512(out + step, second, channels, tail);
    } else {
      __m128i second = _mm512_extracti32x4_epi32(v, 1), third = _mm512_extracti32x4_epi32(v, 2);
      __m128i fourth = _mm512_extracti32x4_epi32(v, 3);
      EQ_PIN(second);
      EQ_PIN(third);
      EQ_PIN(fourth);
      eq_write512(out, _mm512_castsi512_si128(v), channels, tail);
      eq_write512(out + step, second, channels, tail);
      eq_write512(out + 2 * step, third, channels, tail);
      eq_write512(out + 3 * step, fourth, channels, tail);
    }
    out += 4 / PANELS * step;
  }
}
#endif
