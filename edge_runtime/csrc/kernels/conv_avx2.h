/* conv_avx2.h: the convolution tiles of AVX2 and AVX-VNNI, 24 pixels x 32 channels in groups that
 * fill 12 registers of sums: 6 pixels x 16 channels, 12 x 8, or 12 x 4 or 2 with several steps of k
 * side by side. Up to 64 bytes of a group's pixels are staged at a time, in the form that `product`
 * wants, so that the loop of products loads and multiplies only. product_avx2.h or
 * product_avxvnni.h comes first:
 *   TARGET                  the attribute
 *   PLANES                  dwords that four inputs become
 *   input(x)                32 inputs, of which plane(v, p) makes what enters a product
 *   plane(w, p)             32 weights -> what meets plane p of the inputs
 *   product(acc, x, w)      adds the products of each dword
 *   start_of(bias, wsum)    8 sums before the first product */
#ifndef EDGEQ_CONV_AVX2_H
#define EDGEQ_CONV_AVX2_H

enum {
  MR = 24,                  /* pixels of a call */
  GROUP = 12,               /* of a group, at most */
  CHUNK = 16,               /* dwords of a pixel staged at a time */
  WIDE = 4 * EQ_MAX_NP / 2, /* registers of a pixel's sums, at most */
};

typedef struct {
  _Alignas(32) int32_t x[GROUP][PLANES][CHUNK];
} staged;

TARGET EQ_INLINE void stage_all(staged *s, const int8_t *const *x, int k, int quads,
                                const int PIXELS) {
#pragma GCC unroll 12
  for (int i = 0; i < PIXELS; i++)
    for (int q = 0; q < quads; q += 8) {
      const void *from = x[i] + 4 * (k + q);
      const __m256i v = input(_mm256_loadu_si256(from));
#pragma GCC unroll 2
      for (int p = 0; p < PLANES; p++)
        _mm256_store_si256((__m256i *)(void *)(s->x[i][p] + q), plane(v, p));
    }
}

TARGET EQ_INLINE __m256i start_at(const eq_epilogue *e, int c) {
  return start_of(eq_load256(e->bias + c), eq_load256(e->wsum + c));
}

TARGET EQ_INLINE ptrdiff_t out_at(const eq_conv *a, int c0) {
  return a->out_offset + (ptrdiff_t)c0 * (a->e.out16 ? 2 : 1);
}

/* 64 weights a step for `quads` steps: [plane][step][2 registers], in `to` unless they lie so. */
TARGET EQ_INLINE const __m256i_u *panel(__m256i *to, const int8_t *w, int quads) {
  const __m256i_u *from = (const __m256i_u *)(const void *)w;
  if (PLANES == 1) return from;
  for (int i = 0; i < 2 * quads; i++)
#pragma GCC unroll 2
    for (int p = 0; p < PLANES; p++) to[p * 2 * quads + i] = plane(from[i], p);
  return (const __m256i_u *)to;
}

/* The products of a chunk: sums[i * step + j], j < REGS. Constants after inlining: PIXELS, REGS. */
TARGET EQ_INLINE void products(__m256i *sums, int step, const staged *s, const __m256i_u *w,
                               int quads, const int PIXELS, const int REGS) {
  __m256i acc[GROUP];
#pragma GCC unroll 12
  for (int i = 0; i < PIXELS; i++) {
    acc[i * REGS] = sums[i * step];
    if (REGS == 2) acc[i * REGS + 1] = sums[i * step + 1];
  }
  for (int p = 0; p < PLANES; p++) {
    int q = 0;
    do { /* at least one step: else GCC 12 copies all sums in every step */
      const __m256i w0 = w[0], w1 = REGS == 2 ? w[1] : w0;
#pragma GCC unroll 12
      for (int i = 0; i < PIXELS; i++) {
        const __m256i v = _mm256_set1_epi32(s->x[i][p][q]);
        acc[i * REGS] = product(acc[i * REGS], v, w0);
        if (REGS == 2) acc[i * REGS + 1] = product(acc[i * REGS + 1], v, w1);
      }
      w += 2;
    } while (++q < quads);
  }
#pragma GCC unroll 12
  for (int i = 0; i < PIXELS; i++) {
    sums[i * step] = acc[i * REGS];
    if (REGS == 2) sums[i * step + 1] = acc[i * REGS + 1];
  }
}

/* Functions of their own: together, GCC 12 keeps sums in memory. */
typedef void products_fn(__m256i *, int, const staged *, const __m256i_u *, int);
#define PRODUCTS(pixels_, regs_)                                                                   \
  TARGET __attribute__((noinline)) static void products_##pixels_##x##regs_(                       \
      __m256i *sums, int step, const staged *s, const __m256i_u *w, int quads) {                   \
    products(sums, step, s, w, quads, pixels_, regs_);                                             \
  }
PRODUCTS(12, 1)
PRODUCTS(6, 1)
PRODUCTS(2, 1)
PRODUCTS(1, 1)
PRODUCTS(6, 2)
PRODUCTS(2, 2)
PRODUCTS(1, 2)

/* A chunk of PIXELS pixels, which start at sums and x, for `regs` registers each. */
TARGET EQ_INLINE void group(__m256i *sums, int regs, const int8_t *const *x,
                            const __m256i_u *const *w, int k, int quads, const int PIXELS,
                            products_fn *one, products_fn *two) {
  staged s;
  stage_all(&s, x, k, quads, PIXELS);
  int j = 0;
  for (; two && j + 2 <= regs; j += 2) two(sums + j, regs, &s, w[j / 2], quads);
  if (j < regs) one(sums + j, regs, &s, w[j / 2], quads);
}

TARGET static void tile(const eq_conv *a, const int8_t *const *in, uint8_t *const *out, int pixels,
                        int channels) {
  const int regs = (channels + 7) / 8, panels = (channels + 15) / 16;
  const int8_t *from = a->w;
  __m256i sums[MR * WIDE], wide[EQ_MAX_NP][PLANES == 1 ? 1 : CHUNK * PLANES * 2];
  for (int j = 0; j < regs; j++) {
    const __m256i start = start_at(&a->e, 8 * j);
    for (int i = 0; i < pixels; i++) sums[i * regs + j] = start;
  }
  for (int t = 0; t < a->taps; t++, in += MR) {
    const int8_t *x[MR];
    for (int i = 0; i < pixels; i++) x[i] = in[i] + a->in_offset;
    for (int k = 0; k < a->k4; k += CHUNK) {
      const int quads = a->k4 - k < CHUNK ? a->k4 - k : CHUNK;
      const __m256i_u *w[EQ_MAX_NP];
      for (int j = 0; j < panels; j++)
        w[j] = panel(wide[j], from + (size_t)j * a->panel_bytes, quads);
      from += 64 * quads;
      int i = 0;
#define GROUPS(n, one, two)                                                                        \
  for (; i + (n) <= pixels; i += (n)) group(sums + i * regs, regs, x + i, w, k, quads, n, one, two)
      if (regs == 1) GROUPS(12, products_12x1, NULL);
      GROUPS(6, products_6x1, products_6x2);
      GROUPS(2, products_2x1, products_2x2);
      GROUPS(1, products_1x1, products_1x2);
#undef GROUPS
    }
  }
  for (int j = 0; j < regs; j += 2)
    eq_finish256(&a->e, 8 * j, channels - 8 * j < 16 ? channels - 8 * j : 16, sums + j,
                 j + 1 < regs ? 2 : 1, regs, out, out_at(a, 8 * j), pixels);
}

/* ---- N = 2 or 4 channels: a register holds 8 / N steps of k of one pixel ---- */

/* Steps k .. k + 8 / N of `left` that remain: [N channels][step][4] from panels of 16. */
TARGET EQ_INLINE __m256i narrow_weights(const int8_t *w, int left, const int N) {
  __m128i v[4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) {
    const void *from = w + 64 * i;
    v[i] = i >= left ? _mm_setzero_si128() : N == 4 ? _mm_loadu_si128(from) : _mm_loadl_epi64(from);
  }
  if (N == 4)
    return _mm256_set_m128i(_mm_unpackhi_epi32(v[0], v[1]), _mm_unpacklo_epi32(v[0], v[1]));
  const __m128i low = _mm_unpacklo_epi32(v[0], v[1]), high = _mm_unpacklo_epi32(v[2], v[3]);
  return _mm256_set_m128i(_mm_unpackhi_epi64(low, high), _mm_unpacklo_epi64(low, high));
}

/* Sums over the steps of 8 / N pixels, side by side. */
TARGET EQ_INLINE __m256i narrow_sum(const __m256i *acc, const int N) {
  const __m256i two = _mm256_hadd_epi32(acc[0], acc[1]);
  if (N == 4) return _mm256_permute4x64_epi64(two, 0xd8);
  return eq_order256(_mm256_hadd_epi32(two, _mm256_hadd_epi32(acc[2], acc[3])));
}

TARGET EQ_INLINE void narrow(const eq_conv *a, const int8_t *const *in, uint8_t *const *out,
                             int pixels, const int PIXELS, const int N) {
  const int steps = 8 / N;
  const int8_t *w = a->w;
  staged s;
  __m256i acc[GROUP];
#pragma GCC unroll 12
  for (int i = 0; i < PIXELS; i++) acc[i] = _mm256_setzero_si256();
  for (int t = 0; t < a->taps; t++, in += MR) {
    const int8_t *x[GROUP];
#pragma GCC unroll 12
    for (int i = 0; i < PIXELS; i++) x[i] = in[i] + a->in_offset;
    for (int k = 0; k < a->k4; k += CHUNK) {
      const int quads = a->k4 - k < CHUNK ? a->k4 - k : CHUNK;
      stage_all(&s, x, k, quads, PIXELS);
      for (int q = 0; q < quads; q += steps) {
        const __m256i now = narrow_weights(w + 64 * q, quads - q, N);
#pragma GCC unroll 2
        for (int p = 0; p < PLANES; p++) {
          const __m256i wp = plane(now, p);
#pragma GCC unroll 12
          for (int i = 0; i < PIXELS; i++) {
            const void *from = &s.x[i][p][q];
            const __m256i v = N == 4 ? _mm256_broadcastq_epi64(_mm_loadl_epi64(from))
                                     : _mm256_broadcastsi128_si256(_mm_loadu_si128(from));
            acc[i] = product(acc[i], v, wp);
          }
        }
      }
      w += 64 * quads;
    }
  }
  const __m256i start = eq_repeat256(start_at(&a->e, 0), N);
  __m256i sums[GROUP / 2];
#pragma GCC unroll 6
  for (int i = 0; i < GROUP / 2; i++)
    if (i * steps < PIXELS) sums[i] = _mm256_add_epi32(start, narrow_sum(acc + i * steps, N));
  eq_finish256(&a->e, 0, N, sums, 0, 1, out, out_at(a, 0), pixels);
}

#define NARROW(pixels_, channels_)                                                                 \
  TARGET static void narrow_##pixels_##x##channels_(const eq_conv *a, const int8_t *const *in,     \
                                                    uint8_t *const *out, int pixels) {             \
    narrow(a, in, out, pixels, pixels_, channels_);                                                \
  }
NARROW(12, 4)
NARROW(4, 4)
NARROW(12, 2)
NARROW(4, 2)

static void conv(const eq_conv *a, const int8_t *const *in, uint8_t *const *out, int pixels,
                 int channels) {
  if (channels != 2 && channels != 4) {
    tile(a, in, out, pixels, channels);
    return;
  }
  for (int n; pixels > 0; in += n, out += n, pixels -= n) {
    n = pixels < GROUP ? pixels : GROUP;
    (channels == 2 ? (n > 4 ? narrow_12x2 : narrow_4x2)
                   : (n > 4 ? narrow_12x4 : narrow_4x4))(a, in, out, n);
  }
}
#endif
