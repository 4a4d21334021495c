/* conv, scalar: the obvious truth of the packed convolution. */
#include "epilogue.h"

void eq_conv__scalar(const eq_conv *a, const int8_t *const *in, uint8_t *const *out, int pixels,
                     int channels) {
  for (int i = 0; i < pixels; i++) {
    uint32_t acc[16]; /* unsigned: wraps without undefined behaviour */
    for (int c = 0; c < 16; c++) acc[c] = c < channels ? (uint32_t)a->e.bias[c] : 0;
    const int8_t *w = a->w;
    for (int t = 0; t < a->taps; t++) {
      const int8_t *x = in[t * 4 + i] + a->in_offset;
      for (int k = 0; k < a->k4; k++, x += 4, w += 64)
        for (int c = 0; c < 16; c++)
          for (int j = 0; j < 4; j++) acc[c] += (uint32_t)(x[j] * w[c * 4 + j]);
    }
    uint8_t *y = out[i] + a->out_offset;
    for (int c = 0; c < channels; c++)
      eq_epilogue_put(&a->e, y, c, eq_epilogue_one(&a->e, (int32_t)acc[c], c));
  }
}
