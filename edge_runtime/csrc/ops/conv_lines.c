/* conv_lines.c: CONV from copies of the input rows under a rectangle of output pixels, padding
 * included. Neighbouring windows overlap in a line, and no pointers are gathered. */
#include "conv.h"

/* A rectangle's lines should stay in the first cache, but where that leaves few pixels for each
 * pass over the weights, more of them come from the second. */
enum { LINES_NEAR = 24576, ENOUGH_PIXELS = 96, MOST_QUADS = 256, QUAD = EQ_LINE_QUAD };

/* Output rows [y, y + rows), columns [x, x + width) of a picture. */
typedef struct {
  int64_t n, y, x, rows, width;
} rectangle;

/* Where lines lie in the picture and in memory. */
typedef struct {
  eq_line line;
  int64_t bytes;        /* of a line */
  int64_t row;          /* input rows between lines */
  int64_t step, stride; /* columns between windows of neighbours, lines between those of rows */
  int64_t more;         /* lines of a window beyond its first */
} layout;

static layout layout_of(const eq_conv_job *j, int64_t x, int64_t width) {
  const eq_gather *g = &j->gather;
  const eq_window *w = &g->win;
  const int64_t pixel = j->conv.k4 * 4;
  layout l;
  if (w->kw == 1 && w->pl % w->sw == 0) { /* only the columns that are read */
    l.line =
        (eq_line){g->pad, pixel, w->sw * g->sw, width, w->pl / w->sw - x, (g->w - 1) / w->sw + 1};
    l.step = 1;
  } else {
    l.line = (eq_line){g->pad, pixel, g->sw, (width - 1) * w->sw + w->kw, w->pl - x * w->sw, g->w};
    l.step = w->sw;
  }
  l.bytes = (l.line.columns > EQ_LINES / pixel ? EQ_LINES + 1 : l.line.columns) * pixel;
  l.row = w->kh == 1 ? w->sh : 1;
  l.stride = w->kh == 1 ? 1 : w->sh;
  l.more = (int64_t)(w->kh - 1) * w->dh;
  return l;
}

/* Output rows whose lines fit into `bytes`. */
static int64_t rows_in(const layout *l, int64_t bytes) {
  const int64_t lines = bytes / l->bytes - l->more - 1;
  return lines < 0 ? 0 : lines / l->stride + 1;
}

/* The first rows of `r`, or the first columns of its first row; no rows when nothing fits. */
static layout cut(const eq_conv_job *j, rectangle *r) {
  const int64_t quads = (r->width + QUAD - 1) / QUAD;
  layout l = layout_of(j, r->x, r->width);
  int64_t rows = rows_in(&l, LINES_NEAR);
  if (rows * r->width < ENOUGH_PIXELS) {
    const int64_t all = rows_in(&l, EQ_LINES), enough = (ENOUGH_PIXELS + r->width - 1) / r->width;
    rows = all < enough ? all : enough;
  }
  if (rows > MOST_QUADS / quads) rows = MOST_QUADS / quads;
  if (rows < r->rows) r->rows = rows;
  if (rows) return l;
  /* halve until it fits: every width is the same from call to call */
  for (r->rows = 1; r->width >= 2 * QUAD;) {
    r->width = (r->width / 2 + QUAD - 1) / QUAD * QUAD;
    l = layout_of(j, r->x, r->width);
    if (r->width <= MOST_QUADS * QUAD && rows_in(&l, EQ_LINES)) return l;
  }
  r->rows = 0;
  return l;
}

/* Fill the lines of `r` and point to the windows and output pixels of its quads; how many. The last
 * quad of a row may overlap the one before it and makes the same values again. */
static int prepare(const eq_conv_job *j, const rectangle *r, const layout *l, uint8_t *lines,
                   const uint8_t **in, uint8_t **out) {
  const eq_gather *g = &j->gather;
  const eq_window *w = &g->win;
  const int64_t count = (r->rows - 1) * l->stride + l->more + 1, top = r->y * w->sh - w->pt;
  for (int64_t i = 0; i < count; i++) {
    const int64_t y = top + i * l->row;
    const int8_t *row = y >= 0 && y < g->h ? g->in + r->n * g->sn + y * g->sh : NULL;
    j->x->kernels->conv_lines->fill(&l->line, lines + i * l->bytes, row);
  }
  const int32_t *strides = j->out->strides;
  const int64_t size = j->conv.e.out16 ? 2 : 1, step = l->step * l->line.pixel;
  int quads = 0;
  for (int64_t y = 0; y < r->rows; y++) {
    const uint8_t *from = lines + y * l->stride * l->bytes;
    uint8_t *to =
        j->base + (r->n * strides[0] + (r->y + y) * strides[1] + r->x * strides[2]) * size;
    for (int64_t x = 0; x < r->width; x += QUAD, quads++) {
      const int64_t first = x + QUAD <= r->width ? x : r->width - QUAD;
      in[quads] = from + first * step;
      out[quads] = to + first * strides[2] * size;
    }
  }
  return quads;
}

int64_t eq_conv_by_lines(const eq_conv_job *j, int64_t first, int64_t last, int b0, int b1,
                         int worker) {
  const eq_gather *g = &j->gather;
  const eq_kernels *k = j->x->kernels;
  const eq_cursor from = eq_cursor_at(g, first);
  const int64_t left = last - first, above = g->oh - from.y;
  rectangle r = {from.n, from.y, from.x, 1, g->ow - from.x};
  if (from.x || left < g->ow)
    r.width = r.width < left ? r.width : left;
  else
    r.rows = left / g->ow < above ? left / g->ow : above;
  if (r.width < QUAD) return 0;
  const layout l = cut(j, &r);
  const int64_t pixels = r.rows * r.width;
  if (!pixels || (j->four && pixels < EQ_PIXELS_TO_UNPACK)) return 0;
  uint8_t *lines = j->x->lines + (size_t)worker * (EQ_LINES + EQ_SLACK), *out[MOST_QUADS];
  const uint8_t *in[MOST_QUADS];
  const int quads = prepare(j, &r, &l, lines, in, out);
  const eq_lines at = {l.step * l.line.pixel, g->win.dh * l.bytes,
                       j->out->strides[2] * (j->conv.e.out16 ? 2 : 1)};
  for (int b = b0; b < b1; b++) {
    int channels;
    eq_conv a = eq_conv_block(j, b, &channels);
    if (j->four) {
      int8_t *w = j->x->unpacked + (size_t)worker * j->x->unpacked_bytes;
      k->unpack4(w, a.w, (size_t)(channels + 15) / 16 * a.panel_bytes / 2);
      a.w = w;
    }
    a.taps = g->win.kh, a.k4 *= g->win.kw;
    k->conv_lines->run(&a, &at, in, out, quads, channels);
  }
  eq_add_behind(&j->addend, first, pixels, eq_conv_first_channel(j, b0),
                eq_conv_first_channel(j, b1));
  return pixels;
}
