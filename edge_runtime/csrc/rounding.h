/* rounding.h: the floating-point environment of a run. Internal. The law needs round to nearest
 * even and denormals, whatever the caller has set. */
#ifndef EDGEQ_ROUNDING_H
#define EDGEQ_ROUNDING_H
#if defined(__x86_64__)
#include <xmmintrin.h>

/* Floats are computed in SSE registers alone, and fesetenv takes as long as a small layer. */
typedef unsigned eq_rounding;

/* The caller's environment, for eq_rounding_restore. */
static inline eq_rounding eq_rounding_nearest(void) {
  const unsigned caller = _mm_getcsr();
  _mm_setcsr(0x1f80); /* what the processor starts with */
  return caller;
}

static inline void eq_rounding_restore(const eq_rounding *caller) { _mm_setcsr(*caller); }
#else
#include <fenv.h>

typedef fenv_t eq_rounding;

static inline eq_rounding eq_rounding_nearest(void) {
  fenv_t caller;
  fegetenv(&caller);
  fesetenv(FE_DFL_ENV);
  return caller;
}

static inline void eq_rounding_restore(const eq_rounding *caller) { fesetenv(caller); }
#endif
#endif
