/* conv, NEON: 3 pixels x 16 channels in 24 registers. SMULL gives 8 products of 2 channels, SADALP
 * adds neighbours: each register holds 2 channels times 2 partial sums. Every product fits int16,
 * -128 * -128 too. */
#if defined(__aarch64__)
#include "epilogue_neon.h"

enum { MR = 3 };

EQ_INLINE void tile(const eq_conv *a, const int8_t *const *in, uint8_t *const *out, int pixels,
                    int channels, const int PIXELS) {
  const int8_t *w = a->w;
  int32x4_t acc[MR][8];
#pragma GCC unroll 3
  for (int i = 0; i < PIXELS; i++)
#pragma GCC unroll 8
    for (int j = 0; j < 8; j++) acc[i][j] = vdupq_n_s32(0);
  for (int t = 0; t < a->taps; t++, in += MR) {
    const int8_t *x[MR];
#pragma GCC unroll 3
    for (int i = 0; i < PIXELS; i++) x[i] = in[i] + a->in_offset;
    for (int k = 0; k < a->k4; k++, w += 64) {
      int8x8_t v[MR];
#pragma GCC unroll 3
      for (int i = 0; i < PIXELS; i++) {
        int32_t four;
        memcpy(&four, x[i] + 4 * k, 4);
        v[i] = vreinterpret_s8_s32(vdup_n_s32(four));
      }
#pragma GCC unroll 8
      for (int j = 0; j < 8; j++) {
        const int8x8_t wj = vld1_s8(w + 8 * j);
#pragma GCC unroll 3
        for (int i = 0; i < PIXELS; i++) acc[i][j] = vpadalq_s16(acc[i][j], vmull_s8(v[i], wj));
      }
    }
  }
  int32x4_t sum[MR][4];
#pragma GCC unroll 4
  for (int j = 0; j < 4; j++) {
    const int32x4_t bias = vld1q_s32(a->e.bias + 4 * j);
#pragma GCC unroll 3
    for (int i = 0; i < PIXELS; i++)
      sum[i][j] = vaddq_s32(bias, vpaddq_s32(acc[i][2 * j], acc[i][2 * j + 1]));
  }
  eq_finish(&a->e, 0, channels, sum, PIXELS, pixels, out, a->out_offset);
}

static void tile3(const eq_conv *a, const int8_t *const *in, uint8_t *const *out, int pixels,
                  int channels) {
  tile(a, in, out, pixels, channels, 3);
}
static void tile1(const eq_conv *a, const int8_t *const *in, uint8_t *const *out, int pixels,
                  int channels) {
  tile(a, in, out, pixels, channels, 1);
}

void eq_conv__neon(const eq_conv *a, const int8_t *const *in, uint8_t *const *out, int pixels,
                   int channels) {
  (pixels > 1 ? tile3 : tile1)(a, in, out, pixels, channels);
}
#else
typedef int eq_empty; /* ISO C wants a declaration */
#endif
