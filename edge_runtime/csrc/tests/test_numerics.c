/* Corners of the law that a compiler flag could break. */
#include <math.h>
#include <string.h>
#include "../numerics.h"
#include "edgeq.h"
#include "guard.h"

int main(void) {
  /* half to even, both signs */
  CHECK(eq_rint_clamp(0.5f, 0, -128, 127) == 0 && eq_rint_clamp(1.5f, 0, -128, 127) == 2);
  CHECK(eq_rint_clamp(-0.5f, 0, -128, 127) == 0 && eq_rint_clamp(-2.5f, 0, -128, 127) == -2);
  CHECK(eq_rint_clamp64(0.5, 0, -128, 127) == 0 && eq_rint_clamp64(-3.5, 0, -128, 127) == -4);
  /* NaN is zp, infinities clamp */
  CHECK(eq_rint_clamp(NAN, 7, -128, 127) == 7 && eq_rint_clamp64(NAN, 7, -128, 127) == 7);
  CHECK(eq_rint_clamp(INFINITY, 7, -128, 99) == 99 &&
        eq_rint_clamp(-INFINITY, 7, -100, 99) == -100);
  CHECK(eq_rint_clamp(3e38f, -32768, -32768, 32767) == 32767);
  CHECK(eq_rint_clamp(-3e38f, 32767, -32768, 32767) == -32768);
  /* every half-integer of the int16 range, against the C library */
  for (int i = -140000; i <= 140000; i++) {
    const float x = (float)i * 0.5f;
    CHECK(eq_rint_clamp(x, 0, -100000, 100000) == (int32_t)rintf(x));
    CHECK(eq_rint_clamp64((double)x, 0, -100000, 100000) == (int32_t)rint((double)x));
  }
  /* a fused multiply-add would give another sum: 1 + 2^-23 squared, minus its rounding */
  volatile float a = 1.0f + 0x1p-12f, c = -(1.0f + 0x1p-11f);
  float p = a * a;
  CHECK(p + c == 0.0f);
  int16_t table[513];
  for (int i = 0; i < 513; i++) table[i] = (int16_t)(i == 512 ? 32767 : i * 128 - 32768);
  for (int x = -32768; x < 32640; x++) CHECK(eq_lut16(x, table) == x); /* identity interpolates */
  CHECK(edgeq_crc32(0, "123456789", 9) == 0xcbf43926u);
  CHECK(edgeq_crc32(edgeq_crc32(0, "1234567890", 4), "567890", 6) ==
        edgeq_crc32(0, "1234567890", 10));
  puts("numerics hold");
  return 0;
}
