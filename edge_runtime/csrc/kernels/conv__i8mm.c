/* conv, i8mm: 6 pixels x 16 channels in 24 registers. SMMLA multiplies 2 pixels x 8 inputs by
 * 8 inputs x 2 channels. Two steps of packed weights, zipped by 32 bits, are 2 channels x 8 inputs;
 * a last single step is zipped with zeros. */
#if defined(__aarch64__)
#include "epilogue_neon.h"

enum { MR = 6 };
#define T EQ_TARGET_I8MM

/* Inputs of pixels a and b, 8 or the last 4, as the two rows of a matrix. */
EQ_INLINE int8x16_t two_rows(const int8_t *a, const int8_t *b) {
  return vcombine_s8(vld1_s8(a), vld1_s8(b));
}
EQ_INLINE int8x16_t two_short_rows(const int8_t *a, const int8_t *b) {
  uint32_t x, y;
  memcpy(&x, a, 4);
  memcpy(&y, b, 4);
  return vreinterpretq_s8_u64(vcombine_u64(vcreate_u64(x), vcreate_u64(y)));
}

/* v[p]: pixels 2p and 2p + 1; low and high: channels 4j .. 4j + 3 of two steps. */
T EQ_INLINE void step(int32x4_t acc[][8], const int8x16_t *v, int j, int32x4_t low, int32x4_t high,
                      const int PAIRS) {
  const int8x16_t w0 = vreinterpretq_s8_s32(vzip1q_s32(low, high));
  const int8x16_t w1 = vreinterpretq_s8_s32(vzip2q_s32(low, high));
#pragma GCC unroll 3
  for (int p = 0; p < PAIRS; p++) {
    acc[p][2 * j] = vmmlaq_s32(acc[p][2 * j], v[p], w0);
    acc[p][2 * j + 1] = vmmlaq_s32(acc[p][2 * j + 1], v[p], w1);
  }
}

EQ_INLINE int32x4_t weights(const int8_t *w) { return vreinterpretq_s32_s8(vld1q_s8(w)); }

T EQ_INLINE void tile(const eq_conv *a, const int8_t *const *in, uint8_t *const *out, int pixels,
                      int channels, const int PAIRS) {
  const int8_t *w = a->w;
  int32x4_t acc[MR / 2][8]; /* [pixels 2p, 2p+1][channels 2j, 2j+1], row by row */
#pragma GCC unroll 3
  for (int p = 0; p < PAIRS; p++)
#pragma GCC unroll 8
    for (int j = 0; j < 8; j++) acc[p][j] = vdupq_n_s32(0);
  for (int t = 0; t < a->taps; t++, in += MR) {
    const int8_t *x[MR];
    int8x16_t v[MR / 2];
#pragma GCC unroll 6
    for (int i = 0; i < 2 * PAIRS; i++) x[i] = in[i] + a->in_offset;
    int k = 0;
    for (; k + 2 <= a->k4; k += 2, w += 128) {
#pragma GCC unroll 3
      for (int p = 0; p < PAIRS; p++) v[p] = two_rows(x[2 * p] + 4 * k, x[2 * p + 1] + 4 * k);
#pragma GCC unroll 4
      for (int j = 0; j < 4; j++)
        step(acc, v, j, weights(w + 16 * j), weights(w + 64 + 16 * j), PAIRS);
    }
    if (k < a->k4) {
#pragma GCC unroll 3
      for (int p = 0; p < PAIRS; p++) v[p] = two_short_rows(x[2 * p] + 4 * k, x[2 * p + 1] + 4 * k);
#pragma GCC unroll 4
      for (int j = 0; j < 4; j++) step(acc, v, j, weights(w + 16 * j), vdupq_n_s32(0), PAIRS);
      w += 64;
    }
  }
  int32x4_t sum[MR][4];
#pragma GCC unroll 4
  for (int j = 0; j < 4; j++) {
    const int32x4_t bias = vld1q_s32(a->e.bias + 4 * j);
#pragma GCC unroll 3
    for (int p = 0; p < PAIRS; p++) {
      const int64x2_t low = vreinterpretq_s64_s32(acc[p][2 * j]);
      const int64x2_t high = vreinterpretq_s64_s32(acc[p][2 * j + 1]);
      sum[2 * p][j] = vaddq_s32(bias, vreinterpretq_s32_s64(vzip1q_s64(low, high)));
      sum[2 * p + 1][j] = vaddq_s32(bias, vreinterpretq_s32_s64(vzip2q_s64(low, high)));
    }
  }
  eq_finish(&a->e, 0, channels, sum, 2 * PAIRS, pixels, out, a->out_offset);
}

T static void tile6(const eq_conv *a, const int8_t *const *in, uint8_t *const *out, int pixels,
                    int channels) {
  tile(a, in, out, pixels, channels, 3);
}
T static void tile2(const eq_conv *a, const int8_t *const *in, uint8_t *const *out, int pixels,
                    int channels) {
  tile(a, in, out, pixels, channels, 1);
}

void eq_conv__i8mm(const eq_conv *a, const int8_t *const *in, uint8_t *const *out, int pixels,
                   int channels) {
  (pixels > 2 ? tile6 : tile2)(a, in, out, pixels, channels);
}
#else
typedef int eq_empty; /* ISO C wants a declaration */
#endif
