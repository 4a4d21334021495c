/* dw_row, AVX-512 VNNI: output rows of a 3x3 or 5x5 depthwise convolution. The taps of a column
 * (rows of the window) are interleaved to [channel][4 rows] once; an output is then one vpdpbusd
 * per column. Registers hold either 64 channels of one column or 16 channels of four columns: byte
 * unpacks leave vector v with channels 4v..4v+3 of each 128-bit lane, and the packs that narrow the
 * results put them back in order. x enters as x + 128. */
#if defined(__x86_64__)
#include "epilogue_avx512.h"

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

/* 64 outputs in the order of memory. */
EQ_TARGET EQ_INLINE __m512i outputs(const __m512i *acc, const eq_epilogue *e, const rows4 *r,
                                    const eq_kind512 KIND, const bool GATE) {
  const eq_scale512 *s = r->scale;
  const __m512i a = eq_words512(acc[0], acc[1], &s[0], &s[1], NULL, e, &r->t, KIND, GATE);
  const __m512i b = eq_words512(acc[2], acc[3], &s[2], &s[3], NULL, e, &r->t, KIND, GATE);
  const __m512i v =
      _mm512_packs_epi16(_mm512_adds_epi16(a, r->zp[0]), _mm512_adds_epi16(b, r->zp[1]));
  return _mm512_min_epi8(_mm512_max_epi8(v, r->lo), r->hi);
}

/* Four rows of 64 bytes -> [channel][row] in four vectors. */
EQ_TARGET EQ_INLINE void interleave(__m512i a, __m512i b, __m512i c, __m512i d, __m512i *to) {
  const __m512i ab0 = _mm512_unpacklo_epi8(a, b), ab1 = _mm512_unpackhi_epi8(a, b);
  const __m512i cd0 = _mm512_unpacklo_epi8(c, d), cd1 = _mm512_unpackhi_epi8(c, d);
  to[0] = _mm512_unpacklo_epi16(ab0, cd0), to[1] = _mm512_unpackhi_epi16(ab0, cd0);
  to[2] = _mm512_unpacklo_epi16(ab1, cd1), to[3] = _mm512_unpackhi_epi16(ab1, cd1);
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

EQ_TARGET EQ_INLINE __m128i load16(const int8_t *p) {
  return _mm_loadu_si128((const __m128i *)(const void *)p);
}

/* 64 bytes of window row `ky` for column x (64 channels) or columns x..x+3 * step (16 channels). */
EQ_TARGET EQ_INLINE __m512i column(const eq_dw_row *a, const window *w, int ky, int x, int c,
                                   const bool WIDE, const bool INSIDE, int step) {
  const int8_t *row = w->at[ky], *pad = a->pad + c;
  const ptrdiff_t pitch = w->pitch[ky];
#define FROM(x) (INSIDE || ((x) >= 0 && (x) < a->width) ? row + (x) * pitch : pad)
  if (WIDE) return _mm512_loadu_si512(FROM(x));
  __m512i v = _mm512_castsi128_si512(load16(FROM(x)));
  v = _mm512_inserti32x4(v, load16(FROM(x + step)), 1);
  v = _mm512_inserti32x4(v, load16(FROM(x + 2 * step)), 2);
  return _mm512_inserti32x4(v, load16(FROM(x + 3 * step)), 3);
#undef FROM
}

/* The column or columns at x, all rows, to their places in the buffer. */
EQ_TARGET EQ_INLINE void fill(const eq_dw_row *a, const window *w, int x, int c, const int K,
                              const bool WIDE, const bool INSIDE, int step, uint8_t *to,
                              int plane) {
  const __m512i flip = _mm512_set1_epi8((char)0x80);
#pragma GCC unroll 2
  for (int q = 0; q < (K + 3) / 4; q++, to += 4 * plane) {
    __m512i row[4], v[4];
#pragma GCC unroll 4
    for (int t = 0; t < 4; t++)
      row[t] = 4 * q + t < K
                   ? _mm512_xor_si512(column(a, w, 4 * q + t, x, c, WIDE, INSIDE, step), flip)
                   : _mm512_setzero_si512();
    interleave(row[0], row[1], row[2], row[3], v);
    for (int k = 0; k < 4; k++) _mm512_storeu_si512(to + k * plane, v[k]);
  }
}

/* All outputs of channels c.. ; K is 3 or 5. buffer[quad][v][column] holds 64 or 16 bytes each;
 * with 16 the even columns of a stride of 2 come first, so that four outputs' columns adjoin. */
EQ_TARGET EQ_INLINE void chunk(const eq_dw_row *a, int c, int channels, const int K,
                               const bool WIDE, const eq_kind512 KIND, const bool GATE) {
  enum { QUADS = 2 };
  const int quads = (K + 3) / 4, s = a->stride, lane = WIDE ? 64 : 16;
  const int last = a->lanes - c - 16;
  int at[4] = {0};
  for (int l = 1; WIDE && l < 4; l++) at[l] = 16 * l < last ? 16 * l : last;
  rows4 r;
  rows_of(&r, &a->e, c, at, KIND);
  const __m512i zero = _mm512_setzero_si512();
  __m512i w[QUADS * 5 * 4];
  for (int kx = 0; kx < K; kx++)
    for (int q = 0; q < quads; q++) {
      __m512i tap[4];
      for (int t = 0; t < 4; t++) {
        const int8_t *p = a->w + (ptrdiff_t)((4 * q + t) * K + kx) * a->lanes + c;
        if (4 * q + t >= K)
          tap[t] = zero;
        else if (WIDE)
          tap[t] = _mm512_loadu_si512(p);
        else
          tap[t] = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(const void *)p));
      }
      interleave(tap[0], tap[1], tap[2], tap[3], w + (kx * quads + q) * 4);
    }
  const __m128i tail = eq_tail512(channels > 16 ? (channels - 1) % 16 + 1 : channels);
  _Alignas(64) uint8_t buffer[QUADS * 4 * COLUMNS * 64];
  const int group = WIDE ? 1 : 4, plane = (WIDE ? COLUMNS : 4 * COLUMNS) * lane;
  /* 16 channels are read across stores, which only works well once those have left the core */
  const int segment = WIDE ? SEGMENT : 4 * SEGMENT, half = 2 * COLUMNS;
  const int segments = (a->count + segment - 1) / segment;
  for (int part = a->first * segments; part < a->last * segments; part++) {
    window rows;
    const int oy = part / segments, first = part % segments * segment;
    window_of(&rows, a, oy, c);
    const int n = a->count - first < segment ? a->count - first : segment;
    const int x0 = first * s - a->left, reach = ((n + group - 1) / group * group - 1) * s + K;
    for (int parity = 0; parity < (WIDE ? 1 : s); parity++) {
      const int step = WIDE ? 1 : s;
      for (int x = parity; x < reach; x += step * group) {
        uint8_t *to = buffer + (ptrdiff_t)(WIDE ? x : parity * half + x / s) * lane;
        const int left = x0 + x, right = left + (group - 1) * step;
        if (left >= 0 && right < a->width)
          fill(a, &rows, left, c, K, WIDE, true, step, to, plane);
        else
          fill(a, &rows, left, c, K, WIDE, false, step, to, plane);
      }
    }
    for (int i = 0; i < n; i += group) {
      __m512i acc[4] = {r.start[0], r.start[1], r.start[2], r.start[3]};
#pragma GCC unroll 5
      for (int kx = 0; kx < K; kx++) {
        const int x = i * s + kx;
        const uint8_t *from = buffer + (ptrdiff_t)(WIDE ? x : x % s * half + x / s) * lane;
#pragma GCC unroll 2
        for (int q = 0; q < quads; q++, from += 4 * plane)
#pragma GCC unroll 4
          for (int k = 0; k < 4; k++)
            acc[k] = _mm512_dpbusd_epi32(acc[k], _mm512_loadu_si512(from + k * plane),
                                         w[(kx * quads + q) * 4 + k]);
      }
      const __m512i bytes = outputs(acc, &a->e, &r, KIND, GATE);
      uint8_t *to = a->out + oy * a->out_line + (first + i) * a->out_pixel + c;
      if (WIDE && channels == 64) {
        _mm512_storeu_si512(to, bytes);
        continue;
      }
      const __m128i lanes[4] = {_mm512_castsi512_si128(bytes), _mm512_extracti32x4_epi32(bytes, 1),
                                _mm512_extracti32x4_epi32(bytes, 2),
                                _mm512_extracti32x4_epi32(bytes, 3)};
#pragma GCC unroll 4
      for (int l = 0; l < 4; l++)
        if (WIDE) {
          if (channels > 16 * l)
            eq_write512(to + 16 * l, lanes[l], channels - 16 * l < 16 ? channels - 16 * l : 16,
                        tail);
        } else if (i + l < n) {
          eq_write512(to + l * a->out_pixel, lanes[l], channels, tail);
        }
    }
  }
}

#define CHUNK(name, kind, gate)                                                                    \
  EQ_TARGET static void name##_3(const eq_dw_row *a, int c, int n) {                               \
    if (n > 16)                                                                                    \
      chunk(a, c, n, 3, true, kind, gate);                                                         \
    else                                                                                           \
      chunk(a, c, n, 3, false, kind, gate);                                                        \
  }                                                                                                \
  EQ_TARGET static void name##_5(const eq_dw_row *a, int c, int n) {                               \
    if (n > 16)                                                                                    \
      chunk(a, c, n, 5, true, kind, gate);                                                         \
    else                                                                                           \
      chunk(a, c, n, 5, false, kind, gate);                                                        \
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
  for (int c = 0;
       c < a->channels;) { /* 64 channels, or 16 where that would waste most of a register */
    const int rest = a->channels - c, n = rest >= 64  ? 64
                                          : rest > 48 ? rest
                                          : rest > 16 ? 16
                                                      : rest;
    run(a, c, n);
    c += n;
  }
}
#else
typedef int eq_empty; /* ISO C wants a declaration */
#endif
