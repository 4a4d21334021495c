/* dw_row, AVX-512 VNNI: output rows of a 3x3 or 5x5 depthwise convolution, 64 channels of one
 * column in a register. The taps of a column (rows of the window) are interleaved to [channel][4
 * rows] once; an output is then one vpdpbusd per column. Byte unpacks leave vector v with channels
 * 4v..4v+3 of each 128-bit lane, and the packs that narrow the results put them back in order. x
 * enters as x + 128. What is left of the channels, and 5x5 with a stride of 1, goes through
 * dw_lines. */
#if defined(__x86_64__)
#include "dw_avx512.h"

enum { SEGMENT = 16 };                        /* output columns at a time */
enum { COLUMNS = 2 * (SEGMENT + 3) + 5 + 4 }; /* input columns they reach, at most, and slack */

/* Rows of four vectors. */
typedef struct {
  eq_scale512 scale[4];
  __m512i start[4], zp[2], lo, hi;
  eq_pieces512 t;
} rows4;

/* Vector v of a per-channel row: lane l holds entries 4v..4v+3 after p + at[l]. */
EQ_TARGET EQ_INLINE __m512i spread(const void *p, const int *at, int v) {
  const int32_t *q = (const int32_t *)p + 4 * v;
#define LANE(l) _mm_loadu_si128((const __m128i *)(const void *)(q + at[l]))
  __m512i x = _mm512_castsi128_si512(LANE(0));
  x = _mm512_inserti32x4(x, LANE(1), 1);
  x = _mm512_inserti32x4(x, LANE(2), 2);
  return _mm512_inserti32x4(x, LANE(3), 3);
#undef LANE
}

EQ_TARGET EQ_INLINE void rows_of(rows4 *r, const eq_epilogue *e, int c, const int *at,
                                 const eq_kind512 KIND) {
#pragma GCC unroll 4
  for (int v = 0; v < 4; v++) {
    r->scale[v].m = _mm512_castsi512_ps(spread(e->m + c, at, v));
    r->scale[v].r = eq_after512(e, _mm512_castsi512_ps(spread(e->r + c, at, v)));
    r->start[v] = _mm512_sub_epi32(spread(e->bias + c, at, v),
                                   _mm512_slli_epi32(spread(e->wsum + c, at, v), 7));
  }
  eq_bounds512 b[2];
#pragma GCC unroll 2
  for (int k = 0; k < 2; k++) {
#define ROW(name) spread(e->name + c, at, 2 * k), spread(e->name + c, at, 2 * k + 1)
    b[k] = eq_bounds512_from(e, ROW(zp), ROW(lo), ROW(hi));
#undef ROW
    r->zp[k] = b[k].zp;
  }
  r->lo = _mm512_packs_epi16(b[0].lo, b[1].lo), r->hi = _mm512_packs_epi16(b[0].hi, b[1].hi);
  r->t = eq_pieces512_of(e, KIND);
}

/* Input rows of an output row's window; an absent one is the pad row with a pitch of 0. */
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

/* 64 bytes of window row `ky` for column x. */
EQ_TARGET EQ_INLINE __m512i column(const eq_dw_row *a, const window *w, int ky, int x, int c,
                                   const bool INSIDE) {
  const bool inside = INSIDE || (x >= 0 && x < a->width);
  return _mm512_loadu_si512(inside ? w->at[ky] + x * w->pitch[ky] : a->pad + c);
}

/* The column at x, all rows, to its place in the buffer. */
EQ_TARGET EQ_INLINE void fill(const eq_dw_row *a, const window *w, int x, int c, const int K,
                              const bool INSIDE, uint8_t *to, int plane) {
  const __m512i flip = _mm512_set1_epi8((char)0x80);
#pragma GCC unroll 2
  for (int q = 0; q < (K + 3) / 4; q++, to += 4 * plane) {
    __m512i row[4], v[4];
#pragma GCC unroll 4
    for (int t = 0; t < 4; t++)
      row[t] = 4 * q + t < K ? _mm512_xor_si512(column(a, w, 4 * q + t, x, c, INSIDE), flip)
                             : _mm512_setzero_si512();
    eq_dw_interleave(row, v);
    for (int k = 0; k < 4; k++) _mm512_storeu_si512(to + k * plane, v[k]);
  }
}

/* 64 outputs, or `channels` of them, from their words. */
EQ_TARGET EQ_INLINE void put(uint8_t *to, const __m512i *words, const rows4 *r, int channels,
                             __m128i tail) {
  const __m512i low = _mm512_adds_epi16(words[0], r->zp[0]);
  const __m512i high = _mm512_adds_epi16(words[1], r->zp[1]);
  const __m512i v = _mm512_min_epi8(_mm512_max_epi8(_mm512_packs_epi16(low, high), r->lo), r->hi);
  if (channels == 64) {
    _mm512_storeu_si512(to, v);
    return;
  }
  _mm256_storeu_si256((__m256i *)(void *)to, _mm512_castsi512_si256(v));
  _mm_storeu_si128((__m128i *)(void *)(to + 32), _mm512_extracti32x4_epi32(v, 2));
  eq_write512(to + 48, _mm512_extracti32x4_epi32(v, 3), channels - 48, tail);
}

/* COUNT neighbouring outputs from the columns of the first. */
EQ_TARGET EQ_INLINE void batch(const eq_dw_row *a, const rows4 *r, const __m512i *w,
                               const uint8_t *from, uint8_t *to, int channels, __m128i tail,
                               const int COUNT, const int K, const eq_kind512 KIND,
                               const bool GATE) {
  const int quads = (K + 3) / 4, plane = COLUMNS * 64, step = 64 * a->stride;
  __m512i acc[8][2], words[8];
#pragma GCC unroll 4
  for (int i = 0; i < COUNT; i++)
#pragma GCC unroll 4
    for (int k = 0; k < 4; k++) acc[2 * i + k / 2][k % 2] = r->start[k];
#pragma GCC unroll 5
  for (int kx = 0; kx < K; kx++)
#pragma GCC unroll 2
    for (int q = 0; q < quads; q++)
#pragma GCC unroll 4
      for (int k = 0; k < 4; k++) {
        const __m512i v = w[(kx * quads + q) * 4 + k];
#pragma GCC unroll 4
        for (int i = 0; i < COUNT; i++) {
          __m512i *sum = &acc[2 * i + k / 2][k % 2];
          *sum = _mm512_dpbusd_epi32(
              *sum, _mm512_load_si512(from + (q * 4 + k) * plane + kx * 64 + i * step), v);
        }
      }
  eq_dw_words(acc, r->scale, 2, &a->e, &r->t, words, 2 * COUNT, KIND, GATE);
#pragma GCC unroll 4
  for (int i = 0; i < COUNT; i++) put(to + i * a->out_pixel, words + 2 * i, r, channels, tail);
}

/* All outputs of channels c.. ; K is 3 or 5. buffer[quad][v][column] holds 64 bytes each. */
EQ_TARGET EQ_INLINE void chunk(const eq_dw_row *a, int c, int channels, const int K,
                               const eq_kind512 KIND, const bool GATE) {
  enum { QUADS = 2 };
  const int quads = (K + 3) / 4, s = a->stride, plane = COLUMNS * 64;
  const int last = a->lanes - c - 16;
  int at[4] = {0};
  for (int l = 1; l < 4; l++) at[l] = 16 * l < last ? 16 * l : last;
  rows4 r;
  rows_of(&r, &a->e, c, at, KIND);
  __m512i w[QUADS * 5 * 4];
  for (int kx = 0; kx < K; kx++)
    for (int q = 0; q < quads; q++) {
      __m512i tap[4];
      for (int t = 0; t < 4; t++)
        tap[t] = 4 * q + t < K
                     ? _mm512_loadu_si512(a->w + (ptrdiff_t)((4 * q + t) * K + kx) * a->lanes + c)
                     : _mm512_setzero_si512();
      eq_dw_interleave(tap, w + (kx * quads + q) * 4);
    }
  const __m128i tail = eq_tail512((channels - 1) % 16 + 1);
  _Alignas(64) uint8_t buffer[QUADS * 4 * COLUMNS * 64];
  const int segments = (a->count + SEGMENT - 1) / SEGMENT;
  for (int part = a->first * segments; part < a->last * segments; part++) {
    window rows;
    const int oy = part / segments, first = part % segments * SEGMENT;
    window_of(&rows, a, oy, c);
    const int n = a->count - first < SEGMENT ? a->count - first : SEGMENT;
    const int x0 = first * s - a->left, reach = (n - 1) * s + K;
    for (int x = 0; x < reach; x++) {
      if (x0 + x >= 0 && x0 + x < a->width)
        fill(a, &rows, x0 + x, c, K, true, buffer + 64 * x, plane);
      else
        fill(a, &rows, x0 + x, c, K, false, buffer + 64 * x, plane);
    }
    uint8_t *to = a->out + oy * a->out_line + first * a->out_pixel + c;
    int i = 0;
#define BATCH(count)                                                                               \
  for (; i + count <= n; i += count, to += count * a->out_pixel)                                   \
    batch(a, &r, w, buffer + 64 * i * s, to, channels, tail, count, K, KIND, GATE);
    if (KIND > EQ_PLAIN512) {
      BATCH(4)
      BATCH(2)
    }
    BATCH(1)
#undef BATCH
  }
}

#define CHUNK(name, kind, gate)                                                                    \
  EQ_TARGET static void name##_3(const eq_dw_row *a, int c, int n) {                               \
    chunk(a, c, n, 3, kind, gate);                                                                 \
  }                                                                                                \
  EQ_TARGET static void name##_5(const eq_dw_row *a, int c, int n) {                               \
    chunk(a, c, n, 5, kind, gate);                                                                 \
  }
CHUNK(small, EQ_SMALL512, false)
CHUNK(plain, EQ_PLAIN512, false)
CHUNK(pieces, EQ_PIECES512, false)
CHUNK(pieces_gate, EQ_PIECES512, true)
CHUNK(table, EQ_TABLE512, false)
CHUNK(table_gate, EQ_TABLE512, true)
CHUNK(bytes, EQ_BYTES512, false)

void eq_dw_row__avx512vnni(const eq_dw_row *a) {
  static void (*const kinds[][2][2])(const eq_dw_row *, int, int) = {
      [EQ_SMALL512] = {{small_3, small_5}, {small_3, small_5}},
      [EQ_PLAIN512] = {{plain_3, plain_5}, {plain_3, plain_5}},
      [EQ_PIECES512] = {{pieces_3, pieces_5}, {pieces_gate_3, pieces_gate_5}},
      [EQ_TABLE512] = {{table_3, table_5}, {table_gate_3, table_gate_5}},
      [EQ_BYTES512] = {{bytes_3, bytes_5}, {bytes_3, bytes_5}}};
  void (*const run)(const eq_dw_row *, int, int) =
      kinds[eq_kind512_of(&a->e)][a->e.gate][a->k == 5];
  for (int c = 0, n; c < a->channels; c += n) {
    n = a->channels - c < 64 ? a->channels - c : 64;
    if (n <= 48 || (a->k == 5 && a->stride == 1))
      eq_dw_lines512(a, c, n);
    else
      run(a, c, n);
  }
}
#else
typedef int eq_empty; /* ISO C wants a declaration */
#endif
