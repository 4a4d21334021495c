/* conv_strip, AVX-512 VNNI: 1 to 8 output channels of pixels at one stride. A register of sums
 * holds LANES channels of 16 / LANES pixels, and a shuffle spreads a step of k over them: pairs  2
 * channels of 8 pixels, whose windows start 4 or 8 bytes apart: a load and a permute fours  4
 * channels of 4 pixels at any stride, from 16 bytes of each; 2 channels or 1 with 2 or 4 steps of k
 * side by side */
#if defined(__x86_64__)
#include <string.h>
#include "conv_avx512.h"

enum { PART = 32, TAIL = 16, BATCH = 64 }; /* pixels of one core, of its end, of one epilogue */

/* The windows of a core: x, or x + 128 where `flip` is 0. */
typedef struct {
  const eq_conv *a;
  const uint8_t *in;
  ptrdiff_t step, tap;
  __m512i flip, start[4]; /* of each register of sums that makes all channels */
  int pixels;
} part;

/* ---- two channels of eight pixels ---- */

EQ_TARGET EQ_INLINE void pairs(const part *p, __m512i *sums, const int PIXELS, const int N) {
  enum { MOST = PART / 8 * 4 };
  const int GROUPS = PIXELS / 8, J = N / 2;
  const eq_conv *a = p->a;
  const __m512i flip = p->flip;
  const __m512i pixel = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
  const __m512i at = _mm512_mullo_epi32(pixel, _mm512_set1_epi32((int)(p->step / 4)));
  __m512i acc[MOST];
#pragma GCC unroll 4
  for (int j = 0; j < J; j++) {
    const __m512i start = p->start[j];
#pragma GCC unroll 4
    for (int g = 0; g < GROUPS; g++) acc[g * J + j] = start;
  }
  const int8_t *w = a->w;
  const uint8_t *row = p->in;
  const ptrdiff_t eight = 8 * p->step;
  for (int t = 0; t < a->taps; t++, row += p->tap) {
    const uint8_t *x = row;
    for (int k = 0; k < a->k4; k++, w += 64, x += 4) {
      __m512i v[PART / 8];
#pragma GCC unroll 4
      for (int g = 0; g < GROUPS; g++)
        v[g] =
            _mm512_permutexvar_epi32(at, _mm512_xor_si512(_mm512_loadu_si512(x + g * eight), flip));
#pragma GCC unroll 4
      for (int j = 0; j < J; j++) {
        int64_t two;
        memcpy(&two, w + 8 * j, 8);
        const __m512i now = _mm512_set1_epi64(two);
#pragma GCC unroll 4
        for (int g = 0; g < GROUPS; g++)
          acc[g * J + j] = _mm512_dpbusd_epi32(acc[g * J + j], v[g], now);
      }
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < GROUPS * J; i++) sums[i] = acc[i];
}

/* ---- four channels of four pixels ---- */

/* 16 bytes of pixels 4g .. 4g + 3; of the last one for those behind it. */
EQ_TARGET EQ_INLINE __m512i four(const part *p, const uint8_t *x, int g, const bool END) {
  const uint8_t *at[4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) {
    const int n = 4 * g + i;
    at[i] = x + (END && n >= p->pixels ? p->pixels - 1 : n) * p->step;
  }
#define LOAD(i) _mm_loadu_si128((const __m128i *)(const void *)at[i])
  __m512i v = _mm512_castsi128_si512(LOAD(0));
  v = _mm512_inserti32x4(v, LOAD(1), 1);
  v = _mm512_inserti32x4(v, LOAD(2), 2);
  v = _mm512_inserti32x4(v, LOAD(3), 3);
#undef LOAD
  return _mm512_xor_si512(v, p->flip);
}

/* Weights of step k, and for N < 4 of those beside it as far as they are left. */
EQ_TARGET EQ_INLINE __m512i some(const int8_t *w, int left, int j, const int N) {
  if (N >= 4)
    return _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(const void *)(w + 16 * j)));
  int32_t v[4] = {0, 0, 0, 0};
  for (int i = 0; i < 4 / N && i < left; i++) memcpy(v + i * N, w + 64 * i, 4 * (size_t)N);
  return _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(const void *)v));
}

/* Pixels in order from 4 / N registers of 4 / N partial sums a channel. */
EQ_TARGET EQ_INLINE __m512i gather_sums(const __m512i *acc, const int N) {
#define ADD(kind, a, b) _mm512_add_epi32(_mm512_unpacklo_##kind(a, b), _mm512_unpackhi_##kind(a, b))
  if (N == 2)
    return _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7),
                                    ADD(epi64, acc[0], acc[1]));
  const __m512i v = ADD(epi64, ADD(epi32, acc[0], acc[1]), ADD(epi32, acc[2], acc[3]));
#undef ADD
  return _mm512_permutexvar_epi32(
      _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), v);
}

/* Step i of four, or for N = 2 steps i and i + 1, in every lane of their pixels. */
EQ_TARGET EQ_INLINE __m512i spread(__m512i x, int i, const int N) {
  if (N == 1) return x;
  if (N == 2) return i == 0 ? _mm512_shuffle_epi32(x, 0x50) : _mm512_shuffle_epi32(x, 0xfa);
  return i == 0   ? _mm512_shuffle_epi32(x, 0x00)
         : i == 1 ? _mm512_shuffle_epi32(x, 0x55)
         : i == 2 ? _mm512_shuffle_epi32(x, 0xaa)
                  : _mm512_shuffle_epi32(x, 0xff);
}

EQ_TARGET EQ_INLINE void fours(const part *p, __m512i *sums, const int PIXELS, const int N) {
  enum { MOST = PART / 4 * 2 };
  const int GROUPS = PIXELS / 4, J = N == 8 ? 2 : 1, STEPS = N >= 4 ? 1 : 4 / N;
  const bool END = PIXELS == TAIL;
  const eq_conv *a = p->a;
  __m512i acc[MOST];
#pragma GCC unroll 2
  for (int j = 0; j < J; j++)
#pragma GCC unroll 8
    for (int g = 0; g < GROUPS; g++) acc[g * J + j] = N >= 4 ? p->start[j] : _mm512_setzero_si512();
  const int8_t *w = a->w;
  const uint8_t *row = p->in;
  for (int t = 0; t < a->taps; t++, row += p->tap, w += 64 * a->k4)
    for (int k = 0; k < a->k4; k += 4) {
      __m512i x[PART / 4];
#pragma GCC unroll 8
      for (int g = 0; g < GROUPS; g++) x[g] = four(p, row + 4 * k, g, END);
#pragma GCC unroll 4
      for (int i = 0; i < 4; i += STEPS) {
        if (k + i >= a->k4) break;
#pragma GCC unroll 2
        for (int j = 0; j < J; j++) {
          const __m512i now = some(w + 64 * (k + i), a->k4 - k - i, j, N);
#pragma GCC unroll 8
          for (int g = 0; g < GROUPS; g++) {
            acc[g * J + j] = _mm512_dpbusd_epi32(acc[g * J + j], spread(x[g], i, N), now);
          }
        }
      }
    }
#pragma GCC unroll 16
  for (int i = 0; i < GROUPS * J; i++) {
    if (N >= 4)
      sums[i] = acc[i];
    else if (i % STEPS == 0)
      sums[i / STEPS] = _mm512_add_epi32(p->start[0], gather_sums(acc + i, N));
  }
}

/* ---- strips ---- */

typedef void core_fn(const part *p, __m512i *sums);
#define CORE(kind, n)                                                                              \
  EQ_TARGET static void kind##_##n(const part *p, __m512i *sums) { kind(p, sums, PART, n); }       \
  EQ_TARGET static void kind##_end_##n(const part *p, __m512i *sums) { kind(p, sums, TAIL, n); }
CORE(pairs, 2)
CORE(pairs, 4)
CORE(pairs, 8)
CORE(fours, 1)
CORE(fours, 2)
CORE(fours, 4)
CORE(fours, 8)
#define CORES(kind, n) {kind##_##n, kind##_end_##n}

/* `n` <= 8 values to where they belong. */
EQ_INLINE void put(uint8_t *to, const uint8_t *from, int bytes) {
  if (bytes >= 8) {
    memcpy(to, from, 8), memcpy(to + bytes - 8, from + bytes - 8, 8);
  } else if (bytes >= 4) {
    memcpy(to, from, 4), memcpy(to + bytes - 4, from + bytes - 4, 4);
  } else if (bytes >= 2) {
    memcpy(to, from, 2), memcpy(to + bytes - 2, from + bytes - 2, 2);
  } else {
    *to = *from;
  }
}

/* The sums of a last part that lies too near the end of its tensor for whole loads. */
EQ_TARGET static void ending(core_fn *core, const part *p, __m512i *sums) {
  uint8_t near[TAIL * 8 + 64 + 8];
  memcpy(near, p->in, (size_t)(p->pixels - 1) * (size_t)p->step + 4 * (size_t)p->a->k4);
  part own = *p;
  own.in = near;
  core(&own, sums);
}

EQ_TARGET void eq_conv_strip__avx512vnni(const eq_conv *a, const eq_strip *s, int64_t pixels,
                                         int channels) {
  static core_fn *const cores[2][4][2] = {
      {CORES(fours, 1), CORES(fours, 2), CORES(fours, 4), CORES(fours, 8)},
      {CORES(fours, 1), CORES(pairs, 2), CORES(pairs, 4), CORES(pairs, 8)}};
  const int log = channels > 4 ? 3 : channels > 2 ? 2 : channels > 1, n = 1 << log;
  const bool near = s->step == 4 || s->step == 8;
  core_fn *const *core = cores[near][log];
  const int lanes = near && n > 1 ? 2 : n < 4 ? n : 4;
  const int item = a->e.out16 ? 2 : 1, bytes = channels * item, size = n * item;
  const bool dense = bytes == size && s->out_step == size;
  const uint8_t *in = s->in + a->in_offset;
  uint8_t *out = s->out + a->out_offset;
  part p = {.a = a, .step = s->step, .tap = s->tap, .flip = _mm512_set1_epi8((char)s->flip)};
  const __m512i start = eq_start512(&a->e, 0);
  for (int j = 0; j < n / lanes; j++) p.start[j] = eq_pick512(start, lanes, j);
  eq_strip512 constants;
  eq_strip512_of(&constants, &a->e, n, lanes);
  __m512i sums[BATCH / 2];
  for (int i = 0; i < 8 && n < 4; i++) sums[i] = _mm512_setzero_si512(); /* all may not be made */
  for (; pixels > 0; pixels -= BATCH) {
    _Alignas(64) uint8_t values[BATCH * 8 * 2];
    const int batch = pixels < BATCH ? (int)pixels : BATCH;
    for (int i = 0; i < batch; i += p.pixels) {
      __m512i *to = sums + i * n / 16;
      p.in = in + i * s->step;
      p.pixels = batch - i < PART ? batch - i < TAIL ? batch - i : TAIL : PART;
      if (s->flip && near && p.pixels < TAIL)
        ending(core[1], &p, to);
      else
        core[p.pixels < PART](&p, to);
    }
    const int blocks = (batch * n + 63) / 64;
    uint8_t *to = dense && batch * n % 64 == 0 ? out : values;
    eq_finish_strip512(&a->e, &constants, sums, blocks, to);
    if (to != out && dense)
      memcpy(out, values, (size_t)(batch * size));
    else if (to != out)
      for (int i = 0; i < batch; i++) put(out + i * s->out_step, values + i * size, bytes);
    in += BATCH * s->step;
    out += BATCH * s->out_step;
  }
}
#else
typedef int eq_empty; /* ISO C wants a declaration */
#endif
