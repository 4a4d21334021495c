/* conv_strips.c: CONV with few output channels: pixels at one stride, without a pointer for each.
 * Pointwise layers read the input itself, others padded copies of its rows. */
#include "ops.h"

enum {
  LINES_BYTES = 24576, /* of the copies under the pixels of a strip */
  LINES_SLACK = 256,   /* read behind them, dropped */
  LEAST = 16,          /* pixels whose lines must fit */
  MOST = 1024          /* pixels of a pointwise strip: a sum behind it finds them in the cache */
};

static bool pointwise(const eq_gather *g) {
  const eq_window *w = &g->win;
  return w->kh == 1 && w->kw == 1 && !w->pt && !w->pl && (g->oh - 1) * (int64_t)w->sh < g->h &&
         (g->ow - 1) * (int64_t)w->sw < g->w;
}

static int64_t span(const eq_window *w) { return (w->kh - 1) * (int64_t)w->dh + 1; }

bool eq_strips_fit(const eq_kernels *k, const eq_gather *g, const eq_conv *a, bool joined) {
  const eq_window *w = &g->win;
  if (!k->conv_strip || !a->e.words) return false;
  if (pointwise(g)) return true;
  const int64_t columns = (LEAST - 1) * (int64_t)w->sw + w->kw;
  return joined && k->conv_lines && columns <= LINES_BYTES / (a->k4 * 4) / span(w);
}

/* The output rows from `c` on of `n` pixels each, `rows` of them, from copies. */
static void run_lines(const eq_strips *j, const eq_cursor *c, int64_t n, int64_t rows) {
  const eq_gather *g = j->gather;
  const eq_window *w = &g->win;
  const int64_t pixel = j->conv->k4 * 4, columns = (n - 1) * w->sw + w->kw;
  const int64_t bytes = columns * pixel, count = (rows - 1) * w->sh + span(w);
  uint8_t lines[LINES_BYTES + LINES_SLACK];
  const eq_line l = {g->pad, pixel, pixel, columns, w->pl - c->x * w->sw, g->w};
  for (int64_t r = 0; r < count; r++) {
    const int64_t y = c->y * w->sh - w->pt + r;
    const bool inside = y >= 0 && y < g->h;
    j->kernels->conv_lines->fill(&l, lines + r * bytes,
                                 inside ? g->in + c->n * g->sn + y * g->sh : NULL);
  }
  eq_conv a = *j->conv;
  a.taps = w->kh, a.k4 *= w->kw;
  eq_strip s = {lines, w->sw * pixel, w->dh * bytes, 0, NULL, j->pixel};
  for (int64_t r = 0; r < rows; r++, s.in += w->sh * bytes) {
    s.out = j->out + c->n * j->image + (c->y + r) * j->row + c->x * j->pixel;
    j->kernels->conv_strip(&a, &s, n, j->channels);
  }
}

int64_t eq_run_strip(const eq_strips *j, int64_t first, int64_t last) {
  const eq_gather *g = j->gather;
  const eq_window *w = &g->win;
  const eq_cursor c = eq_cursor_at(g, first);
  int64_t n = last - first;
  if (pointwise(g)) {
    const bool even = w->sw == 1 && w->sh == 1 && g->w == g->ow && g->h == g->oh &&
                      g->sh == g->w * g->sw && g->sn == g->h * g->sh &&
                      j->row == g->ow * j->pixel && j->image == g->oh * j->row;
    if (!even && n > g->ow - c.x) n = g->ow - c.x;
    if (n > MOST) n = MOST;
    const eq_strip s = {(const uint8_t *)g->in + c.n * g->sn + c.y * w->sh * g->sh +
                            c.x * w->sw * g->sw,
                        w->sw * g->sw,
                        0,
                        0x80,
                        j->out + c.n * j->image + c.y * j->row + c.x * j->pixel,
                        j->pixel};
    j->kernels->conv_strip(j->conv, &s, n, j->channels);
    return n;
  }
  const int64_t room = LINES_BYTES / (j->conv->k4 * 4); /* pixels */
  const int64_t most = (room / span(w) - w->kw) / w->sw + 1;
  int64_t rows = 1;
  if (c.x == 0 && n >= g->ow && most >= g->ow) { /* whole rows share lines */
    const int64_t fit = (room / ((g->ow - 1) * (int64_t)w->sw + w->kw) - span(w)) / w->sh + 1;
    rows = n / g->ow;
    if (rows > g->oh - c.y) rows = g->oh - c.y;
    if (rows > fit) rows = fit;
  }
  if (n > g->ow - c.x) n = g->ow - c.x;
  if (n > most) n = most;
  run_lines(j, &c, n, rows);
  return n * rows;
}
