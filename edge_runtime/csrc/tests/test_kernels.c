/* Every conv, conv_strip, dw and unpack4 variant equals scalar on random tiles whose buffers end at
 * a guard page: reads beyond what kernels.h allows, and writes beyond the last channel, are faults.
 */
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

static void prepare(eq_epilogue *e, int lanes) {
  eq_prepare(e, lanes, 1 << 12, guarded(EQ_PIECES_ROOM * sizeof(int16_t)));
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
  if (random_in(&seed, 0, 3)) { /* what the compiler makes */
    if (e.lut_kind == EQ_LUT_LUT16) e.pre_zero = 0;
    if (e.out16)
      e.zp = ints(lanes, 0, 0), e.lo = ints(lanes, -32768, -9000), e.hi = ints(lanes, 9000, 32767);
  }
  if (!random_in(&seed, 0, 3)) ((float *)(uintptr_t)e.m)[random_in(&seed, 0, lanes - 1)] = 65536.0f;
  if (e.lut_kind) {
    const int n = e.lut_kind == EQ_LUT_LUT8 ? 256 : 513;
    int16_t *table = guarded((size_t)n * 2);
    const int most = random_in(&seed, 0, 1) ? 32767 : 16383; /* steps beyond int16, or within */
    for (int i = 0; i < n; i++) table[i] = (int16_t)random_in(&seed, -most - 1, most);
    e.table = table;
    e.gate = n == 513 && random_in(&seed, 0, 1);
    if (n == 513 && random_in(&seed, 0, 1)) { /* 64 straight pieces */
      int at = random_in(&seed, -2000, 2000);
      for (int i = 0; i < 512; i += 8) {
        const int slope = random_in(&seed, -60, 60);
        for (int k = 0; k < 8; k++, at += slope) table[i + k] = (int16_t)at;
      }
      table[512] = (int16_t)at;
    }
    if (e.gate)
      for (int i = 0; i < lanes; i++) ((float *)(uintptr_t)e.r)[i] *= 1e-3f;
  }
  prepare(&e, lanes);
  return e;
}

/* What is left of `a` from channel c on, a multiple of 16. */
static eq_conv from_channel(const eq_conv *a, int c) {
  eq_conv b = *a;
  b.e.bias += c, b.e.wsum += c, b.e.m += c, b.e.zp += c, b.e.lo += c, b.e.hi += c, b.e.r += c;
  b.w += (size_t)c / 16 * a->panel_bytes;
  b.out_offset += c * (a->e.out16 ? 2 : 1);
  return b;
}

static void check_conv(const eq_kernels *k, const char *isa) {
  const int taps = random_in(&seed, 1, 9), ic = random_in(&seed, 1, 70), k4 = (ic + 3) / 4;
  const int pixels = random_in(&seed, 1, k->conv_mr), width = k->conv_np * 16;
  const int channels = random_in(&seed, 1, width), lanes = (channels + 15) / 16 * 16;
  const size_t panel = (size_t)(taps * k4 * 64), size = (size_t)lanes / 16 * panel;
  int8_t *w = bytes(size, -128, 127);
  int32_t *wsum = ints(lanes, 0, 0);
  for (size_t i = 0; i < size; i++) wsum[i / panel * 16 + i % 64 / 4] += w[i];
  eq_conv a = {random_epilogue(lanes), w, panel, taps, k4, 0, 0};
  a.e.wsum = wsum;
  int8_t *x[64];
  for (int i = 0; i < 16; i++) x[i] = bytes((size_t)ic + 31, -128, 127);
  const int8_t *in[9 * EQ_MAX_MR], *in4[9 * 4];
  const size_t item = a.e.out16 ? 2 : 1;
  uint8_t *fast[EQ_MAX_MR], *slow[4];
  for (int t = 0; t < taps; t++)
    for (int i = 0; i < k->conv_mr; i++) in[t * k->conv_mr + i] = x[random_in(&seed, 0, 15)];
  for (int i = 0; i < pixels; i++) fast[i] = guarded((size_t)channels * item);
  if (k->conv4 && random_in(&seed, 0, 1)) { /* from nibbles, and maybe unpacking them on the way */
    int8_t *packed = bytes(size / 2, 0, 0);
    for (int i = 0; i < lanes; i++) wsum[i] = 0;
    for (size_t i = 0; i < size; i++) {
      w[i] = (int8_t)(w[i] / 16), wsum[i / panel * 16 + i % 64 / 4] += w[i];
      packed[i / 64 * 32 + i % 32] |= (int8_t)(i / 32 % 2 ? w[i] * 16 : w[i] & 15);
    }
    const bool keep = random_in(&seed, 0, 1);
    int8_t *to = guarded(size);
    a.w = to;
    k->conv4(&a, packed, to, keep, in, fast, pixels, channels);
    CHECK(!keep || !memcmp(to, w, size));
    a.w = w;
  } else {
    k->conv(&a, in, fast, pixels, channels);
  }
  for (int i = 0; i < pixels; i++) {
    slow[0] = guarded((size_t)channels * item);
    for (int c = 0; c < channels; c += 16) { /* the scalar kernel takes one pixel, one panel */
      for (int t = 0; t < taps; t++) in4[t * 4] = in[t * k->conv_mr + i];
      const eq_conv one = from_channel(&a, c);
      eq_conv__scalar(&one, in4, slow, 1, channels - c < 16 ? channels - c : 16);
    }
    if (memcmp(fast[i], slow[0], (size_t)channels * item)) {
      fprintf(stderr, "conv %s: pixel %d of %d, %d channels, %d taps, ic %d\n", isa, i, pixels,
              channels, taps, ic);
      exit(1);
    }
  }
}

/* Pixels at one stride: of int8 up to a guard page, or of x + 128 with what may lie behind them. */
static void check_conv_strip(const eq_kernels *k, const char *isa) {
  if (!k->conv_strip) return;
  const bool copied = random_in(&seed, 0, 1);
  const int taps = copied ? random_in(&seed, 1, 5) : 1, k4 = random_in(&seed, 1, copied ? 9 : 12);
  const int channels = random_in(&seed, 1, 8), pixels = random_in(&seed, 1, 150);
  int step = random_in(&seed, 1, 4) * 4;
  if (!copied && step < 4 * k4) step = 4 * k4 + random_in(&seed, 0, 1) * random_in(&seed, 0, 9);
  const size_t panel = (size_t)(taps * k4 * 64), row = (size_t)((pixels - 1) * step + 4 * k4);
  int8_t *w = bytes(panel, -128, 127);
  int32_t *wsum = ints(16, 0, 0);
  for (size_t i = 0; i < panel; i++) wsum[i % 64 / 4] += w[i];
  eq_conv a = {random_epilogue(16), w, panel, taps, k4, 0, 0};
  a.e.wsum = wsum;
  if (!a.e.words) return; /* the op does not call it */
  const size_t size = row * (size_t)taps + (copied ? 256 : 64);
  int8_t *x = bytes(size, -128, 127);
  uint8_t *unsigned_x = guarded(size);
  for (size_t i = 0; i < size; i++) unsigned_x[i] = (uint8_t)x[i] ^ 0x80;
  const int item = a.e.out16 ? 2 : 1, bytes_each = channels * item;
  const int out_step = bytes_each + random_in(&seed, 0, 1) * random_in(&seed, 0, 9) * item;
  const size_t out_size = (size_t)((pixels - 1) * out_step + bytes_each);
  uint8_t *fast = guarded(out_size), *slow = guarded(out_size);
  memset(fast, 77, out_size), memset(slow, 77, out_size);
  const eq_strip s = {
      copied ? unsigned_x : (uint8_t *)x, step, (ptrdiff_t)row, copied ? 0 : 0x80, fast, out_step};
  k->conv_strip(&a, &s, pixels, channels);
  for (int i = 0; i < pixels; i++) {
    const int8_t *in4[5 * 4];
    uint8_t *out = slow + i * out_step;
    for (int t = 0; t < taps; t++) in4[t * 4] = x + (size_t)t * row + i * step;
    eq_conv__scalar(&a, in4, &out, 1, channels);
  }
  if (memcmp(fast, slow, out_size)) {
    fprintf(stderr, "conv_strip %s: %d pixels, %d channels, %d rows of %d, step %d\n", isa, pixels,
            channels, taps, 4 * k4, step);
    exit(1);
  }
}

static void check_points(const eq_kernels *k, const char *isa) {
  const eq_conv_points *p = k->conv_points;
  if (!p) return;
  const int k4 = random_in(&seed, 1, 40), pixels = random_in(&seed, 1, 60);
  const int channels = random_in(&seed, 1, 32), lanes = (channels + 15) / 16 * 16;
  const size_t panel = (size_t)k4 * 64, size = (size_t)lanes / 16 * panel, pixel = (size_t)k4 * 4;
  const size_t step = pixel + (size_t)random_in(&seed, 0, 1) * (size_t)random_in(&seed, 0, 9);
  const size_t dense = (size_t)pixels * pixel, before = (size_t)pixels - 1;
  int8_t *w = bytes(size, -128, 127), *x = bytes(before * step + pixel + 63, -128, 127);
  int32_t *wsum = ints(lanes, 0, 0);
  for (size_t i = 0; i < size; i++) wsum[i / panel * 16 + i % 64 / 4] += w[i];
  eq_conv a = {random_epilogue(lanes), w, panel, 1, k4, 0, 0};
  a.e.wsum = wsum;
  const size_t bytes_out = (size_t)channels * (a.e.out16 ? 2 : 1),
               gap = (size_t)random_in(&seed, 0, 9) * 2;
  uint8_t *copy = guarded(dense + (EQ_POINTS_SLACK * pixel > 63 ? EQ_POINTS_SLACK * pixel : 63));
  uint8_t *fast = guarded(before * (bytes_out + gap) + bytes_out);
  memset(fast, 0x55, before * (bytes_out + gap) + bytes_out);
  p->fill(copy, x, (ptrdiff_t)step, (int)pixel, pixels);
  p->run(&a, copy, fast, (ptrdiff_t)(bytes_out + gap), pixels, channels);
  for (size_t i = 0; i < (size_t)pixels; i++) {
    uint8_t *slow = guarded(bytes_out);
    const int8_t *in[4] = {x + i * step};
    for (int c = 0; c < channels; c += 16) {
      const eq_conv one = from_channel(&a, c);
      eq_conv__scalar(&one, in, &slow, 1, channels - c < 16 ? channels - c : 16);
    }
    if (memcmp(fast + i * (bytes_out + gap), slow, bytes_out)) {
      fprintf(stderr, "conv_points %s: pixel %d of %d, %d channels, k4 %d\n", isa, (int)i, pixels,
              channels, k4);
      exit(1);
    }
    for (size_t b = 0; b < gap && i < before; b++)
      CHECK(fast[i * (bytes_out + gap) + bytes_out + b] == 0x55);
  }
}

static void check_dw(const eq_kernels *k, const char *isa) {
  static const int kernels[] = {1, 2, 4, 9, 25, 49, 81, 256, 289};
  const int taps = kernels[random_in(&seed, 0, 8)], taps4 = (taps + 3) / 4 * 4;
  const int channels = random_in(&seed, 1, 70), lanes = (channels + 15) / 16 * 16;
  const int pixels = random_in(&seed, 1, 4);
  int8_t *w = bytes((size_t)(taps * lanes), -128, 127);
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

/* A picture of a few rows, in two parts, with gaps between its pixels or without: every output
 * against the kernel of single pixels. */
static void check_dw_row(const eq_kernels *k, const char *isa) {
  if (!k->dw_row) return;
  const int size = random_in(&seed, 0, 1) ? 3 : 5, stride = random_in(&seed, 1, 2);
  const int channels = random_in(&seed, 1, 200), lanes = (channels + 15) / 16 * 16;
  const int taps = size * size, taps4 = (taps + 3) / 4 * 4;
  const int height = random_in(&seed, 1, 7), width = random_in(&seed, 1, 40);
  int8_t *w = bytes((size_t)(taps * lanes), -128, 127), *pad = bytes((size_t)lanes, -128, 127);
  int32_t *wsum = ints(lanes, 0, 0);
  for (int i = 0; i < taps * lanes; i++) wsum[i % lanes] += w[i];
  const int gap = random_in(&seed, 0, 1) * random_in(&seed, 1, 70), pixel = channels + gap;
  const int8_t *in = bytes((size_t)(height * width * pixel - gap + 15), -128, 127);
  const int oh = (height - 1) / stride + 1, ow = (width - 1) / stride + 1;
  const size_t size_out = (size_t)(oh * ow * pixel - gap);
  uint8_t *fast = guarded(size_out), *slow = guarded((size_t)channels);
  memset(fast, 0x5a, size_out);
  eq_dw_row a = {.e = random_epilogue(lanes),
                 .w = w,
                 .k = size,
                 .stride = stride,
                 .channels = channels,
                 .lanes = lanes,
                 .in = in,
                 .pad = pad,
                 .line = (ptrdiff_t)width * pixel,
                 .pixel = pixel,
                 .height = height,
                 .width = width,
                 .top = size / 2,
                 .left = size / 2,
                 .out = fast,
                 .out_line = (ptrdiff_t)ow * pixel,
                 .out_pixel = pixel,
                 .first = 0,
                 .last = random_in(&seed, 0, oh),
                 .count = ow};
  a.e.wsum = wsum;
  if (a.e.out16 || !a.e.words) return; /* the op does not call it */
  k->dw_row(&a);
  a.first = a.last, a.last = oh;
  k->dw_row(&a);
  const eq_dw one = {a.e, w, taps, channels, lanes};
  for (int i = 0; i < oh * ow; i++) {
    const int8_t *tap[28];
    for (int t = 0; t < taps4; t++) {
      const int y = i / ow * stride - a.top + t / size, x = i % ow * stride - a.left + t % size;
      const bool inside = t < taps && y >= 0 && y < height && x >= 0 && x < width;
      tap[t] = inside ? in + (y * width + x) * pixel : pad;
    }
    eq_dw__scalar(&one, tap, &slow, 1);
    bool wrong = memcmp(fast + i * pixel, slow, (size_t)channels);
    for (int c = channels; c < pixel && i < oh * ow - 1; c++) wrong |= fast[i * pixel + c] != 0x5a;
    if (wrong) {
      fprintf(stderr, "dw_row %s: pixel %d, %d channels, %dx%d, stride %d\n", isa, i, channels,
              size, size, stride);
      exit(1);
    }
  }
}

static void check_unpack4(const eq_kernels *k, const char *isa) {
  const size_t count = (size_t)random_in(&seed, 1, 40) * 8;
  const int8_t *from = bytes(count, -128, 127);
  int8_t *fast = bytes(2 * count, 0, 0), *slow = bytes(2 * count, 0, 0);
  k->unpack4(fast, from, count);
  eq_unpack4__scalar(slow, from, count);
  for (size_t i = 0; i < count; i++) { /* the halves of a byte give it back */
    const size_t half = count - i / 32 * 32 < 32 ? count - i / 32 * 32 : 32;
    const int low = slow[i / 32 * 64 + i % 32], high = slow[i / 32 * 64 + half + i % 32];
    if (memcmp(fast, slow, 2 * count) || low < -8 || low > 7 || high * 16 + (low & 15) != from[i]) {
      fprintf(stderr, "unpack4 %s: byte %zu of %zu\n", isa, i, count);
      exit(1);
    }
  }
}

/* A gate that is a step finds the sign of a sum with a huge multiplier: no reason to be slow. */
static void check_step_gate(void) {
  eq_epilogue e = random_epilogue(16);
  int16_t *table = guarded(513 * sizeof *table);
  for (int i = 0; i < 513; i++) table[i] = i < 256 ? 1638 : 16384;
  e.m = floats(16, 65536, 65536), e.r = floats(16, 1e-6f, 1e-6f);
  e.lut_kind = EQ_LUT_LUT16, e.table = table, e.gate = true, e.pre_zero = 0, e.out16 = false;
  prepare(&e, 16);
  CHECK(e.words);
  release_guards();
}

int main(void) {
  check_step_gate();
  for (int i = 0; i < edgeq_isa_count(); i++) {
    const char *isa = edgeq_isa_list(i);
    eq_kernels k;
    CHECK(eq_kernels_for(isa, &k));
    for (int round = 0; round < ROUNDS; round++) {
      check_conv(&k, isa);
      check_conv_strip(&k, isa);
      check_points(&k, isa);
      check_dw(&k, isa);
      check_dw_row(&k, isa);
      check_unpack4(&k, isa);
      release_guards();
    }
    printf("%s: conv, dw and unpack4 equal scalar on %d random tiles each\n", isa, ROUNDS);
  }
  return 0;
}
