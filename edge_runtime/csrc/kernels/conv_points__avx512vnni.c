/* conv_points, AVX-512 VNNI: pointwise convolution of pixels without gaps. While the sums of one
 * tile grow in 16 registers, those of the tile before are finished between the steps of k: VPDPBUSD
 * takes two of four vector pipes, and the window of the CPU is too short to find the other work. */
#if defined(__x86_64__)
#include <string.h>
#include "conv_avx512.h"
#include "oct_avx512.h"

enum { SUMS = 16, QUAD = 4 };

EQ_TARGET static void fill(uint8_t *to, const int8_t *from, ptrdiff_t step, int pixel, int pixels) {
  const __m512i flip = _mm512_set1_epi8((char)0x80);
  ptrdiff_t run = pixel;
  if (step == pixel) run *= pixels, pixels = 1;
  for (int i = 0; i < pixels; i++, to += run, from += step)
    for (ptrdiff_t b = 0; b < run; b += 64) /* the next pixel mends what lies behind the end */
      _mm512_storeu_si512(to + b, _mm512_xor_si512(_mm512_loadu_si512(from + b), flip));
}

/* Pixels of the copy, weights, and the sums so far. */
typedef struct {
  const uint8_t *x[QUAD];
  const int8_t *w;
  ptrdiff_t one, panel; /* bytes between pixels and between panels */
  __m512i acc[SUMS];
} tile;

EQ_TARGET EQ_INLINE tile tile_of(const eq_conv *a, const uint8_t *in, const __m512i *start,
                                 const int PANELS) {
  tile t = {.w = a->w, .one = 4 * (ptrdiff_t)a->k4, .panel = (ptrdiff_t)a->panel_bytes};
  const int groups = SUMS / QUAD / PANELS;
  EQ_EACH(g, groups) t.x[g] = in + QUAD * g * t.one;
#pragma GCC unroll 16
  for (int i = 0; i < SUMS; i++) t.acc[i] = start[i % PANELS];
  return t;
}

/* Steps of k up to the weights at `end`. */
EQ_TARGET EQ_INLINE void grow(tile *t, const int8_t *end, const int PANELS) {
  const int groups = SUMS / QUAD / PANELS;
  const ptrdiff_t one = t->one, three = 3 * one;
  for (; t->w < end; t->w += 64) {
    const __m512i w0 = _mm512_loadu_si512(t->w);
    const __m512i w1 = PANELS == 2 ? _mm512_loadu_si512(t->w + t->panel) : w0;
    EQ_EACH(g, groups) {
      __asm__("" : "+r"(t->x[g])); /* else all pointers are kept, on the stack */
      const uint8_t *at[QUAD] = {t->x[g], t->x[g] + one, t->x[g] + 2 * one, t->x[g] + three};
      EQ_EACH(i, QUAD) {
        int32_t four;
        memcpy(&four, at[i], 4);
        const __m512i v = _mm512_set1_epi32(four);
        __m512i *to = t->acc + (g * QUAD + i) * PANELS;
        to[0] = _mm512_dpbusd_epi32(to[0], v, w0);
        if (PANELS == 2) to[1] = _mm512_dpbusd_epi32(to[1], v, w1);
      }
      t->x[g] += 4;
    }
  }
}

/* Finish the 16 sums of the tile before while `t` grows. */
EQ_TARGET EQ_INLINE void grow_and_finish(tile *t, const eq_conv *a, const eq_oct *o,
                                         const __m512i *sums, uint8_t *out, ptrdiff_t step,
                                         int channels, const int PANELS, const eq_oct_kind KIND,
                                         const bool WIDE) {
  enum { SLOTS = 8 }; /* of the steps */
  __m512 room[EQ_OCT], *gate = room;
  const int k4 = a->k4;
  int slot = 0;
#define GROW(slots) (slot += (slots), grow(t, a->w + k4 * slot / SLOTS * 64, PANELS))
  for (const __m512i *end = sums + SUMS; sums < end; sums += EQ_OCT) {
    __m512i x[EQ_OCT / 2];
    __asm__("" : "+r"(o), "+r"(gate)); /* else constants take the registers of the sums */
    eq_oct_words(x, o, sums, gate, PANELS, KIND);
    if (KIND != EQ_OCT_SMALL) {
      GROW(1);
      eq_oct_look_up(x, &o->t);
      GROW(1);
      __asm__("" : "+r"(gate)); /* else they keep a register each */
      eq_oct_behind(x, o, gate, PANELS, KIND);
      GROW(1);
    } else {
      GROW(2);
    }
    if (WIDE)
      eq_oct_store_wide(o, x, out, step, channels, PANELS);
    else
      eq_oct_store(o, x, out, step, channels, PANELS);
    out += EQ_OCT / PANELS * step;
    GROW(KIND == EQ_OCT_SMALL ? 2 : 1);
  }
#undef GROW
}

EQ_TARGET EQ_INLINE void tiles(const eq_conv *a, const uint8_t *in, uint8_t *out, ptrdiff_t step,
                               int pixels, int channels, const int PANELS, const bool FUSED,
                               const eq_oct_kind KIND, const bool WIDE) {
  const int PIXELS = SUMS / PANELS;
  const eq_oct o = eq_oct_of(&a->e, PANELS, KIND);
  const __m512i start[2] = {eq_start512(&a->e, 0), eq_start512(&a->e, 16 * (PANELS - 1))};
  __m512i sums[SUMS];
  for (bool first = true; pixels > 0; first = false) {
    tile t = tile_of(a, in, start, PANELS);
    if (FUSED && !first) {
      grow_and_finish(&t, a, &o, sums, out, step, channels, PANELS, KIND, WIDE);
      out += PIXELS * step;
    } else {
      grow(&t, a->w + 64 * a->k4, PANELS);
    }
#pragma GCC unroll 16
    for (int i = 0; i < SUMS; i++) sums[i] = t.acc[i];
    in += PIXELS * t.one;
    pixels -= PIXELS;
    if (!FUSED || pixels <= 0) {
      uint8_t *to[SUMS];
      for (int i = 0; i < PIXELS; i++, out += step) to[i] = out;
      eq_finish512(&a->e, 0, channels, sums, PANELS, to, 0, pixels < 0 ? pixels + PIXELS : PIXELS);
    }
  }
}

typedef void run_fn(const eq_conv *, const uint8_t *, uint8_t *, ptrdiff_t, int, int);
#define ONE(name, panels, count, fused, kind, wide)                                                \
  EQ_TARGET static void name(const eq_conv *a, const uint8_t *in, uint8_t *out, ptrdiff_t step,    \
                             int pixels, int channels) {                                           \
    (void)channels;                                                                                \
    tiles(a, in, out, step, pixels, count, panels, fused, kind, wide);                             \
  }
/* With any number of channels and, where stores need no cases, with whole panels. */
#define ALL(name, fused, kind, wide)                                                               \
  ONE(name##_1, 1, channels, fused, kind, wide)                                                    \
  ONE(name##_1_whole, 1, 16, fused, kind, wide)                                                    \
  ONE(name##_2, 2, channels, fused, kind, wide)                                                    \
  ONE(name##_2_whole, 2, 32, fused, kind, wide)                                                    \
  static run_fn *const name[] = {name##_1, name##_1_whole, name##_2, name##_2_whole};
ALL(apart, false, EQ_OCT_SMALL, false)
ALL(small, true, EQ_OCT_SMALL, false)
ALL(step_, true, EQ_OCT_STEP, false)
ALL(gate, true, EQ_OCT_GATE, false)
ALL(small_wide, true, EQ_OCT_SMALL, true)
ALL(step_wide, true, EQ_OCT_STEP, true)

static run_fn *const *functions_of(const eq_epilogue *e) {
  if (!e->words || !e->small) return apart;
  switch (eq_kind512_of(e)) {
  case EQ_SMALL512:
    return e->out16 ? small_wide : small;
  case EQ_PIECES512:
    return e->gate ? e->out16 ? apart : gate : e->out16 ? step_wide : step_;
  default:
    return apart;
  }
}

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
  functions_of(&a->e)[channels > 16 ? 2 + (channels == 32) : channels == 16](
      a, in, out + a->out_offset, step, pixels, channels);
}

const eq_conv_points eq_conv_points__avx512vnni = {fill, run};
#else
typedef int eq_empty; /* ISO C wants a declaration */
#endif
