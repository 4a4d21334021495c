/* conv_points, AVX-512 VNNI: pointwise convolution of pixels without gaps. While the sums of one
 * tile grow in 16 registers, those of the tile before are finished, a quarter at a time: VPDPBUSD
 * takes two of four vector pipes, and the window of the CPU is too short to find the other work. */
#if defined(__x86_64__)
#include <string.h>
#include "conv_avx512.h"

enum { SUMS = 16, QUAD = 4 };

EQ_TARGET static void fill(uint8_t *to, const int8_t *from, ptrdiff_t step, int pixel, int pixels) {
  const __m512i flip = _mm512_set1_epi8((char)0x80);
  ptrdiff_t run = pixel;
  if (step == pixel) run *= pixels, pixels = 1;
  for (int i = 0; i < pixels; i++, to += run, from += step)
    for (ptrdiff_t b = 0; b < run; b += 64) /* the next pixel mends what lies behind the end */
      _mm512_storeu_si512(to + b, _mm512_xor_si512(_mm512_loadu_si512(from + b), flip));
}

/* What the epilogue of a block of channels needs: in memory, because loads are free and registers
 * are not. */
typedef struct {
  __m512 m[2], r[2];
  eq_pieces512 t;
  __m512i zp, low, high;
} constants;

EQ_TARGET EQ_INLINE constants constants_of(const eq_epilogue *e, const int PANELS,
                                           const eq_kind512 KIND) {
  const int last = 16 * (PANELS - 1);
  const eq_scale512 a = eq_scale512_of(e, 0), b = eq_scale512_of(e, last);
  const eq_bounds512 n = eq_bounds512_of(e, 0, last);
  return (constants){{a.m, b.m},
                     {a.r, b.r},
                     eq_pieces512_of(e, KIND),
                     n.zp,
                     _mm512_packs_epi16(n.lo, n.lo),
                     _mm512_packs_epi16(n.hi, n.hi)};
}

/* Four registers of sums to where they belong: four pixels of one panel or two of two. */
EQ_TARGET EQ_INLINE void quad(const eq_epilogue *e, const constants *c, const __m512i *sums,
                              uint8_t *out, ptrdiff_t step, int channels, const int PANELS,
                              const eq_kind512 KIND, const bool GATE) {
  __asm__("" : "+r"(c)); /* else the constants take the registers of the sums */
  const eq_scale512 a = {c->m[0], c->r[0]}, b = {c->m[PANELS - 1], c->r[PANELS - 1]};
  const __m512i v = eq_quad512(eq_words512(sums[0], sums[1], &a, &b, NULL, e, &c->t, KIND, GATE),
                               eq_words512(sums[2], sums[3], &a, &b, NULL, e, &c->t, KIND, GATE),
                               c->zp, c->low, c->high);
  if (PANELS == 2) {
    const __m128i tail = eq_tail512(channels - 16);
    eq_write_two512(out, _mm512_castsi512_si256(v), channels, tail);
    eq_write_two512(out + step, _mm512_extracti64x4_epi64(v, 1), channels, tail);
  } else {
    const __m128i tail = eq_tail512(channels);
    eq_write512(out, _mm512_castsi512_si128(v), channels, tail);
    eq_write512(out + step, _mm512_extracti32x4_epi32(v, 1), channels, tail);
    eq_write512(out + 2 * step, _mm512_extracti32x4_epi32(v, 2), channels, tail);
    eq_write512(out + 3 * step, _mm512_extracti32x4_epi32(v, 3), channels, tail);
  }
}

EQ_TARGET EQ_INLINE void tiles(const eq_conv *a, const uint8_t *in, uint8_t *out, ptrdiff_t step,
                               int pixels, int channels, const int PANELS, const eq_kind512 KIND,
                               const bool GATE, const bool FUSED) {
  const int PIXELS = SUMS / PANELS, k4 = a->k4;
  const ptrdiff_t panel = (ptrdiff_t)a->panel_bytes, one = 4 * (ptrdiff_t)k4, three = 3 * one;
  const constants c = constants_of(&a->e, PANELS, KIND);
  __m512i sums[SUMS], start[2];
  for (int j = 0; j < 2; j++)
    start[j] =
        _mm512_sub_epi32(_mm512_loadu_si512(a->e.bias + 16 * (j % PANELS)),
                         _mm512_slli_epi32(_mm512_loadu_si512(a->e.wsum + 16 * (j % PANELS)), 7));
  for (bool first = true; pixels > 0; first = false) {
    __m512i acc[SUMS];
#pragma GCC unroll 16
    for (int i = 0; i < SUMS; i++) acc[i] = start[i % PANELS];
    const uint8_t *x[QUAD];
#pragma GCC unroll 4
    for (int q = 0; q < PIXELS / QUAD; q++) x[q] = in + 4 * q * one;
    const int8_t *w = a->w;
    for (int q = 0; q < QUAD; q++) {
      for (const int8_t *end = w + (k4 * (q + 1) / 4 - k4 * q / 4) * 64; w < end; w += 64) {
        const __m512i w0 = _mm512_loadu_si512(w);
        const __m512i w1 = PANELS == 2 ? _mm512_loadu_si512(w + panel) : w0;
#pragma GCC unroll 4
        for (int g = 0; g < PIXELS / QUAD; g++) {
          __asm__("" : "+r"(x[g])); /* else all pointers are kept, on the stack */
          const uint8_t *at[QUAD] = {x[g], x[g] + one, x[g] + 2 * one, x[g] + three};
#pragma GCC unroll 4
          for (int i = 0; i < QUAD; i++) {
            int32_t four;
            memcpy(&four, at[i], 4);
            const __m512i v = _mm512_set1_epi32(four);
            __m512i *to = acc + (g * QUAD + i) * PANELS;
            to[0] = _mm512_dpbusd_epi32(to[0], v, w0);
            if (PANELS == 2) to[1] = _mm512_dpbusd_epi32(to[1], v, w1);
          }
          x[g] += 4;
        }
      }
      if (FUSED && !first)
        quad(&a->e, &c, sums + 4 * q, out + q * (PIXELS / QUAD) * step, step, channels, PANELS,
             KIND, GATE);
    }
    if (FUSED && !first) out += PIXELS * step;
#pragma GCC unroll 16
    for (int i = 0; i < SUMS; i++) sums[i] = acc[i];
    in += PIXELS * one;
    pixels -= PIXELS;
    if (!FUSED || pixels <= 0) {
      uint8_t *to[SUMS];
      for (int i = 0; i < PIXELS; i++, out += step) to[i] = out;
      eq_finish512(&a->e, 0, channels, sums, PANELS, to, 0, pixels < 0 ? pixels + PIXELS : PIXELS);
    }
  }
}

typedef void run_fn(const eq_conv *, const uint8_t *, uint8_t *, ptrdiff_t, int, int);
#define RUN(name, panels, kind, gate, fused)                                                       \
  EQ_TARGET static void name(const eq_conv *a, const uint8_t *in, uint8_t *out, ptrdiff_t step,    \
                             int pixels, int channels) {                                           \
    tiles(a, in, out, step, pixels, channels, panels, kind, gate, fused);                          \
  }
RUN(small_1, 1, EQ_SMALL512, false, true)
RUN(small_2, 2, EQ_SMALL512, false, true)
RUN(gate_1, 1, EQ_PIECES512, true, true)
RUN(gate_2, 2, EQ_PIECES512, true, true)
RUN(other_1, 1, EQ_PLAIN512, false, false)
RUN(other_2, 2, EQ_PLAIN512, false, false)

/* 17 to 24 channels. The last four pixels may overlap the ones before and make the same again. */
static void run_half(const eq_conv *a, const uint8_t *in, uint8_t *out, ptrdiff_t step, int pixels,
                     int channels) {
  const ptrdiff_t one = 4 * (ptrdiff_t)a->k4;
  const uint8_t *from[QUAD];
  uint8_t *to[QUAD];
  for (int p = 0, quads = 0; p < pixels; p += QUAD) {
    const int first = p < pixels - QUAD ? p : pixels - QUAD;
    from[quads] = in + first * one, to[quads++] = out + first * step;
    if (quads < QUAD && p + QUAD < pixels) continue;
    eq_conv_half512(a, one, 0, from, to, step, quads, channels);
    quads = 0;
  }
}

static void run(const eq_conv *a, const uint8_t *in, uint8_t *out, ptrdiff_t step, int pixels,
                int channels) {
  if (channels > 16 && channels <= 24 && pixels >= QUAD && a->k4 >= 8) {
    run_half(a, in, out, step, pixels, channels);
    return;
  }
  const bool two = channels > 16, fused = a->e.words && !a->e.out16;
  const eq_kind512 kind = eq_kind512_of(&a->e);
  run_fn *of = two ? other_2 : other_1;
  if (fused && kind == EQ_SMALL512) of = two ? small_2 : small_1;
  if (fused && kind == EQ_PIECES512 && a->e.gate) of = two ? gate_2 : gate_1;
  of(a, in, out + a->out_offset, step, pixels, channels);
}

const eq_conv_points eq_conv_points__avx512vnni = {fill, run};
#else
typedef int eq_empty; /* ISO C wants a declaration */
#endif
