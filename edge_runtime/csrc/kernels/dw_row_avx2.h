/* dw_row_avx2.h: output rows of a 3x3 or 5x5 depthwise convolution on AVX2 and AVX-VNNI, by the
 * names of conv_avx2.h. The taps of a column (rows of the window) are interleaved to [channel][4
 * rows] once; byte unpacks leave vector v with channels 4v .. 4v + 3 of each 128-bit lane. The
 * lanes are 32 channels, or 16 channels of two output rows. Products and epilogue run over a
 * segment each, so that both find room for their constants in 16 registers. */
#ifndef EDGEQ_DW_ROW_AVX2_H
#define EDGEQ_DW_ROW_AVX2_H

enum {
  SEGMENT = 16,                    /* output columns at a time */
  COLUMNS = 2 * (SEGMENT - 1) + 5, /* input columns they reach, at most */
  QUADS = 2,                       /* fours of rows of a window, at most */
};

/* What one chunk of the channels needs. */
typedef struct {
  eq_lanes256 lanes;
  __m256i start[4];
  __m256i w[4][QUADS][PLANES][5];       /* [vector][quad][plane][kx] */
  __m256i x[4][QUADS][PLANES][COLUMNS]; /* the columns of a segment */
  __m256i sums[SEGMENT][4];
} work;

/* Where the two lanes of a window row are; an absent row is the pad row with a pitch of 0. */
typedef struct {
  const int8_t *at[5];
  ptrdiff_t pitch[5];
} window;

static inline void window_of(window *w, const eq_dw_row *a, int y, int c) {
  for (int ky = 0; ky < a->k; ky++) {
    const int iy = y * a->stride - a->top + ky;
    const bool inside = iy >= 0 && iy < a->height;
    w->at[ky] = (inside ? a->in + iy * a->line : a->pad) + c;
    w->pitch[ky] = inside ? a->pixel : 0;
  }
}

/* Four rows of 32 bytes -> [channel][row] in four vectors. */
TARGET EQ_INLINE void interleave(const __m256i *row, __m256i *to) {
  const __m256i ab0 = _mm256_unpacklo_epi8(row[0], row[1]);
  const __m256i ab1 = _mm256_unpackhi_epi8(row[0], row[1]);
  const __m256i cd0 = _mm256_unpacklo_epi8(row[2], row[3]);
  const __m256i cd1 = _mm256_unpackhi_epi8(row[2], row[3]);
  to[0] = _mm256_unpacklo_epi16(ab0, cd0), to[1] = _mm256_unpackhi_epi16(ab0, cd0);
  to[2] = _mm256_unpacklo_epi16(ab1, cd1), to[3] = _mm256_unpackhi_epi16(ab1, cd1);
}

/* 32 bytes: as they are, or 16 of each of two places. */
TARGET EQ_INLINE __m256i load(const int8_t *a, const int8_t *b, const bool WHOLE) {
  if (WHOLE) return _mm256_loadu_si256((const __m256i *)(const void *)a);
  return _mm256_set_m128i(_mm_loadu_si128((const __m128i *)(const void *)b),
                          _mm_loadu_si128((const __m128i *)(const void *)a));
}

/* A plane of a quad holds rows 4q + p and 4q + p + 2. */
TARGET EQ_INLINE bool has(int q, int p, int K) { return 4 * q + p < K; }

/* Weights of `wide` = 32 or 16 channels, for both lanes. */
TARGET static void weights(work *to, const eq_dw_row *a, int c, bool wide) {
  const int k = a->k;
  for (int kx = 0; kx < k; kx++)
    for (int q = 0; q < (k + 3) / 4; q++) {
      __m256i row[4], v[4];
      for (int t = 0; t < 4; t++) {
        const int8_t *w = a->w + (ptrdiff_t)((4 * q + t) * k + kx) * a->lanes + c;
        row[t] = 4 * q + t >= k ? _mm256_setzero_si256() : load(w, wide ? w + 16 : w, false);
      }
      interleave(row, v);
      for (int i = 0; i < 4; i++)
        for (int p = 0; p < PLANES; p++) to->w[i][q][p][kx] = plane(v[i], p);
    }
}

/* Input column x of two windows to place `at` of the buffer. */
TARGET EQ_INLINE void column(work *to, const eq_dw_row *a, const window *w, int x, int at,
                             const int8_t *const *pad, const int K, const bool WHOLE) {
  const bool inside = x >= 0 && x < a->width;
#pragma GCC unroll 2
  for (int q = 0; q < (K + 3) / 4; q++) {
    __m256i row[4], v[4];
#pragma GCC unroll 4
    for (int t = 0; t < 4; t++) {
      const int ky = 4 * q + t;
      row[t] = ky >= K ? _mm256_setzero_si256()
               : inside
                   ? load(w[0].at[ky] + x * w[0].pitch[ky], w[1].at[ky] + x * w[1].pitch[ky], WHOLE)
                   : load(pad[0], pad[1], WHOLE);
      if (ky < K) row[t] = input(row[t]);
    }
    interleave(row, v);
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++)
#pragma GCC unroll 2
      for (int p = 0; p < PLANES; p++)
        if (has(q, p, K)) to->x[i][q][p][at] = plane(v[i], p);
  }
}

/* The sums of n outputs. */
TARGET EQ_INLINE void products(work *s, int n, int stride, const int K) {
  for (int v = 0; v < 4; v++) {
    const __m256i start = s->start[v];
    for (int i = 0; i < n; i++) {
      __m256i acc = start;
#pragma GCC unroll 2
      for (int q = 0; q < (K + 3) / 4; q++)
#pragma GCC unroll 2
        for (int p = 0; p < PLANES; p++) {
          if (!has(q, p, K)) continue;
#pragma GCC unroll 5
          for (int kx = 0; kx < K; kx++)
            acc = product(acc, s->x[v][q][p][i * stride + kx], s->w[v][q][p][kx]);
        }
      s->sums[i][v] = acc;
    }
  }
}

/* All outputs of channels c .. c + n, n <= 32. */
TARGET EQ_INLINE void chunk(const eq_dw_row *a, int c, int n, const int K, const bool WHOLE) {
  const int rows = WHOLE ? 1 : 2, second = WHOLE ? 16 : 0;
  const int8_t *const pad[2] = {a->pad + c, a->pad + c + second};
  work s;
  eq_lanes256_of(&s.lanes, &a->e, c, second);
  for (int v = 0; v < 4; v++)
    s.start[v] =
        start_of(eq_spread256(a->e.bias + c, second, v), eq_spread256(a->e.wsum + c, second, v));
  weights(&s, a, c, WHOLE);
  for (int y = a->first; y < a->last; y += rows) {
    const bool both = y + 1 < a->last;
    window w[2];
    window_of(&w[0], a, y, c);
    window_of(&w[1], a, WHOLE || !both ? y : y + 1, c + second);
    const int bytes[2] = {n < 16 ? n : 16, WHOLE ? n - 16 : both ? n : 0};
    for (int first = 0; first < a->count; first += SEGMENT) {
      const int count = a->count - first < SEGMENT ? a->count - first : SEGMENT;
      const int x = first * a->stride - a->left, reach = (count - 1) * a->stride + K;
      for (int i = 0; i < reach; i++) column(&s, a, w, x + i, i, pad, K, WHOLE);
      products(&s, count, a->stride, K);
      uint8_t *const out = a->out + y * a->out_line + first * a->out_pixel + c;
      uint8_t *const to[2] = {out, WHOLE ? out + 16 : out + a->out_line};
      eq_finish_lanes256(&a->e, &s.lanes, (const __m256i(*)[4])s.sums, count, to, a->out_pixel,
                         bytes);
    }
  }
}

TARGET static void chunk_3(const eq_dw_row *a, int c, int n) { chunk(a, c, n, 3, true); }
TARGET static void chunk_5(const eq_dw_row *a, int c, int n) { chunk(a, c, n, 5, true); }
TARGET static void half_3(const eq_dw_row *a, int c, int n) { chunk(a, c, n, 3, false); }
TARGET static void half_5(const eq_dw_row *a, int c, int n) { chunk(a, c, n, 5, false); }

static void dw_row(const eq_dw_row *a) {
  for (int c = 0, n; c < a->channels; c += n) {
    n = a->channels - c < 32 ? a->channels - c : 32;
    (n > 16 ? (a->k == 3 ? chunk_3 : chunk_5) : (a->k == 3 ? half_3 : half_5))(a, c, n);
  }
}
#endif
