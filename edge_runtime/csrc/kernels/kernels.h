/* kernels.h: what a kernel is handed, and the table of the kernels one ISA level uses. Internal.
 * Kernels allocate nothing, fail nowhere and keep no globals. Every variant equals scalar. */
#ifndef EDGEQ_KERNELS_H
#define EDGEQ_KERNELS_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Target strings, in one place: the attribute decides the instructions, not the file's flags. */
#if defined(__x86_64__)
#define EQ_TARGET_AVX2       __attribute__((target("avx2")))
#define EQ_TARGET_AVXVNNI    __attribute__((target("avxvnni")))
#define EQ_TARGET_AVX512VNNI __attribute__((target("avx512vnni,avx512vl,avx512bw")))
#endif
#define EQ_INLINE static inline __attribute__((always_inline))

/* ---- epilogue of CONV and DWCONV: int32 accumulator -> output integer ---- */

/* Rows start at the first channel of the group; see CONV in isa.py. */
typedef struct {
  const int32_t *bias, *wsum;
  const float *m;
  const int32_t *zp, *lo, *hi;
  const float *r;
  const int16_t *table;
  int lut_kind; /* EQ_LUT_* */
  bool step;    /* EQ_FLAG_LUT_STEP */
  bool gate;    /* EQ_FLAG_LUT_GATE */
  bool out16;
  int32_t pre_zero;
  /* from eq_prepare */
  const int16_t *pieces; /* of a LUT16 table of 64 straight pieces, or NULL */
  bool words; /* saturating int16 arithmetic after each rounding gives the law's integers */
  bool small; /* no product that becomes an output leaves int32; what goes into a table may */
} eq_epilogue;

/* A table of 513 entries may be 64 straight pieces of 8 intervals: T(x) = base + ((slope * f + 64)
 * >> 7) with u = x + 32768, f = u & 1023 and piece u >> 10. pieces[k] = T[8k], and pieces[64 + k] =
 * 8 * (T[8k + 1] - T[8k]). Behind them, for lookups by bytes, the low bytes of the first 64, their
 * high bytes, and those of the second 64. */
enum { EQ_PIECES = 64, EQ_PIECES_ROOM = 4 * EQ_PIECES, EQ_LUT16_INTERVALS = 512 };

/* Fill what the fast epilogues ask for, from the rows of `lanes` channels, the table and how many
 * products a sum has at most. `pieces` holds EQ_PIECES_ROOM values and outlives `e`. */
void eq_prepare(eq_epilogue *e, int lanes, int64_t products, int16_t *pieces);

/* ---- convolution: one tile of output pixels times output channels ---- */

typedef struct {
  eq_epilogue e;
  const int8_t *w;      /* panels of this group: [panel][taps][k4][16 channels][4] */
  size_t panel_bytes;   /* taps * k4 * 64 */
  int taps, k4;         /* k4 = ceil(input channels of the group / 4) */
  ptrdiff_t in_offset;  /* first input channel of the group, bytes */
  ptrdiff_t out_offset; /* first output channel of the group, bytes */
} eq_conv;

/* in[t * mr + i] is tap t of pixel i; out[i] its output pixel. `pixels` <= mr; entries beyond
 * `pixels` up to mr are readable pointers whose results are dropped. channels <= 16 * np,
 * counted from the rows of `a`. Reads up to 31 bytes past a pixel. */
typedef void eq_conv_fn(const eq_conv *a, const int8_t *const *in, uint8_t *const *out, int pixels,
                        int channels);

/* The same with 4-bit weights: `packed` holds the panels of this tile (eq_unpack4_fn), `to`, which
 * is a->w, room for them as int8. With `keep` they lie there afterwards, for the tiles that follow.
 */
typedef void eq_conv4_fn(const eq_conv *a, const int8_t *packed, int8_t *to, bool keep,
                         const int8_t *const *in, uint8_t *const *out, int pixels, int channels);

enum { EQ_MAX_MR = 24, EQ_MAX_NP = 2 }; /* largest mr and np of any variant */

/* The same from lines: copies of input rows with the columns a window reads beside the picture.
 * In what encoding is the variant's business. */
typedef struct {
  const int8_t *pad;   /* [pixel rounded up to 64] what an absent pixel reads */
  int64_t pixel, step; /* bytes of a pixel; between pixels of the picture */
  int64_t columns;     /* of a line */
  int64_t left, width; /* columns before the picture, may be negative; columns of the picture */
} eq_line;

typedef struct {
  ptrdiff_t step, tap; /* bytes between the windows of neighbours and between kernel rows */
  ptrdiff_t out;       /* bytes between output pixels */
} eq_lines;

enum { EQ_LINE_QUAD = 4 }; /* pixels that share a pointer */

typedef struct {
  /* one line from `row`, NULL for a row beside the picture; reads and writes up to 63 bytes more */
  void (*fill)(const eq_line *l, uint8_t *to, const int8_t *row);
  /* a->taps kernel rows of a->k4 * 4 bytes for quads of pixels and `channels` channels from a->w;
   * in[q] is the window of the first pixel of a quad, out[q] its output pixel; those of the others
   * lie one step apart. */
  void (*run)(const eq_conv *a, const eq_lines *l, const uint8_t *const *in, uint8_t *const *out,
              int quads, int channels);
} eq_conv_lines;

/* ---- convolution, few output channels: pixels at one stride ---- */

typedef struct {
  const uint8_t *in;   /* window of the first pixel: int8, or x + 128 as eq_conv_lines fills it */
  ptrdiff_t step, tap; /* bytes between the windows of neighbours and between kernel rows */
  uint8_t flip;        /* 0x80 for int8, 0 for x + 128 */
  uint8_t *out;
  ptrdiff_t out_step; /* bytes between output pixels */
} eq_strip;

/* a->taps kernel rows of a->k4 * 4 bytes to `channels` <= 8 channels; a->e.words holds. Reads up to
 * 64 bytes past the last pixel from int8, up to 256 past a kernel row of x + 128. */
typedef void eq_conv_strip_fn(const eq_conv *a, const eq_strip *s, int64_t pixels, int channels);

/* ---- pointwise convolution: a run of pixels at one stride ---- */

enum { EQ_POINTS_SLACK = 16 }; /* pixels behind the last that a copy has room for */

typedef struct {
  /* copies of `pixels` pixels of `pixel` bytes, a multiple of 4, that lie `step` bytes apart; reads
   * and writes up to 63 bytes more */
  void (*fill)(uint8_t *to, const int8_t *from, ptrdiff_t step, int pixel, int pixels);
  /* a->k4 * 4 bytes of each pixel from a copy to `channels` <= 32 channels at out, out + step, ...
   */
  void (*run)(const eq_conv *a, const uint8_t *in, uint8_t *out, ptrdiff_t step, int pixels,
              int channels);
} eq_conv_points;

/* ---- depthwise: some output pixels, all channels ---- */

typedef struct {
  eq_epilogue e;
  const int8_t *w; /* [taps][lanes(channels)] */
  int taps, channels, lanes;
} eq_dw;

/* in[i * taps4 + t] is tap t of pixel i, taps4 = taps rounded up to 4, the extra entries readable.
 * Reads up to 15 bytes past a pixel. */
typedef void eq_dw_fn(const eq_dw *a, const int8_t *const *in, uint8_t *const *out, int pixels);

/* Rows of a 3x3 or 5x5 kernel with stride 1 or 2 and int8 outputs whose epilogue has `words`, all
 * channels: the kernel turns
 * whole columns of taps into [channel][tap] once and uses them for every output they reach. */
typedef struct {
  eq_epilogue e;
  const int8_t *w; /* [k * k][lanes] */
  int k, stride, channels, lanes;
  const int8_t *in;      /* row 0, column 0 */
  const int8_t *pad;     /* [lanes] what absent taps read */
  ptrdiff_t line, pixel; /* bytes between input rows and columns */
  int height, width;     /* of the input */
  int top, left;         /* rows and columns of padding before the first window */
  uint8_t *out;          /* output row 0, column 0 */
  ptrdiff_t out_line, out_pixel;
  int first, last; /* output rows [first, last) */
  int count;       /* output columns */
} eq_dw_row;

/* Reads up to 15 bytes past a pixel. */
typedef void eq_dw_row_fn(const eq_dw_row *a);

/* ---- 4-bit weights ---- */

/* Blocks of 64 weights in 32 bytes: byte i holds weight i in its low half and weight 32 + i in its
 * high half, both signed. A last block of fewer (`bytes` is a multiple of 8) is halved likewise. */
typedef void eq_unpack4_fn(int8_t *to, const int8_t *from, size_t bytes);

/* ---- elementwise on int8 pixels: y[i][c] from a[i][c] and b[i][c] ---- */

typedef struct {
  const int32_t *za, *zb;
  const float *ra, *rb;
  const int32_t *zp, *lo, *hi;
  const int8_t *a, *b;
  int8_t *y;
  ptrdiff_t sa, sb, sy; /* bytes between pixels */
  int channels, pixels;
} eq_pixels;

/* ---- rows: n values along the last axis, widened to int32 in chunks ---- */

enum { EQ_CHUNK = 256 };

typedef struct {
  const int32_t *za, *zb;
  const float *ra, *rb;
  const int32_t *zp, *lo, *hi;
} eq_ew;

typedef void eq_ew_fn(int32_t *y, const int32_t *a, const int32_t *b, const eq_ew *r, int n);

/* Pixels of int8 or int16 that become dense floats. */
typedef struct {
  const void *x;
  bool wide;     /* int16 */
  bool each;     /* a scale and a zero point per channel, else one for all */
  int64_t pixel; /* elements between pixels */
  int64_t pixels;
  int n; /* values of a pixel */
  const float *scale;
  const int32_t *zp;
} eq_reals;

/* y[i][c] = the largest x[i * step + t * tap + c] over `taps` >= 1 values of t. */
typedef struct {
  const int8_t *x;
  int8_t *y;
  ptrdiff_t step, tap, sy;
  int taps;
  int64_t n, pixels; /* channels c, pixels i */
} eq_maxima;

/* Table functions of whole pixels: int8 by 256 entries; int16 by 513 whose steps fit int16. */
typedef struct {
  const void *x;
  void *y;
  ptrdiff_t sx, sy; /* elements between pixels */
  int n;            /* values of a pixel */
  int64_t pixels;
  bool in8, out16;
  const int16_t *table;
  const int16_t *pieces; /* as in eq_epilogue */
  const float *r;        /* of the step behind the table; NULL without */
  const int32_t *zp, *lo, *hi;
} eq_lookup;

typedef struct {
  const double *ratio;
  const int32_t *zx, *zp, *lo, *hi;
} eq_mean_rows;

typedef struct {
  void (*load8)(int32_t *y, const int8_t *x, ptrdiff_t stride, int n);
  void (*load16)(int32_t *y, const int16_t *x, ptrdiff_t stride, int n);
  void (*store8)(int8_t *y, ptrdiff_t stride, const int32_t *x, int n);
  void (*store16)(int16_t *y, ptrdiff_t stride, const int32_t *x, int n);
  eq_ew_fn *add, *mul, *mul_narrow, *div, *prelu, *requant;
  void (*lut8)(int32_t *x, const int16_t *table, int n);
  void (*lut16)(int32_t *x, const int16_t *table, int n);
  void (*look_up)(const eq_lookup *l); /* NULL: use lut8 and lut16. y may be x */
  /* edge rules; quantize returns true when x holds a NaN */
  bool (*quantize)(int32_t *y, const float *x, float scale, int32_t zp, int32_t lo, int32_t hi,
                   int n);
  /* the same to int8, whole pixels of 3 values in 4 bytes when `expand`; zp fits int8 and scale
   * lies between 2^-100 and 2^100. NULL: use quantize */
  bool (*quantize8)(int8_t *y, const float *x, float scale, int32_t zp, bool expand, int64_t n);
  void (*dequantize)(float *y, const eq_reals *r);
  void (*widen)(int8_t *y, const int8_t *x, int64_t pixels); /* pixels of 3 bytes to 4 */
  void (*add_pixels)(const eq_pixels *p), (*mul_pixels)(const eq_pixels *p); /* y may be a */
  /* x = clamp(rint(f32(x) * r) + zp, lo, hi) */
  void (*step)(int32_t *x, const float *r, const int32_t *zp, const int32_t *lo, const int32_t *hi,
               int n);
  void (*max)(int32_t *y, const int32_t *x, int n);
  void (*maxima)(const eq_maxima *m);
  /* acc[c] += the sum of x[i * stride + c] over i < pixels */
  void (*sum_pixels)(int32_t *acc, const int8_t *x, ptrdiff_t stride, int64_t pixels, int n);
  void (*sum)(int32_t *y, const int32_t *x, int n);
  void (*sum64)(int64_t *y, const int32_t *x, int n);
  /* y = mean of `valid` values divided by `count`, from their sums */
  void (*mean)(int32_t *y, const int32_t *s, const eq_mean_rows *r, int64_t valid, int64_t count,
               int n);
  void (*mean64)(int32_t *y, const int64_t *s, const eq_mean_rows *r, int64_t valid, int64_t count,
                 int n);
  /* y += (a - za) * (b - zb) */
  void (*mac)(int32_t *y, int32_t a, const int8_t *b, ptrdiff_t stride, int32_t zb, int n);
  int32_t (*dot)(const int8_t *a, ptrdiff_t sa, int32_t za, const int8_t *b, ptrdiff_t sb,
                 int32_t zb, int n);
  /* contiguous channels of four corners */
  void (*lerp)(int8_t *y, const int8_t *const *corner, int32_t wy, int32_t wx, int n);
  /* pixel i of y is pixel at[i] of x; strides in bytes */
  void (*pick)(uint8_t *y, ptrdiff_t sy, const uint8_t *x, ptrdiff_t sx, const int32_t *at,
               int64_t count, int64_t bytes);
  /* softmax: y = exp(x - top) in Q0.30, returns their sum; y = clamp(rint(f32(x) * k) + zp) */
  uint64_t (*exps)(uint32_t *y, const int32_t *x, int32_t top, const uint32_t *fine,
                   const uint32_t *coarse, int n);
  void (*shares)(int32_t *y, const uint32_t *x, float k, int32_t zp, int32_t lo, int32_t hi, int n);
} eq_rows;

/* ---- the table one model uses ---- */

typedef struct {
  const char *isa; /* the level asked for; each kernel below is the best variant up to it */
  eq_conv_fn *conv;
  int conv_mr, conv_np;              /* pixels and 16-channel panels of one tile */
  eq_conv4_fn *conv4;                /* or NULL */
  const eq_conv_lines *conv_lines;   /* or NULL */
  eq_conv_strip_fn *conv_strip;      /* or NULL */
  const eq_conv_points *conv_points; /* or NULL */
  eq_dw_fn *dw;
  eq_dw_row_fn *dw_row; /* or NULL */
  eq_unpack4_fn *unpack4;
  const eq_rows *rows;
} eq_kernels;

/* Fill `k` for the named level, or for EDGEQ_ISA / the best when NULL. False: not runnable. */
bool eq_kernels_for(const char *isa, eq_kernels *k);

#define EQ_KERNEL_CONV(isa, mr, np) eq_conv_fn eq_conv__##isa;
#define EQ_KERNEL_CONV4(isa)        eq_conv4_fn eq_conv4__##isa;
#define EQ_KERNEL_CONV_LINES(isa)   extern const eq_conv_lines eq_conv_lines__##isa;
#define EQ_KERNEL_CONV_STRIP(isa)   eq_conv_strip_fn eq_conv_strip__##isa;
#define EQ_KERNEL_CONV_POINTS(isa)  extern const eq_conv_points eq_conv_points__##isa;
#define EQ_KERNEL_DW(isa)           eq_dw_fn eq_dw__##isa;
#define EQ_KERNEL_DW_ROW(isa)       eq_dw_row_fn eq_dw_row__##isa;
#define EQ_KERNEL_UNPACK4(isa)      eq_unpack4_fn eq_unpack4__##isa;
#define EQ_KERNEL_ROWS(isa)         extern const eq_rows eq_rows__##isa;
#include "conv.inc"
#include "conv4.inc"
#include "conv_lines.inc"
#include "conv_strip.inc"
#include "conv_points.inc"
#include "dw.inc"
#include "dw_row.inc"
#include "unpack4.inc"
#include "rows.inc"
#undef EQ_KERNEL_CONV
#undef EQ_KERNEL_CONV4
#undef EQ_KERNEL_CONV_LINES
#undef EQ_KERNEL_CONV_STRIP
#undef EQ_KERNEL_CONV_POINTS
#undef EQ_KERNEL_DW
#undef EQ_KERNEL_DW_ROW
#undef EQ_KERNEL_UNPACK4
#undef EQ_KERNEL_ROWS
#endif
