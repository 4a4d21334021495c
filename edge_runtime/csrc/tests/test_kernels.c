/* Every conv and dw variant equals scalar on random tiles whose buffers end at a guard page: reads
 * beyond what kernels.h allows, and writes beyond the last channel, are faults. */
#include <string.h>
#include "../isa.h"
#include "../kernels/kernels.h"
#include "edgeq.h"
#include "guard.h"

enum { ROUNDS = 300 };

static uint64_t seed = 88172645463325252ull;

static int32_t *ints(int n, int low, int high) {
  int32_t *p = guarded((size_t)n * 4);
  for (int i = 0; i < n; i++) p[i] = random_in(&seed, low, high);
  return p;
}

static float *floats(int n, float low, float high) {
  float *p = guarded((size_t)n * 4);
  for (int i = 0; i < n; i++)
    p[i] = low + (high - low) * (float)random_in(&seed, 0, 1 << 20) / (float)(1 << 20);
  return p;
}

static int8_t *bytes(size_t n, int low, int high) {
  int8_t *p = guarded(n);
  for (size_t i = 0; i < n; i++) p[i] = (int8_t)random_in(&seed, low, high);
  return p;
}

/* Rows of `lanes` channels; wsum is set by the caller. */
static eq_epilogue random_epilogue(int lanes) {
  eq_epilogue e = {.bias = ints(lanes, -5000, 5000),
                   .m = floats(lanes, 0.0005f, 0.02f),
                   .zp = ints(lanes, -50, 50),
                   .lo = ints(lanes, -128, -100),
                   .hi = ints(lanes, 90, 127),
                   .r = floats(lanes, 0.001f, 0.01f),
                   .lut_kind = random_in(&seed, 0, 2),
                   .step = random_in(&seed, 0, 1),
                   .out16 = random_in(&seed, 0, 1),
                   .pre_zero = random_in(&seed, -10, 10)};
  if (e.lut_kind) {
    const int n = e.lut_kind == EQ_LUT_LUT8 ? 256 : 513;
    int16_t *table = guarded((size_t)n * 2);
    for (int i = 0; i < n; i++) table[i] = (int16_t)random_in(&seed, -32768, 32767);
    e.table = table;
  }
  return e;
}

static void check_conv(const eq_kernels *k, const char *isa) {
  const int taps = random_in(&seed, 1, 9), ic = random_in(&seed, 1, 70), k4 = (ic + 3) / 4;
  const int pixels = random_in(&seed, 1, k->conv_mr), width = k->conv_np * 16;
  const int channels = random_in(&seed, 1, width), lanes = (channels + 15) / 16 * 16;
  const size_t panel = (size_t)(taps * k4 * 64), size = (size_t)lanes / 16 * panel;
  int8_t *w = bytes(size, -127, 127);
  int32_t *wsum = ints(lanes, 0, 0);
  for (size_t i = 0; i < size; i++) wsum[i / panel * 16 + i % 64 / 4] += w[i];
  eq_conv a = {random_epilogue(lanes), w, panel, taps, k4, 0, 0};
  a.e.wsum = wsum;
  int8_t *x[64];
  for (int i = 0; i < 16; i++) x[i] = bytes((size_t)k4 * 4, -128, 127); /* up to 3 past a pixel */
  const int8_t *in[9 * EQ_MAX_MR], *in4[9 * 4];
  const size_t item = a.e.out16 ? 2 : 1;
  uint8_t *fast[EQ_MAX_MR], *slow[4];
  for (int t = 0; t < taps; t++)
    for (int i = 0; i < k->conv_mr; i++) in[t * k->conv_mr + i] = x[random_in(&seed, 0, 15)];
  for (int i = 0; i < pixels; i++) fast[i] = guarded((size_t)channels * item);
  k->conv(&a, in, fast, pixels, 0, channels);
  for (int i = 0; i < pixels; i++) {
    slow[0] = guarded((size_t)channels * item);
    for (int c = 0; c < channels; c += 16) { /* the scalar kernel takes one pixel, one panel */
      for (int t = 0; t < taps; t++) in4[t * 4] = in[t * k->conv_mr + i];
      eq_conv__scalar(&a, in4, slow, 1, c, channels - c < 16 ? channels - c : 16);
    }
    if (memcmp(fast[i], slow[0], (size_t)channels * item)) {
      fprintf(stderr, "conv %s: pixel %d of %d, %d channels, %d taps, ic %d\n", isa, i, pixels,
              channels, taps, ic);
      exit(1);
    }
  }
}

static void check_dw(const eq_kernels *k, const char *isa) {
  static const int kernels[] = {1, 2, 4, 9, 25, 49, 81, 256, 289};
  const int taps = kernels[random_in(&seed, 0, 8)], taps4 = (taps + 3) / 4 * 4;
  const int channels = random_in(&seed, 1, 70), lanes = (channels + 15) / 16 * 16;
  const int pixels = random_in(&seed, 1, 4);
  int8_t *w = bytes((size_t)(taps * lanes), -127, 127);
  int32_t *wsum = ints(lanes, 0, 0);
  for (int i = 0; i < taps * lanes; i++) wsum[i % lanes] += w[i];
  eq_dw a = {random_epilogue(lanes), w, taps, channels, lanes};
  a.e.wsum = wsum;
  int8_t *x[8];
  for (int i = 0; i < 8; i++) x[i] = bytes((size_t)lanes, -128, 127); /* up to 15 past a pixel */
  const int8_t *in[4 * 292];
  uint8_t *fast[4], *slow[4];
  const size_t size = (size_t)channels * (a.e.out16 ? 2 : 1);
  for (int i = 0; i < pixels * taps4; i++) in[i] = x[random_in(&seed, 0, 7)];
  for (int i = 0; i < pixels; i++) fast[i] = guarded(size), slow[i] = guarded(size);
  k->dw(&a, in, fast, pixels);
  eq_dw__scalar(&a, in, slow, pixels);
  for (int i = 0; i < pixels; i++)
    if (memcmp(fast[i], slow[i], size)) {
      fprintf(stderr, "dw %s: pixel %d, %d channels, %d taps\n", isa, i, channels, taps);
      exit(1);
    }
}

int main(void) {
  for (int i = 0; i < edgeq_isa_count(); i++) {
    const char *isa = edgeq_isa_list(i);
    eq_kernels k;
    CHECK(eq_kernels_for(isa, &k));
    for (int round = 0; round < ROUNDS; round++) {
      check_conv(&k, isa);
      check_dw(&k, isa);
      release_guards();
    }
    printf("%s: conv and dw equal scalar on %d random tiles each\n", isa, ROUNDS);
  }
  return 0;
}
