/* program.c: parses the untrusted bytes of an .edgeq file. Nothing is computed or allocated from a
 * number before that number has been checked; the bytes are never written. */
#include "program.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "ops/ops.h"

static const char *const section_names[EQ_SECTIONS] = {"?",       "META",  "COMMANDS", "CONSTANTS",
                                                       "QPARAMS", "LUTS",  "TENSORS",  "STRINGS",
                                                       "DEBUG",   "TIMING"};

static edgeq_status bad(char *error, const char *format, ...) __attribute__((format(printf, 2, 3)));
static bool read_sections(eq_program *p, char *error);
static bool read_tensors(eq_program *p, char *error);
static bool read_tensor(eq_program *p, uint32_t i, char *error);
static bool read_commands(eq_program *p, char *error);
static bool read_timing(const eq_program *p, char *error);

edgeq_status eq_program_parse(eq_program *p, const uint8_t *file, uint64_t bytes, char *error) {
  memset(p, 0, sizeof *p);
  p->file = file;
  p->file_bytes = bytes;
  if (bytes >= sizeof EQ_MAGIC - 1 && memcmp(file, EQ_MAGIC, sizeof EQ_MAGIC - 1))
    return bad(error, "header: not an .edgeq file (wrong magic). Give a file that edgeq compiled.");
  if (bytes < sizeof(eq_header))
    return bad(error, "header: an .edgeq file has at least %zu bytes, got %llu. It is truncated.",
               sizeof(eq_header), (unsigned long long)bytes);
  eq_header h;
  memcpy(&h, file, sizeof h);
  if (h.format_version > EQ_FORMAT_VERSION || h.isa_version > EQ_ISA_VERSION)
    return bad(error,
               "header: the file is newer (format %u, commands %u) than this edgeq (format %u, "
               "commands %u). Upgrade edgeq.",
               h.format_version, h.isa_version, EQ_FORMAT_VERSION, EQ_ISA_VERSION);
  if (h.format_version == 0 || h.isa_version == 0)
    return bad(error, "header: version 0 does not exist. Compile the model again.");
  if (h.file_bytes != bytes || bytes > EQ_MAX_FILE_BYTES)
    return bad(error,
               "header: the file should have %llu bytes (at most %u), it has %llu. It is "
               "truncated or has a tail.",
               (unsigned long long)h.file_bytes, EQ_MAX_FILE_BYTES, (unsigned long long)bytes);
  if (h.arena_bytes > EQ_MAX_ARENA_BYTES)
    return bad(error, "header: arena of at most %u bytes, got %llu.", EQ_MAX_ARENA_BYTES,
               (unsigned long long)h.arena_bytes);
  if (h.inputs > EQ_MAX_IO || h.outputs > EQ_MAX_IO || h.outputs == 0)
    return bad(error, "header: 0..%u inputs and 1..%u outputs, got %u and %u.", EQ_MAX_IO,
               EQ_MAX_IO, h.inputs, h.outputs);
  if (h.sram_bytes > EQ_MAX_ARENA_BYTES || h.cores > EQ_MAX_CORES || !h.cores != !h.sram_bytes ||
      (uint64_t)h.sram_bytes * h.cores > EQ_MAX_ARENA_BYTES)
    return bad(error, "header: at most %u cores with %u bytes together, got %u of %u bytes.",
               EQ_MAX_CORES, EQ_MAX_ARENA_BYTES, h.cores, h.sram_bytes);
  if (h.npu_crc !=
      (h.cores ? edgeq_crc32(0, &h.sram_bytes, sizeof h.sram_bytes + sizeof h.cores) : 0))
    return bad(error, "header: wrong checksum of cores and SRAM. The file is damaged.");
  for (int i = 0; i < 2; i++)
    if (h.reserved[i]) return bad(error, "header: reserved words are 0.");
  p->arena_bytes = h.arena_bytes;
  p->sram_bytes = h.sram_bytes;
  p->cores = h.cores;
  p->inputs = h.inputs;
  p->outputs = h.outputs;
  bool ok = read_sections(p, error) && read_tensors(p, error) && read_commands(p, error) &&
            read_timing(p, error);
  if (!ok) eq_program_free(p);
  return ok ? EDGEQ_OK : EDGEQ_BAD_PROGRAM;
}

void eq_program_free(eq_program *p) {
  for (uint32_t i = 0; p->streams && i < p->command_count; i++) free(p->streams[i]);
  free(p->streams);
  free(p->stream_at);
  free(p->tensors);
  free(p->region);
  free(p->core);
  free(p->commands);
  p->tensors = NULL;
  p->region = NULL;
  p->core = NULL;
  p->commands = NULL;
  p->streams = NULL;
  p->stream_at = NULL;
}

static edgeq_status bad(char *error, const char *format, ...) {
  if (error) {
    va_list args;
    va_start(args, format);
    vsnprintf(error, EDGEQ_ERROR_BYTES, format, args);
    va_end(args);
  }
  return EDGEQ_BAD_PROGRAM;
}

/* Every byte counts: gaps between sections, which no checksum covers, are 0. */
static bool all_zero(const uint8_t *file, uint64_t begin, uint64_t end) {
  for (uint64_t i = begin; i < end; i++)
    if (file[i]) return false;
  return true;
}

static bool read_sections(eq_program *p, char *error) {
  eq_header h;
  memcpy(&h, p->file, sizeof h);
  uint64_t table = (uint64_t)h.sections * sizeof(eq_section);
  if (h.sections > 64 || sizeof h + table > p->file_bytes)
    return bad(error, "section table: at most 64 rows inside the file, got %u.", h.sections), false;
  const uint32_t crc = edgeq_crc32(0, p->file, offsetof(eq_header, table_crc));
  if (edgeq_crc32(crc, p->file + sizeof h, table) != h.table_crc)
    return bad(error, "header: wrong checksum. The file is damaged; fetch it again."), false;
  uint64_t end = sizeof h + table;
  for (uint32_t i = 0; i < h.sections; i++) {
    eq_section s;
    memcpy(&s, p->file + sizeof h + i * sizeof s, sizeof s);
    if (s.kind == 0 || s.kind >= EQ_SECTIONS || p->section[s.kind].base)
      return bad(error, "section table: row %u has kind %u, unknown or twice.", i, s.kind), false;
    const char *name = section_names[s.kind];
    if (s.offset % EQ_ALIGN || s.offset < end || s.offset > p->file_bytes ||
        s.bytes > p->file_bytes - s.offset)
      return bad(error, "%s: lies at %llu with %llu bytes: out of order, unaligned or outside.",
                 name, (unsigned long long)s.offset, (unsigned long long)s.bytes),
             false;
    if (edgeq_crc32(0, p->file + s.offset, s.bytes) != s.crc)
      return bad(error, "%s: wrong checksum. The file is damaged; fetch it again.", name), false;
    if (!all_zero(p->file, end, s.offset))
      return bad(error, "%s: bytes before it are not 0. The file is damaged; fetch it again.",
                 name),
             false;
    end = s.offset + s.bytes;
    p->section[s.kind] = (eq_span){p->file + s.offset, s.bytes};
  }
  if (!all_zero(p->file, end, p->file_bytes))
    return bad(error, "file: bytes after the last section are not 0. It is damaged."), false;
  for (int k = 1; k < EQ_SECTIONS; k++)
    if (!p->section[k].base && k != EQ_SECTION_TIMING)
      return bad(error, "%s: section is missing.", section_names[k]), false;
  const eq_span *s = p->section;
  if (s[EQ_SECTION_META].bytes > EQ_MAX_META_BYTES)
    return bad(error, "META: at most %u bytes.", EQ_MAX_META_BYTES), false;
  const eq_span *c = &s[EQ_SECTION_CONSTANTS];
  if (p->file_bytes - (uint64_t)(c->base - p->file) - c->bytes < EQ_SLACK)
    return bad(error, "CONSTANTS: must not be the last %d bytes of the file.", EQ_SLACK), false;
  if (s[EQ_SECTION_STRINGS].bytes &&
      s[EQ_SECTION_STRINGS].base[s[EQ_SECTION_STRINGS].bytes - 1] != 0)
    return bad(error, "STRINGS: must end in a NUL byte."), false;
  return true;
}

static bool read_tensors(eq_program *p, char *error) {
  const eq_span *s = &p->section[EQ_SECTION_TENSORS];
  uint64_t count = s->bytes / sizeof(eq_tensor_row);
  if (s->bytes % sizeof(eq_tensor_row) || count > EQ_MAX_TENSORS || count < p->inputs + p->outputs)
    return bad(error, "TENSORS: at most %u rows of %zu bytes, and one per input and output.",
               EQ_MAX_TENSORS, sizeof(eq_tensor_row)),
           false;
  p->tensor_count = (uint32_t)count;
  p->tensors = calloc(count, sizeof *p->tensors);
  p->region = calloc(count, 1);
  p->core = calloc(count, 1);
  if (!p->tensors || !p->region || !p->core) return bad(error, "TENSORS: out of memory."), false;
  for (uint32_t i = 0; i < count; i++)
    if (!read_tensor(p, i, error)) return false;
  return true;
}

static bool read_tensor(eq_program *p, uint32_t i, char *error) {
  eq_tensor_row r;
  memcpy(&r, p->section[EQ_SECTION_TENSORS].base + i * sizeof r, sizeof r);
  const eq_span *strings = &p->section[EQ_SECTION_STRINGS];
  if (r.name >= strings->bytes)
    return bad(error, "TENSORS: row %u: name outside STRINGS.", i), false;
  if (r.dtype < EQ_DTYPE_INT8 || r.dtype > EQ_DTYPE_FLOAT32 || r.ndim < 1 || r.ndim > EQ_MAX_DIMS ||
      r.region > EQ_REGION_SRAM || (r.core && (r.region != EQ_REGION_SRAM || r.core >= p->cores)))
    return bad(error, "TENSORS: row %u: dtype %u, ndim %u, region %u or core %u is unknown.", i,
               r.dtype, r.ndim, r.region, r.core),
           false;
  int64_t lowest = 0, highest = 0, count = 1;
  for (int d = 0; d < r.ndim; d++) {
    int64_t n = r.dims[d], reach = (n - 1) * r.strides[d];
    if (n < 1 || (count *= n) > (int64_t)EQ_MAX_ARENA_BYTES)
      return bad(error, "TENSORS: row %u: dims are at least 1, at most 2^30 elements.", i), false;
    if (reach < 0)
      lowest += reach;
    else
      highest += reach; /* six terms below 2^61 each */
  }
  int64_t size = (int64_t)eq_dtype_bytes(r.dtype);
  p->region[i] = r.region;
  p->core[i] = r.core;
  int64_t room = (int64_t)eq_region_bytes(p, i);
  if (r.offset % (uint64_t)size || r.offset > (uint64_t)room ||
      lowest < -((int64_t)r.offset / size) || highest >= (room - (int64_t)r.offset) / size)
    return bad(error, "TENSORS: row %u reaches outside its region or is unaligned.", i), false;
  edgeq_tensor *t = &p->tensors[i];
  *t = (edgeq_tensor){.name = (const char *)strings->base + r.name,
                      .dtype = (edgeq_dtype)r.dtype,
                      .ndim = r.ndim,
                      .offset = r.offset,
                      .count = (size_t)count,
                      .q_count = r.q_count};
  memcpy(t->dims, r.dims, sizeof t->dims);
  memcpy(t->strides, r.strides, sizeof t->strides);
  if (i < p->inputs && r.region == EQ_REGION_CONSTANTS)
    return bad(error, "TENSORS: input %u must not lie in the constants.", i), false;
  if (r.q_count == 0) return true;
  const eq_span *q = &p->section[EQ_SECTION_QPARAMS];
  if ((r.q_count != 1 && r.q_count != (uint32_t)r.dims[r.ndim - 1]) || r.qparams % 4 ||
      r.qparams > q->bytes || (uint64_t)r.q_count * 8 > q->bytes - r.qparams ||
      r.dtype > EQ_DTYPE_INT16)
    return bad(error, "TENSORS: row %u: scales and zero points do not fit.", i), false;
  t->scales = (const float *)(const void *)(q->base + r.qparams);
  t->zero_points = (const int32_t *)(const void *)(q->base + r.qparams + 4ull * r.q_count);
  for (uint32_t k = 0; k < r.q_count; k++)
    if (!(t->scales[k] > 0.0f && t->scales[k] <= 3.4e38f) || t->zero_points[k] < -32768 ||
        t->zero_points[k] > 32767)
      return bad(error, "TENSORS: row %u: scales are positive and finite, zero points int16.", i),
             false;
  return true;
}

static bool read_commands(eq_program *p, char *error) {
  const eq_span *s = &p->section[EQ_SECTION_COMMANDS];
  uint64_t count = s->bytes / sizeof(eq_head);
  if (s->bytes % sizeof(eq_head) || count > EQ_MAX_COMMANDS)
    return bad(error, "COMMANDS: at most %u commands of %zu bytes.", EQ_MAX_COMMANDS,
               sizeof(eq_head)),
           false;
  p->command_count = (uint32_t)count;
  p->commands = calloc(count ? count : 1, sizeof *p->commands);
  if (!p->commands) return bad(error, "COMMANDS: out of memory."), false;
  if (count) memcpy(p->commands, s->base, s->bytes);
  for (uint32_t i = 0; i < count; i++) {
    const eq_head *h = &p->commands[i];
    eq_check c = {p, i, "?", error};
    const eq_op *op = eq_op_find(h->opcode);
    if (!op) return eq_fail(&c, "opcode %u is unknown", h->opcode);
    c.op = op->name;
    if (h->opcode == EQ_OP_END && i + 1 != count)
      return eq_fail(&c, "END must be the last command");
    if (h->rmode != EQ_RMODE_RNE_F32) return eq_fail(&c, "rmode %u is unknown", h->rmode);
    if (op->check && !op->check(&c, h)) return false;
    const uint16_t touched[] = {h->in0, h->in1, h->out};
    for (int k = 0; k < 3 && h->opcode != EQ_OP_END; k++)
      if (touched[k] < p->tensor_count && p->region[touched[k]] == EQ_REGION_SRAM &&
          p->core[touched[k]] != h->core)
        return eq_fail(&c, "core %u must not touch the SRAM of core %u", h->core,
                       p->core[touched[k]]);
  }
  return true;
}

/* One row per command, where there are any: the queue and the core that run it. */
static bool read_timing(const eq_program *p, char *error) {
  const eq_span *s = &p->section[EQ_SECTION_TIMING];
  if (!s->base) return true;
  if (s->bytes != p->command_count * sizeof(eq_timing) || !p->cores)
    return bad(error, "TIMING: one row of %zu bytes per command of an NPU program.",
               sizeof(eq_timing)),
           false;
  for (uint32_t i = 0; i < p->command_count; i++) {
    eq_timing t;
    memcpy(&t, s->base + i * sizeof t, sizeof t);
    if (t.queue > EQ_QUEUE_STORE || t.core >= p->cores || t.core != p->commands[i].core)
      return bad(error, "TIMING: row %u: queue %u or core %u is unknown.", i, t.queue, t.core),
             false;
  }
  return true;
}
