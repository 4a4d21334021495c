/* rows, scalar. */
#define EQ_TARGET
#define EQ_ROWS eq_rows__scalar
#include "rows_body.h"
