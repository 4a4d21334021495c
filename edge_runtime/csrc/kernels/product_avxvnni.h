/* product_avxvnni.h: exact products of bytes on AVX-VNNI. vpdpbusd multiplies unsigned by signed,
 * so x enters as x + 128 (x ^ 0x80) and the sums start at bias - 128 * sum(w). See conv_avx2.h for
 * the names. */
#ifndef EDGEQ_PRODUCT_AVXVNNI_H
#define EDGEQ_PRODUCT_AVXVNNI_H
#include "epilogue_avx2.h"

#define TARGET EQ_TARGET_AVXVNNI
enum { PLANES = 1 };

TARGET EQ_INLINE __m256i plane(__m256i v, const int P) {
  (void)P;
  return v;
}

TARGET EQ_INLINE __m256i input(__m256i x) {
  return _mm256_xor_si256(x, _mm256_set1_epi8((char)0x80));
}

TARGET EQ_INLINE __m256i product(__m256i acc, __m256i x, __m256i w) {
  acc = _mm256_dpbusd_avx_epi32(acc, x, w);
  __asm__("" : "+x"(acc)); /* else GCC 12 copies the sums that leave a loop in every step */
  return acc;
}

TARGET EQ_INLINE __m256i start_of(__m256i bias, __m256i wsum) {
  return _mm256_sub_epi32(bias, _mm256_slli_epi32(wsum, 7));
}
#endif
