/* edges.h: between the caller's dense arrays and the strided tensors of inputs and outputs.
 * Internal. */
#ifndef EDGEQ_EDGES_H
#define EDGEQ_EDGES_H
#include "ops/ops.h"

/* Copy a dense array of t->count elements into the tensor whose data starts at `base`, or back. */
void eq_edge_write(const eq_context *x, const edgeq_tensor *t, uint8_t *base, const void *array);
void eq_edge_read(const edgeq_tensor *t, const uint8_t *base, void *array);

/* The same between float32 and the tensor's integers, which have scales; true when a value is NaN.
 */
bool eq_edge_quantize(const eq_context *x, const edgeq_tensor *t, uint8_t *base,
                      const float *array);
void eq_edge_dequantize(const eq_context *x, const edgeq_tensor *t, const uint8_t *base,
                        float *array);
#endif
