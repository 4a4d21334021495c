/* conv, dotprod: 6 pixels x 16 channels in 24 registers. One register of 16 inputs of a pixel
 * serves four steps: SDOT by lane multiplies 4 channels by the 4 inputs of one lane. */
#if defined(__aarch64__)
#include "epilogue_neon.h"

enum { MR = 6 };
#define T EQ_TARGET_DOTPROD

/* One step: the inputs in lane LANE of v times 16 channels of weights. LANE must be a literal. */
#define STEP(LANE)                                                                                 \
  _Pragma("GCC unroll 4") for (int j = 0; j < 4; j++) {                                            \
    const int8x16_t wj = vld1q_s8(w + 64 * LANE + 16 * j);                                         \
    _Pragma("GCC unroll 6") for (int i = 0; i < PIXELS; i++) acc[i][j] =                           \
        vdotq_laneq_s32(acc[i][j], wj, v[i], LANE);                                                \
  }

T EQ_INLINE void tile(const eq_conv *a, const int8_t *const *in, uint8_t *const *out, int pixels,
                      int channels, const int PIXELS) {
  const int8_t *w = a->w;
  int32x4_t acc[MR][4];
#pragma GCC unroll 4
  for (int j = 0; j < 4; j++) {
    const int32x4_t bias = vld1q_s32(a->e.bias + 4 * j);
#pragma GCC unroll 6
    for (int i = 0; i < PIXELS; i++) acc[i][j] = bias;
  }
  for (int t = 0; t < a->taps; t++, in += MR) {
    const int8_t *x[MR];
    int8x16_t v[MR];
#pragma GCC unroll 6
    for (int i = 0; i < PIXELS; i++) x[i] = in[i] + a->in_offset;
    int k = 0;
    for (; k + 4 <= a->k4; k += 4, w += 256) {
#pragma GCC unroll 6
      for (int i = 0; i < PIXELS; i++) v[i] = vld1q_s8(x[i] + 4 * k);
      STEP(0)
      STEP(1)
      STEP(2)
      STEP(3)
    }
    for (; k < a->k4; k++, w += 64) {
#pragma GCC unroll 6
      for (int i = 0; i < PIXELS; i++) {
        int32_t four;
        memcpy(&four, x[i] + 4 * k, 4);
        v[i] = vreinterpretq_s8_s32(vdupq_n_s32(four));
      }
      STEP(0)
    }
  }
  eq_finish(&a->e, 0, channels, acc, PIXELS, pixels, out, a->out_offset);
}

T static void tile6(const eq_conv *a, const int8_t *const *in, uint8_t *const *out, int pixels,
                    int channels) {
  tile(a, in, out, pixels, channels, 6);
}
T static void tile3(const eq_conv *a, const int8_t *const *in, uint8_t *const *out, int pixels,
                    int channels) {
  tile(a, in, out, pixels, channels, 3);
}
T static void tile1(const eq_conv *a, const int8_t *const *in, uint8_t *const *out, int pixels,
                    int channels) {
  tile(a, in, out, pixels, channels, 1);
}

void eq_conv__dotprod(const eq_conv *a, const int8_t *const *in, uint8_t *const *out, int pixels,
                      int channels) {
  (pixels > 3 ? tile6 : pixels > 1 ? tile3 : tile1)(a, in, out, pixels, channels);
}
#else
typedef int eq_empty; /* ISO C wants a declaration */
#endif
