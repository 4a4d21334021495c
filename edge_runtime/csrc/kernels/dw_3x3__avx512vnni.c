/* dw_3x3, AVX-512 VNNI: two output rows at a time, one half of the channels after the other, so
 * that weights stay in registers (see dw_avx512.h). */
#if defined(__x86_64__)
#include "dw_avx512.h"

/* Half of the interleave of 3 or 4 rows of 64 bytes; a missing row has weight 0. */
EQ_TARGET EQ_INLINE void column(const uint8_t *const *at, ptrdiff_t by, __m512i *to, const int HALF,
                                const int LINES) {
  __m512i row[4];
#pragma GCC unroll 4
  for (int j = 0; j < LINES; j++) row[j] = _mm512_loadu_si512(at[j] + by);
  const __m512i d = row[LINES - 1];
  const __m512i ab =
      HALF ? _mm512_unpackhi_epi8(row[0], row[1]) : _mm512_unpacklo_epi8(row[0], row[1]);
  const __m512i cd = HALF ? _mm512_unpackhi_epi8(row[2], d) : _mm512_unpacklo_epi8(row[2], d);
  to[0] = _mm512_unpacklo_epi16(ab, cd), to[1] = _mm512_unpackhi_epi16(ab, cd);
}

/* What the blocks of a phase share. */
typedef struct {
  const uint8_t *at[5]; /* lines */
  ptrdiff_t taps[3];    /* bytes from the start of a block to its columns */
  __m512i w[12], start[2], zp, lo, hi;
  eq_scale512 scale[2];
  uint8_t *to[2], *words[2];
  int whole;
  ptrdiff_t apart;
} phase;

EQ_TARGET EQ_INLINE void start(const phase *p, __m512i (*acc)[2]) {
  acc[0][0] = acc[1][0] = p->start[0], acc[0][1] = acc[1][1] = p->start[1];
}

/* acc += column kx of both output rows: they share a quad of lines with a stride of 1, and have
 * their own with 2. */
EQ_TARGET EQ_INLINE void add(const phase *p, __m512i (*acc)[2], int i, int kx, const int HALF,
                             const int STRIDE) {
  const __m512i *w = p->w + 2 * kx, *own = STRIDE == 1 ? w + 6 : w;
  __m512i x[2], y[2];
  column(p->at, 64 * i + p->taps[kx], x, HALF, STRIDE == 1 ? 4 : 3);
  if (STRIDE == 1)
    y[0] = x[0], y[1] = x[1];
  else
    column(p->at + 2, 64 * i + p->taps[kx], y, HALF, 3);
  acc[0][0] = _mm512_dpbusd_epi32(acc[0][0], x[0], w[0]);
  acc[0][1] = _mm512_dpbusd_epi32(acc[0][1], x[1], w[1]);
  acc[1][0] = _mm512_dpbusd_epi32(acc[1][0], y[0], own[0]);
  acc[1][1] = _mm512_dpbusd_epi32(acc[1][1], y[1], own[1]);
}

EQ_TARGET EQ_INLINE void put(const phase *p, int i, const __m512i *v, const int HALF) {
#pragma GCC unroll 2
  for (int r = 0; r < 2; r++) {
    uint8_t *word = p->words[r] + 64 * i;
    eq_dw_put(p->zp, p->lo, p->hi, i < p->whole ? p->to[r] + i * p->apart : word, word, v[r], HALF);
  }
}

/* Short epilogues: that of a block goes between the products of the next. */
EQ_TARGET EQ_INLINE void chain(const phase *p, int i, int end, int step, const int HALF,
                               const int STRIDE, const eq_kind512 KIND) {
  __m512i acc[2][2], last[2][2], v[2];
  __m512 f[2][2];
#define ALL                                                                                        \
  _Pragma("GCC unroll 2") for (int r = 0; r < 2; r++)                                              \
      _Pragma("GCC unroll 2") for (int k = 0; k < 2; k++)
#define SCALE ALL f[r][k] = _mm512_mul_ps(_mm512_cvtepi32_ps(last[r][k]), p->scale[k].m)
#define ROUND                                                                                      \
  do {                                                                                             \
    ALL last[r][k] = KIND == EQ_SMALL512 ? _mm512_cvtps_epi32(f[r][k]) : eq_round512(f[r][k]);     \
    v[0] = _mm512_packs_epi32(last[0][0], last[0][1]);                                             \
    v[1] = _mm512_packs_epi32(last[1][0], last[1][1]);                                             \
  } while (0)
  if (i >= end) return;
  start(p, last);
#pragma GCC unroll 3
  for (int kx = 0; kx < 3; kx++) add(p, last, i, kx, HALF, STRIDE);
  for (i += step; i < end; i += step) {
    start(p, acc);
    add(p, acc, i, 0, HALF, STRIDE);
    SCALE;
    add(p, acc, i, 1, HALF, STRIDE);
    ROUND;
    add(p, acc, i, 2, HALF, STRIDE);
    put(p, i - step, v, HALF);
    ALL last[r][k] = acc[r][k];
  }
  SCALE;
  ROUND;
  put(p, i - step, v, HALF);
#undef ALL
#undef SCALE
#undef ROUND
}

/* Long ones: COUNT blocks at once. Returns the block behind them. */
EQ_TARGET EQ_INLINE int batches(const phase *p, const eq_epilogue *e, int i, int end, int step,
                                const int COUNT, const int HALF, const int STRIDE,
                                const eq_kind512 KIND, const bool GATE) {
  const eq_pieces512 t = eq_pieces512_of(e, KIND);
  for (; i + (COUNT - 1) * step < end; i += COUNT * step) {
    __m512i acc[2 * 2][2], v[2 * 2];
#pragma GCC unroll 2
    for (int k = 0; k < COUNT; k++) {
      start(p, acc + 2 * k);
#pragma GCC unroll 3
      for (int kx = 0; kx < 3; kx++) add(p, acc + 2 * k, i + k * step, kx, HALF, STRIDE);
    }
    eq_dw_words(acc, p->scale, 1, e, &t, v, 2 * COUNT, KIND, GATE);
#pragma GCC unroll 2
    for (int k = 0; k < COUNT; k++) put(p, i + k * step, v + 2 * k, HALF);
  }
  return i;
}

/* The blocks of one phase in all groups. */
EQ_TARGET EQ_INLINE void strips(const eq_dw_slice *s, const eq_dw_block *b, int first,
                                const eq_dw_group *g, int groups, const int HALF, const int STRIDE,
                                const eq_kind512 KIND, const bool GATE) {
  const int lines = STRIDE == 1 ? 4 : 5, kept = STRIDE == 1 ? 12 : 6;
  uint8_t *words = s->words;
  for (; groups > 0; groups--, g++, words += 128 * s->blocks) {
    phase p = {.taps = {0, STRIDE == 1 ? s->pitch : s->second, (3 - STRIDE) * s->pitch},
               .start = {b->start[2 * HALF], b->start[2 * HALF + 1]},
               .zp = b->zp[HALF],
               .lo = b->lo,
               .hi = b->hi,
               .scale = {b->scale[2 * HALF], b->scale[2 * HALF + 1]},
               .to = {g->to[0], g->to[1]},
               .words = {words, words + 64 * s->blocks},
               .whole = s->whole,
               .apart = s->apart};
#pragma GCC unroll 5
    for (int j = 0; j < lines; j++) p.at[j] = g->at[j];
#pragma GCC unroll 12
    for (int i = 0; i < kept; i++) p.w[i] = b->w[HALF][i];
    if (KIND <= EQ_PLAIN512) {
      chain(&p, first, s->blocks, s->phases, HALF, STRIDE, KIND);
    } else {
      const int i = batches(&p, &s->a->e, first, s->blocks, s->phases, 2, HALF, STRIDE, KIND, GATE);
      batches(&p, &s->a->e, i, s->blocks, s->phases, 1, HALF, STRIDE, KIND, GATE);
    }
  }
}

#define STRIPS(name, stride, kind, gate)                                                           \
  EQ_TARGET static void name##_##stride(const eq_dw_slice *s, const eq_dw_block *blocks,           \
                                        const eq_dw_group *g, int groups) {                        \
    for (int i = 0; i < s->phases; i++) {                                                          \
      strips(s, blocks + i, i, g, groups, 0, stride, kind, gate);                                  \
      strips(s, blocks + i, i, g, groups, 1, stride, kind, gate);                                  \
    }                                                                                              \
  }
#define BOTH(name, kind, gate) STRIPS(name, 1, kind, gate) STRIPS(name, 2, kind, gate)
BOTH(small, EQ_SMALL512, false)
BOTH(plain, EQ_PLAIN512, false)
BOTH(pieces, EQ_PIECES512, false)
BOTH(pieces_gate, EQ_PIECES512, true)
BOTH(table, EQ_TABLE512, false)
BOTH(table_gate, EQ_TABLE512, true)
BOTH(bytes, EQ_BYTES512, false)

void eq_dw_3x3_512(const eq_dw_slice *s, const eq_dw_block *blocks, const eq_dw_group *g,
                   int groups) {
#define NAMES(name)                                                                                \
  {                                                                                                \
    name##_1, name##_2                                                                             \
  }
  static void (*const kinds[][2][2])(const eq_dw_slice *, const eq_dw_block *, const eq_dw_group *,
                                     int) = {[EQ_SMALL512] = {NAMES(small), NAMES(small)},
                                             [EQ_PLAIN512] = {NAMES(plain), NAMES(plain)},
                                             [EQ_PIECES512] = {NAMES(pieces), NAMES(pieces_gate)},
                                             [EQ_TABLE512] = {NAMES(table), NAMES(table_gate)},
                                             [EQ_BYTES512] = {NAMES(bytes), NAMES(bytes)}};
  const eq_epilogue *e = &s->a->e;
  kinds[eq_kind512_of(e)][e->gate][s->a->stride - 1](s, blocks, g, groups);
}
#else
typedef int eq_empty; /* ISO C wants a declaration */
#endif
