/* numerics.h: the integer law of numerics.py in C, bit for bit. No libm, one IEEE operation at a
 * time: build with -ffp-contract=off and without -ffast-math. */
#ifndef EDGEQ_NUMERICS_H
#define EDGEQ_NUMERICS_H
#include <float.h>
#include <stdint.h>

_Static_assert(FLT_EVAL_METHOD == 0, "float expressions must be evaluated in float");
_Static_assert((-1 >> 1) == -1, "right shift of negative integers must be arithmetic");

enum { EQ_LERP_BITS = 11, EQ_SOFTMAX_BITS = 30, EQ_LUT8_ENTRIES = 256, EQ_LUT16_ENTRIES = 513 };

/* zp, lo and hi fit 17 bits (the loader checks), so any |x| >= 2^20 clamps like 2^20 does; after
 * that clamp, adding and subtracting 1.5 * 2^(mantissa bits) rounds half to even. */
#define EQ_FAR       1048576.0f
#define EQ_MAGIC_F32 12582912.0f
#define EQ_MAGIC_F64 6755399441055744.0

static inline int32_t eq_clamp(int32_t x, int32_t lo, int32_t hi) {
  x = x < lo ? lo : x;
  return x > hi ? hi : x;
}

/* clamp(rint_even(x) + zp, lo, hi); NaN becomes zp. */
static inline int32_t eq_rint_clamp(float x, int32_t zp, int32_t lo, int32_t hi) {
  x = x == x ? x : 0.0f;
  x = x < -EQ_FAR ? -EQ_FAR : x;
  x = x > EQ_FAR ? EQ_FAR : x;
  return eq_clamp((int32_t)((x + EQ_MAGIC_F32) - EQ_MAGIC_F32) + zp, lo, hi);
}

static inline int32_t eq_rint_clamp64(double x, int32_t zp, int32_t lo, int32_t hi) {
  x = x == x ? x : 0.0;
  x = x < -(double)EQ_FAR ? -(double)EQ_FAR : x;
  x = x > (double)EQ_FAR ? (double)EQ_FAR : x;
  return eq_clamp((int32_t)((x + EQ_MAGIC_F64) - EQ_MAGIC_F64) + zp, lo, hi);
}

/* RNE_F32 requantization. */
static inline int32_t eq_requantize(int32_t acc, float m, int32_t zp, int32_t lo, int32_t hi) {
  return eq_rint_clamp((float)acc * m, zp, lo, hi);
}

/* A gated activation x * g(x): the accumulator times its multiplier times the table's gate. */
static inline int32_t eq_gate(int32_t acc, float r, int32_t t, int32_t zp, int32_t lo, int32_t hi) {
  return eq_rint_clamp(((float)acc * r) * (float)t, zp, lo, hi);
}

/* 256-entry table, x int8. */
static inline int32_t eq_lut8(int32_t x, const int16_t *table) { return table[x + 128]; }

/* 513-entry table with linear interpolation, x int16; |T[i+1]-T[i]| * f < 2^23. */
static inline int32_t eq_lut16(int32_t x, const int16_t *table) {
  int32_t u = x + 32768, i = u >> 7, f = u & 127;
  return table[i] + (((table[i + 1] - table[i]) * f + 64) >> 7);
}

/* Edge rule: float to integer. */
static inline int32_t eq_quantize(float x, float scale, int32_t zp, int32_t lo, int32_t hi) {
  return eq_rint_clamp(x / scale, zp, lo, hi);
}

static inline float eq_dequantize(int32_t q, float scale, int32_t zp) {
  return (float)(q - zp) * scale;
}

static inline int32_t eq_add(int32_t a, int32_t b, float ra, float rb, int32_t za, int32_t zb,
                             int32_t zp, int32_t lo, int32_t hi) {
  float x = (float)(a - za) * ra;
  float y = (float)(b - zb) * rb;
  return eq_rint_clamp(x + y, zp, lo, hi);
}

/* The product of two 17-bit differences needs int64; where one side is int8 it fits int32. */
static inline int32_t eq_mul(int32_t a, int32_t b, float r, int32_t za, int32_t zb, int32_t zp,
                             int32_t lo, int32_t hi) {
  return eq_rint_clamp((float)((int64_t)(a - za) * (b - zb)) * r, zp, lo, hi);
}

static inline int32_t eq_mul_narrow(int32_t a, int32_t b, float r, int32_t za, int32_t zb,
                                    int32_t zp, int32_t lo, int32_t hi) {
  return eq_rint_clamp((float)((a - za) * (b - zb)) * r, zp, lo, hi);
}

static inline int32_t eq_div(int32_t a, int32_t b, float r, int32_t za, int32_t zb, int32_t zp,
                             int32_t lo, int32_t hi) {
  return eq_rint_clamp((float)(a - za) / (float)(b - zb) * r, zp, lo, hi);
}

static inline int32_t eq_prelu(int32_t a, float ra, float rb, int32_t za, int32_t zp, int32_t lo,
                               int32_t hi) {
  float v = (float)(a - za);
  return eq_rint_clamp(v * (v < 0.0f ? rb : ra), zp, lo, hi);
}

/* Mean of n values from s = sum(x) - n * zx: float32 for int8 sums, float64 for int16 sums. */
static inline int32_t eq_mean(int32_t s, double ratio, int64_t n, int32_t zp, int32_t lo,
                              int32_t hi) {
  return eq_rint_clamp((float)s * (float)(ratio / (double)n), zp, lo, hi);
}

static inline int32_t eq_mean64(int64_t s, double ratio, int64_t n, int32_t zp, int32_t lo,
                                int32_t hi) {
  return eq_rint_clamp64((double)s * (ratio / (double)n), zp, lo, hi);
}

/* Softmax numerator of d = max - x, Q0.30. */
static inline uint32_t eq_softmax_exp(int32_t d, const uint32_t *fine, const uint32_t *coarse) {
  return (uint32_t)(((uint64_t)fine[d & 255] * coarse[d >> 8]) >> EQ_SOFTMAX_BITS);
}

/* Bilinear blend of four int8 values; |result before the shift| <= 2^29. */
static inline int32_t eq_lerp(int32_t v00, int32_t v01, int32_t v10, int32_t v11, int32_t wy,
                              int32_t wx) {
  const int32_t one = 1 << EQ_LERP_BITS;
  int32_t left = v00 * (one - wy) + v10 * wy;
  int32_t right = v01 * (one - wy) + v11 * wy;
  return (left * (one - wx) + right * wx + (1 << (2 * EQ_LERP_BITS - 1))) >> (2 * EQ_LERP_BITS);
}
#endif
