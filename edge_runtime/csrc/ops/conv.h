/* conv.h: one CONV while it runs, shared by conv.c and conv_lines.c. Internal. */
#ifndef EDGEQ_CONV_H
#define EDGEQ_CONV_H
#include "ops.h"

enum { EQ_PIXELS_TO_UNPACK = 48 }; /* fewer do not pay for unpacking 4-bit weights apart */

typedef struct {
  const eq_context *x;
  const edgeq_tensor *out;
  uint8_t *base; /* of out */
  eq_gather gather;
  eq_conv conv; /* of group 0 */
  eq_addend addend;
  int64_t pixels, unit;                /* in all; those that a thread takes together */
  int groups, icg, ocg, lanes, blocks; /* blocks of conv_np panels in a group */
  int block_tiles;
  int64_t inside_first, inside_end; /* output columns whose windows lie inside the picture */
  bool joined; /* the taps of a kernel row adjoin in memory: inside, a row is one tap of kw * k4 */
  bool lines;  /* eq_conv_by_lines may be asked */
  bool strips; /* at most 8 channels, see conv_strips.c */
  bool points; /* pointwise, pixels of input and output each at one stride */
  bool by_channels; /* threads share output channels, not pixels */
  bool four;        /* two weights a byte: panels are unpacked before use */
} eq_conv_job;

/* The channels of block `b` start here; of the block behind the last, they end. */
int eq_conv_first_channel(const eq_conv_job *j, int b);

/* Output block `b`, its weights as they lie in the program. */
eq_conv eq_conv_block(const eq_conv_job *j, int b, int *channels);

/* The first of pixels [first, last) from copies of the input rows, output blocks [b0, b1) counted
 * over the groups. How many pixels it was: 0 where these are none for it. */
int64_t eq_conv_by_lines(const eq_conv_job *j, int64_t first, int64_t last, int b0, int b1,
                         int worker);

#endif
