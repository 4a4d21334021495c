/* executor.c: runs the commands of a program over one arena. */
#include <time.h>
#include "executor.h"
#include "rounding.h"
#include "threads.h"

static const eq_op ops[] = {
    [EQ_OP_END] = {"END", NULL, NULL},
#define EQ_OP(NAME, name) [EQ_OP_##NAME] = {#NAME, eq_check_##name, eq_run_##name},
#include "ops/ops.inc"
#undef EQ_OP
};

const eq_op *eq_op_find(unsigned opcode) {
  return opcode < sizeof ops / sizeof *ops && ops[opcode].name ? &ops[opcode] : NULL;
}

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void eq_execute(const eq_context *x, uint64_t *ns) {
  const eq_rounding caller = eq_rounding_nearest();
  for (uint32_t i = 0; i < x->program->command_count; i++) {
    const eq_head *h = &x->program->commands[i];
    const uint64_t start = ns ? now_ns() : 0;
    if (ops[h->opcode].run) ops[h->opcode].run(x, h);
    if (ns) ns[i] = now_ns() - start;
  }
  eq_rounding_restore(&caller);
}

typedef struct {
  eq_task *task;
  void *arg;
  int64_t count, parts;
} split;

static void run_part(void *arg, int part, int worker) {
  const split *s = arg;
  s->task(s->arg, s->count * part / s->parts, s->count * (part + 1) / s->parts, worker);
}

void eq_split(const eq_context *x, int64_t count, int64_t cost, eq_task *task, void *arg) {
  /* Handing out a job takes about 300 ns. One part per thread keeps the rows of a thread the same
   * from command to command; long parts come in several, so that nobody waits for a disturbed one.
   */
  enum { PARTS_PER_THREAD = 4, LEAST_NS = 500, LONG_NS = 10000 };
  const int64_t total = count * cost, threads = x->threads;
  int64_t per_thread = total / threads / LONG_NS;
  if (per_thread < 1) per_thread = 1;
  if (per_thread > PARTS_PER_THREAD) per_thread = PARTS_PER_THREAD;
  split s = {task, arg, count, threads * per_thread};
  if (s.parts > total / LEAST_NS) s.parts = total / LEAST_NS;
  if (s.parts < 1 || threads == 1) s.parts = 1;
  if (s.parts > count) s.parts = count;
  eq_pool_run(x->threads, (int)s.parts, run_part, &s);
}

/* Tap pointers of one pixel whose window lies wholly inside the picture. */
static inline void gather_inside(const int8_t *corner, const eq_window *w, int64_t row, int64_t col,
                                 size_t tap_step, const int8_t **at) {
  for (int ky = 0; ky < w->kh; ky++, corner += row) {
    const int8_t *p = corner;
    for (int kx = 0; kx < w->kw; kx++, p += col, at += tap_step) *at = p;
  }
}

bool eq_gather_inside(const eq_gather *g, const eq_cursor *at, int count) {
  const eq_window *w = &g->win;
  const int64_t y = at->y * w->sh - w->pt, x = at->x * w->sw - w->pl;
  const int64_t last = x + (int64_t)(count - 1) * w->sw;
  return at->x + count <= g->ow && y >= 0 && y + (int64_t)(w->kh - 1) * w->dh < g->h && x >= 0 &&
         last + (int64_t)(w->kw - 1) * w->dw < g->w;
}

/* Pointers of pixels that eq_gather_inside holds for. */
static void gather_run(const eq_gather *g, const eq_cursor *at, int count, size_t pixel_step,
                       size_t tap_step, const int8_t **out) {
  const eq_window *w = &g->win;
  const int64_t step = w->sw * g->sw;
  const int8_t *corner =
      g->in + at->n * g->sn + (at->y * w->sh - w->pt) * g->sh + (at->x * w->sw - w->pl) * g->sw;
  for (int ky = 0; ky < w->kh; ky++)
    for (int kx = 0; kx < w->kw; kx++, out += tap_step) {
      const int8_t *p = corner + ky * w->dh * g->sh + kx * w->dw * g->sw;
      for (int i = 0; i < count; i++, p += step) out[(size_t)i * pixel_step] = p;
    }
}

void eq_gather_pointers(const eq_gather *g, eq_cursor *at, int count, size_t pixel_step,
                        size_t tap_step, const int8_t **out) {
  const eq_window w = g->win;
  while (count > 0) { /* runs within a row, as long as they need no padding */
    const int run = (int)(count < g->ow - at->x ? count : g->ow - at->x);
    if (!eq_gather_inside(g, at, run)) break;
    gather_run(g, at, run, pixel_step, tap_step, out);
    at->x += run - 1;
    eq_cursor_step(g, at);
    out += (size_t)run * pixel_step;
    count -= run;
  }
  const int64_t below = g->h - (int64_t)(w.kh - 1) * w.dh,
                right = g->w - (int64_t)(w.kw - 1) * w.dw;
  for (int i = 0; i < count; i++, eq_cursor_step(g, at)) {
    const int8_t **to = out + (size_t)i * pixel_step;
    const int64_t y0 = at->y * w.sh - w.pt, x0 = at->x * w.sw - w.pl;
    const int8_t *picture = g->in + at->n * g->sn;
    if (y0 >= 0 && y0 < below && x0 >= 0 && x0 < right)
      gather_inside(picture + y0 * g->sh + x0 * g->sw, &w, w.dh * g->sh, w.dw * g->sw, tap_step,
                    to);
    else
      for (int ky = 0; ky < w.kh; ky++) {
        const int64_t y = y0 + (int64_t)ky * w.dh;
        const int8_t *row = y >= 0 && y < g->h ? picture + y * g->sh : NULL;
        for (int kx = 0; kx < w.kw; kx++, to += tap_step) {
          const int64_t x = x0 + (int64_t)kx * w.dw;
          *to = row && x >= 0 && x < g->w ? row + x * g->sw : g->pad;
        }
      }
  }
}

void eq_output_pointers(uint8_t *base, const edgeq_tensor *t, int64_t first, int count,
                        uint8_t **out) {
  const int64_t size = (int64_t)eq_dtype_bytes(t->dtype);
  int64_t ox = first % t->dims[2], oy = first / t->dims[2] % t->dims[1];
  int64_t n = first / t->dims[2] / t->dims[1];
  const int64_t pixel = t->strides[2] * size;
  if (t->strides[1] == t->dims[2] * (int64_t)t->strides[2] &&
      (n == (first + count - 1) / t->dims[2] / t->dims[1])) {
    uint8_t *p = base + n * t->strides[0] * size + (oy * t->dims[2] + ox) * pixel;
    for (int i = 0; i < count; i++, p += pixel) out[i] = p;
    return;
  }
  for (int i = 0; i < count; i++) {
    out[i] = base + (n * t->strides[0] + oy * t->strides[1] + ox * t->strides[2]) * size;
    if (++ox == t->dims[2]) {
      ox = 0;
      if (++oy == t->dims[1]) oy = 0, n++;
    }
  }
}
