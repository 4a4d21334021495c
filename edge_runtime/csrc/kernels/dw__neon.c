/* dw, NEON: 16 channels at a time, in blocks of 4 pixels that share the epilogue's rows and tables.
 * SMULL gives 8 products in int16, -128 * -128 too, and SADDW adds them to int32. */
#if defined(__aarch64__)
#include "epilogue_neon.h"

enum { BLOCK = 4 };

/* One pixel of the 16 channels at c; TAPS is constant after inlining, or the count itself. */
EQ_INLINE void pixel(const eq_dw *a, const int8_t *const *in, int c, int32x4_t acc[4],
                     const int TAPS) {
  const int8_t *w = a->w + c;
  int32x4_t s0 = vld1q_s32(a->e.bias + c), s1 = vld1q_s32(a->e.bias + c + 4);
  int32x4_t s2 = vld1q_s32(a->e.bias + c + 8), s3 = vld1q_s32(a->e.bias + c + 12);
#pragma GCC unroll 9
  for (int t = 0; t < TAPS; t++) {
    const int8x16_t x = vld1q_s8(in[t] + c), wt = vld1q_s8(w + (ptrdiff_t)t * a->lanes);
    const int16x8_t low = vmull_s8(vget_low_s8(x), vget_low_s8(wt)), high = vmull_high_s8(x, wt);
    s0 = vaddw_s16(s0, vget_low_s16(low));
    s1 = vaddw_high_s16(s1, low);
    s2 = vaddw_s16(s2, vget_low_s16(high));
    s3 = vaddw_high_s16(s3, high);
  }
  acc[0] = s0, acc[1] = s1, acc[2] = s2, acc[3] = s3;
}

/* All pixels of the 16 channels at c. */
EQ_INLINE void panel(const eq_dw *a, const int8_t *const *in, uint8_t *const *out, int pixels,
                     int c, const int TAPS) {
  const int taps4 = (TAPS + 3) / 4 * 4;
  const int channels = a->channels - c < 16 ? a->channels - c : 16;
  const ptrdiff_t at = (ptrdiff_t)c * (a->e.out16 ? 2 : 1);
  int32x4_t acc[BLOCK][4];
  int i = 0;
  for (; i + BLOCK <= pixels; i += BLOCK) {
    for (int b = 0; b < BLOCK; b++, in += taps4) pixel(a, in, c, acc[b], TAPS);
    eq_finish(&a->e, c, channels, acc, BLOCK, BLOCK, out + i, at);
  }
  for (; i < pixels; i++, in += taps4) {
    pixel(a, in, c, acc[0], TAPS);
    eq_finish(&a->e, c, channels, acc, 1, 1, out + i, at);
  }
}

static void panel_9(const eq_dw *a, const int8_t *const *in, uint8_t *const *out, int pixels,
                    int c) {
  panel(a, in, out, pixels, c, 9);
}
static void panel_n(const eq_dw *a, const int8_t *const *in, uint8_t *const *out, int pixels,
                    int c) {
  panel(a, in, out, pixels, c, a->taps);
}

void eq_dw__neon(const eq_dw *a, const int8_t *const *in, uint8_t *const *out, int pixels) {
  for (int c = 0; c < a->channels; c += 16) /* 3x3 keeps its weights in registers */
    (a->taps == 9 ? panel_9 : panel_n)(a, in, out, pixels, c);
}
#else
typedef int eq_empty; /* ISO C wants a declaration */
#endif
