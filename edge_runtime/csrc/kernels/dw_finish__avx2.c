/* dw_finish, AVX2: the epilogue of dw_row, 32 outputs at a time. AVX-VNNI uses it too. */
#if defined(__x86_64__)
#include "epilogue_avx2.h"

#define T EQ_TARGET_AVX2

T void eq_lanes256_of(eq_lanes256 *to, const eq_epilogue *e, int c, int second) {
  const eq_kind256 kind = eq_kind256_of(e);
  for (int v = 0; v < 4; v++) {
    to->s[v].m = _mm256_castsi256_ps(eq_spread256(e->m + c, second, v));
    to->s[v].r = eq_after256(e, _mm256_castsi256_ps(eq_spread256(e->r + c, second, v)), kind);
  }
  eq_bounds256 b[2];
  for (int k = 0; k < 2; k++) {
#define ROW(name)                                                                                  \
  eq_spread256(e->name + c, second, 2 * k), eq_spread256(e->name + c, second, 2 * k + 1)
    b[k] = eq_bounds256_from(e, ROW(zp), ROW(lo), ROW(hi));
#undef ROW
    to->zp[k] = b[k].zp;
  }
  to->lo = _mm256_packs_epi16(b[0].lo, b[1].lo), to->hi = _mm256_packs_epi16(b[0].hi, b[1].hi);
}

/* The packs leave the 16 bytes of each lane in order. */
T EQ_INLINE void finish(const eq_epilogue *e, const eq_lanes256 *r, const __m256i (*acc)[4],
                        int count, uint8_t *const *to, ptrdiff_t step, const int *n,
                        const eq_kind256 KIND, const bool GATE) {
  const eq_scale256 *const s[4] = {&r->s[0], &r->s[1], &r->s[2], &r->s[3]};
  const __m128i tail0 = eq_tail256(n[0]), tail1 = eq_tail256(n[1]);
  const bool whole = n[1] == 16 && to[1] == to[0] + 16;
  for (int i = 0; i < count; i++) {
    __m256i w[2];
    eq_words256(acc[i], s, NULL, e, w, KIND, GATE);
    const __m256i v = eq_narrow256(w, r->zp[0], r->zp[1], r->lo, r->hi);
    if (whole) {
      _mm256_storeu_si256((__m256i *)(void *)(to[0] + i * step), v);
      continue;
    }
    eq_write256(to[0] + i * step, _mm256_castsi256_si128(v), n[0], tail0);
    if (n[1]) eq_write256(to[1] + i * step, _mm256_extracti128_si256(v, 1), n[1], tail1);
  }
}

#define FINISH(name, kind, gate)                                                                   \
  T static void name(const eq_epilogue *e, const eq_lanes256 *r, const __m256i(*acc)[4],           \
                     int count, uint8_t *const *to, ptrdiff_t step, const int *n) {                \
    finish(e, r, acc, count, to, step, n, kind, gate);                                             \
  }
FINISH(small, EQ_SMALL256, false)
FINISH(plain, EQ_PLAIN256, false)
FINISH(pieces, EQ_PIECES256, false)
FINISH(pieces_gate, EQ_PIECES256, true)
FINISH(table, EQ_TABLE256, false)
FINISH(table_gate, EQ_TABLE256, true)
FINISH(bytes, EQ_BYTES256, false)

void eq_finish_lanes256(const eq_epilogue *e, const eq_lanes256 *r, const __m256i (*acc)[4],
                        int count, uint8_t *const *to, ptrdiff_t step, const int *n) {
  static void (*const kinds[][2])(const eq_epilogue *, const eq_lanes256 *, const __m256i(*)[4],
                                  int, uint8_t *const *, ptrdiff_t,
                                  const int *) = {[EQ_SMALL256] = {small, small},
                                                  [EQ_PLAIN256] = {plain, plain},
                                                  [EQ_PIECES256] = {pieces, pieces_gate},
                                                  [EQ_TABLE256] = {table, table_gate},
                                                  [EQ_BYTES256] = {bytes, bytes}};
  kinds[eq_kind256_of(e)][e->gate](e, r, acc, count, to, step, n);
}
#else
typedef int eq_empty; /* ISO C wants a declaration */
#endif
