/* conv_half, AVX-512 VNNI: 17 to 24 output channels from lines or copies of pixels. The last 8
 * channels of two neighbours share a register, so that 16 pixels take 24 dot products a step. */
#if defined(__x86_64__)
#include <string.h>
#include "conv_avx512.h"

enum { QUAD = EQ_LINE_QUAD, MOST_QUADS = 4, SIX = 6 /* registers of a quad: 4 and 2 halves */ };

/* ---- the epilogue of int8 outputs with `words` ---- */

/* Pixels of 24 bytes from `from` to those of `channels`. */
EQ_INLINE void put(uint8_t *to, ptrdiff_t step, const uint8_t *from, int channels) {
  for (int i = 0; i < QUAD; i++, to += step, from += 24) {
    memcpy(to, from, 16);
    if (channels >= 20)
      memcpy(to + 16, from + 16, 4), memcpy(to + channels - 4, from + channels - 4, 4);
    else
      for (int c = 16; c < channels; c++) to[c] = from[c];
  }
}

EQ_TARGET EQ_INLINE void finish(const eq_epilogue *e, const __m512i *sums, uint8_t *const *out,
                                ptrdiff_t at, ptrdiff_t step, int quads, int channels,
                                const eq_kind512 KIND, const bool GATE) {
  const __m512i first = _mm512_setr_epi32(0, 4, 8, 12, 16, 20, 1, 5, 9, 13, 24, 28, 2, 6, 10, 14);
  const __m512i rest = _mm512_setr_epi32(17, 21, 3, 7, 11, 15, 25, 29, 0, 0, 0, 0, 0, 0, 0, 0);
  const eq_pieces512 t = eq_pieces512_of(e, KIND);
#define LAST(name) eq_repeat512(_mm512_loadu_si512(e->name + 16), 8)
  const eq_scale512 s = eq_scale512_of(e, 0), h = {_mm512_castsi512_ps(LAST(m)),
                                                   eq_after512(e, _mm512_castsi512_ps(LAST(r)))};
  const eq_bounds512 b = eq_bounds512_of(e, 0, 0);
  const eq_bounds512 c =
      eq_bounds512_from(e, LAST(zp), LAST(zp), LAST(lo), LAST(lo), LAST(hi), LAST(hi));
#undef LAST
  const __m512i low = _mm512_packs_epi16(b.lo, b.lo), high = _mm512_packs_epi16(b.hi, b.hi);
  const __m512i less = _mm512_packs_epi16(c.lo, c.lo), more = _mm512_packs_epi16(c.hi, c.hi);
  for (int q = 0; q < quads; q++, sums += SIX) {
#define WORDS(i, s) eq_words512(sums[i], sums[(i) + 1], s, s, NULL, e, &t, KIND, GATE)
    __m512i u = _mm512_packs_epi16(_mm512_adds_epi16(WORDS(0, &s), b.zp),
                                   _mm512_adds_epi16(WORDS(2, &s), b.zp));
    __m512i v = _mm512_adds_epi16(WORDS(4, &h), c.zp);
#undef WORDS
    u = _mm512_min_epi8(_mm512_max_epi8(u, low), high);
    v = _mm512_min_epi8(_mm512_max_epi8(_mm512_packs_epi16(v, v), less), more);
    uint8_t bytes[24 * QUAD];
    const bool dense = channels == 24 && step == 24;
    uint8_t *to = dense ? out[q] + at : bytes;
    _mm512_storeu_si512(to, _mm512_permutex2var_epi32(u, first, v));
    _mm256_storeu_si256((void *)(to + 64),
                        _mm512_castsi512_si256(_mm512_permutex2var_epi32(u, rest, v)));
    if (!dense) put(out[q] + at, step, bytes, channels);
  }
}

typedef void finish_fn(const eq_epilogue *, const __m512i *, uint8_t *const *, ptrdiff_t, ptrdiff_t,
                       int, int);
#define FINISH(name, kind, gate)                                                                   \
  EQ_TARGET static void name(const eq_epilogue *e, const __m512i *sums, uint8_t *const *out,       \
                             ptrdiff_t at, ptrdiff_t step, int quads, int channels) {              \
    finish(e, sums, out, at, step, quads, channels, kind, gate);                                   \
  }
FINISH(small, EQ_SMALL512, false)
FINISH(plain, EQ_PLAIN512, false)
FINISH(pieces, EQ_PIECES512, false)
FINISH(pieces_gate, EQ_PIECES512, true)
FINISH(table, EQ_TABLE512, false)
FINISH(table_gate, EQ_TABLE512, true)
FINISH(bytes, EQ_BYTES512, false)
static finish_fn *const kinds[][2] = {[EQ_SMALL512] = {small, small},
                                      [EQ_PLAIN512] = {plain, plain},
                                      [EQ_PIECES512] = {pieces, pieces_gate},
                                      [EQ_TABLE512] = {table, table_gate},
                                      [EQ_BYTES512] = {bytes, bytes}};

/* Other outputs: two registers for each pixel. */
EQ_TARGET static void apart(const eq_epilogue *e, const __m512i *sums, uint8_t *const *out,
                            ptrdiff_t at, ptrdiff_t step, int quads, int channels) {
  for (int q = 0; q < quads; q++, sums += SIX) {
    __m512i each[2 * QUAD];
    uint8_t *pixel[QUAD];
    for (int i = 0; i < QUAD; i++) {
      const __m512i half = sums[4 + i / 2];
      each[2 * i] = sums[i];
      each[2 * i + 1] = i % 2 ? _mm512_shuffle_i64x2(half, half, 0xee) : half;
      pixel[i] = out[q] + i * step;
    }
    eq_finish512(e, 0, channels, each, 2, pixel, at, QUAD);
  }
}

/* ---- tiles ---- */

EQ_TARGET EQ_INLINE void tile(const eq_conv *a, ptrdiff_t step, ptrdiff_t tap,
                              const uint8_t *const *in, __m512i *sums, const int QUADS) {
  const int8_t *w = a->w;
  const ptrdiff_t panel = (ptrdiff_t)a->panel_bytes, back = tap - 4 * (ptrdiff_t)a->k4;
  ptrdiff_t three = 3 * step;
  const uint8_t *x[MOST_QUADS];
  __m512i acc[MOST_QUADS * SIX];
  const __m512i start = eq_start512(&a->e, 0), half = eq_repeat512(eq_start512(&a->e, 16), 8);
#pragma GCC unroll 4
  for (int q = 0; q < QUADS; q++) {
    x[q] = in[q];
#pragma GCC unroll 6
    for (int i = 0; i < SIX; i++) acc[q * SIX + i] = i < 4 ? start : half;
  }
  for (int t = 0; t < a->taps; t++) {
    for (int k = 0; k < a->k4; k++, w += 64) {
      const __m512i w0 = _mm512_loadu_si512(w);
      const __m512i w1 = _mm512_broadcast_i64x4(_mm256_loadu_si256((const void *)(w + panel)));
#pragma GCC unroll 4
      for (int q = 0; q < QUADS; q++) {
        __asm__("" : "+r"(x[q])); /* else the pointers of all pixels are kept, on the stack */
        const uint8_t *at[QUAD] = {x[q], x[q] + step, x[q] + 2 * step, x[q] + three};
        __m512i *to = acc + q * SIX;
#pragma GCC unroll 2
        for (int i = 0; i < 2; i++) {
          int32_t one, two;
          memcpy(&one, at[2 * i], 4), memcpy(&two, at[2 * i + 1], 4);
          const __m512i u = _mm512_set1_epi32(one), v = _mm512_set1_epi32(two);
          to[2 * i] = _mm512_dpbusd_epi32(to[2 * i], u, w0);
          to[2 * i + 1] = _mm512_dpbusd_epi32(to[2 * i + 1], v, w0);
          to[4 + i] = _mm512_dpbusd_epi32(to[4 + i], _mm512_mask_blend_epi32(0xff00, u, v), w1);
        }
        x[q] += 4;
      }
    }
#pragma GCC unroll 4
    for (int q = 0; q < QUADS; q++) x[q] += back;
  }
#pragma GCC unroll 24
  for (int i = 0; i < QUADS * SIX; i++) sums[i] = acc[i];
}

#define TILE(quads_)                                                                               \
  EQ_TARGET static void tile_##quads_(const eq_conv *a, ptrdiff_t step, ptrdiff_t tap,             \
                                      const uint8_t *const *in, __m512i *sums) {                   \
    tile(a, step, tap, in, sums, quads_);                                                          \
  }
TILE(1)
TILE(2)
TILE(3)
TILE(4)

EQ_TARGET void eq_conv_half512(const eq_conv *a, ptrdiff_t step, ptrdiff_t tap,
                               const uint8_t *const *in, uint8_t *const *out, ptrdiff_t out_step,
                               int quads, int channels) {
  static void (*const tiles[])(const eq_conv *, ptrdiff_t, ptrdiff_t, const uint8_t *const *,
                               __m512i *) = {tile_1, tile_2, tile_3, tile_4};
  finish_fn *end = a->e.words && !a->e.out16 ? kinds[eq_kind512_of(&a->e)][a->e.gate] : apart;
  for (int count = (quads + MOST_QUADS - 1) / MOST_QUADS; count > 0; count--) { /* of one size */
    const int n = (quads + count - 1) / count;
    __m512i sums[MOST_QUADS * SIX];
    tiles[n - 1](a, step, tap, in, sums);
    end(&a->e, sums, out, a->out_offset, out_step, n, channels);
    in += n, out += n, quads -= n;
  }
}
#else
typedef int eq_empty; /* ISO C wants a declaration */
#endif
