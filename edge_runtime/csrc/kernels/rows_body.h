/* rows_body.h: the row kernels in plain C, compiled once per ISA by rows__<isa>.c, which defines
 * EQ_TARGET (a function attribute) and EQ_ROWS (the name of the table). The compiler vectorises. */
#include <string.h>
#include "../isa.h"
#include "../numerics.h"
#include "kernels.h"

#define ROW EQ_TARGET static void

ROW load8(int32_t *restrict y, const int8_t *restrict x, ptrdiff_t stride, int n) {
  if (stride == 1)
    for (int i = 0; i < n; i++) y[i] = x[i];
  else
    for (int i = 0; i < n; i++) y[i] = x[i * stride];
}

ROW load16(int32_t *restrict y, const int16_t *restrict x, ptrdiff_t stride, int n) {
  if (stride == 1)
    for (int i = 0; i < n; i++) y[i] = x[i];
  else
    for (int i = 0; i < n; i++) y[i] = x[i * stride];
}

ROW store8(int8_t *restrict y, ptrdiff_t stride, const int32_t *restrict x, int n) {
  if (stride == 1)
    for (int i = 0; i < n; i++) y[i] = (int8_t)x[i];
  else
    for (int i = 0; i < n; i++) y[i * stride] = (int8_t)x[i];
}

ROW store16(int16_t *restrict y, ptrdiff_t stride, const int32_t *restrict x, int n) {
  if (stride == 1)
    for (int i = 0; i < n; i++) y[i] = (int16_t)x[i];
  else
    for (int i = 0; i < n; i++) y[i * stride] = (int16_t)x[i];
}

/* One elementwise kernel: `value` is an expression of the law in numerics.h. */
#define ELEMENTWISE(name, value)                                                                   \
  ROW name(int32_t *restrict y, const int32_t *restrict a, const int32_t *restrict b,              \
           const eq_ew *r, int n) {                                                                \
    const int32_t *restrict za = r->za, *restrict zb = r->zb, *restrict zp = r->zp;                \
    const int32_t *restrict lo = r->lo, *restrict hi = r->hi;                                      \
    const float *restrict ra = r->ra, *restrict rb = r->rb;                                        \
    (void)b, (void)zb, (void)rb;                                                                   \
    for (int i = 0; i < n; i++) y[i] = value;                                                      \
  }
ELEMENTWISE(add, eq_add(a[i], b[i], ra[i], rb[i], za[i], zb[i], zp[i], lo[i], hi[i]))
ELEMENTWISE(mul, eq_mul(a[i], b[i], ra[i], za[i], zb[i], zp[i], lo[i], hi[i]))
ELEMENTWISE(mul_narrow, eq_mul_narrow(a[i], b[i], ra[i], za[i], zb[i], zp[i], lo[i], hi[i]))
ELEMENTWISE(div_, eq_div(a[i], b[i], ra[i], za[i], zb[i], zp[i], lo[i], hi[i]))
ELEMENTWISE(prelu, eq_prelu(a[i], ra[i], rb[i], za[i], zp[i], lo[i], hi[i]))
ELEMENTWISE(requant, eq_requantize(a[i] - za[i], ra[i], zp[i], lo[i], hi[i]))

ROW lut8(int32_t *x, const int16_t *table, int n) {
  for (int i = 0; i < n; i++) x[i] = eq_lut8(x[i], table);
}

#ifndef EQ_LUT16
#define EQ_LUT16 lut16
ROW lut16(int32_t *x, const int16_t *table, int n) {
  for (int i = 0; i < n; i++) x[i] = eq_lut16(x[i], table);
}
#endif

EQ_TARGET static bool quantize(int32_t *restrict y, const float *restrict x, float scale,
                               int32_t zp, int32_t lo, int32_t hi, int n) {
  int nan = 0;
  for (int i = 0; i < n; i++) {
    nan |= x[i] != x[i];
    y[i] = eq_quantize(x[i], scale, zp, lo, hi);
  }
  return nan;
}

#ifndef EQ_DEQUANTIZE
#define EQ_DEQUANTIZE dequantize
#define DEQUANTIZE(name, type)                                                                     \
  ROW name(float *restrict y, const type *restrict x, const eq_reals *r) {                         \
    const float *restrict scale = r->scale;                                                        \
    const int32_t *restrict zp = r->zp;                                                            \
    for (int64_t i = 0; i < r->pixels; i++, x += r->pixel, y += r->n)                              \
      if (r->each)                                                                                 \
        for (int c = 0; c < r->n; c++) y[c] = eq_dequantize(x[c], scale[c], zp[c]);                \
      else                                                                                         \
        for (int c = 0; c < r->n; c++) y[c] = eq_dequantize(x[c], scale[0], zp[0]);                \
  }
DEQUANTIZE(dequantize8, int8_t)
DEQUANTIZE(dequantize16, int16_t)

ROW dequantize(float *y, const eq_reals *r) {
  if (r->wide)
    dequantize16(y, r->x, r);
  else
    dequantize8(y, r->x, r);
}
#endif

/* Pixels of 3 bytes to 4; the fourth byte takes anything. */
ROW widen(int8_t *restrict y, const int8_t *restrict x, int64_t pixels) {
  typedef int8_t block __attribute__((vector_size(16)));
  int64_t i = 0;
  for (; i + 6 <= pixels; i += 4, x += 12, y += 16) { /* 16 bytes are read, 12 belong to it */
    block v;
    memcpy(&v, x, sizeof v);
    v = __builtin_shuffle(v, (block){0, 1, 2, 3, 3, 4, 5, 6, 6, 7, 8, 9, 9, 10, 11, 12});
    memcpy(y, &v, sizeof v);
  }
  for (; i < pixels; i++, x += 3, y += 4) y[0] = x[0], y[1] = x[1], y[2] = x[2];
}

ROW step(int32_t *restrict x, const float *restrict r, const int32_t *restrict zp,
         const int32_t *restrict lo, const int32_t *restrict hi, int n) {
  for (int i = 0; i < n; i++) x[i] = eq_requantize(x[i], r[i], zp[i], lo[i], hi[i]);
}

ROW max(int32_t *restrict y, const int32_t *restrict x, int n) {
  for (int i = 0; i < n; i++) y[i] = y[i] > x[i] ? y[i] : x[i];
}

/* The largest of some bytes. Vectors of 64 to 8 channels by hand, in the portable notation of GCC
 * and Clang: the compiler's own loop is mostly its scalar tail. The last one overlaps. */
#ifndef EQ_MAXIMA
#define EQ_MAXIMA maxima
#define MAX_BLOCKS(bytes)                                                                          \
  for (; m->n >= (bytes) && c < m->n; c += (bytes)) {                                              \
    typedef int8_t block __attribute__((vector_size(bytes)));                                      \
    if (c > m->n - (bytes)) c = m->n - (bytes);                                                    \
    for (int64_t i = 0; i < m->pixels; i++) {                                                      \
      const int8_t *x = m->x + i * m->step + c;                                                    \
      block a, b;                                                                                  \
      memcpy(&a, x, sizeof a);                                                                     \
      for (int t = 1; t < m->taps; t++) {                                                          \
        memcpy(&b, x + t * m->tap, sizeof b);                                                      \
        const block larger = a > b;                                                                \
        a = (a & larger) | (b & ~larger);                                                          \
      }                                                                                            \
      memcpy(m->y + i * m->sy + c, &a, sizeof a);                                                  \
    }                                                                                              \
  }

ROW maxima(const eq_maxima *m) {
  int64_t c = 0;
  MAX_BLOCKS(64)
  MAX_BLOCKS(32)
  MAX_BLOCKS(16)
  MAX_BLOCKS(8)
  for (; c < m->n; c++)
    for (int64_t i = 0; i < m->pixels; i++) {
      int8_t most = -128;
      for (int t = 0; t < m->taps; t++) {
        const int8_t v = m->x[i * m->step + t * m->tap + c];
        most = v > most ? v : most;
      }
      m->y[i * m->sy + c] = most;
    }
}
#endif

#ifndef EQ_SUM_PIXELS
#define EQ_SUM_PIXELS sum_pixels
/* acc[c] += the sum of `pixels` values x[i * stride + c]; sums of 256 of them fit 16 bits. */
#define SUM_BLOCKS(lanes)                                                                          \
  for (; c + (lanes) <= n; c += (lanes)) {                                                         \
    typedef int8_t bytes __attribute__((vector_size(lanes)));                                      \
    typedef int16_t words __attribute__((vector_size(2 * (lanes))));                               \
    const int8_t *p = x + c;                                                                       \
    for (int64_t left = pixels; left > 0; left -= 256) {                                           \
      words s = {0};                                                                               \
      for (int i = 0; i < 256 && i < left; i++, p += stride) {                                     \
        bytes v;                                                                                   \
        memcpy(&v, p, sizeof v);                                                                   \
        s += __builtin_convertvector(v, words);                                                    \
      }                                                                                            \
      for (int k = 0; k < (lanes); k++) acc[c + k] += s[k];                                        \
    }                                                                                              \
  }

ROW sum_pixels(int32_t *restrict acc, const int8_t *restrict x, ptrdiff_t stride, int64_t pixels,
               int n) {
  int c = 0;
  SUM_BLOCKS(32)
  SUM_BLOCKS(16)
  SUM_BLOCKS(8)
  for (; c < n; c++)
    for (int64_t i = 0; i < pixels; i++) acc[c] += x[i * stride + c];
}
#endif

ROW sum(int32_t *restrict y, const int32_t *restrict x, int n) {
  for (int i = 0; i < n; i++) y[i] += x[i];
}

ROW sum64(int64_t *restrict y, const int32_t *restrict x, int n) {
  for (int i = 0; i < n; i++) y[i] += x[i];
}

ROW mean(int32_t *restrict y, const int32_t *restrict s, const eq_mean_rows *r, int64_t valid,
         int64_t count, int n) {
  const int32_t v = (int32_t)valid;
  for (int i = 0; i < n; i++)
    y[i] = eq_mean(s[i] - v * r->zx[i], r->ratio[i], count, r->zp[i], r->lo[i], r->hi[i]);
}

ROW mean64(int32_t *restrict y, const int64_t *restrict s, const eq_mean_rows *r, int64_t valid,
           int64_t count, int n) {
  for (int i = 0; i < n; i++)
    y[i] = eq_mean64(s[i] - valid * r->zx[i], r->ratio[i], count, r->zp[i], r->lo[i], r->hi[i]);
}

ROW mac(int32_t *restrict y, int32_t a, const int8_t *restrict b, ptrdiff_t stride, int32_t zb,
        int n) {
  if (stride == 1)
    for (int i = 0; i < n; i++) y[i] += a * (b[i] - zb);
  else
    for (int i = 0; i < n; i++) y[i] += a * (b[i * stride] - zb);
}

EQ_TARGET static int32_t dot(const int8_t *restrict a, ptrdiff_t sa, int32_t za,
                             const int8_t *restrict b, ptrdiff_t sb, int32_t zb, int n) {
  int32_t s = 0;
  if (sa == 1 && sb == 1)
    for (int i = 0; i < n; i++) s += (a[i] - za) * (b[i] - zb);
  else
    for (int i = 0; i < n; i++) s += (a[i * sa] - za) * (b[i * sb] - zb);
  return s;
}

/* corner: the four source pixels, top left, top right, bottom left, bottom right. */
#ifndef EQ_LERP
#define EQ_LERP lerp
ROW lerp(int8_t *restrict y, const int8_t *const *corner, int32_t wy, int32_t wx, int n) {
  const int8_t *p = corner[0], *q = corner[1], *u = corner[2], *v = corner[3];
  for (int i = 0; i < n; i++) y[i] = (int8_t)eq_lerp(p[i], q[i], u[i], v[i], wy, wx);
}
#endif

/* Pixels of `bytes` >= 8 in vectors, the last one over the one before. */
#define COPY_BLOCKS(width)                                                                         \
  if (bytes >= (width)) {                                                                          \
    typedef uint8_t block __attribute__((vector_size(width)));                                     \
    for (int64_t k = 0; k < count; k++, y += sy) {                                                 \
      const uint8_t *from = x + at[k] * sx;                                                        \
      for (int64_t i = 0;; i += (width)) {                                                         \
        if (i > bytes - (width)) i = bytes - (width);                                              \
        block v;                                                                                   \
        memcpy(&v, from + i, sizeof v);                                                            \
        memcpy(y + i, &v, sizeof v);                                                               \
        if (i == bytes - (width)) break;                                                           \
      }                                                                                            \
    }                                                                                              \
    return;                                                                                        \
  }

ROW pick(uint8_t *restrict y, ptrdiff_t sy, const uint8_t *restrict x, ptrdiff_t sx,
         const int32_t *restrict at, int64_t count, int64_t bytes) {
  COPY_BLOCKS(64)
  COPY_BLOCKS(32)
  COPY_BLOCKS(16)
  COPY_BLOCKS(8)
  for (int64_t k = 0; k < count; k++, y += sy)
    for (int64_t i = 0; i < bytes; i++) y[i] = x[at[k] * sx + i];
}

/* Softmax numerators of top - x, and their sum. */
EQ_TARGET static uint64_t exps(uint32_t *restrict y, const int32_t *restrict x, int32_t top,
                               const uint32_t *restrict fine, const uint32_t *restrict coarse,
                               int n) {
  uint64_t total = 0;
  for (int i = 0; i < n; i++) {
    y[i] = eq_softmax_exp(top - x[i], fine, coarse);
    total += y[i];
  }
  return total;
}

ROW shares(int32_t *restrict y, const uint32_t *restrict x, float k, int32_t zp, int32_t lo,
           int32_t hi, int n) {
  for (int i = 0; i < n; i++) y[i] = eq_rint_clamp((float)x[i] * k, zp, lo, hi);
}

#ifndef EQ_ADD_PIXELS
#define PIXELS(name, kernel)                                                                       \
  ROW name(const eq_pixels *p) {                                                                   \
    int32_t a[EQ_CHUNK], b[EQ_CHUNK], y[EQ_CHUNK];                                                 \
    for (ptrdiff_t i = 0; i < p->pixels; i++)                                                      \
      for (int c = 0; c < p->channels; c += EQ_CHUNK) {                                            \
        const int n = p->channels - c < EQ_CHUNK ? p->channels - c : EQ_CHUNK;                     \
        const eq_ew r = {p->za + c, p->zb + c, p->ra + c, p->rb + c,                               \
                         p->zp + c, p->lo + c, p->hi + c};                                         \
        load8(a, p->a + i * p->sa + c, 1, n);                                                      \
        load8(b, p->b + i * p->sb + c, 1, n);                                                      \
        kernel(y, a, b, &r, n);                                                                    \
        store8(p->y + i * p->sy + c, 1, y, n);                                                     \
      }                                                                                            \
  }
PIXELS(add_pixels, add)
PIXELS(mul_pixels, mul_narrow)
#define EQ_ADD_PIXELS add_pixels
#define EQ_MUL_PIXELS mul_pixels
#endif

const eq_rows EQ_ROWS = {
    .load8 = load8,
    .load16 = load16,
    .store8 = store8,
    .store16 = store16,
    .add = add,
    .mul = mul,
    .mul_narrow = mul_narrow,
    .div = div_,
    .prelu = prelu,
    .requant = requant,
    .lut8 = lut8,
    .lut16 = EQ_LUT16,
#ifdef EQ_LOOK_UP
    .look_up = EQ_LOOK_UP,
#endif
    .quantize = quantize,
    .dequantize = EQ_DEQUANTIZE,
    .widen = widen,
#ifdef EQ_QUANTIZE8
    .quantize8 = EQ_QUANTIZE8,
#endif
    .add_pixels = EQ_ADD_PIXELS,
    .mul_pixels = EQ_MUL_PIXELS,
    .step = step,
    .max = max,
    .maxima = EQ_MAXIMA,
    .sum_pixels = EQ_SUM_PIXELS,
    .sum = sum,
    .sum64 = sum64,
    .mean = mean,
    .mean64 = mean64,
    .mac = mac,
    .dot = dot,
    .lerp = EQ_LERP,
    .pick = pick,
    .exps = exps,
    .shares = shares,
};
