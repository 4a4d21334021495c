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

ROW lut16(int32_t *x, const int16_t *table, int n) {
  for (int i = 0; i < n; i++) x[i] = eq_lut16(x[i], table);
}

ROW step(int32_t *restrict x, const float *restrict r, const int32_t *restrict zp,
         const int32_t *restrict lo, const int32_t *restrict hi, int n) {
  for (int i = 0; i < n; i++) x[i] = eq_requantize(x[i], r[i], zp[i], lo[i], hi[i]);
}

ROW max(int32_t *restrict y, const int32_t *restrict x, int n) {
  for (int i = 0; i < n; i++) y[i] = y[i] > x[i] ? y[i] : x[i];
}

/* Pictures have few channels, where the compiler's own vector loop is mostly its scalar tail: so
 * vectors of 16 and 8 by hand, in the portable notation of GCC and Clang. */
#define MAX8_BLOCKS(bytes)                                                                         \
  for (; i + (bytes) <= n; i += (bytes)) {                                                         \
    typedef int8_t block __attribute__((vector_size(bytes)));                                      \
    block a, b;                                                                                    \
    memcpy(&a, y + i, sizeof a);                                                                   \
    memcpy(&b, x + i, sizeof b);                                                                   \
    const block larger = a > b;                                                                    \
    a = (a & larger) | (b & ~larger);                                                              \
    memcpy(y + i, &a, sizeof a);                                                                   \
  }

ROW max8(int8_t *restrict y, const int8_t *restrict x, int n) {
  int i = 0;
  MAX8_BLOCKS(32)
  MAX8_BLOCKS(16)
  MAX8_BLOCKS(8)
  for (; i < n; i++) y[i] = y[i] > x[i] ? y[i] : x[i];
}

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
ROW lerp(int8_t *restrict y, ptrdiff_t stride, const int8_t *const *corner, ptrdiff_t in_stride,
         int32_t wy, int32_t wx, int n) {
  const int8_t *p = corner[0], *q = corner[1], *u = corner[2], *v = corner[3];
  if (stride == 1 && in_stride == 1)
    for (int i = 0; i < n; i++) y[i] = (int8_t)eq_lerp(p[i], q[i], u[i], v[i], wy, wx);
  else
    for (int i = 0; i < n; i++) {
      const ptrdiff_t k = i * in_stride;
      y[i * stride] = (int8_t)eq_lerp(p[k], q[k], u[k], v[k], wy, wx);
    }
}

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
    .lut16 = lut16,
    .step = step,
    .max = max,
    .max8 = max8,
    .sum = sum,
    .sum64 = sum64,
    .mean = mean,
    .mean64 = mean64,
    .mac = mac,
    .dot = dot,
    .lerp = lerp,
};
