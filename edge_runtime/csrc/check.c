/* check.c: the rules that several commands share. Every failure becomes one sentence that names the
 * section, the command and the rule. */
#include "program.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

bool eq_fail(eq_check *c, const char *rule, ...) {
  if (!c->error) return false;
  int n = snprintf(c->error, EDGEQ_ERROR_BYTES, "COMMANDS: command %u (%s): ", c->command, c->op);
  va_list args;
  va_start(args, rule);
  n += vsnprintf(c->error + n, EDGEQ_ERROR_BYTES - (size_t)n, rule, args);
  va_end(args);
  if (n + 2 < EDGEQ_ERROR_BYTES) strcpy(c->error + n, ".");
  return false;
}

const edgeq_tensor *eq_need_tensor(eq_check *c, uint32_t id, const char *role, int dtypes,
                                   int ndim) {
  if (id >= c->p->tensor_count) {
    eq_fail(c, "%s is tensor %u of %u", role, id, c->p->tensor_count);
    return NULL;
  }
  const edgeq_tensor *t = &c->p->tensors[id];
  if (!(dtypes >> t->dtype & 1)) {
    eq_fail(c, "%s has dtype %d, which this command does not take there", role, (int)t->dtype);
    return NULL;
  }
  if (ndim && t->ndim != ndim) {
    eq_fail(c, "%s must have %d dimensions, got %d", role, ndim, t->ndim);
    return NULL;
  }
  return t;
}

const edgeq_tensor *eq_need_output(eq_check *c, uint32_t id, int dtypes, int ndim) {
  const edgeq_tensor *t = eq_need_tensor(c, id, "out", dtypes, ndim);
  if (!t) return NULL;
  if (c->p->region[id] == EQ_REGION_CONSTANTS) {
    eq_fail(c, "out must not lie in the constants");
    return NULL;
  }
  for (int d = 0; d < t->ndim; d++)
    if (t->dims[d] > 1 && t->strides[d] == 0) {
      eq_fail(c, "out must not have stride 0");
      return NULL;
    }
  return t;
}

const uint8_t *eq_need_bytes(eq_check *c, int section, uint32_t offset, uint64_t bytes,
                             uint32_t align) {
  const eq_span *s = &c->p->section[section];
  const char *name = section == EQ_SECTION_CONSTANTS ? "CONSTANTS" : "LUTS";
  if (offset % align) {
    eq_fail(c, "offset %u in %s must be a multiple of %u", offset, name, align);
    return NULL;
  }
  if (offset > s->bytes || bytes > s->bytes - offset) {
    eq_fail(c, "needs %llu bytes at %u of %s, which has %llu", (unsigned long long)bytes, offset,
            name, (unsigned long long)s->bytes);
    return NULL;
  }
  return s->base + offset;
}

bool eq_need_weights(eq_check *c, const eq_head *h, uint64_t count, uint64_t pad) {
  const uint64_t bytes = eq_weight_bytes(h, count) + pad;
  if (h->in1 == EQ_NONE16)
    return eq_need_bytes(c, EQ_SECTION_CONSTANTS, h->constants, bytes, EQ_ALIGN) != NULL;
  const edgeq_tensor *t = eq_need_tensor(c, h->in1, "in1", EQ_ONLY8, 1);
  if (!t) return false;
  if (c->p->region[h->in1] != EQ_REGION_SRAM || t->count < bytes || t->strides[0] != 1 ||
      t->offset % EQ_ALIGN)
    return eq_fail(c, "in1 must hold the %llu bytes of its weights in SRAM",
                   (unsigned long long)bytes);
  return true;
}

bool eq_need_unpacked(eq_check *c, const eq_head *h, uint64_t bytes) {
  if (!(h->flags & EQ_FLAG_WEIGHTS4)) return true;
  if (bytes > EQ_MAX_UNPACKED_BYTES)
    return eq_fail(c, "4-bit weights must unpack to at most %u bytes at once, got %llu",
                   EQ_MAX_UNPACKED_BYTES, (unsigned long long)bytes);
  if (bytes > c->p->max_unpacked) c->p->max_unpacked = bytes;
  return true;
}

static uint32_t u32_at(const uint8_t *at) {
  uint32_t bits;
  memcpy(&bits, at, 4);
  return bits;
}

static bool finite_f32(const uint8_t *at) { return (u32_at(at) & 0x7f800000u) != 0x7f800000u; }

static bool finite_f64(const uint8_t *at) {
  uint64_t bits;
  memcpy(&bits, at, 8);
  return (bits & 0x7ff0000000000000u) != 0x7ff0000000000000u;
}

static int32_t i32_at(const uint8_t *at) {
  int32_t v;
  memcpy(&v, at, 4);
  return v;
}

bool eq_need_rows(eq_check *c, uint32_t offset, uint64_t count, const char *kinds, int dtype) {
  const eq_span *s = &c->p->section[EQ_SECTION_QPARAMS];
  uint64_t padded = (count + EQ_LANES - 1) / EQ_LANES * EQ_LANES, bytes = 0;
  for (const char *k = kinds; *k; k++) bytes += padded * (*k == 'd' ? 8 : 4);
  if (count > EQ_MAX_ARENA_BYTES || offset % EQ_ALIGN || offset > s->bytes ||
      bytes > s->bytes - offset)
    return eq_fail(c, "rows of %llu channels at %u of QPARAMS are unaligned or outside",
                   (unsigned long long)count, offset);
  int32_t low = eq_dtype_min(dtype), high = eq_dtype_max(dtype);
  const uint8_t *at = s->base + offset, *lo = NULL;
  for (const char *k = kinds; *k; k++) {
    const uint64_t step = *k == 'd' ? 8 : 4;
    for (uint64_t i = 0; i < padded; i++) {
      const uint8_t *v = at + i * step;
      bool ok = true;
      switch (*k) {
      case 'f':
        ok = finite_f32(v);
        break;
      case 'g':
        ok = (u32_at(v) >> 23 & 255) < 127 + EQ_GATE_EXPONENT;
        break;
      case 'd':
        ok = finite_f64(v);
        break;
      case 'x':
        ok = i32_at(v) >= -128 && i32_at(v) <= 127;
        break;
      case 'z':
        ok = i32_at(v) >= -32768 && i32_at(v) <= 32767;
        break;
      case 'l':
      case 'v':
        ok = i32_at(v) >= low && i32_at(v) <= high;
        break;
      case 'h':
        ok = i32_at(v) >= i32_at(lo + i * 4) && i32_at(v) <= high;
        break;
      default:
        break;
      }
      if (!ok)
        return eq_fail(c, "QPARAMS row %d, channel %llu: not finite, or outside its range",
                       (int)(k - kinds), (unsigned long long)i);
    }
    if (*k == 'l') lo = at;
    at += padded * step;
  }
  return true;
}

bool eq_need_lut(eq_check *c, const eq_head *h, bool allow_none) {
  if (h->flags & EQ_FLAG_LUT_GATE && h->lut_kind != EQ_LUT_LUT16)
    return eq_fail(c, "a gate needs a table of kind LUT16");
  switch (h->lut_kind) {
  case EQ_LUT_NONE:
    return allow_none || eq_fail(c, "needs a table");
  case EQ_LUT_LUT8:
    return eq_need_bytes(c, EQ_SECTION_LUTS, h->lut, 256 * 2, 4) != NULL;
  case EQ_LUT_LUT16:
    return eq_need_bytes(c, EQ_SECTION_LUTS, h->lut, 513 * 2, 4) != NULL;
  default:
    return eq_fail(c, "lut_kind %u is unknown", h->lut_kind);
  }
}

bool eq_need_window(eq_check *c, const eq_window *w, uint64_t max_taps) {
  if (w->kh < 1 || w->kw < 1 || w->sh < 1 || w->sw < 1 || w->dh < 1 || w->dw < 1)
    return eq_fail(c, "kernel, stride and dilation are at least 1");
  if ((uint64_t)w->kh * (uint64_t)w->kw > max_taps)
    return eq_fail(c, "at most %llu kernel taps, got %dx%d", (unsigned long long)max_taps, w->kh,
                   w->kw);
  return true;
}
