/* finish, AVX-512: the epilogues of CONV and DWCONV over the accumulators of a tile, one function
 * per kind so that its constants stay in registers. */
#if defined(__x86_64__)
#include "epilogue_avx512.h"

enum { MOST = 32 }; /* pixels of a call */

/* The first `n` lanes of 16 / n registers, side by side; n is 8, 4, 2 or 1. */
EQ_TARGET EQ_INLINE __m512i join(const __m512i *acc, int step, int n, int count) {
  const int end = count - 1;
#define AT(i)   acc[((i) < end ? (i) : end) * step]
#define LOW(i)  _mm512_castsi512_si128(AT(i))
#define TWO(i)  _mm_unpacklo_epi64(LOW(i), LOW((i) + 1))
#define PAIR(i) _mm_unpacklo_epi32(LOW(i), LOW((i) + 1))
#define FOUR(i) _mm_unpacklo_epi64(PAIR(i), PAIR((i) + 2))
#define ALL(part, by)                                                                              \
  _mm512_inserti32x4(                                                                              \
      _mm512_inserti32x4(_mm512_inserti32x4(_mm512_castsi128_si512(part(0)), part(by), 1),         \
                         part(2 * (by)), 2),                                                       \
      part(3 * (by)), 3)
  if (n == 8) return _mm512_inserti64x4(AT(0), _mm512_castsi512_si256(AT(1)), 1);
  if (n == 4) return ALL(LOW, 1);
  if (n == 2) return ALL(TWO, 2);
  return ALL(FOUR, 4);
#undef AT
#undef LOW
#undef TWO
#undef PAIR
#undef FOUR
#undef ALL
}

/* Pixels of `n` = 1, 2, 4 or 8 bytes from one block of memory to where they belong. */
EQ_TARGET static void scatter(const uint8_t *from, uint8_t *const *out, ptrdiff_t at, int pixels,
                              int n) {
  bool dense = true;
  for (int i = 1; i < pixels; i++) dense &= out[i] == out[0] + i * n;
  if (dense) {
    uint8_t *to = out[0] + at;
    int i = 0, bytes = pixels * n;
    for (; i + 16 <= bytes; i += 16) memcpy(to + i, from + i, 16);
    if (bytes & 8) memcpy(to + i, from + i, 8), i += 8;
    for (; i < bytes; i++) to[i] = from[i];
    return;
  }
  for (int i = 0; i < pixels; i++, from += n) {
    uint8_t *to = out[i] + at;
    if (n == 16)
      memcpy(to, from, 16);
    else if (n == 8)
      memcpy(to, from, 8);
    else if (n == 4)
      memcpy(to, from, 4);
    else if (n == 2)
      memcpy(to, from, 2);
    else
      *to = *from;
  }
}

/* 1, 2, 4 or 8 channels: 16 / n pixels share a register. */
EQ_TARGET EQ_INLINE void few(const eq_epilogue *e, int c, int n, const __m512i *acc,
                             uint8_t *const *out, ptrdiff_t at, int pixels, const eq_pieces512 *t,
                             const eq_kind512 KIND, const bool GATE) {
#define ROW(name) eq_repeat512(_mm512_loadu_si512(e->name + c), n)
  const eq_scale512 s = {_mm512_castsi512_ps(ROW(m)), eq_after512(e, _mm512_castsi512_ps(ROW(r)))};
  const eq_bounds512 b = eq_bounds512_from(e, ROW(zp), ROW(zp), ROW(lo), ROW(lo), ROW(hi), ROW(hi));
#undef ROW
  const __m512i low = _mm512_packs_epi16(b.lo, b.lo), high = _mm512_packs_epi16(b.hi, b.hi);
  const int count = (pixels * n + 15) / 16;
  _Alignas(64) uint8_t bytes[MOST * 16 + 64];
#define WORDS(i)                                                                                   \
  eq_words512(acc[i], acc[(i) + 1 < count ? (i) + 1 : (i)], &s, &s, e->out16 ? b.zero : NULL, e,   \
              t, KIND, GATE)
  if (e->out16) {
    for (int i = 0; i < count; i += 2)
      _mm512_store_si512(bytes + 32 * i, eq_pair512(WORDS(i), b.lo, b.hi));
  } else {
    for (int i = 0; i < count; i += 4) {
      const __m512i first = WORDS(i), second = i + 2 < count ? WORDS(i + 2) : first;
      _mm512_store_si512(bytes + 16 * i, eq_quad512(first, second, b.zp, low, high));
    }
  }
#undef WORDS
  scatter(bytes, out, at, pixels, e->out16 ? 2 * n : n);
}

/* One panel of int8, four pixels in a register. */
EQ_TARGET EQ_INLINE void one_panel(const eq_epilogue *e, int c, int n, const __m512i *acc, int step,
                                   uint8_t *const *out, ptrdiff_t at, int pixels,
                                   const eq_pieces512 *t, const eq_kind512 KIND, const bool GATE) {
  const eq_scale512 s = eq_scale512_of(e, c);
  const eq_bounds512 b = eq_bounds512_of(e, c, c);
  const __m512i low = _mm512_packs_epi16(b.lo, b.lo), high = _mm512_packs_epi16(b.hi, b.hi);
  const __m128i tail = eq_tail512(n);
  for (int i = 0; i < pixels; i += 4) {
    const int left = pixels - i - 1, last = left < 3 ? left : 3;
    const __m512i *p = acc + i * step, *q = p + (last < 1 ? 0 : step);
    const __m512i *r = p + (last < 2 ? 0 : 2 * step), *u = p + last * step;
    const __m512i v =
        eq_quad512(eq_words512(*p, *q, &s, &s, NULL, e, t, KIND, GATE),
                   eq_words512(*r, *u, &s, &s, NULL, e, t, KIND, GATE), b.zp, low, high);
    eq_write512(out[i] + at, _mm512_castsi512_si128(v), n, tail);
    if (last > 0) eq_write512(out[i + 1] + at, _mm512_extracti32x4_epi32(v, 1), n, tail);
    if (last > 1) eq_write512(out[i + 2] + at, _mm512_extracti32x4_epi32(v, 2), n, tail);
    if (last > 2) eq_write512(out[i + 3] + at, _mm512_extracti32x4_epi32(v, 3), n, tail);
  }
}

/* Two panels of int8, two pixels in a register. */
EQ_TARGET EQ_INLINE void two_panels(const eq_epilogue *e, int c, int channels, const __m512i *acc,
                                    uint8_t *const *out, ptrdiff_t at, int pixels,
                                    const eq_pieces512 *t, const eq_kind512 KIND, const bool GATE) {
  const eq_scale512 s0 = eq_scale512_of(e, c), s1 = eq_scale512_of(e, c + 16);
  const eq_bounds512 b = eq_bounds512_of(e, c, c + 16);
  const __m512i low = _mm512_packs_epi16(b.lo, b.lo), high = _mm512_packs_epi16(b.hi, b.hi);
  const __m128i tail = eq_tail512(channels - 16);
  for (int i = 0; i < pixels; i += 2, acc += 4) {
    const int second = i + 1 < pixels ? 2 : 0;
    const __m512i v =
        eq_quad512(eq_words512(acc[0], acc[1], &s0, &s1, NULL, e, t, KIND, GATE),
                   eq_words512(acc[second], acc[second + 1], &s0, &s1, NULL, e, t, KIND, GATE),
                   b.zp, low, high);
    eq_write_two512(out[i] + at, _mm512_castsi512_si256(v), channels, tail);
    if (second) eq_write_two512(out[i + 1] + at, _mm512_extracti64x4_epi64(v, 1), channels, tail);
  }
}

/* One panel of int16, two pixels in a register. */
EQ_TARGET EQ_INLINE void wide(const eq_epilogue *e, int c, int n, const __m512i *acc, int step,
                              uint8_t *const *out, ptrdiff_t at, int pixels, const eq_pieces512 *t,
                              const eq_kind512 KIND, const bool GATE) {
  const eq_scale512 s = eq_scale512_of(e, c);
  const eq_bounds512 b = eq_bounds512_of(e, c, c);
  for (int i = 0; i < pixels; i += 2, acc += 2 * step) {
    const int second = i + 1 < pixels;
    const __m512i v = eq_pair512(
        eq_words512(acc[0], acc[second * step], &s, &s, b.zero, e, t, KIND, GATE), b.lo, b.hi);
    eq_write_words512(out[i] + at, v, n);
    if (second) eq_write_words512(out[i + 1] + at, _mm512_shuffle_i64x2(v, v, 0xee), n);
  }
}

/* The same from a register per pixel. */
EQ_TARGET EQ_INLINE void few_of(const eq_epilogue *e, int c, int n, const __m512i *acc, int step,
                                uint8_t *const *out, ptrdiff_t at, int pixels,
                                const eq_pieces512 *t, const eq_kind512 KIND, const bool GATE) {
  __m512i joined[MOST];
  const int group = 16 / n;
  for (int i = 0, k = 0; i < pixels; i += group, k++)
    joined[k] = join(acc + i * step, step, n, pixels - i);
  few(e, c, n, joined, out, at, pixels, t, KIND, GATE);
}

EQ_TARGET EQ_INLINE void finish(const eq_epilogue *e, int c, int channels, const __m512i *acc,
                                int panels, uint8_t *const *out, ptrdiff_t at, int pixels,
                                const eq_kind512 KIND, const bool GATE) {
  const eq_pieces512 t = eq_pieces512_of(e, KIND);
  if (channels > 16 && !e->out16) {
    two_panels(e, c, channels, acc, out, at, pixels, &t, KIND, GATE);
    return;
  }
  for (int j = 0; 16 * j < channels; j++, at += 32) {
    const int n = channels - 16 * j < 16 ? channels - 16 * j : 16;
    if (n <= 8 && !(n & (n - 1)))
      few_of(e, c + 16 * j, n, acc + j, panels, out, at, pixels, &t, KIND, GATE);
    else if (e->out16)
      wide(e, c + 16 * j, n, acc + j, panels, out, at, pixels, &t, KIND, GATE);
    else
      one_panel(e, c, n, acc, panels, out, at, pixels, &t, KIND, GATE);
  }
}

#define FINISH(name, kind, gate)                                                                   \
  EQ_TARGET static void name(const eq_epilogue *e, int c, int channels, const __m512i *acc,        \
                             int panels, uint8_t *const *out, ptrdiff_t at, int pixels) {          \
    if (panels) {                                                                                  \
      finish(e, c, channels, acc, panels, out, at, pixels, kind, gate);                            \
    } else {                                                                                       \
      const eq_pieces512 t = eq_pieces512_of(e, kind);                                             \
      few(e, c, channels, acc, out, at, pixels, &t, kind, gate);                                   \
    }                                                                                              \
  }
FINISH(small, EQ_SMALL512, false)
FINISH(plain, EQ_PLAIN512, false)
FINISH(pieces, EQ_PIECES512, false)
FINISH(pieces_gate, EQ_PIECES512, true)
FINISH(table, EQ_TABLE512, false)
FINISH(table_gate, EQ_TABLE512, true)
FINISH(bytes, EQ_BYTES512, false)

typedef void finish_fn(const eq_epilogue *, int, int, const __m512i *, int, uint8_t *const *,
                       ptrdiff_t, int);
static finish_fn *const kinds[][2] = {[EQ_SMALL512] = {small, small},
                                      [EQ_PLAIN512] = {plain, plain},
                                      [EQ_PIECES512] = {pieces, pieces_gate},
                                      [EQ_TABLE512] = {table, table_gate},
                                      [EQ_BYTES512] = {bytes, bytes}};

/* What int16 cannot hold on the way: extreme zero points and multipliers, tables that jump. */
static void slowly(const eq_epilogue *e, int c, const int32_t *v, int channels, uint8_t *out) {
  for (int k = 0; k < channels; k++) eq_epilogue_put(e, out, k, eq_epilogue_one(e, v[k], c + k));
}

void eq_finish512(const eq_epilogue *e, int c, int channels, const __m512i *acc, int panels,
                  uint8_t *const *out, ptrdiff_t at, int pixels) {
  if (e->words) {
    kinds[eq_kind512_of(e)][e->gate](e, c, channels, acc, panels, out, at, pixels);
    return;
  }
  const int32_t *v = (const int32_t *)(const void *)acc;
  for (int i = 0; i < pixels; i++) slowly(e, c, v + i * panels * 16, channels, out[i] + at);
}

void eq_finish_few512(const eq_epilogue *e, int c, int n, const __m512i *acc, uint8_t *const *out,
                      ptrdiff_t at, int pixels) {
  if (e->words) {
    kinds[eq_kind512_of(e)][e->gate](e, c, n, acc, 0, out, at, pixels);
    return;
  }
  const int32_t *v = (const int32_t *)(const void *)acc;
  for (int i = 0; i < pixels; i++) slowly(e, c, v + i * n, n, out[i] + at);
}
#else
typedef int eq_empty; /* ISO C wants a declaration */
#endif
