/* dma.c: DMA_WEIGHTS, from the constants into the SRAM of a core, and SYNC. (DMA_LOAD and DMA_STORE
 * are strided copies: layout.c.) */
#include <stdlib.h>
#include <string.h>
#include "../coding.h"
#include "ops.h"

static bool decode(eq_check *c, const eq_cmd_dma_weights *cmd);

bool eq_check_dma_weights(eq_check *c, const eq_head *h) {
  const eq_cmd_dma_weights *cmd = (const void *)h;
  const edgeq_tensor *y = eq_need_output(c, h->out, EQ_ONLY8, 1);
  const bool raw = cmd->coding == EQ_CODING_RAW;
  if (!y || !eq_need_bytes(c, EQ_SECTION_CONSTANTS, h->constants, raw ? cmd->bytes : cmd->coded,
                           EQ_ALIGN))
    return false;
  if (c->p->region[h->out] != EQ_REGION_SRAM || y->strides[0] != 1 || y->count != cmd->bytes)
    return eq_fail(c, "out must be %u bytes in a row in SRAM", cmd->bytes);
  return raw || decode(c, cmd);
}

/* Decode a stream, the first time a command names it. */
static bool decode(eq_check *c, const eq_cmd_dma_weights *cmd) {
  eq_program *p = c->p;
  const eq_span *constants = &p->section[EQ_SECTION_CONSTANTS];
  if (!p->stream_at) {
    p->stream_at = calloc(constants->bytes / EQ_ALIGN + 1, sizeof *p->stream_at);
    p->streams = calloc(p->command_count, sizeof *p->streams);
    if (!p->stream_at || !p->streams) return eq_fail(c, "out of memory");
  }
  uint32_t *at = &p->stream_at[cmd->constants / EQ_ALIGN];
  if (*at) {
    const eq_cmd_dma_weights *first = (const void *)&p->commands[*at - 1];
    if (first->bytes != cmd->bytes || first->coded != cmd->coded || first->body != cmd->body ||
        first->coding != cmd->coding || first->lut != cmd->lut)
      return eq_fail(c, "reads the stream of command %u in another way", *at - 1);
    return true;
  }
  const uint8_t *table = NULL;
  if (cmd->coding == EQ_CODING_HUFFMAN &&
      !(table = eq_need_bytes(c, EQ_SECTION_LUTS, cmd->lut, EQ_CODE_TABLE_BYTES, EQ_ALIGN)))
    return false;
  /* streams that lie apart stay below this; so the memory they take is bounded by the file */
  if (cmd->bytes > constants->bytes * EQ_MOST_EXPANSION - p->decoded_bytes)
    return eq_fail(c, "streams overlap");
  uint8_t *out = malloc(cmd->bytes);
  if (!out) return eq_fail(c, "no memory for %u bytes", cmd->bytes);
  p->streams[c->command] = out;
  p->decoded_bytes += cmd->bytes;
  *at = c->command + 1;
  const char *broken = eq_decode(cmd->coding, eq_constants(p, cmd->constants), cmd->coded, table,
                                 cmd->body, out, cmd->bytes);
  return !broken || eq_fail(c, "its stream is damaged: %s", broken);
}

void eq_run_dma_weights(const eq_context *x, const eq_head *h) {
  const eq_cmd_dma_weights *cmd = (const void *)h;
  const eq_program *p = x->program;
  const uint8_t *from = eq_constants(p, h->constants);
  if (cmd->coding != EQ_CODING_RAW) from = p->streams[p->stream_at[h->constants / EQ_ALIGN] - 1];
  memcpy(eq_data(x, h->out), from, cmd->bytes);
}

bool eq_check_sync(eq_check *c, const eq_head *h) {
  (void)h;
  return c->p->cores > 0 || eq_fail(c, "only a program for an NPU has cores to wait for");
}

/* Commands lie in an order that is valid as it is. */
void eq_run_sync(const eq_context *x, const eq_head *h) { (void)x, (void)h; }
