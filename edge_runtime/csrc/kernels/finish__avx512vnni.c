/* finish, AVX-512: the epilogues of CONV and DWCONV over the accumulators of a tile, one loop per
 * kind so that the loop's constants stay in registers. */
#if defined(__x86_64__)
#include "epilogue_avx512.h"

enum { NONE, PIECES, BYTES, WORDS }; /* no table, eq_pieces512, LUT8, LUT16 */

/* One vector of outputs. KIND and GATE are constant after inlining. */
EQ_TARGET EQ_INLINE __m512i value(__m512i acc, const eq_epilogue *e, const eq_panel512 *p,
                                  const eq_knots512 *t, const int KIND, const bool GATE) {
  const __m512i x = eq_apply512(acc, &p->pre);
  if (KIND == NONE) return x;
  const __m512i y = KIND == PIECES  ? eq_pieces512(x, t)
                    : KIND == BYTES ? eq_lut8_512(x, e->table)
                                    : eq_lut16_512(x, e->table);
  return GATE ? eq_gate512(acc, y, &p->post) : e->step ? eq_apply512(y, &p->post) : y;
}

/* Repeat the first `n` lanes of a row, n a power of two. */
EQ_TARGET EQ_INLINE eq_step512 repeat(eq_step512 s, int n) {
  const __m512i lane =
      _mm512_and_si512(_mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
                       _mm512_set1_epi32(n - 1));
  return (eq_step512){_mm512_permutexvar_ps(lane, s.m), _mm512_permutexvar_ps(lane, s.lo),
                      _mm512_permutexvar_ps(lane, s.hi), _mm512_permutexvar_epi32(lane, s.zp)};
}

/* The first `n` lanes of `count` vectors, side by side; lanes beyond them hold anything. */
EQ_TARGET EQ_INLINE __m512i join(const __m512i *acc, int step, int n, int count) {
  const int32_t *lane = (const int32_t *)(const void *)acc;
  const int end = count - 1;
#define AT(i) (lane + ((i) < end ? (i) : end) * step * 16)
  if (n == 8)
    return _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_loadu_si256((const void *)AT(0))),
                              _mm256_loadu_si256((const void *)AT(1)), 1);
  if (n == 4) {
    __m512i v = _mm512_castsi128_si512(_mm_loadu_si128((const void *)AT(0)));
    v = _mm512_inserti32x4(v, _mm_loadu_si128((const void *)AT(1)), 1);
    v = _mm512_inserti32x4(v, _mm_loadu_si128((const void *)AT(2)), 2);
    return _mm512_inserti32x4(v, _mm_loadu_si128((const void *)AT(3)), 3);
  }
  if (n == 2) {
    int64_t v[8];
    for (int i = 0; i < 8; i++) memcpy(v + i, AT(i), 8);
    return _mm512_set_epi64(v[7], v[6], v[5], v[4], v[3], v[2], v[1], v[0]);
  }
  return _mm512_setr_epi32(*AT(0), *AT(1), *AT(2), *AT(3), *AT(4), *AT(5), *AT(6), *AT(7), *AT(8),
                           *AT(9), *AT(10), *AT(11), *AT(12), *AT(13), *AT(14), *AT(15));
#undef AT
}

/* 1, 2, 4 or 8 channels: 16 / channels pixels share a vector. */
EQ_TARGET EQ_INLINE void few(const eq_epilogue *e, eq_panel512 p, const eq_knots512 *t,
                             const __m512i *acc, int step, uint8_t *const *out, ptrdiff_t at,
                             int pixels, const int KIND, const bool GATE) {
  const int n = p.channels, group = 16 / n;
  p.pre = repeat(p.pre, n), p.post = repeat(p.post, n);
  for (int first = 0; first < pixels; first += group) {
    const int count = pixels - first < group ? pixels - first : group;
    const __m512i y = value(join(acc + first * step, step, n, count), e, &p, t, KIND, GATE);
    const int size = e->out16 ? 2 * n : n; /* bytes of a pixel */
    bool joined = count == group;
    for (int i = 1; i < count; i++) joined &= out[first + i] == out[first] + i * size;
    uint8_t part[32], *to = joined ? out[first] + at : part;
    if (e->out16)
      _mm256_storeu_si256((__m256i *)(void *)to, _mm512_cvtsepi32_epi16(y));
    else
      _mm_storeu_si128((__m128i *)(void *)to, _mm512_cvtsepi32_epi8(y));
    for (int i = 0; i < count && !joined; i++) {
      to = out[first + i] + at;
      if (size == 16)
        memcpy(to, part + i * 16, 16);
      else if (size == 8)
        memcpy(to, part + i * 8, 8);
      else if (size == 4)
        memcpy(to, part + i * 4, 4);
      else if (size == 2)
        memcpy(to, part + i * 2, 2);
      else
        *to = part[i];
    }
  }
}

/* True when the products of a gate fit int32 and the zero points int8: then saturating packs and
 * bounds on bytes give what bounds before the rounding give. |T| is at most 2^15. */
EQ_TARGET EQ_INLINE bool narrow(const eq_panel512 *p) {
  const __m512 r = _mm512_abs_ps(p->post.m);
  const __m512i zp = _mm512_abs_epi32(p->post.zp);
  return !(_mm512_cmp_ps_mask(r, _mm512_set1_ps(1.0f / 65536), _CMP_NLT_UQ) |
           _mm512_cmpgt_epi32_mask(zp, _mm512_set1_epi32(128)));
}

/* The gate without zero point and bounds. */
EQ_TARGET EQ_INLINE __m512i gate_only(__m512i acc, const eq_panel512 *p, const eq_knots512 *t) {
  const __m512i y = eq_pieces512(eq_apply512(acc, &p->pre), t);
  const __m512 v = _mm512_mul_ps(_mm512_cvtepi32_ps(acc), p->post.m);
  return _mm512_cvtps_epi32(_mm512_mul_ps(v, _mm512_cvtepi32_ps(y)));
}

/* Gates of whole panels, four pixels at a time; returns the pixels done. vpacks* interleave 128-bit
 * lanes, `order` undoes that. */
EQ_TARGET EQ_INLINE int gates(const eq_epilogue *e, int c, const eq_panel512 *p,
                              const eq_knots512 *t, const __m512i *acc, int step,
                              uint8_t *const *out, ptrdiff_t at, int pixels) {
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  const __m512i zp = _mm512_packs_epi32(p->post.zp, p->post.zp);
  __m512i lo = _mm512_loadu_si512(e->lo + c), hi = _mm512_loadu_si512(e->hi + c);
  lo = _mm512_packs_epi32(lo, lo), hi = _mm512_packs_epi32(hi, hi);
  lo = _mm512_packs_epi16(lo, lo), hi = _mm512_packs_epi16(hi, hi);
  int i = 0;
  for (; i + 4 <= pixels; i += 4, acc += 4 * step) {
    const __m512i a = _mm512_packs_epi32(gate_only(acc[0], p, t), gate_only(acc[step], p, t));
    const __m512i b =
        _mm512_packs_epi32(gate_only(acc[2 * step], p, t), gate_only(acc[3 * step], p, t));
    __m512i v = _mm512_packs_epi16(_mm512_adds_epi16(a, zp), _mm512_adds_epi16(b, zp));
    v = _mm512_permutexvar_epi32(order, _mm512_min_epi8(_mm512_max_epi8(v, lo), hi));
#define PUT(k)                                                                                     \
  _mm_storeu_si128((__m128i *)(void *)(out[i + k] + at), _mm512_extracti32x4_epi32(v, k))
    PUT(0);
    PUT(1);
    PUT(2);
    PUT(3);
#undef PUT
  }
  return i;
}

EQ_TARGET EQ_INLINE void finish(const eq_epilogue *e, int c, int channels, const __m512i *acc,
                                int step, uint8_t *const *out, ptrdiff_t at, int pixels,
                                const int KIND, const bool GATE) {
  const eq_panel512 p = eq_panel512_of(e, c, channels);
  eq_knots512 t = {{_mm512_setzero_si512()}};
  if (KIND == PIECES) t = eq_knots512_of(e->knots);
  if (p.channels <= 8 && !(p.channels & (p.channels - 1))) {
    few(e, p, &t, acc, step, out, at, pixels, KIND, GATE);
    return;
  }
  int i = 0;
  if (KIND == PIECES && GATE && p.channels == 16 && !e->out16 && narrow(&p))
    i = gates(e, c, &p, &t, acc, step, out, at, pixels);
  for (; i < pixels; i++)
    eq_narrow512(e, value(acc[i * step], e, &p, &t, KIND, GATE), p.channels, out[i] + at);
}

#define FINISH(name, kind, gate)                                                                   \
  EQ_TARGET static void name(const eq_epilogue *e, int c, int channels, const __m512i *acc,        \
                             int step, uint8_t *const *out, ptrdiff_t at, int pixels) {            \
    finish(e, c, channels, acc, step, out, at, pixels, kind, gate);                                \
  }
FINISH(finish_none, NONE, false)
FINISH(finish_pieces_gate, PIECES, true)
FINISH(finish_pieces, PIECES, false)
FINISH(finish_bytes, BYTES, false)
FINISH(finish_words_gate, WORDS, true)
FINISH(finish_words, WORDS, false)

void eq_finish512(const eq_epilogue *e, int c, int channels, const __m512i *acc, int step,
                  uint8_t *const *out, ptrdiff_t at, int pixels) {
  (e->lut_kind == EQ_LUT_NONE   ? finish_none
   : e->lut_kind == EQ_LUT_LUT8 ? finish_bytes
   : e->knots                   ? (e->gate ? finish_pieces_gate : finish_pieces)
   : e->gate                    ? finish_words_gate
                                : finish_words)(e, c, channels, acc, step, out, at, pixels);
}
#else
typedef int eq_empty; /* ISO C wants a declaration */
#endif
