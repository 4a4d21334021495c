/* coding.h: weights as they are stored, back to the bytes that kernels read. Internal. */
#ifndef EDGEQ_CODING_H
#define EDGEQ_CODING_H
#include <stdbool.h>
#include <stdint.h>
#include "isa.h"

/* Decode `coded` bytes to exactly `bytes`, of which the first `body` are coded. `table` holds
 * EQ_CODE_TABLE_BYTES for EQ_CODING_HUFFMAN. Reads and writes nothing outside; returns NULL, or the
 * rule that the stream breaks. */
const char *eq_decode(int coding, const uint8_t *stream, uint32_t coded, const uint8_t *table,
                      uint32_t body, uint8_t *out, uint32_t bytes);
#endif
