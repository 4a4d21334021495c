/* unpack4, AVX-512: 64 weights at a time. */
#if defined(__x86_64__)
#include "nibbles_avx512.h"

EQ_TARGET_AVX512VNNI void eq_unpack4__avx512vnni(int8_t *to, const int8_t *from, size_t bytes) {
  for (; bytes >= 32; to += 64, from += 32, bytes -= 32)
    _mm512_storeu_si512(to, eq_nibbles512(from));
  eq_unpack4__scalar(to, from, bytes);
}
#else
typedef int eq_empty; /* ISO C wants a declaration */
#endif
