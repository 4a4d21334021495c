/* dw_avx512.h: what the files of dw_row share. Byte unpacks interleave four input rows to
 * [channel][4 rows], so that one vpdpbusd adds four taps of a column; vector v of the unpacks has
 * channels 4v..4v+3 of each 16 bytes, and the packs that narrow the results put them back in
 * order. Two output rows share the unpacks wherever their windows overlap. Everything is done for
 * one half of the vectors after the other: half as many weights, which stay in registers. */
#ifndef EDGEQ_DW_AVX512_H
#define EDGEQ_DW_AVX512_H
#include "epilogue_avx512.h"

enum {
  EQ_DW_LINES = 7,  /* input rows that two output rows reach, at most */
  EQ_DW_PHASES = 7, /* 64-byte blocks after which the channels repeat */
  EQ_DW_WEIGHTS = 40,
  EQ_DW_SPAN = 2560 /* bytes of a line, at most */
};

/* What one 64-byte block of outputs needs. */
typedef struct {
  eq_scale512 scale[4];
  __m512i start[4], zp[2], lo, hi;
  __m512i w[2][EQ_DW_WEIGHTS]; /* [half][output row][kx][quad][2] */
} eq_dw_block;

/* Channels c .. c + n of a segment of columns. 64 bytes are a pixel, or neighbouring pixels in
 * lines: copies without gaps, `pitch` bytes a pixel. */
typedef struct {
  const eq_dw_row *a;
  int c, n, pitch, phases;
  int first, columns, blocks; /* output columns of the segment, and their 64-byte blocks */
  int begin, end;             /* its input columns inside the picture, from its first on */
  int whole;                  /* blocks that go straight to the output, `apart` bytes apart */
  ptrdiff_t apart;
  ptrdiff_t second, line; /* bytes before the odd columns of a line (stride 2); of a line */
  uint8_t *words; /* [output row][block], 64 bytes: half 0, then the blocks that stay here */
} eq_dw_slice;

/* Two output rows, and the lines of their windows. */
typedef struct {
  const uint8_t *at[EQ_DW_LINES];
  uint8_t *to[2];
} eq_dw_group;

/* Input rows top .. top + lines as lines in `ring`, x + 128; filled: the next row to come. */
enum { EQ_DW_RING = 8 };
void eq_dw_fill512(const eq_dw_slice *s, eq_dw_group *g, int top, int lines, uint8_t *ring,
                   int *filled);

/* `groups` groups. */
void eq_dw_3x3_512(const eq_dw_slice *s, const eq_dw_block *blocks, const eq_dw_group *g,
                   int groups);
void eq_dw_5x5_512(const eq_dw_slice *s, const eq_dw_block *blocks, const eq_dw_group *g,
                   int groups);

/* Four rows of 64 bytes -> [channel][row] in four vectors. */
EQ_TARGET EQ_INLINE void eq_dw_interleave(const __m512i *row, __m512i *to) {
  const __m512i ab0 = _mm512_unpacklo_epi8(row[0], row[1]);
  const __m512i ab1 = _mm512_unpackhi_epi8(row[0], row[1]);
  const __m512i cd0 = _mm512_unpacklo_epi8(row[2], row[3]);
  const __m512i cd1 = _mm512_unpackhi_epi8(row[2], row[3]);
  to[0] = _mm512_unpacklo_epi16(ab0, cd0), to[1] = _mm512_unpackhi_epi16(ab0, cd0);
  to[2] = _mm512_unpacklo_epi16(ab1, cd1), to[3] = _mm512_unpackhi_epi16(ab1, cd1);
}

/* Channels c .. c + n, n <= 48, of a depthwise convolution, from lines without gaps. */
void eq_dw_lines512(const eq_dw_row *a, int c, int n);

/* COUNT pairs of accumulators -> 32 int16 each (eq_words512), step by step for all of them: what
 * depends on each other stays far apart, since the scheduler holds few instructions that wait. */
EQ_TARGET EQ_INLINE void eq_dw_words(__m512i (*acc)[2], const eq_scale512 *scale, const int HALVES,
                                     const eq_epilogue *e, const eq_pieces512 *t, __m512i *out,
                                     const int COUNT, const eq_kind512 KIND, const bool GATE) {
  __m512 f[8][2], v[8][2];
  const __m512 most = _mm512_set1_ps(32767.0f);
#define SCALE(n, k) scale[(n) % HALVES * 2 + (k)]
#define ALL                                                                                        \
  _Pragma("GCC unroll 8") for (int n = 0; n < COUNT; n++)                                          \
      _Pragma("GCC unroll 2") for (int k = 0; k < 2; k++)
#define EACH _Pragma("GCC unroll 8") for (int n = 0; n < COUNT; n++)
  ALL f[n][k] = _mm512_cvtepi32_ps(acc[n][k]);
  ALL v[n][k] = _mm512_mul_ps(f[n][k], SCALE(n, k).m);
  if (KIND != EQ_SMALL512) ALL v[n][k] = _mm512_min_ps(v[n][k], most);
  ALL acc[n][k] = _mm512_cvtps_epi32(v[n][k]);
  EACH out[n] = _mm512_packs_epi32(acc[n][0], acc[n][1]);
  if (KIND <= EQ_PLAIN512) return;
  if (KIND == EQ_BYTES512) {
    EACH {
      __m512i x = _mm512_adds_epi16(out[n], _mm512_set1_epi16((short)e->pre_zero));
      x = _mm512_max_epi16(_mm512_min_epi16(x, _mm512_set1_epi16(127)), _mm512_set1_epi16(-128));
      out[n] = eq_bytes512_at(x, e->table);
    }
  } else if (KIND == EQ_PIECES512) {
    __m512i piece[8], base[8], slope[8];
    EACH piece[n] = _mm512_srai_epi16(out[n], 10);
    EACH base[n] = _mm512_permutex2var_epi16(t->base[0], piece[n], t->base[1]);
    EACH slope[n] = _mm512_permutex2var_epi16(t->slope[0], piece[n], t->slope[1]);
    EACH out[n] = _mm512_slli_epi16(out[n], 5);
    EACH out[n] = _mm512_and_si512(out[n], _mm512_set1_epi16(0x7fff));
    EACH out[n] = _mm512_mulhrs_epi16(slope[n], out[n]);
    EACH out[n] = _mm512_add_epi16(base[n], out[n]);
  } else {
    EACH out[n] = eq_table512_at(out[n], e->table);
  }
  const __m512i none = _mm512_setzero_si512();
  EACH acc[n][0] = _mm512_unpacklo_epi16(none, out[n]);
  EACH acc[n][1] = _mm512_unpackhi_epi16(none, out[n]);
  ALL v[n][k] = _mm512_cvtepi32_ps(acc[n][k]);
  ALL f[n][k] = GATE ? _mm512_mul_ps(f[n][k], SCALE(n, k).r) : SCALE(n, k).r;
  ALL v[n][k] = _mm512_mul_ps(f[n][k], v[n][k]);
  ALL v[n][k] = _mm512_min_ps(v[n][k], most);
  ALL acc[n][k] = _mm512_cvtps_epi32(v[n][k]);
  EACH out[n] = _mm512_packs_epi32(acc[n][0], acc[n][1]);
#undef SCALE
#undef ALL
#undef EACH
}

/* One half of a block to its words, or with them to bytes. */
EQ_TARGET EQ_INLINE void eq_dw_put(__m512i zp, __m512i lo, __m512i hi, uint8_t *to, uint8_t *word,
                                   __m512i v, const int HALF) {
  v = _mm512_adds_epi16(v, zp);
  if (HALF == 0) {
    _mm512_store_si512(word, v);
    return;
  }
  v = _mm512_packs_epi16(_mm512_load_si512(word), v);
  _mm512_storeu_si512(to, _mm512_min_epi8(_mm512_max_epi8(v, lo), hi));
}
#endif
