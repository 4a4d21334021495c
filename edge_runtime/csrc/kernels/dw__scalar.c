/* dw, scalar: the obvious truth of the depthwise convolution. */
#include "epilogue.h"

void eq_dw__scalar(const eq_dw *a, const int8_t *const *in, uint8_t *const *out, int pixels) {
  const int taps4 = (a->taps + 3) / 4 * 4;
  for (int i = 0; i < pixels; i++)
    for (int c = 0; c < a->channels; c++) {
      uint32_t acc = (uint32_t)a->e.bias[c];
      for (int t = 0; t < a->taps; t++)
        acc += (uint32_t)(in[i * taps4 + t][c] * a->w[(size_t)t * (size_t)a->lanes + (size_t)c]);
      eq_epilogue_put(&a->e, out[i], c, eq_epilogue_one(&a->e, (int32_t)acc, c));
    }
}
