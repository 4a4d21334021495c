/* unpack4, AVX2: bytes widen to 16 bits, so that a shift by 4 puts the high half into the upper
 * byte; a table look-up extends the signs. */
#if defined(__x86_64__)
#include <immintrin.h>
#include "kernels.h"

#define T EQ_TARGET_AVX2

T EQ_INLINE __m256i halves(__m128i bytes) {
  const __m256i wide = _mm256_cvtepu8_epi16(bytes);
  const __m256i both = _mm256_or_si256(wide, _mm256_slli_epi16(wide, 4));
  const __m256i sign = _mm256_broadcastsi128_si256(
      _mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, -8, -7, -6, -5, -4, -3, -2, -1));
  return _mm256_shuffle_epi8(sign, _mm256_and_si256(both, _mm256_set1_epi8(15)));
}

T void eq_unpack4__avx2(int8_t *to, const int8_t *from, size_t bytes) {
  size_t i = 0;
  for (; i + 16 <= bytes; i += 16)
    _mm256_storeu_si256((__m256i *)(void *)(to + 2 * i),
                        halves(_mm_loadu_si128((const __m128i *)(const void *)(from + i))));
  if (i < bytes)
    _mm_storeu_si128(
        (__m128i *)(void *)(to + 2 * i),
        _mm256_castsi256_si128(halves(_mm_loadl_epi64((const __m128i *)(const void *)(from + i)))));
}
#else
typedef int eq_empty; /* ISO C wants a declaration */
#endif
