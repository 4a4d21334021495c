/* finish_strip, AVX-512: the epilogue over the sums of conv_strip, whose registers hold several
 * pixels. What it writes lies in the order of memory. */
#if defined(__x86_64__)
#include "conv_avx512.h"

/* Four packed registers of sums, a, b, c, d, hold in each 128-bit lane four values of each. Bytes
 * within a lane, then 32-bit elements; for int16 32-bit elements of two registers, a b and c d. */
typedef struct {
  uint8_t bytes[16], fours[16], wide[2][16];
} order;

static const order orders[] = {
    /* one register has all channels: lane by lane of a, then of b, ... */
    {{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
     {0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15},
     {{0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15},
      {16, 17, 20, 21, 24, 25, 28, 29, 18, 19, 22, 23, 26, 27, 30, 31}}},
    /* 2 + 2 channels of 8 pixels in a and b, of 8 more in c and d */
    {{0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15},
     {0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15},
     {{0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11, 12, 14, 13, 15},
      {16, 18, 17, 19, 20, 22, 21, 23, 24, 26, 25, 27, 28, 30, 29, 31}}},
    /* 2 + 2 + 2 + 2 channels of 8 pixels */
    {{0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15},
     {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
     {{0, 2, 16, 18, 1, 3, 17, 19, 4, 6, 20, 22, 5, 7, 21, 23},
      {8, 10, 24, 26, 9, 11, 25, 27, 12, 14, 28, 30, 13, 15, 29, 31}}},
    /* 4 + 4 channels of 4 pixels in a and b, of 4 more in c and d */
    {{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
     {0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15},
     {{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
      {16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31}}},
};

EQ_TARGET void eq_strip512_of(eq_strip512 *s, const eq_epilogue *e, int n, int lanes) {
  const int last = n / lanes - 1; /* of the registers that make all channels; 0, 1 or 3 */
  __m512i zp[4], lo[4], hi[4];
#pragma GCC unroll 4
  for (int j = 0; j < 4; j++) {
#define ROW(name) eq_pick512(_mm512_loadu_si512(e->name), lanes, j &last)
    s->s[j].m = _mm512_castsi512_ps(ROW(m));
    s->s[j].r = eq_after512(e, _mm512_castsi512_ps(ROW(r)));
    zp[j] = ROW(zp), lo[j] = ROW(lo), hi[j] = ROW(hi);
#undef ROW
  }
  s->first = eq_bounds512_from(e, zp[0], zp[1], lo[0], lo[1], hi[0], hi[1]);
  s->second = eq_bounds512_from(e, zp[2], zp[3], lo[2], lo[3], hi[2], hi[3]);
  s->low = _mm512_packs_epi16(s->first.lo, s->second.lo);
  s->high = _mm512_packs_epi16(s->first.hi, s->second.hi);
  s->order = n == lanes ? 0 : lanes == 4 ? 3 : n == 4 ? 1 : 2;
}

EQ_TARGET EQ_INLINE __m512i widen(const uint8_t *index) {
  return _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)index));
}

EQ_TARGET EQ_INLINE void finish(const eq_epilogue *e, const eq_strip512 *c, const __m512i *sums,
                                int fours, uint8_t *to, const eq_kind512 KIND, const bool GATE) {
  const order *o = &orders[c->order];
  const eq_pieces512 t = eq_pieces512_of(e, KIND);
#define WORDS(i, zero)                                                                             \
  eq_words512(sums[i], sums[i + 1], c->s + i, c->s + i + 1, zero, e, &t, KIND, GATE)
  if (e->out16) {
    const __m512i first = widen(o->wide[0]), second = widen(o->wide[1]);
    for (; fours > 0; fours--, sums += 4, to += 128) {
      const __m512i u =
          _mm512_min_epi16(_mm512_max_epi16(WORDS(0, c->first.zero), c->first.lo), c->first.hi);
      const __m512i v =
          _mm512_min_epi16(_mm512_max_epi16(WORDS(2, c->second.zero), c->second.lo), c->second.hi);
      _mm512_storeu_si512(to, _mm512_permutex2var_epi32(u, first, v));
      _mm512_storeu_si512(to + 64, _mm512_permutex2var_epi32(u, second, v));
    }
    return;
  }
  const __m512i bytes = _mm512_broadcast_i32x4(_mm_loadu_si128((const void *)o->bytes));
  const __m512i at = widen(o->fours);
  for (; fours > 0; fours--, sums += 4, to += 64) {
    __m512i v = _mm512_packs_epi16(_mm512_adds_epi16(WORDS(0, NULL), c->first.zp),
                                   _mm512_adds_epi16(WORDS(2, NULL), c->second.zp));
    v = _mm512_min_epi8(_mm512_max_epi8(v, c->low), c->high);
    _mm512_storeu_si512(to, _mm512_permutexvar_epi32(at, _mm512_shuffle_epi8(v, bytes)));
  }
#undef WORDS
}

typedef void finish_fn(const eq_epilogue *e, const eq_strip512 *c, const __m512i *sums, int fours,
                       uint8_t *to);
#define FINISH(name, kind, gate)                                                                   \
  EQ_TARGET static void name(const eq_epilogue *e, const eq_strip512 *c, const __m512i *sums,      \
                             int fours, uint8_t *to) {                                             \
    finish(e, c, sums, fours, to, kind, gate);                                                     \
  }
FINISH(small, EQ_SMALL512, false)
FINISH(plain, EQ_PLAIN512, false)
FINISH(pieces, EQ_PIECES512, false)
FINISH(pieces_gate, EQ_PIECES512, true)
FINISH(table, EQ_TABLE512, false)
FINISH(table_gate, EQ_TABLE512, true)
FINISH(bytes, EQ_BYTES512, false)

void eq_finish_strip512(const eq_epilogue *e, const eq_strip512 *s, const __m512i *sums, int fours,
                        uint8_t *to) {
  static finish_fn *const kinds[][2] = {[EQ_SMALL512] = {small, small},
                                        [EQ_PLAIN512] = {plain, plain},
                                        [EQ_PIECES512] = {pieces, pieces_gate},
                                        [EQ_TABLE512] = {table, table_gate},
                                        [EQ_BYTES512] = {bytes, bytes}};
  kinds[eq_kind512_of(e)][e->gate](e, s, sums, fours, to);
}
#else
typedef int eq_empty; /* ISO C wants a declaration */
#endif
