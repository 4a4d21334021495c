/* dw_lines, AVX-512: input rows copied to lines without gaps, x + 128 and with the
 * padding in place, so that registers are full whatever the number of channels: 64 bytes of a line
 * are pixels of neighbouring columns, and a tap is a distance. Where the stride is 2, even and odd
 * columns lie apart. */
#if defined(__x86_64__)
#include "dw_avx512.h"

EQ_TARGET EQ_INLINE void copy_16(uint8_t *to, const int8_t *from) {
  const __m128i v = _mm_loadu_si128((const __m128i *)(const void *)from);
  _mm_storeu_si128((__m128i *)(void *)to, _mm_xor_si128(v, _mm_set1_epi8((char)0x80)));
}

EQ_TARGET EQ_INLINE void copy_32(uint8_t *to, const int8_t *from) {
  const __m256i v = _mm256_loadu_si256((const __m256i *)(const void *)from);
  _mm256_storeu_si256((__m256i *)(void *)to, _mm256_xor_si256(v, _mm256_set1_epi8((char)0x80)));
}

EQ_TARGET EQ_INLINE __m512i load(const int8_t *from) {
  return _mm512_xor_si512(_mm512_loadu_si512(from), _mm512_set1_epi8((char)0x80));
}

/* `count` pixels of n <= 64 bytes; writes up to 15 bytes more, in order, so that the next pixel
 * covers them. */
EQ_TARGET EQ_INLINE void copy_pixels(uint8_t *to, ptrdiff_t to_pitch, const int8_t *from,
                                     ptrdiff_t from_pitch, int n, int count) {
  const uint8_t *const end = to + count * to_pitch;
  if (n == 64) {
    for (; to < end; to += 64, from += from_pitch) _mm512_store_si512(to, load(from));
  } else if (n <= 16) {
    for (; to < end; to += to_pitch, from += from_pitch) copy_16(to, from);
  } else if (n <= 32) {
    for (; to < end; to += to_pitch, from += from_pitch) copy_32(to, from);
  } else {
    for (; to < end; to += to_pitch, from += from_pitch) {
      copy_32(to, from);
      copy_32(to + n - 32, from + n - 32);
    }
  }
}

/* Bytes without gaps. */
EQ_TARGET EQ_INLINE void copy_bytes(uint8_t *to, const int8_t *from, ptrdiff_t bytes) {
  ptrdiff_t i = 0;
  for (; i + 64 <= bytes; i += 64) _mm512_storeu_si512(to + i, load(from + i));
  for (; i < bytes; i += 16) copy_16(to + i, from + i);
}

/* Pixels of n = 8, 16 or 32 bytes, the even and the odd ones apart, as far as they fill vectors;
 * returns how many of each. */
EQ_TARGET static int part(uint8_t *even, uint8_t *odd, const int8_t *from, int n, int pixels) {
  const __m512i entry = _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7); /* of 8 bytes */
  const __m512i inside = _mm512_set1_epi64(n / 8 - 1);
  const __m512i first = _mm512_or_si512(_mm512_and_si512(entry, inside),
                                        _mm512_slli_epi64(_mm512_andnot_si512(inside, entry), 1));
  const __m512i second = _mm512_or_si512(first, _mm512_set1_epi64(n / 8));
  int i = 0;
  for (; 2 * i + 128 / n <= pixels; i += 64 / n, from += 128) {
    const __m512i a = load(from), b = load(from + 64);
    _mm512_storeu_si512(even + i * n, _mm512_permutex2var_epi64(a, first, b));
    _mm512_storeu_si512(odd + i * n, _mm512_permutex2var_epi64(a, second, b));
  }
  return i;
}

/* Columns x, x + STEP, ... before `end` of a line, STEP apart in memory too. */
EQ_TARGET EQ_INLINE void copy(const eq_dw_slice *s, uint8_t *line, int x, int end,
                              const int8_t *from, ptrdiff_t pixel, const int STEP) {
  if (x >= end) return;
  uint8_t *to = line + (STEP == 1 ? x * s->pitch : (x & 1) * s->second + x / 2 * s->pitch);
  copy_pixels(to, s->pitch, from, pixel * STEP, s->n, (end - x + STEP - 1) / STEP);
}

/* Input row iy of the segment, or nothing but padding. */
EQ_TARGET EQ_INLINE void fill(const eq_dw_slice *s, int iy, uint8_t *line, const int STEP) {
  const eq_dw_row *a = s->a;
  const int n = s->n, count = (s->columns - 1) * STEP + a->k;
  const bool absent = iy < 0 || iy >= a->height, dense = s->pitch == n && a->pixel == n;
  const int begin = absent ? count : s->begin, end = absent ? count : s->end;
  const int8_t *pad = a->pad + s->c;
  const int8_t *from = a->in + iy * a->line + (s->first * STEP - a->left + begin) * a->pixel + s->c;
  if (STEP == 1) {
    copy(s, line, 0, begin, pad, 0, 1);
    if (dense)
      copy_bytes(line + begin * n, from, (ptrdiff_t)(end - begin) * n);
    else
      copy(s, line, begin, end, from, a->pixel, 1);
    copy(s, line, end, count, pad, 0, 1);
    return;
  }
  int done = begin; /* columns; in this order, as a pixel is covered by the next alone */
  for (int p = 0; p < 2; p++) copy(s, line, p, begin, pad, 0, 2);
  if (dense && n <= 32 && !(n & (n - 1)) && begin < end) {
    uint8_t *even = line + (begin + 1) / 2 * n, *odd = line + s->second + begin / 2 * n;
    done += 2 * part(begin & 1 ? odd : even, begin & 1 ? even : odd, from, n, end - begin);
  }
  for (int p = 0; p < 2; p++)
    copy(s, line, done + p, end, from + (done - begin + p) * a->pixel, a->pixel, 2);
  for (int p = 0; p < 2; p++) copy(s, line, end + p, count, pad, 0, 2);
}

EQ_TARGET static void fill_1(const eq_dw_slice *s, int iy, uint8_t *line) { fill(s, iy, line, 1); }
EQ_TARGET static void fill_2(const eq_dw_slice *s, int iy, uint8_t *line) { fill(s, iy, line, 2); }

void eq_dw_fill512(const eq_dw_slice *s, eq_dw_group *g, int top, int lines, uint8_t *ring,
                   int *filled) {
#define LINE(iy) (ring + ((iy) & (EQ_DW_RING - 1)) * (s->line + 64))
  if (*filled < top) *filled = top;
  for (; *filled < top + lines; ++*filled)
    (s->a->stride == 1 ? fill_1 : fill_2)(s, *filled, LINE(*filled));
  for (int j = 0; j < lines; j++) g->at[j] = LINE(top + j);
#undef LINE
}
#else
typedef int eq_empty; /* ISO C wants a declaration */
#endif
