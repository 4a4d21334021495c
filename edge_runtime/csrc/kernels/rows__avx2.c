/* rows, avx2. */
#if defined(__x86_64__)
#include "kernels.h"
#define EQ_TARGET EQ_TARGET_AVX2
#define EQ_ROWS   eq_rows__avx2
#include "rows_body.h"
#else
typedef int eq_empty; /* ISO C wants a declaration */
#endif
