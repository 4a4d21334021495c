/* dw_lines, AVX-512 VNNI: output rows of a 3x3 or 5x5 depthwise convolution, up to 64 channels at a
 * time. Input rows are copied once into lines of [column][channel] without gaps, x + 128 and with
 * the padding in place, so that registers are full whatever the number of channels: 64 bytes of a
 * line are pixels of neighbouring columns, and a tap is a distance in the line. Byte unpacks turn
 * four lines into [channel][row], one vpdpbusd per column adds four rows, and with a stride of 1
 * two output rows share them. Vector v of the unpacks has entries 4v..4v+3 of each 128-bit lane,
 * and the packs that narrow the results put them back in order. */
#if defined(__x86_64__)
#include "epilogue_avx512.h"

enum {
  LINE = 4096,            /* bytes of outputs in a line, at most */
  SPAN = LINE + 4 * 64,   /* what they reach in one plane: K - 1 columns more */
  PLANES = SPAN + 2 * 64, /* a line: one plane of SPAN, or the even and the odd columns */
  RING = 6,               /* lines of a window of two rows */
  PHASES = 7,             /* 64-byte blocks after which the channels repeat */
  WEIGHTS = 80            /* vectors of weights of one phase */
};

/* What one 64-byte block of outputs needs. */
typedef struct {
  eq_scale512 scale[4];
  __m512i start[4], zp[2], lo, hi;
  __m512i w[WEIGHTS]; /* [output row][kx][quad][4] */
} block;

/* A slice of the channels: n real ones in a pitch of `pitch` bytes. */
typedef struct {
  const eq_dw_row *a;
  int c, n, pitch, phases;
  int first, columns; /* output columns of the segment */
  int second;         /* where the plane of odd columns begins */
} slice;

/* Vector v of a per-channel row: four channels per lane, from p + at[l]. */
EQ_TARGET EQ_INLINE __m512i spread(const void *p, const int *at) {
  const int32_t *q = p;
#define LANE(l) _mm_loadu_si128((const __m128i *)(const void *)(q + at[l]))
  __m512i x = _mm512_castsi128_si512(LANE(0));
  x = _mm512_inserti32x4(x, LANE(1), 1);
  x = _mm512_inserti32x4(x, LANE(2), 2);
  return _mm512_inserti32x4(x, LANE(3), 3);
#undef LANE
}

/* Four rows of 64 bytes -> [channel][row] in four vectors. */
EQ_TARGET EQ_INLINE void interleave(__m512i a, __m512i b, __m512i c, __m512i d, __m512i *to) {
  const __m512i ab0 = _mm512_unpacklo_epi8(a, b), ab1 = _mm512_unpackhi_epi8(a, b);
  const __m512i cd0 = _mm512_unpacklo_epi8(c, d), cd1 = _mm512_unpackhi_epi8(c, d);
  to[0] = _mm512_unpacklo_epi16(ab0, cd0), to[1] = _mm512_unpackhi_epi16(ab0, cd0);
  to[2] = _mm512_unpacklo_epi16(ab1, cd1), to[3] = _mm512_unpackhi_epi16(ab1, cd1);
}

/* Weights of a tap, repeated as the channels repeat in a line. */
typedef struct {
  const int8_t *at;
  ptrdiff_t step; /* from tap to tap */
  int8_t copy[25][PHASES * 64];
} taps;

static void taps_of(taps *to, const slice *s) {
  const int8_t *w = s->a->w + s->c;
  to->at = w, to->step = s->a->lanes;
  if (s->pitch == 64) return;
  for (int t = 0; t < s->a->k * s->a->k; t++, w += s->a->lanes)
    for (int i = 0, c = 0; i < s->phases * 64; i += 8, c = c + 8 == s->pitch ? 0 : c + 8)
      memcpy(to->copy[t] + i, w + c, 8);
  to->at = to->copy[0], to->step = sizeof to->copy[0];
}

EQ_TARGET EQ_INLINE void block_of(block *b, const slice *s, const taps *tap, int phase, const int K,
                                  const int ROWS) {
  const eq_epilogue *e = &s->a->e;
  const int c = s->c, quads = (K + ROWS + 2) / 4;
  int at[4][4];
  for (int v = 0; v < 4; v++)
    for (int l = 0; l < 4; l++) at[v][l] = (64 * phase + 16 * l + 4 * v) % s->pitch;
  eq_bounds512 bounds[2];
  for (int v = 0; v < 4; v++) {
    b->scale[v].m = _mm512_castsi512_ps(spread(e->m + c, at[v]));
    b->scale[v].r = eq_after512(e, _mm512_castsi512_ps(spread(e->r + c, at[v])));
    b->start[v] = _mm512_sub_epi32(spread(e->bias + c, at[v]),
                                   _mm512_slli_epi32(spread(e->wsum + c, at[v]), 7));
  }
  for (int k = 0; k < 2; k++) {
#define ROW(name) spread(e->name + c, at[2 * k]), spread(e->name + c, at[2 * k + 1])
    bounds[k] = eq_bounds512_from(e, ROW(zp), ROW(lo), ROW(hi));
#undef ROW
    b->zp[k] = bounds[k].zp;
  }
  b->lo = _mm512_packs_epi16(bounds[0].lo, bounds[1].lo);
  b->hi = _mm512_packs_epi16(bounds[0].hi, bounds[1].hi);
  __m512i *w = b->w;
#pragma GCC unroll 2
  for (int r = 0; r < ROWS; r++)
    for (int kx = 0; kx < K; kx++)
#pragma GCC unroll 2
      for (int q = 0; q < quads; q++, w += 4) {
        __m512i row[4];
#pragma GCC unroll 4
        for (int t = 0; t < 4; t++) {
          const int ky = 4 * q + t - r;
          row[t] = ky < 0 || ky >= K
                       ? _mm512_setzero_si512()
                       : _mm512_loadu_si512(tap->at + (ky * K + kx) * tap->step + 64 * phase);
        }
        interleave(row[0], row[1], row[2], row[3], w);
      }
}

EQ_TARGET EQ_INLINE void copy_16(uint8_t *to, const uint8_t *from, __m512i flip) {
  const __m128i v = _mm_loadu_si128((const __m128i *)(const void *)from);
  _mm_storeu_si128((__m128i *)(void *)to, _mm_xor_si128(v, _mm512_castsi512_si128(flip)));
}

EQ_TARGET EQ_INLINE void copy_64(uint8_t *to, const uint8_t *from, __m512i flip) {
  _mm512_storeu_si512(to, _mm512_xor_si512(_mm512_loadu_si512(from), flip));
}

/* `count` pixels of n bytes, each + 128; writes whole vectors of 16, in order, so that the next
 * pixel covers what is too much. */
EQ_TARGET static void copy_pixels(uint8_t *to, ptrdiff_t to_pitch, const uint8_t *from,
                                  ptrdiff_t from_pitch, int n, int count) {
  const __m512i flip = _mm512_set1_epi8((char)0x80);
  if (to_pitch == n && from_pitch == n) n *= count, count = n > 0;
  if (n == 64) {
    for (; count > 0; count--, to += to_pitch, from += from_pitch) copy_64(to, from, flip);
  } else if (n <= 16) {
    for (; count > 0; count--, to += to_pitch, from += from_pitch) copy_16(to, from, flip);
  } else if (n <= 32) {
    for (; count > 0; count--, to += to_pitch, from += from_pitch) {
      copy_16(to, from, flip);
      copy_16(to + n - 16, from + n - 16, flip);
    }
  } else {
    for (; count > 0; count--, to += to_pitch, from += from_pitch) {
      int i = 0;
      for (; i + 64 <= n; i += 64) copy_64(to + i, from + i, flip);
      for (; i < n; i += 16) copy_16(to + i, from + i, flip);
    }
  }
}

/* Input row iy of the segment, or nothing but padding. */
EQ_TARGET static void fill_line(const slice *s, int iy, uint8_t *line) {
  const eq_dw_row *a = s->a;
  const int x0 = s->first * a->stride - a->left; /* of the line's first column */
  const int count = (s->columns - 1) * a->stride + a->k;
  const bool absent = iy < 0 || iy >= a->height;
  int begin = x0 < 0 ? -x0 : 0, end = a->width - x0; /* columns inside */
  if (absent || begin > count) begin = count;
  if (end > count) end = count;
  if (end < begin) end = begin;
  for (int parity = 0; parity < a->stride; parity++) {
    uint8_t *to = line + parity * s->second;
    const int step = a->stride, half = (begin - parity + step - 1) / step; /* columns of padding */
    const int skip = begin > parity ? half : 0, last = (count - parity + step - 1) / step;
    const int stop = end > parity ? (end - parity + step - 1) / step : 0;
    copy_pixels(to, s->pitch, (const uint8_t *)a->pad + s->c, 0, s->n, skip);
    if (stop > skip)
      copy_pixels(to + skip * s->pitch, s->pitch,
                  (const uint8_t *)a->in + iy * a->line + s->c +
                      (x0 + parity + (ptrdiff_t)skip * step) * a->pixel,
                  a->pixel * step, s->n, stop - skip);
    const int right = stop > skip ? stop : skip;
    copy_pixels(to + right * s->pitch, s->pitch, (const uint8_t *)a->pad + s->c, 0, s->n,
                last - right);
  }
}

/* Block i of one or two output rows from the lines of their windows. */
EQ_TARGET EQ_INLINE void outputs(const slice *s, const uint8_t *const *line, int at, const block *b,
                                 const eq_pieces512 *t, __m512i *out, const int K, const int STRIDE,
                                 const int ROWS, const eq_kind512 KIND, const bool GATE) {
  const int lines = K + ROWS - 1, quads = (lines + 3) / 4;
  __m512i acc[2][4];
#pragma GCC unroll 2
  for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 4
    for (int v = 0; v < 4; v++) acc[r][v] = b->start[v];
#pragma GCC unroll 5
  for (int kx = 0; kx < K; kx++) {
    const int from = at + kx % STRIDE * s->second + kx / STRIDE * s->pitch;
#pragma GCC unroll 2
    for (int q = 0; q < quads; q++) {
      __m512i row[4], x[4];
#pragma GCC unroll 4
      for (int j = 0; j < 4; j++) /* where a line is missing, its weight is 0 */
        row[j] = 4 * q + j < lines ? _mm512_loadu_si512(line[4 * q + j] + from)
                                   : row[lines - 4 * q > 2 ? j - 1 : j - (lines - 4 * q)];
      interleave(row[0], row[1], row[2], row[3], x);
#pragma GCC unroll 2
      for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 4
        for (int v = 0; v < 4; v++)
          acc[r][v] =
              _mm512_dpbusd_epi32(acc[r][v], x[v], b->w[((r * K + kx) * quads + q) * 4 + v]);
    }
  }
  const eq_epilogue *e = &s->a->e;
#pragma GCC unroll 2
  for (int r = 0; r < ROWS; r++) {
    const __m512i low =
        eq_words512(acc[r][0], acc[r][1], &b->scale[0], &b->scale[1], NULL, e, t, KIND, GATE);
    const __m512i high =
        eq_words512(acc[r][2], acc[r][3], &b->scale[2], &b->scale[3], NULL, e, t, KIND, GATE);
    const __m512i v =
        _mm512_packs_epi16(_mm512_adds_epi16(low, b->zp[0]), _mm512_adds_epi16(high, b->zp[1]));
    out[r] = _mm512_min_epi8(_mm512_max_epi8(v, b->lo), b->hi);
  }
}

/* The finished row from `done`, whose pixels have gaps there or in memory. */
EQ_TARGET static void put_row(const slice *s, uint8_t *to, const uint8_t *done) {
  const ptrdiff_t step = s->a->out_pixel;
  const int n = s->n, whole = n / 16 * 16;
  const __m128i tail = eq_tail512(n - whole);
  for (int x = 0; x < s->columns; x++, to += step, done += s->pitch) {
    for (int i = 0; i < whole; i += 16) memcpy(to + i, done + i, 16);
    if (n > whole)
      eq_write512(to + whole, _mm_loadu_si128((const __m128i *)(const void *)(done + whole)),
                  n - whole, tail);
  }
}

/* Where input row iy lies in the ring. */
static inline int slot(int iy) { return (iy % RING + RING) % RING; }

/* All rows of one segment of one slice. */
EQ_TARGET EQ_INLINE void segment(const slice *s, const block *blocks, const int K, const int STRIDE,
                                 const int ROWS, const eq_kind512 KIND, const bool GATE) {
  const eq_dw_row *a = s->a;
  const int lines = K + ROWS - 1, bytes = s->columns * s->pitch;
  const bool dense = s->pitch == s->n && a->out_pixel == s->n;
  const eq_pieces512 t = eq_pieces512_of(&a->e, KIND);
  _Alignas(64) uint8_t ring[RING][PLANES], done[2][LINE + 64];
  int filled = a->first * STRIDE - a->top; /* the next input row to be copied */
  for (int y = a->first; y < a->last; y += ROWS) {
    const uint8_t *line[RING];
    const int top = y * STRIDE - a->top;
    for (; filled < top + lines; filled++) fill_line(s, filled, ring[slot(filled)]);
    for (int j = 0; j < lines; j++) line[j] = ring[slot(top + j)];
    uint8_t *to[2];
    for (int r = 0; r < ROWS; r++)
      to[r] = a->out + (y + r) * a->out_line + s->first * a->out_pixel + s->c;
    const int rows = a->last - y < ROWS ? a->last - y : ROWS;
    for (int at = 0, phase = 0; at < bytes;
         at += 64, phase = phase + 1 == s->phases ? 0 : phase + 1) {
      __m512i v[2];
      outputs(s, line, at, blocks + phase, &t, v, K, STRIDE, ROWS, KIND, GATE);
#pragma GCC unroll 2
      for (int r = 0; r < ROWS; r++) {
        if (r >= rows) break;
        if (dense && at + 64 <= bytes)
          _mm512_storeu_si512(to[r] + at, v[r]);
        else if (s->n == 64)
          _mm512_storeu_si512(to[r] + at / 64 * a->out_pixel, v[r]);
        else
          _mm512_store_si512(done[r] + at, v[r]);
      }
    }
    for (int r = 0; r < rows; r++) {
      if (dense)
        memcpy(to[r] + bytes / 64 * 64, done[r] + bytes / 64 * 64, (size_t)(bytes % 64));
      else if (s->n < 64)
        put_row(s, to[r], done[r]);
    }
  }
}

EQ_TARGET EQ_INLINE void run(slice *s, const int K, const int STRIDE, const eq_kind512 KIND,
                             const bool GATE) {
  const int rows = STRIDE == 1 ? 2 : 1;
  block blocks[PHASES];
  taps tap;
  taps_of(&tap, s);
  for (int i = 0; i < s->phases; i++) block_of(blocks + i, s, &tap, i, K, rows);
  const int most = LINE / s->pitch;
  s->second = SPAN / 2 / 64 * 64 + 64;
  for (s->first = 0; s->first < s->a->count; s->first += s->columns) {
    const int left = s->a->count - s->first, limit = STRIDE == 2 ? most / 2 : most;
    s->columns = left < limit ? left : limit;
    segment(s, blocks, K, STRIDE, rows, KIND, GATE);
  }
}

#define RUN(name, k, stride, kind, gate)                                                           \
  EQ_TARGET static void name##_##k##s##stride(slice *s) { run(s, k, stride, kind, gate); }
#define RUNS(name, kind, gate)                                                                     \
  RUN(name, 3, 1, kind, gate)                                                                      \
  RUN(name, 3, 2, kind, gate) RUN(name, 5, 1, kind, gate) RUN(name, 5, 2, kind, gate)
#define NAMES(name)                                                                                \
  {                                                                                                \
    {name##_3s1, name##_3s2}, { name##_5s1, name##_5s2 }                                           \
  }
RUNS(small, EQ_SMALL512, false)
RUNS(plain, EQ_PLAIN512, false)
RUNS(pieces, EQ_PIECES512, false)
RUNS(pieces_gate, EQ_PIECES512, true)
RUNS(table, EQ_TABLE512, false)
RUNS(table_gate, EQ_TABLE512, true)
RUNS(bytes, EQ_BYTES512, false)

/* Blocks until n channels repeat. */
static int phases_of(int n) {
  int phases = 1;
  while (phases * 64 % n) phases++;
  return phases;
}

void eq_dw_lines512(const eq_dw_row *a, int c, int n) {
  static void (*const kinds[][2][2][2])(slice *) = {
      [EQ_SMALL512] = {NAMES(small), NAMES(small)},
      [EQ_PLAIN512] = {NAMES(plain), NAMES(plain)},
      [EQ_PIECES512] = {NAMES(pieces), NAMES(pieces_gate)},
      [EQ_TABLE512] = {NAMES(table), NAMES(table_gate)},
      [EQ_BYTES512] = {NAMES(bytes), NAMES(bytes)}};
  /* the blocks of many phases leave the L1 cache: rather some empty lanes */
  const int limit = a->k == 5 && a->stride == 1 ? 3 : PHASES;
  slice s = {.a = a, .c = c, .n = n, .pitch = (n + 7) / 8 * 8};
  while (phases_of(s.pitch) > limit) s.pitch += 8;
  s.phases = phases_of(s.pitch);
  kinds[eq_kind512_of(&a->e)][a->e.gate][a->k == 5][a->stride == 2](&s);
}
#else
typedef int eq_empty; /* ISO C wants a declaration */
#endif
