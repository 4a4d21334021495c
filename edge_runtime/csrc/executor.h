/* executor.h: run a validated program. Internal. */
#ifndef EDGEQ_EXECUTOR_H
#define EDGEQ_EXECUTOR_H
#include "ops/ops.h"

/* Run every command in order; `ns`, when not NULL, receives the nanoseconds of each. */
void eq_execute(const eq_context *x, uint64_t *ns);
#endif
