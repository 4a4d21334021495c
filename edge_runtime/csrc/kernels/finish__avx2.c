/* finish, AVX2: the epilogues of CONV and DWCONV over the accumulators of a tile, one function per
 * kind so that its constants stay in registers. AVX-VNNI uses it too. */
#if defined(__x86_64__)
#include "epilogue_avx2.h"

#define T EQ_TARGET_AVX2

enum { MOST = EQ_MAX_MR }; /* pixels of a call */

T EQ_INLINE __m128i low(__m256i v) { return _mm256_castsi256_si128(v); }
T EQ_INLINE __m128i high(__m256i v) { return _mm256_extracti128_si256(v, 1); }

/* The register of pixel `i` of `count`, of the last one for what is behind it. */
T EQ_INLINE __m256i reg(const __m256i *acc, int step, int i, int count) {
  return acc[(i < count ? i : count - 1) * step];
}

/* Two registers a pixel: a quad is two pixels of up to 16 channels. */
T EQ_INLINE void two(const eq_epilogue *e, int c, int n, const __m256i *acc, int step,
                     uint8_t *const *out, ptrdiff_t at, int pixels, const eq_kind256 KIND,
                     const bool GATE) {
  const eq_scale256 s0 = eq_scale256_of(e, c, KIND), s1 = eq_scale256_of(e, c + 8, KIND);
  const eq_scale256 *const s[4] = {&s0, &s1, &s0, &s1};
  const eq_bounds256 b = eq_bounds256_of(e, c, c + 8);
  const __m256i lo = _mm256_packs_epi16(b.lo, b.lo), hi = _mm256_packs_epi16(b.hi, b.hi);
  const __m128i tail = eq_tail256(n);
  for (int i = 0; i < pixels; i += 2, acc += 2 * step) {
    const int second = i + 1 < pixels ? step : 0;
    const __m256i quad[4] = {acc[0], acc[1], acc[second], acc[second + 1]};
    __m256i w[2];
    eq_words256(quad, s, NULL, e, w, KIND, GATE);
    const __m256i v = eq_order256(eq_narrow256(w, b.zp, b.zp, lo, hi));
    eq_write256(out[i] + at, low(v), n, tail);
    if (second) eq_write256(out[i + 1] + at, high(v), n, tail);
  }
}

/* One register a pixel: a quad is four pixels of up to 8 channels. */
T EQ_INLINE void one(const eq_epilogue *e, int c, int n, const __m256i *acc, int step,
                     uint8_t *const *out, ptrdiff_t at, int pixels, const eq_kind256 KIND,
                     const bool GATE) {
  const eq_scale256 s0 = eq_scale256_of(e, c, KIND);
  const eq_scale256 *const s[4] = {&s0, &s0, &s0, &s0};
  const eq_bounds256 b = eq_bounds256_of(e, c, c);
  const __m256i lo = _mm256_packs_epi16(b.lo, b.lo), hi = _mm256_packs_epi16(b.hi, b.hi);
  const __m128i tail = eq_tail256(n);
  for (int i = 0; i < pixels; i += 4) {
    const __m256i quad[4] = {acc[i * step], reg(acc, step, i + 1, pixels),
                             reg(acc, step, i + 2, pixels), reg(acc, step, i + 3, pixels)};
    __m256i w[2];
    eq_words256(quad, s, NULL, e, w, KIND, GATE);
    const __m256i v = eq_order256(eq_narrow256(w, b.zp, b.zp, lo, hi));
    eq_write256(out[i] + at, low(v), n, tail);
    if (i + 1 < pixels) eq_write256(out[i + 1] + at, _mm_srli_si128(low(v), 8), n, tail);
    if (i + 2 < pixels) eq_write256(out[i + 2] + at, high(v), n, tail);
    if (i + 3 < pixels) eq_write256(out[i + 3] + at, _mm_srli_si128(high(v), 8), n, tail);
  }
}

/* int16 outputs of one or two registers a pixel: a quad is two pixels. */
T EQ_INLINE void wide(const eq_epilogue *e, int c, int n, const __m256i *acc, int regs, int step,
                      uint8_t *const *out, ptrdiff_t at, int pixels, const eq_kind256 KIND,
                      const bool GATE) {
  const int second = regs == 2 ? 1 : 0;
  const eq_scale256 s0 = eq_scale256_of(e, c, KIND), s1 = eq_scale256_of(e, c + 8 * second, KIND);
  const eq_scale256 *const s[4] = {&s0, &s1, &s0, &s1};
  const eq_bounds256 b = eq_bounds256_of(e, c, c + 8 * second);
  const __m256i zero[4] = {b.zero[0], b.zero[1], b.zero[0], b.zero[1]};
  for (int i = 0; i < pixels; i += 2, acc += 2 * step) {
    const int next = i + 1 < pixels ? step : 0;
    const __m256i quad[4] = {acc[0], acc[second], acc[next], acc[next + second]};
    __m256i w[2];
    eq_words256(quad, s, zero, e, w, KIND, GATE);
    int16_t to[2][16];
#pragma GCC unroll 2
    for (int k = 0; k < 2; k++) {
      w[k] = _mm256_min_epi16(_mm256_max_epi16(w[k], b.lo), b.hi);
      _mm256_storeu_si256((__m256i *)(void *)to[k], _mm256_permute4x64_epi64(w[k], 0xd8));
    }
    memcpy(out[i] + at, to[0], (size_t)n * 2);
    if (next) memcpy(out[i + 1] + at, to[1], (size_t)n * 2);
  }
}

/* Pixels of `n` bytes, 2, 4 or 8, from one block of memory to where they belong. */
T static void scatter(const uint8_t *from, uint8_t *const *out, ptrdiff_t at, int pixels, int n) {
  bool dense = true;
  for (int i = 1; i < pixels; i++) dense &= out[i] == out[0] + i * n;
  if (dense) {
    uint8_t *to = out[0] + at;
    int i = 0, bytes = pixels * n;
    for (; i + 8 <= bytes; i += 8) memcpy(to + i, from + i, 8);
    for (; i < bytes; i += 2) memcpy(to + i, from + i, 2);
    return;
  }
  for (int i = 0; i < pixels; i++, from += n) {
    uint8_t *to = out[i] + at;
    if (n == 8)
      memcpy(to, from, 8);
    else if (n == 4)
      memcpy(to, from, 4);
    else
      memcpy(to, from, 2);
  }
}

/* 2 or 4 channels: 8 / n pixels share a register. */
T EQ_INLINE void few(const eq_epilogue *e, int c, int n, const __m256i *acc, uint8_t *const *out,
                     ptrdiff_t at, int pixels, const eq_kind256 KIND, const bool GATE) {
#define ROW(name) eq_repeat256(_mm256_loadu_si256((const __m256i *)(const void *)(e->name + c)), n)
  const eq_scale256 s0 = {_mm256_castsi256_ps(ROW(m)),
                          eq_after256(e, _mm256_castsi256_ps(ROW(r)), KIND)};
  const eq_scale256 *const s[4] = {&s0, &s0, &s0, &s0};
  const eq_bounds256 b = eq_bounds256_from(e, ROW(zp), ROW(zp), ROW(lo), ROW(lo), ROW(hi), ROW(hi));
#undef ROW
  const __m256i lo = _mm256_packs_epi16(b.lo, b.lo), hi = _mm256_packs_epi16(b.hi, b.hi);
  const __m256i zero[4] = {b.zero[0], b.zero[0], b.zero[0], b.zero[0]};
  const int count = (pixels * n + 7) / 8;
  _Alignas(32) uint8_t bytes[MOST / 2 * 16 + 64];
  for (int i = 0; i < count; i += 4) {
    const __m256i quad[4] = {acc[i], reg(acc, 1, i + 1, count), reg(acc, 1, i + 2, count),
                             reg(acc, 1, i + 3, count)};
    __m256i w[2];
    eq_words256(quad, s, e->out16 ? zero : NULL, e, w, KIND, GATE);
    if (!e->out16) {
      _mm256_store_si256((__m256i *)(void *)(bytes + 8 * i),
                         eq_order256(eq_narrow256(w, b.zp, b.zp, lo, hi)));
      continue;
    }
#pragma GCC unroll 2
    for (int k = 0; k < 2; k++) {
      w[k] = _mm256_min_epi16(_mm256_max_epi16(w[k], b.lo), b.hi);
      _mm256_store_si256((__m256i *)(void *)(bytes + 16 * i + 32 * k),
                         _mm256_permute4x64_epi64(w[k], 0xd8));
    }
  }
  scatter(bytes, out, at, pixels, e->out16 ? 2 * n : n);
}

/* `regs` = 0: few. */
#define FINISH(name, kind, gate)                                                                   \
  T static void name(const eq_epilogue *e, int c, int n, const __m256i *acc, int regs, int step,   \
                     uint8_t *const *out, ptrdiff_t at, int pixels) {                              \
    if (!regs)                                                                                     \
      few(e, c, n, acc, out, at, pixels, kind, gate);                                              \
    else if (e->out16)                                                                             \
      wide(e, c, n, acc, regs, step, out, at, pixels, kind, gate);                                 \
    else if (regs == 2)                                                                            \
      two(e, c, n, acc, step, out, at, pixels, kind, gate);                                        \
    else                                                                                           \
      one(e, c, n, acc, step, out, at, pixels, kind, gate);                                        \
  }
FINISH(small, EQ_SMALL256, false)
FINISH(plain, EQ_PLAIN256, false)
FINISH(pieces, EQ_PIECES256, false)
FINISH(pieces_gate, EQ_PIECES256, true)
FINISH(table, EQ_TABLE256, false)
FINISH(table_gate, EQ_TABLE256, true)
FINISH(bytes, EQ_BYTES256, false)

typedef void finish_fn(const eq_epilogue *, int, int, const __m256i *, int, int, uint8_t *const *,
                       ptrdiff_t, int);

void eq_finish256(const eq_epilogue *e, int c, int channels, const __m256i *acc, int regs, int step,
                  uint8_t *const *out, ptrdiff_t at, int pixels) {
  static finish_fn *const kinds[][2] = {[EQ_SMALL256] = {small, small},
                                        [EQ_PLAIN256] = {plain, plain},
                                        [EQ_PIECES256] = {pieces, pieces_gate},
                                        [EQ_TABLE256] = {table, table_gate},
                                        [EQ_BYTES256] = {bytes, bytes}};
  if (e->words) {
    kinds[eq_kind256_of(e)][e->gate](e, c, channels, acc, regs, step, out, at, pixels);
    return;
  }
  /* what int16 cannot hold on the way: extreme zero points and multipliers, tables that jump */
  const int32_t *v = (const int32_t *)(const void *)acc;
  for (int i = 0; i < pixels; i++, v += regs ? 8 * step : channels)
    for (int k = 0; k < channels; k++)
      eq_epilogue_put(e, out[i] + at, k, eq_epilogue_one(e, v[k], c + k));
}
#else
typedef int eq_empty; /* ISO C wants a declaration */
#endif
