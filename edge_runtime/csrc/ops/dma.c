/* dma.c: DMA_WEIGHTS, from the constants into the SRAM of a core, and SYNC. (DMA_LOAD and DMA_STORE
 * are strided copies: layout.c.) */
#include <string.h>
#include "ops.h"

bool eq_check_dma_weights(eq_check *c, const eq_head *h) {
  const eq_cmd_dma_weights *cmd = (const void *)h;
  const edgeq_tensor *y = eq_need_output(c, h->out, EQ_ONLY8, 1);
  if (!y || !eq_need_bytes(c, EQ_SECTION_CONSTANTS, h->constants, cmd->bytes, EQ_ALIGN))
    return false;
  if (c->p->region[h->out] != EQ_REGION_SRAM || y->strides[0] != 1 || y->count != cmd->bytes)
    return eq_fail(c, "out must be %u bytes in a row in SRAM", cmd->bytes);
  return true;
}

void eq_run_dma_weights(const eq_context *x, const eq_head *h) {
  const eq_cmd_dma_weights *cmd = (const void *)h;
  memcpy(eq_data(x, h->out), eq_constants(x->program, h->constants), cmd->bytes);
}

bool eq_check_sync(eq_check *c, const eq_head *h) {
  (void)h;
  return c->p->cores > 0 || eq_fail(c, "only a program for an NPU has cores to wait for");
}

/* Commands lie in an order that is valid as it is. */
void eq_run_sync(const eq_context *x, const eq_head *h) { (void)x, (void)h; }
