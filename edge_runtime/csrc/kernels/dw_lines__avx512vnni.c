/* dw_row, AVX-512 VNNI: output rows of a 3x3 or 5x5 depthwise convolution, up to 64 channels at a
 * time (see dw_avx512.h). */
#if defined(__x86_64__)
#include "dw_avx512.h"

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

/* Weights of a tap, repeated as the channels repeat. */
typedef struct {
  const int8_t *at;
  ptrdiff_t step; /* from tap to tap */
  int8_t copy[25][EQ_DW_PHASES * 64];
} taps;

static void taps_of(taps *to, const eq_dw_slice *s) {
  const int8_t *w = s->a->w + s->c;
  to->at = w, to->step = s->a->lanes;
  if (s->pitch == 64) return;
  for (int t = 0; t < s->a->k * s->a->k; t++, w += s->a->lanes)
    for (int i = 0, c = 0; i < s->phases * 64; i += 8, c = c + 8 == s->pitch ? 0 : c + 8)
      memcpy(to->copy[t] + i, w + c, 8);
  to->at = to->copy[0], to->step = sizeof to->copy[0];
}

EQ_TARGET static void block_of(eq_dw_block *b, const eq_dw_slice *s, const taps *tap, int phase) {
  const eq_epilogue *e = &s->a->e;
  const int c = s->c, k = s->a->k;
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
  for (int h = 0; h < 2; h++) {
#define ROW(name) spread(e->name + c, at[2 * h]), spread(e->name + c, at[2 * h + 1])
    bounds[h] = eq_bounds512_from(e, ROW(zp), ROW(lo), ROW(hi));
#undef ROW
    b->zp[h] = bounds[h].zp;
  }
  b->lo = _mm512_packs_epi16(bounds[0].lo, bounds[1].lo);
  b->hi = _mm512_packs_epi16(bounds[0].hi, bounds[1].hi);
  for (int r = 0, i = 0; r < 2; r++)
    for (int kx = 0; kx < k; kx++)
      for (int q = 0; q < (k == 3 ? 1 : 2); q++, i += 2) {
        __m512i row[4], v[4];
        for (int t = 0; t < 4; t++) {
          const int ky = 4 * q + t - r * s->a->stride;
          row[t] = ky < 0 || ky >= k
                       ? _mm512_setzero_si512()
                       : _mm512_loadu_si512(tap->at + (ky * k + kx) * tap->step + 64 * phase);
        }
        eq_dw_interleave(row, v);
        b->w[0][i] = v[0], b->w[0][i + 1] = v[1];
        b->w[1][i] = v[2], b->w[1][i + 1] = v[3];
      }
}

static ptrdiff_t up(ptrdiff_t bytes) { return (bytes + 63) / 64 * 64; }

/* Output columns [first, first + columns). */
static void place(eq_dw_slice *s, int first, int columns) {
  const eq_dw_row *a = s->a;
  const int x0 = first * a->stride - a->left, count = (columns - 1) * a->stride + a->k;
  s->first = first, s->columns = columns;
  s->blocks = (int)(up((ptrdiff_t)columns * s->pitch) / 64);
  s->begin = x0 < 0 ? -x0 : 0, s->end = a->width - x0;
  if (s->begin > count) s->begin = count;
  if (s->end > count) s->end = count;
  if (s->end < s->begin) s->end = s->begin;
  const bool dense = s->pitch == s->n && a->out_pixel == s->n;
  s->whole = s->n == 64 ? columns : dense ? columns * s->pitch / 64 : 0;
  s->apart = s->n == 64 ? a->out_pixel : 64;
  s->second = up(64 * s->blocks + (a->stride == 1 ? a->k - 1 : a->k / 2) * s->pitch + 8);
  s->line = a->stride * s->second;
}

/* Columns of a segment: as many as fit, about the same in each, whole blocks. */
static int columns_of(const eq_dw_slice *s) {
  const eq_dw_row *a = s->a;
  const int count = a->count, whole = 64 * s->phases / s->pitch;
  const int reach = a->stride == 1 ? a->k - 1 : a->k / 2;
  const int most = (EQ_DW_SPAN / a->stride / 64 * 64 - reach * s->pitch - 8) / 64 * 64 / s->pitch;
  const int parts = (count + most - 1) / most, each = (count + parts - 1) / parts;
  const int round = (each + whole - 1) / whole * whole;
  return round <= most ? round : each;
}

/* What is left of a finished row: its last bytes, or pixels with gaps there or in memory. */
EQ_TARGET static void put_rest(const eq_dw_slice *s, uint8_t *to, const uint8_t *done) {
  const int n = s->n, at = 64 * s->whole;
  if (n == 64 && at > 0) return;
  if (at > 0 || (s->pitch == n && s->a->out_pixel == n)) {
    memcpy(to + at, done + at, (size_t)(s->columns * s->pitch - at));
    return;
  }
  const int whole = n / 16 * 16;
  const __m128i tail = eq_tail512(n - whole);
  for (int x = 0; x < s->columns; x++, to += s->a->out_pixel, done += s->pitch) {
    for (int i = 0; i < whole; i += 16) memcpy(to + i, done + i, 16);
    if (n > whole)
      eq_write512(to + whole, _mm_loadu_si128((const __m128i *)(const void *)(done + whole)),
                  n - whole, tail);
  }
}

/* All rows of the segment. */
static void segment(const eq_dw_slice *s, const eq_dw_block *blocks, uint8_t *ring) {
  enum { WORDS = 2 * EQ_DW_SPAN, GROUPS = 8 };
  const eq_dw_row *a = s->a;
  const int lines = a->k + a->stride;
  _Alignas(64) uint8_t words[WORDS + 64]; /* the last pixel is read by whole vectors */
  eq_dw_group g[GROUPS];
  int filled = INT32_MIN, most = WORDS / (128 * s->blocks);
  const int held = (EQ_DW_RING - a->k + a->stride) / (2 * a->stride); /* groups of a ring */
  if (most > held) most = held;
  for (int y = a->first, rows; y < a->last; y += rows) {
    eq_dw_slice part = *s;
    part.words = words;
    int groups = (a->last - y) / 2;
    if (groups > most) groups = most;
    rows = groups * 2;
    if (groups == 0) part.whole = 0, groups = 1, rows = 1; /* one of two rows is wanted */
    for (int i = 0; i < groups; i++) {
      const int top = (y + 2 * i) * a->stride - a->top;
      eq_dw_fill512(s, g + i, top, lines, ring, &filled);
      for (int r = 0; r < 2; r++)
        g[i].to[r] = a->out + (y + 2 * i + r) * a->out_line + s->first * a->out_pixel + s->c;
    }
    (a->k == 3 ? eq_dw_3x3_512 : eq_dw_5x5_512)(&part, blocks, g, groups);
    for (int r = 0; r < rows; r++)
      put_rest(&part, g[r / 2].to[r % 2], words + (ptrdiff_t)64 * s->blocks * r);
  }
}

/* Blocks until n channels repeat. */
static int phases_of(int n) {
  int phases = 1;
  while (phases * 64 % n) phases++;
  return phases;
}

void eq_dw_lines512(const eq_dw_row *a, int c, int n) {
  eq_dw_block blocks[EQ_DW_PHASES];
  taps tap;
  _Alignas(64) uint8_t ring[EQ_DW_RING * (EQ_DW_SPAN + 64)];
  eq_dw_slice s = {.a = a, .c = c, .n = n, .pitch = (n + 7) / 8 * 8};
  s.phases = phases_of(s.pitch);
  taps_of(&tap, &s);
  for (int i = 0; i < s.phases; i++) block_of(blocks + i, &s, &tap, i);
  const int columns = columns_of(&s);
  for (int first = 0; first < a->count; first += columns) {
    place(&s, first, a->count - first < columns ? a->count - first : columns);
    segment(&s, blocks, ring);
  }
}
#else
typedef int eq_empty; /* ISO C wants a declaration */
#endif
