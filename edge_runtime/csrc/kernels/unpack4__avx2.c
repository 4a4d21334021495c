/* unpack4, AVX2: masks and a shift part the halves, a table look-up extends their signs. */
#if defined(__x86_64__)
#include <immintrin.h>
#include "kernels.h"

EQ_TARGET_AVX2 void eq_unpack4__avx2(int8_t *to, const int8_t *from, size_t bytes) {
  const __m256i fifteen = _mm256_set1_epi8(15),
                sign = _mm256_broadcastsi128_si256(
                    _mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, -8, -7, -6, -5, -4, -3, -2, -1));
  for (; bytes >= 32; to += 64, from += 32, bytes -= 32) {
    const __m256i both = _mm256_loadu_si256((const __m256i *)(const void *)from);
    const __m256i low = _mm256_and_si256(both, fifteen);
    const __m256i high = _mm256_and_si256(_mm256_srli_epi16(both, 4), fifteen);
    _mm256_storeu_si256((__m256i *)(void *)to, _mm256_shuffle_epi8(sign, low));
    _mm256_storeu_si256((__m256i *)(void *)(to + 32), _mm256_shuffle_epi8(sign, high));
  }
  eq_unpack4__scalar(to, from, bytes);
}
#else
typedef int eq_empty; /* ISO C wants a declaration */
#endif
