/* rows, avx512vnni. */
#if defined(__x86_64__)
#include "kernels.h"
#define EQ_TARGET EQ_TARGET_AVX512VNNI
#define EQ_ROWS   eq_rows__avx512vnni
#include "rows_body.h"
#else
typedef int eq_empty; /* ISO C wants a declaration */
#endif
