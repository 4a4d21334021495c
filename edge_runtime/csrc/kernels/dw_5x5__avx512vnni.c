/* dw_5x5, AVX-512 VNNI: the rows of a group are interleaved to eight planes first, two quads of
 * four vectors, since every column serves five outputs. A plane holds columns without gaps, as
 * lines do. */
#if defined(__x86_64__)
#include "dw_avx512.h"

/* All planes of a group; a missing row has weight 0. */
EQ_TARGET EQ_INLINE void planes_of(const eq_dw_slice *s, const eq_dw_group *g, uint8_t *planes,
                                   const int LINES) {
  for (ptrdiff_t i = 0; i < s->line; i += 64, planes += 64)
#pragma GCC unroll 2
    for (int q = 0; q < 2; q++) {
      const int left = LINES - 4 * q;
      __m512i row[4], v[4];
#pragma GCC unroll 4
      for (int j = 0; j < 4; j++)
        row[j] = j < left ? _mm512_load_si512(g->at[4 * q + j] + i) : row[left > 2 ? 2 : j & 1];
      eq_dw_interleave(row, v);
#pragma GCC unroll 4
      for (int k = 0; k < 4; k++) _mm512_store_si512(planes + (4 * q + k) * s->line, v[k]);
    }
}

/* Blocks first, first + step, ... of a group; taps[kx] is the first of their two planes of a
 * quad. */
EQ_TARGET EQ_INLINE void some(const eq_dw_slice *s, const eq_dw_block *b, const eq_dw_group *g,
                              const uint8_t *const *taps, int first, uint8_t *words,
                              const eq_pieces512 *t, const int BLOCKS, const int HALF,
                              const eq_kind512 KIND, const bool GATE) {
  __m512i acc[8][2], out[8];
#pragma GCC unroll 8
  for (int k = 0; k < BLOCKS * 2; k++)
    acc[k][0] = b->start[2 * HALF], acc[k][1] = b->start[2 * HALF + 1];
#pragma GCC unroll 5
  for (int kx = 0; kx < 5; kx++)
#pragma GCC unroll 2
    for (int q = 0; q < 2; q++) {
      const __m512i *w = b->w[HALF] + (kx * 2 + q) * 2;
      const __m512i w0 = w[0], w1 = w[1], w2 = w[20], w3 = w[21];
#pragma GCC unroll 4
      for (int k = 0; k < BLOCKS; k++) {
        const uint8_t *from = taps[kx] + 64 * (first + k * s->phases) + q * 4 * s->line;
        const __m512i x0 = _mm512_loadu_si512(from), x1 = _mm512_loadu_si512(from + s->line);
        __m512i(*to)[2] = acc + 2 * k;
        to[0][0] = _mm512_dpbusd_epi32(to[0][0], x0, w0);
        to[0][1] = _mm512_dpbusd_epi32(to[0][1], x1, w1);
        to[1][0] = _mm512_dpbusd_epi32(to[1][0], x0, w2);
        to[1][1] = _mm512_dpbusd_epi32(to[1][1], x1, w3);
      }
    }
  const int each = KIND > EQ_PLAIN512 && BLOCKS == 4 ? 4 : 2 * BLOCKS;
#pragma GCC unroll 2
  for (int k = 0; k < 2 * BLOCKS; k += each)
    eq_dw_words(acc + k, b->scale + 2 * HALF, 1, &s->a->e, t, out + k, each, KIND, GATE);
#pragma GCC unroll 4
  for (int k = 0; k < BLOCKS; k++)
#pragma GCC unroll 2
    for (int r = 0; r < 2; r++) {
      const int i = first + k * s->phases;
      uint8_t *word = words + 64 * (r * s->blocks + i);
      eq_dw_put(b->zp[HALF], b->lo, b->hi, i < s->whole ? g->to[r] + i * s->apart : word, word,
                out[2 * k + r], HALF);
    }
}

/* The blocks of one phase. */
EQ_TARGET EQ_INLINE void strip(const eq_dw_slice *s, const eq_dw_block *b, int phase,
                               const eq_dw_group *g, const uint8_t *planes, uint8_t *words,
                               const int HALF, const eq_kind512 KIND, const bool GATE) {
  const eq_pieces512 t = eq_pieces512_of(&s->a->e, KIND);
  const bool strided = s->a->stride == 2;
  const uint8_t *taps[5];
#pragma GCC unroll 5
  for (int kx = 0; kx < 5; kx++) {
    const ptrdiff_t by = strided ? kx % 2 * s->second + kx / 2 * s->pitch : kx * s->pitch;
    const int odd = by / 8 & 1; /* then the halves change places in every 16 bytes */
    taps[kx] = planes + (HALF ^ odd) * 2 * s->line + by + (HALF ? 8 * odd : -8 * odd);
  }
  int i = phase;
  for (; i + 3 * s->phases < s->blocks; i += 4 * s->phases)
    some(s, b, g, taps, i, words, &t, 4, HALF, KIND, GATE);
  for (; i < s->blocks; i += s->phases) some(s, b, g, taps, i, words, &t, 1, HALF, KIND, GATE);
}

#define STRIP(name, kind, gate)                                                                    \
  EQ_TARGET static void name(const eq_dw_slice *s, const eq_dw_block *blocks,                      \
                             const eq_dw_group *g, const uint8_t *planes, uint8_t *words) {        \
    for (int phase = 0; phase < s->phases; phase++) {                                              \
      strip(s, blocks + phase, phase, g, planes, words, 0, kind, gate);                            \
      strip(s, blocks + phase, phase, g, planes, words, 1, kind, gate);                            \
    }                                                                                              \
  }
STRIP(small, EQ_SMALL512, false)
STRIP(plain, EQ_PLAIN512, false)
STRIP(pieces, EQ_PIECES512, false)
STRIP(pieces_gate, EQ_PIECES512, true)
STRIP(table, EQ_TABLE512, false)
STRIP(table_gate, EQ_TABLE512, true)
STRIP(bytes, EQ_BYTES512, false)

EQ_TARGET void eq_dw_5x5_512(const eq_dw_slice *s, const eq_dw_block *blocks, const eq_dw_group *g,
                             int groups) {
  static void (*const kinds[][2])(const eq_dw_slice *, const eq_dw_block *, const eq_dw_group *,
                                  const uint8_t *,
                                  uint8_t *) = {[EQ_SMALL512] = {small, small},
                                                [EQ_PLAIN512] = {plain, plain},
                                                [EQ_PIECES512] = {pieces, pieces_gate},
                                                [EQ_TABLE512] = {table, table_gate},
                                                [EQ_BYTES512] = {bytes, bytes}};
  const eq_epilogue *e = &s->a->e;
  _Alignas(64) uint8_t planes[8 * EQ_DW_SPAN];
  for (int i = 0; i < groups; i++) {
    if (s->a->stride == 1)
      planes_of(s, g + i, planes, 6);
    else
      planes_of(s, g + i, planes, 7);
    kinds[eq_kind512_of(e)][e->gate](s, blocks, g + i, planes,
                                     s->words + (ptrdiff_t)i * 2 * 64 * s->blocks);
  }
}
#else
typedef int eq_empty; /* ISO C wants a declaration */
#endif
