/* unpack4, AVX-512: as AVX2, 64 weights at a time; a mask keeps the rest inside. */
#if defined(__x86_64__)
#include <immintrin.h>
#include "kernels.h"

#define T EQ_TARGET_AVX512VNNI

T EQ_INLINE __m512i halves(__m256i bytes) {
  const __m512i wide = _mm512_cvtepu8_epi16(bytes), fifteen = _mm512_set1_epi8(15);
  const __m512i sign =
      _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, -8, -7, -6, -5, -4, -3, -2, -1));
  /* (wide | wide << 4) & 15 */
  const __m512i both = _mm512_ternarylogic_epi32(wide, _mm512_slli_epi16(wide, 4), fifteen, 0xa8);
  return _mm512_shuffle_epi8(sign, both);
}

T void eq_unpack4__avx512vnni(int8_t *to, const int8_t *from, size_t bytes) {
  size_t i = 0;
  for (; i + 32 <= bytes; i += 32)
    _mm512_storeu_si512(to + 2 * i,
                        halves(_mm256_loadu_si256((const __m256i *)(const void *)(from + i))));
  if (i < bytes) {
    const int rest = (int)(bytes - i); /* 8, 16 or 24 */
    _mm512_mask_storeu_epi8(to + 2 * i, (1ull << 2 * rest) - 1,
                            halves(_mm256_maskz_loadu_epi8((1u << rest) - 1, from + i)));
  }
}
#else
typedef int eq_empty; /* ISO C wants a declaration */
#endif
