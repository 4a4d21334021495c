/* rows, avx512vnni. */
#if defined(__x86_64__)
#include "edges_avx512.h"
#include "lookup_avx512.h"
#include "maxima_avx512.h"
#include "pixels_avx512.h"
#include "sums_avx512.h"

#define EQ_LOOK_UP    eq_look_up512
#define EQ_MAXIMA     eq_maxima512
#define EQ_SUM_PIXELS eq_sum_pixels512
#define EQ_LERP       eq_lerp512
#define EQ_QUANTIZE8  eq_quantize8_512
#define EQ_DEQUANTIZE eq_dequantize512
#define EQ_ADD_PIXELS eq_add_pixels512
#define EQ_MUL_PIXELS eq_mul_pixels512
#define EQ_ROWS       eq_rows__avx512vnni
#include "rows_body.h"
#else
typedef int eq_empty; /* ISO C wants a declaration */
#endif
