/* layout.c: LAYOUT, a strided copy of up to six dimensions: transpose, pad, slice, concat. */
#include <string.h>
#include "ops.h"

typedef struct {
  int32_t dims[6], src[6], dst[6], src_offset, dst_offset; /* elements from the tensors' starts */
} table;

/* Elements [lowest, highest] reached from `tensor` must lie inside its region. */
static bool within(eq_check *c, uint32_t id, const int32_t *dims, const int32_t *strides,
                   int32_t offset, const char *role) {
  const edgeq_tensor *t = &c->p->tensors[id];
  const int64_t size = (int64_t)eq_dtype_bytes(t->dtype);
  const int64_t room = (int64_t)eq_region_bytes(c->p, id);
  int64_t lowest = (int64_t)t->offset / size + offset, highest = lowest;
  for (int d = 0; d < 6; d++) {
    const int64_t reach = (int64_t)(dims[d] - 1) * strides[d]; /* dims multiply to < 2^30 */
    if (reach < 0)
      lowest += reach;
    else
      highest += reach;
  }
  return (lowest >= 0 && highest < room / size) ||
         eq_fail(c, "%s is read or written outside its region", role);
}

bool eq_check_layout(eq_check *c, const eq_head *h) {
  const edgeq_tensor *x = eq_need_tensor(c, h->in0, "in0", EQ_ANY_DTYPE, 0);
  const edgeq_tensor *y = x ? eq_need_output(c, h->out, 1 << x->dtype, 0) : NULL;
  const uint8_t *bytes =
      y ? eq_need_bytes(c, EQ_SECTION_CONSTANTS, h->constants, sizeof(table), 4) : NULL;
  if (!bytes) return false;
  table t;
  memcpy(&t, bytes, sizeof t);
  int64_t count = 1;
  for (int d = 0; d < 6; d++) {
    if (t.dims[d] < 1 || (count *= t.dims[d]) > (int64_t)EQ_MAX_ARENA_BYTES)
      return eq_fail(c, "dims are at least 1, at most 2^30 elements");
    if (t.dims[d] > 1 && t.dst[d] == 0) return eq_fail(c, "out must not have stride 0");
  }
  return within(c, h->in0, t.dims, t.src, t.src_offset, "in0") &&
         within(c, h->out, t.dims, t.dst, t.dst_offset, "out");
}

typedef struct {
  table t;
  const uint8_t *src;
  uint8_t *dst;
  int size;
} job;

/* The last two dimensions, for one element type. */
#define COPY(type)                                                                                 \
  static void copy_##type(uint8_t *dst, const uint8_t *src, const table *t) {                      \
    const int64_t d0 = t->dst[4], d1 = t->dst[5], s0 = t->src[4], s1 = t->src[5];                  \
    const int n0 = t->dims[4], n1 = t->dims[5];                                                    \
    type *to = (type *)(void *)dst;                                                                \
    const type *from = (const type *)(const void *)src;                                            \
    for (int i = 0; i < n0; i++)                                                                   \
      for (int k = 0; k < n1; k++) to[i * d0 + k * d1] = from[i * s0 + k * s1];                    \
  }
COPY(uint8_t)
COPY(uint16_t)
COPY(uint32_t)

/* Two rows of bytes zipped into one: a channel shuffle of two groups. */
static bool zips(const table *t, int size) {
  return size == 1 && t->dims[4] == 2 && t->dims[5] >= 16 && t->src[5] == 1 && t->dst[5] == 2 &&
         t->dst[4] == 1;
}

static void zip(uint8_t *to, const uint8_t *a, const uint8_t *b, int n) {
  typedef uint8_t block __attribute__((vector_size(16)));
  for (int i = 0;; i += 16) {
    if (i > n - 16) i = n - 16; /* the last block overlaps the one before */
    block x, y;
    memcpy(&x, a + i, 16);
    memcpy(&y, b + i, 16);
    const block low =
        __builtin_shufflevector(x, y, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    const block high =
        __builtin_shufflevector(x, y, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    memcpy(to + (ptrdiff_t)2 * i, &low, 16);
    memcpy(to + (ptrdiff_t)2 * i + 16, &high, 16);
    if (i == n - 16) return;
  }
}

/* One block: the last two dimensions. */
static inline void move_block(const job *j, uint8_t *to, const uint8_t *from, int64_t run) {
  const table *t = &j->t;
  const int64_t size = j->size;
  if (run)
    for (int64_t i = 0; i < t->dims[4]; i++)
      memmove(to + i * t->dst[4] * size, from + i * t->src[4] * size, (size_t)run);
  else
    (size == 1 ? copy_uint8_t : size == 2 ? copy_uint16_t : copy_uint32_t)(to, from, t);
}

/* Blocks [begin, end) of the first four dimensions. */
static void run_part(void *arg, int64_t begin, int64_t end, int worker) {
  (void)worker;
  const job *j = arg;
  const table *t = &j->t;
  const int64_t size = j->size, n = t->dims[5];
  const bool zipped = zips(t, j->size);
  const int64_t run = t->src[5] == 1 && t->dst[5] == 1 && n > 4 ? n * size : 0; /* bytes */
  while (begin < end) { /* those of one line of the fourth dimension */
    const int64_t row = begin * t->dims[4], rest = t->dims[3] - begin % t->dims[3];
    const int64_t count = end - begin < rest ? end - begin : rest;
    const uint8_t *from = j->src + eq_row_offset(t->dims, t->src, 6, row) * size;
    uint8_t *to = j->dst + eq_row_offset(t->dims, t->dst, 6, row) * size;
    for (int64_t i = 0; i < count; i++, from += t->src[3] * size, to += t->dst[3] * size)
      if (zipped)
        zip(to, from, from + t->src[4], t->dims[5]);
      else
        move_block(j, to, from, run);
    begin += count;
  }
}

/* Give the inner loops work: drop dimensions of size 1 and join those that are one run on both
 * sides, then let the longer of the last two run innermost unless that one is contiguous. */
static void simplify(table *t) {
  int next = 5; /* where the next kept dimension goes, from the end */
  for (int d = 5; d >= 0; d--) {
    if (t->dims[d] == 1) continue;
    const int in = next + 1; /* the dimension inside this one */
    if (in < 6 && t->src[d] == (int64_t)t->src[in] * t->dims[in] &&
        t->dst[d] == (int64_t)t->dst[in] * t->dims[in]) {
      t->dims[in] *= t->dims[d];
      continue;
    }
    t->dims[next] = t->dims[d], t->src[next] = t->src[d], t->dst[next] = t->dst[d];
    next--;
  }
  for (int d = 0; d <= next; d++) t->dims[d] = 1, t->src[d] = 0, t->dst[d] = 0;
  if (t->dims[4] > t->dims[5] && !(t->src[5] == 1 && t->dst[5] == 1)) {
    const table o = *t;
    t->dims[4] = o.dims[5], t->src[4] = o.src[5], t->dst[4] = o.dst[5];
    t->dims[5] = o.dims[4], t->src[5] = o.src[4], t->dst[5] = o.dst[4];
  }
}

static void copy(const eq_context *x, const eq_head *h, const table *t) {
  job j = {.t = *t,
           .src = eq_data(x, h->in0),
           .dst = eq_data(x, h->out),
           .size = (int)eq_dtype_bytes(eq_tensor_of(x, h->in0)->dtype)};
  j.src += (int64_t)j.t.src_offset * j.size;
  j.dst += (int64_t)j.t.dst_offset * j.size;
  simplify(&j.t);
  const bool zipped = zips(&j.t, j.size), runs = j.t.src[5] == 1 && j.t.dst[5] == 1;
  if (runs && !zipped && j.t.dims[3] == 1) { /* one plane of runs: threads share the runs */
    j.t.dims[3] = j.t.dims[4], j.t.src[3] = j.t.src[4], j.t.dst[3] = j.t.dst[4];
    j.t.dims[4] = 1;
  }
  int64_t blocks = 1;
  for (int d = 0; d < 4; d++) blocks *= j.t.dims[d];
  const int64_t elements = (int64_t)j.t.dims[4] * j.t.dims[5];
  eq_split(x, blocks, (runs || zipped ? elements / 32 : elements) + 4, run_part, &j);
}

void eq_run_layout(const eq_context *x, const eq_head *h) {
  table t;
  memcpy(&t, eq_constants(x->program, h->constants), sizeof t);
  copy(x, h, &t);
}

/* DMA_LOAD and DMA_STORE: the same copy between tensors of equal dims. */
static bool check_dma(eq_check *c, const eq_head *h, bool store) {
  const edgeq_tensor *x = eq_need_tensor(c, h->in0, "in0", EQ_ANY_DTYPE, 0);
  const edgeq_tensor *y = x ? eq_need_output(c, h->out, 1 << x->dtype, x->ndim) : NULL;
  if (!y) return false;
  if (memcmp(x->dims, y->dims, sizeof(int32_t) * (size_t)x->ndim))
    return eq_fail(c, "in0 and out need the same dims");
  const uint8_t from = c->p->region[h->in0], to = c->p->region[h->out];
  return (store ? from == EQ_REGION_SRAM && to == EQ_REGION_ARENA
                : from != EQ_REGION_SRAM && to == EQ_REGION_SRAM) ||
         eq_fail(c, "it copies between SRAM and the memory outside");
}

bool eq_check_dma_load(eq_check *c, const eq_head *h) { return check_dma(c, h, false); }
bool eq_check_dma_store(eq_check *c, const eq_head *h) { return check_dma(c, h, true); }

void eq_run_dma_load(const eq_context *x, const eq_head *h) {
  const edgeq_tensor *in = eq_tensor_of(x, h->in0), *out = eq_tensor_of(x, h->out);
  table t = {.dims = {1, 1, 1, 1, 1, 1}};
  for (int d = 0, to = 6 - in->ndim; d < in->ndim; d++, to++)
    t.dims[to] = in->dims[d], t.src[to] = in->strides[d], t.dst[to] = out->strides[d];
  copy(x, h, &t);
}

void eq_run_dma_store(const eq_context *x, const eq_head *h) { eq_run_dma_load(x, h); }
