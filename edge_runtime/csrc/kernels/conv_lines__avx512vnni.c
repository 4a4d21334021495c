/* conv_lines, AVX-512 VNNI: convolution from padded lines. The copy holds x + 128, as vpdpbusd
 * wants it, and four neighbours at one stride share a pointer, so that a tile's addresses fit in
 * registers: 24 pixels x 16 channels or 12 x 32. */
#if defined(__x86_64__)
#include <string.h>
#include "conv_avx512.h"

enum { QUAD = EQ_LINE_QUAD, MOST_QUADS = EQ_MAX_MR / QUAD };

/* Whole registers: what follows is overwritten later or of no use. */
EQ_TARGET EQ_INLINE void copy(uint8_t *to, const int8_t *from, int64_t bytes) {
  const __m512i flip = _mm512_set1_epi8((char)0x80);
  for (int64_t i = 0; i < bytes; i += 64)
    _mm512_storeu_si512(to + i, _mm512_xor_si512(_mm512_loadu_si512(from + i), flip));
}

EQ_TARGET static void fill(const eq_line *l, uint8_t *to, const int8_t *row) {
  int64_t begin = row ? l->left : l->columns, end = l->left + l->width; /* columns inside */
  if (begin < 0) begin = 0;
  if (begin > l->columns) begin = l->columns;
  if (end > l->columns) end = l->columns;
  if (end < begin) end = begin;
  for (int64_t i = 0; i < begin; i++, to += l->pixel) copy(to, l->pad, l->pixel);
  const int8_t *from = begin < end ? row + (begin - l->left) * l->step : row;
  if (l->step == l->pixel) {
    copy(to, from, (end - begin) * l->pixel);
    to += (end - begin) * l->pixel;
  } else {
    for (int64_t i = begin; i < end; i++, to += l->pixel, from += l->step) copy(to, from, l->pixel);
  }
  for (int64_t i = end; i < l->columns; i++, to += l->pixel) copy(to, l->pad, l->pixel);
}

/* ---- the epilogue of int8 outputs with `words` ---- */

/* Pixels of 16 * `panels` bytes to where they belong, `channels` of each. */
EQ_TARGET static void scatter(const uint8_t *from, uint8_t *const *out, ptrdiff_t at,
                              ptrdiff_t step, int quads, int panels, int channels) {
  const int last = channels - 16 * (panels - 1); /* channels of the last panel */
  const __m128i tail = eq_tail512(last);
  for (int q = 0; q < quads; q++) {
    uint8_t *to = out[q] + at;
    for (int i = 0; i < QUAD; i++, to += step, from += 16) {
      if (panels == 2) {
        memcpy(to, from, 16);
        from += 16;
      }
      eq_write512(to + 16 * (panels - 1), _mm_loadu_si128((const __m128i *)(const void *)from),
                  last, tail);
    }
  }
}

EQ_TARGET EQ_INLINE void finish(const eq_conv *a, const eq_lines *l, const __m512i *acc,
                                uint8_t *const *out, int channels, const int QUADS,
                                const int PANELS, const eq_kind512 KIND, const bool GATE) {
  const eq_epilogue *e = &a->e;
  const int second = 16 * (PANELS - 1); /* channel of every second register */
  const eq_pieces512 t = eq_pieces512_of(e, KIND);
  const eq_scale512 s0 = eq_scale512_of(e, 0), s1 = eq_scale512_of(e, second);
  const eq_bounds512 b = eq_bounds512_of(e, 0, second);
  const __m512i low = _mm512_packs_epi16(b.lo, b.lo), high = _mm512_packs_epi16(b.hi, b.hi);
  uint8_t bytes[EQ_MAX_MR * 16];
  const bool dense = channels == 16 * PANELS && l->out == channels;
#pragma GCC unroll 6
  for (int i = 0; i < QUADS * PANELS; i++, acc += 4) {
    const __m512i v =
        eq_quad512(eq_words512(acc[0], acc[1], &s0, &s1, NULL, e, &t, KIND, GATE),
                   eq_words512(acc[2], acc[3], &s0, &s1, NULL, e, &t, KIND, GATE), b.zp, low, high);
    uint8_t *to = out[i / PANELS] + a->out_offset + i % PANELS * 64;
    _mm512_storeu_si512(dense ? to : bytes + 64 * i, v);
  }
  if (!dense) scatter(bytes, out, a->out_offset, l->out, QUADS, PANELS, channels);
}

/* ---- tiles ---- */

EQ_TARGET EQ_INLINE void tile(const eq_conv *a, const eq_lines *l, const uint8_t *const *in,
                              __m512i *acc, const int QUADS, const int PANELS) {
  const int8_t *w = a->w;
  const ptrdiff_t panel = (ptrdiff_t)a->panel_bytes, back = l->tap - 4 * (ptrdiff_t)a->k4;
  ptrdiff_t one = l->step, three = 3 * l->step;
  const uint8_t *x[MOST_QUADS];
#pragma GCC unroll 6
  for (int q = 0; q < QUADS; q++) x[q] = in[q];
#pragma GCC unroll 2
  for (int j = 0; j < PANELS; j++) {
    const __m512i start =
        _mm512_sub_epi32(_mm512_loadu_si512(a->e.bias + 16 * j),
                         _mm512_slli_epi32(_mm512_loadu_si512(a->e.wsum + 16 * j), 7));
#pragma GCC unroll 24
    for (int i = 0; i < QUADS * QUAD; i++) acc[i * PANELS + j] = start;
  }
/* an empty asm on each sum: else the epilogue takes registers away from them */
#define ADD(i, v, w)                                                                               \
  do {                                                                                             \
    acc[i] = _mm512_dpbusd_epi32(acc[i], v, w);                                                    \
    __asm__("" : "+v"(acc[i]));                                                                    \
  } while (0)
  if (PANELS == 1 && a->k4 * 4 == 3 * one) { /* three windows meet in each step: load it once */
    const ptrdiff_t next = 16 * one;         /* weights of a step */
    for (int t = 0; t < a->taps; t++, w += 2 * next) {
      for (ptrdiff_t k = 0; k < one; k += 4, w += 64) {
        const __m512i w0 = _mm512_loadu_si512(w), w1 = _mm512_loadu_si512(w + next),
                      w2 = _mm512_loadu_si512(w + 2 * next);
#pragma GCC unroll 6
        for (int q = 0; q < QUADS; q++) {
          __asm__("" : "+r"(x[q])); /* else the pointers of all pixels are kept, on the stack */
          const uint8_t *odd = x[q] + one;
          const uint8_t *at[QUAD + 2] = {
              x[q], odd, x[q] + 2 * one, odd + 2 * one, x[q] + 4 * one, odd + 4 * one};
#pragma GCC unroll 6
          for (int c = 0; c < QUAD + 2; c++) {
            int32_t four;
            memcpy(&four, at[c], 4);
            const __m512i v = _mm512_set1_epi32(four);
            if (c < QUAD) ADD(q * QUAD + c, v, w0);
            if (c > 0 && c <= QUAD) ADD(q * QUAD + c - 1, v, w1);
            if (c > 1) ADD(q * QUAD + c - 2, v, w2);
          }
          x[q] += 4;
        }
      }
#pragma GCC unroll 6
      for (int q = 0; q < QUADS; q++) x[q] += l->tap - one;
    }
    return;
  }
  for (int t = 0; t < a->taps; t++) {
    for (int k = 0; k < a->k4; k++, w += 64) {
      const __m512i w0 = _mm512_loadu_si512(w);
      const __m512i w1 = PANELS == 2 ? _mm512_loadu_si512(w + panel) : w0;
#pragma GCC unroll 6
      for (int q = 0; q < QUADS; q++) {
        __asm__("" : "+r"(x[q]));
        const uint8_t *at[QUAD] = {x[q], x[q] + one, x[q] + 2 * one, x[q] + three};
#pragma GCC unroll 4
        for (int i = 0; i < QUAD; i++) {
          int32_t four;
          memcpy(&four, at[i], 4);
          const __m512i v = _mm512_set1_epi32(four);
          ADD((q * QUAD + i) * PANELS, v, w0);
          if (PANELS == 2) ADD((q * QUAD + i) * PANELS + 1, v, w1);
        }
        x[q] += 4;
      }
    }
#pragma GCC unroll 6
    for (int q = 0; q < QUADS; q++) x[q] += back;
  }
#undef ADD
}

typedef void tile_fn(const eq_conv *a, const eq_lines *l, const uint8_t *const *in,
                     uint8_t *const *out, int channels);
#define EVERY _Pragma("GCC unroll 24")
#define TILE(name, quads_, panels_, kind, gate)                                                    \
  EQ_TARGET static void name##_##quads_##x##panels_(const eq_conv *a, const eq_lines *l,           \
                                                    const uint8_t *const *in, uint8_t *const *out, \
                                                    int channels) {                                \
    __m512i acc[EQ_MAX_MR];                                                                        \
    tile(a, l, in, acc, quads_, panels_);                                                          \
    finish(a, l, acc, out, channels, quads_, panels_, kind, gate);                                 \
  }

/* Any other epilogue: the sums go through memory. */
#define OTHER(name, quads_, panels_)                                                               \
  EQ_TARGET static void name##_##quads_##x##panels_(const eq_conv *a, const eq_lines *l,           \
                                                    const uint8_t *const *in, uint8_t *const *out, \
                                                    int channels) {                                \
    __m512i acc[EQ_MAX_MR], sums[EQ_MAX_MR];                                                       \
    uint8_t *pixel[EQ_MAX_MR];                                                                     \
    tile(a, l, in, acc, quads_, panels_);                                                          \
    EVERY for (int i = 0; i < quads_ * QUAD * panels_; i++) sums[i] = acc[i];                      \
    for (int i = 0; i < quads_ * QUAD; i++) pixel[i] = out[i / QUAD] + i % QUAD * l->out;          \
    eq_finish512(&a->e, 0, channels, sums, panels_, pixel, a->out_offset, quads_ * QUAD);          \
  }
#define TILES(TILE, name, ...)                                                                     \
  TILE(name, 1, 1 __VA_ARGS__)                                                                     \
  TILE(name, 2, 1 __VA_ARGS__)                                                                     \
  TILE(name, 3, 1 __VA_ARGS__)                                                                     \
  TILE(name, 4, 1 __VA_ARGS__)                                                                     \
  TILE(name, 5, 1 __VA_ARGS__)                                                                     \
  TILE(name, 6, 1 __VA_ARGS__)                                                                     \
  TILE(name, 1, 2 __VA_ARGS__)                                                                     \
  TILE(name, 2, 2 __VA_ARGS__)                                                                     \
  TILE(name, 3, 2 __VA_ARGS__)                                                                     \
  static tile_fn *const name[] = {name##_1x1, name##_2x1, name##_3x1, name##_4x1, name##_5x1,      \
                                  name##_6x1, name##_1x2, name##_2x2, name##_3x2};
TILES(TILE, small, , EQ_SMALL512, false)
TILES(TILE, pieces_gate, , EQ_PIECES512, true)
TILES(OTHER, other, )

static tile_fn *const *tiles_of(const eq_epilogue *e) {
  if (e->out16 || !e->words) return other;
  const eq_kind512 kind = eq_kind512_of(e);
  return kind == EQ_SMALL512 ? small : kind == EQ_PIECES512 && e->gate ? pieces_gate : other;
}

static void run(const eq_conv *a, const eq_lines *l, const uint8_t *const *in, uint8_t *const *out,
                int quads, int channels) {
  if (channels > 16 && channels <= 24) {
    eq_conv_half512(a, l->step, l->tap, in, out, l->out, quads, channels);
    return;
  }
  const int panels = channels > 16 ? 2 : 1, most = MOST_QUADS / panels;
  tile_fn *const *tiles = tiles_of(&a->e) + (panels - 1) * MOST_QUADS;
  for (int count = (quads + most - 1) / most; count > 0; count--) { /* tiles of nearly one size */
    const int n = (quads + count - 1) / count;
    tiles[n - 1](a, l, in, out, channels);
    in += n, out += n, quads -= n;
  }
}

const eq_conv_lines eq_conv_lines__avx512vnni = {fill, run};
#else
typedef int eq_empty; /* ISO C wants a declaration */
#endif
