/* dw_row, AVX-VNNI. */
#if defined(__x86_64__)
#include "product_avxvnni.h"

#include "dw_row_avx2.h"

void eq_dw_row__avxvnni(const eq_dw_row *a) { dw_row(a); }
#else
typedef int eq_empty; /* ISO C wants a declaration */
#endif
