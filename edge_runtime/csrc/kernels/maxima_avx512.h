/* maxima_avx512.h: MAX pooling in AVX-512, for rows__avx512vnni.c. */
#ifndef EQ_MAXIMA_AVX512_H
#define EQ_MAXIMA_AVX512_H
#include "epilogue_avx512.h"

/* Channels from c; BYTES of them, `some` where BYTES is 0. */
EQ_TARGET EQ_INLINE void eq_maxima_column512(const eq_maxima *m, int64_t c, __mmask16 some,
                                             const int BYTES) {
  const int8_t *x = m->x + c;
  int8_t *y = m->y + c;
  for (int64_t i = 0; i < m->pixels; i++, x += m->step, y += m->sy) {
#define LARGEST(type, load, larger, store)                                                         \
  type v = load(x);                                                                                \
  for (int t = 1; t < m->taps; t++) v = larger(v, load(x + t * m->tap));                           \
  store(y, v)
    if (BYTES == 64) {
      LARGEST(__m512i, _mm512_loadu_si512, _mm512_max_epi8, _mm512_storeu_si512);
    } else if (BYTES == 32) {
      LARGEST(__m256i, _mm256_loadu_epi8, _mm256_max_epi8, _mm256_storeu_epi8);
    } else if (BYTES == 16) {
      LARGEST(__m128i, _mm_loadu_epi8, _mm_max_epi8, _mm_storeu_epi8);
    } else {
#define LOAD(p)     _mm_maskz_loadu_epi8(some, p)
#define STORE(p, v) _mm_mask_storeu_epi8(p, some, v)
      LARGEST(__m128i, LOAD, _mm_max_epi8, STORE);
#undef LOAD
#undef STORE
    }
#undef LARGEST
  }
}

EQ_TARGET static void eq_maxima512(const eq_maxima *m) {
  const int64_t n = m->n, width = n >= 64 ? 64 : n >= 32 ? 32 : 16;
  if (n < 16) eq_maxima_column512(m, 0, (__mmask16)((1u << n) - 1), 0);
  for (int64_t c = 0; n >= 16 && c < n; c += width) {
    if (c > n - width) c = n - width; /* the last block overlaps */
    if (width == 64)
      eq_maxima_column512(m, c, 0, 64);
    else if (width == 32)
      eq_maxima_column512(m, c, 0, 32);
    else
      eq_maxima_column512(m, c, 0, 16);
  }
}
#endif
