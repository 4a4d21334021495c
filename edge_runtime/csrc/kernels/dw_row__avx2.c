/* dw_row, AVX2. */
#if defined(__x86_64__)
#include "product_avx2.h"

#include "dw_row_avx2.h"

void eq_dw_row__avx2(const eq_dw_row *a) { dw_row(a); }
#else
typedef int eq_empty; /* ISO C wants a declaration */
#endif
