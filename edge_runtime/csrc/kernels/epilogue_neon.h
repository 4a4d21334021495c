/* epilogue_neon.h: tiles of int32 accumulators -> output integers, equal to epilogue.h lane by
 * lane. A pixel has 16 channels in four registers. The steps run over all pixels of a tile at once,
 * so that rows and tables are loaded once per tile. */
#ifndef EDGEQ_EPILOGUE_NEON_H
#define EDGEQ_EPILOGUE_NEON_H
#include <arm_neon.h>
#include <string.h>
#include "epilogue.h"

/* gcc 12 wants the whole architecture: "+dotprod" alone fails there. */
#define EQ_TARGET_DOTPROD __attribute__((target("arch=armv8.2-a+dotprod")))
#define EQ_TARGET_I8MM    __attribute__((target("arch=armv8.2-a+dotprod+i8mm")))

/* One rounding step for 4 channels. */
typedef struct {
  float32x4_t m;
  int32x4_t zp, lo, hi;
} eq_step4;

/* Rows are padded to 16 channels, so full loads are inside. */
EQ_INLINE eq_step4 eq_step4_of(const eq_epilogue *e, const float *m, int c) {
  return (eq_step4){vld1q_f32(m + c), vld1q_s32(e->zp + c), vld1q_s32(e->lo + c),
                    vld1q_s32(e->hi + c)};
}

/* The step before a table of which `end` is the largest index. */
EQ_INLINE eq_step4 eq_pre4_of(const eq_epilogue *e, int c, int32_t end) {
  return (eq_step4){vld1q_f32(e->m + c), vdupq_n_s32(e->pre_zero), vdupq_n_s32(-end - 1),
                    vdupq_n_s32(end)};
}

/* FCVTNS rounds half to even, saturates and turns NaN into 0, and the sum saturates too: far values
 * and NaN end where numerics.h puts them. */
EQ_INLINE int32x4_t eq_round4(float32x4_t v, const eq_step4 *s) {
  const int32x4_t y = vqaddq_s32(vcvtnq_s32_f32(v), s->zp);
  return vminq_s32(vmaxq_s32(y, s->lo), s->hi);
}

EQ_INLINE int32x4_t eq_apply4(int32x4_t x, const eq_step4 *s) {
  return eq_round4(vmulq_f32(vcvtq_f32_s32(x), s->m), s);
}

/* Gated activation: the accumulator, its multiplier and the table value t. */
EQ_INLINE int32x4_t eq_gate4(int32x4_t acc, int32x4_t t, const eq_step4 *s) {
  return eq_round4(vmulq_f32(vmulq_f32(vcvtq_f32_s32(acc), s->m), vcvtq_f32_s32(t)), s);
}

/* 16 values in [-128, 127] as indices of a table. */
EQ_INLINE uint8x16_t eq_index16(const int32x4_t x[4]) {
  const int8x8_t low = vmovn_s16(vcombine_s16(vmovn_s32(x[0]), vmovn_s32(x[1])));
  const int8x8_t high = vmovn_s16(vcombine_s16(vmovn_s32(x[2]), vmovn_s32(x[3])));
  return veorq_u8(vreinterpretq_u8_s8(vcombine_s8(low, high)), vdupq_n_u8(0x80));
}

/* LUT8: the table as planes of low and high bytes, 64 entries at a time; TBX leaves the lanes whose
 * index lies elsewhere. x becomes the table's values. */
EQ_INLINE void eq_lut8_tile(int32x4_t x[][4], const int16_t *table, const int PIXELS) {
  uint8x16_t at[EQ_MAX_MR], low[EQ_MAX_MR], high[EQ_MAX_MR];
#pragma GCC unroll 8
  for (int i = 0; i < PIXELS; i++) {
    at[i] = eq_index16(x[i]);
    low[i] = high[i] = vdupq_n_u8(0);
  }
  const uint8_t *bytes = (const uint8_t *)table;
  for (int q = 0; q < 4; q++, bytes += 128) {
    uint8x16x4_t lows, highs;
#pragma GCC unroll 4
    for (int k = 0; k < 4; k++) {
      const uint8x16x2_t planes = vld2q_u8(bytes + 32 * k);
      lows.val[k] = planes.val[0];
      highs.val[k] = planes.val[1];
    }
#pragma GCC unroll 8
    for (int i = 0; i < PIXELS; i++) {
      low[i] = vqtbx4q_u8(low[i], lows, at[i]);
      high[i] = vqtbx4q_u8(high[i], highs, at[i]);
      at[i] = vsubq_u8(at[i], vdupq_n_u8(64));
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < PIXELS; i++) {
    const int16x8_t a = vreinterpretq_s16_u8(vzip1q_u8(low[i], high[i]));
    const int16x8_t b = vreinterpretq_s16_u8(vzip2q_u8(low[i], high[i]));
    x[i][0] = vmovl_s16(vget_low_s16(a));
    x[i][1] = vmovl_high_s16(a);
    x[i][2] = vmovl_s16(vget_low_s16(b));
    x[i][3] = vmovl_high_s16(b);
  }
}

/* T[i] and T[i+1] in 32 bits; i <= 511, so the last pair is the table's end. */
EQ_INLINE int32_t eq_pair(const int16_t *table, int32_t i) {
  int32_t pair;
  memcpy(&pair, table + i, 4);
  return pair;
}

EQ_INLINE int32x4_t eq_lut16_4(int32x4_t x, const int16_t *table) {
  const int32x4_t u = vaddq_s32(x, vdupq_n_s32(32768)), i = vshrq_n_s32(u, 7);
  int32x4_t pair = vdupq_n_s32(eq_pair(table, vgetq_lane_s32(i, 0)));
  pair = vsetq_lane_s32(eq_pair(table, vgetq_lane_s32(i, 1)), pair, 1);
  pair = vsetq_lane_s32(eq_pair(table, vgetq_lane_s32(i, 2)), pair, 2);
  pair = vsetq_lane_s32(eq_pair(table, vgetq_lane_s32(i, 3)), pair, 3);
  const int32x4_t t = vshrq_n_s32(vshlq_n_s32(pair, 16), 16);
  const int32x4_t rise = vsubq_s32(vshrq_n_s32(pair, 16), t);
  /* (rise * f + 64) >> 7 */
  return vaddq_s32(t, vrshrq_n_s32(vmulq_s32(rise, vandq_s32(u, vdupq_n_s32(127))), 7));
}

/* LUT16 of 64 straight pieces, see kernels.h: four byte planes of 64 entries, so that four TBL
 * bring base and slope of 16 values. (slope * f + 64) >> 7 = (2 * 8 slope * (f << 5) + 2^15) >> 16
 * is SQRDMULH. */
EQ_INLINE void eq_pieces_tile(int32x4_t x[][4], const int16_t *pieces, const int PIXELS) {
  uint8x16x4_t plane[4];
#pragma GCC unroll 4
  for (int k = 0; k < 4; k++) {
    const uint8x16x2_t base = vld2q_u8((const uint8_t *)(pieces + 16 * k));
    const uint8x16x2_t slope = vld2q_u8((const uint8_t *)(pieces + EQ_PIECES + 16 * k));
    plane[0].val[k] = base.val[0], plane[1].val[k] = base.val[1];
    plane[2].val[k] = slope.val[0], plane[3].val[k] = slope.val[1];
  }
  for (int i = 0; i < PIXELS; i++) {
    const uint16x8_t flip = vdupq_n_u16(0x8000), rest = vdupq_n_u16(1023 << 5);
    const int16x8_t a = vmovn_high_s32(vmovn_s32(x[i][0]), x[i][1]);
    const int16x8_t b = vmovn_high_s32(vmovn_s32(x[i][2]), x[i][3]);
    const uint16x8_t u = veorq_u16(vreinterpretq_u16_s16(a), flip);
    const uint16x8_t v = veorq_u16(vreinterpretq_u16_s16(b), flip);
    const uint8x16_t at = vshrq_n_u8(vshrn_high_n_u16(vshrn_n_u16(u, 8), v, 8), 2);
    const uint8x16_t base0 = vqtbl4q_u8(plane[0], at), base1 = vqtbl4q_u8(plane[1], at);
    const uint8x16_t slope0 = vqtbl4q_u8(plane[2], at), slope1 = vqtbl4q_u8(plane[3], at);
    const int16x8_t base_a = vreinterpretq_s16_u8(vzip1q_u8(base0, base1));
    const int16x8_t base_b = vreinterpretq_s16_u8(vzip2q_u8(base0, base1));
    const int16x8_t slope_a = vreinterpretq_s16_u8(vzip1q_u8(slope0, slope1));
    const int16x8_t slope_b = vreinterpretq_s16_u8(vzip2q_u8(slope0, slope1));
    const int16x8_t f = vreinterpretq_s16_u16(vandq_u16(vshlq_n_u16(u, 5), rest));
    const int16x8_t g = vreinterpretq_s16_u16(vandq_u16(vshlq_n_u16(v, 5), rest));
    const int16x8_t low = vaddq_s16(base_a, vqrdmulhq_s16(slope_a, f));
    const int16x8_t high = vaddq_s16(base_b, vqrdmulhq_s16(slope_b, g));
    x[i][0] = vmovl_s16(vget_low_s16(low)), x[i][1] = vmovl_high_s16(low);
    x[i][2] = vmovl_s16(vget_low_s16(high)), x[i][3] = vmovl_high_s16(high);
  }
}

/* Write the channels that exist of 16 to `out`, the address of the first. Narrowing saturates: only
 * a table value without a step can lie outside. */
EQ_INLINE void eq_store16(const eq_epilogue *e, int channels, const int32x4_t y[4], uint8_t *out) {
  const int16x8_t a = vqmovn_high_s32(vqmovn_s32(y[0]), y[1]);
  const int16x8_t b = vqmovn_high_s32(vqmovn_s32(y[2]), y[3]);
  uint8_t part[32];
  uint8_t *to = channels < 16 ? part : out;
  if (e->out16) {
    vst1q_u8(to, vreinterpretq_u8_s16(a));
    vst1q_u8(to + 16, vreinterpretq_u8_s16(b));
  } else {
    vst1q_u8(to, vreinterpretq_u8_s8(vqmovn_high_s16(vqmovn_s16(a), b)));
  }
  if (channels < 16) memcpy(out, part, (size_t)channels * (e->out16 ? 2 : 1));
}

/* From accumulators to output, through a table. */
EQ_INLINE void eq_tabulate(const eq_epilogue *e, int c, int32x4_t acc[][4], const int PIXELS) {
  int32x4_t t[EQ_MAX_MR][4];
  const int32_t end = e->lut_kind == EQ_LUT_LUT8 ? 127 : 32767;
  for (int j = 0; j < 4; j++) {
    const eq_step4 pre = eq_pre4_of(e, c + 4 * j, end);
    for (int i = 0; i < PIXELS; i++) t[i][j] = eq_apply4(acc[i][j], &pre);
  }
  if (e->lut_kind == EQ_LUT_LUT8)
    eq_lut8_tile(t, e->table, PIXELS);
  else if (e->pieces)
    eq_pieces_tile(t, e->pieces, PIXELS);
  else
    for (int i = 0; i < PIXELS; i++)
      for (int j = 0; j < 4; j++) t[i][j] = eq_lut16_4(t[i][j], e->table);
  for (int j = 0; j < 4; j++) {
    const eq_step4 post = eq_step4_of(e, e->r, c + 4 * j);
    for (int i = 0; i < PIXELS; i++)
      acc[i][j] = e->gate   ? eq_gate4(acc[i][j], t[i][j], &post)
                  : e->step ? eq_apply4(t[i][j], &post)
                            : t[i][j];
  }
}

/* Finish the tile whose channels start at c, bias included in acc: output pixel i is written at
 * out[i] + at. PIXELS is constant after inlining; only the first `pixels` are written. */
EQ_INLINE void eq_finish(const eq_epilogue *e, int c, int channels, int32x4_t acc[][4],
                         const int PIXELS, int pixels, uint8_t *const *out, ptrdiff_t at) {
  if (e->lut_kind == EQ_LUT_NONE) {
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
      const eq_step4 s = eq_step4_of(e, e->m, c + 4 * j);
#pragma GCC unroll 8
      for (int i = 0; i < PIXELS; i++) acc[i][j] = eq_apply4(acc[i][j], &s);
    }
  } else {
    eq_tabulate(e, c, acc, PIXELS);
  }
#pragma GCC unroll 8
  for (int i = 0; i < PIXELS; i++)
    if (i < pixels) eq_store16(e, channels, acc[i], out[i] + at);
}
#endif
