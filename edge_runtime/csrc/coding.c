/* coding.c: decoders of stored weights (see CODINGS in isa.py). They run once, when a program is
 * opened, over bytes that nobody has checked. compiler/weight_codes.py says the same slowly. */
#include "coding.h"
#include <string.h>

/* Each decoder fills out[0..body) and returns what follows its part of the stream, or NULL with the
 * rule that is broken. */

static const uint8_t *int4(const uint8_t *in, const uint8_t *end, uint8_t *out, uint32_t body,
                           const char **broken) {
  if (body % 2 || (uint64_t)(end - in) < body / 2) {
    *broken = "int4 holds two weights a byte";
    return NULL;
  }
  for (uint32_t i = 0; i < body / 2; i++) {
    out[2 * i] = (uint8_t)(((in[i] & 15) ^ 8) - 8);
    out[2 * i + 1] = (uint8_t)(((in[i] >> 4) ^ 8) - 8);
  }
  return in + body / 2;
}

static const uint8_t *sparse24(const uint8_t *in, const uint8_t *end, uint8_t *out, uint32_t body,
                               const char **broken) {
  if (body % 8 || (uint64_t)(end - in) < (uint64_t)body * 5 / 8) {
    *broken = "2:4 holds 5 bytes for every 8 weights";
    return NULL;
  }
  const uint8_t *values = in + body / 8;
  memset(out, 0, body);
  for (uint32_t i = 0; i < body / 4; i++, out += 4, values += 2) {
    const int places = in[i / 2] >> (i % 2 * 4);
    out[places & 3] = values[0];
    out[places >> 2 & 3] |= values[1]; /* an empty second place may fall on the first */
  }
  return values;
}

typedef struct {
  uint16_t entry[1 << EQ_CODE_BITS]; /* by the next bits: symbol, then the length of its code */
} decoder;

static const char *make_decoder(decoder *d, const uint8_t *table) {
  uint32_t at =
      0; /* canonical: short codes first, then by symbol; together they fill every entry */
  for (uint32_t length = 1; length <= EQ_CODE_BITS; length++)
    for (uint32_t symbol = 0; symbol < EQ_CODE_SYMBOLS; symbol++) {
      if ((uint32_t)(table[symbol / 2] >> (symbol % 2 * 4) & 15) != length) continue;
      const uint32_t count = 1u << (EQ_CODE_BITS - length);
      if (at + count > 1u << EQ_CODE_BITS) return "its table has too many codes";
      for (uint32_t stop = at + count; at < stop; at++)
        d->entry[at] = (uint16_t)(symbol << 4 | length);
    }
  return at == 1u << EQ_CODE_BITS ? NULL : "its table leaves codes without a symbol";
}

static const uint8_t *huffman(const uint8_t *in, const uint8_t *end, const uint8_t *table,
                              uint8_t *out, uint32_t body, const char **broken) {
  decoder d;
  if ((*broken = make_decoder(&d, table))) return NULL;
  uint8_t *const out_end = out + body;
  uint64_t bits = 0; /* the next ones at the top */
  int have = 0;
  memset(out, 0, body);
  while (out < out_end) {
    for (; have <= 56 && in < end; have += 8) bits |= (uint64_t)*in++ << (56 - have);
    for (int k = 0; k < 4 && out < out_end; k++) { /* 4 codes of 12 bits fit what was read */
      const unsigned entry = d.entry[bits >> (64 - EQ_CODE_BITS)];
      const int length = entry & 15;
      const unsigned symbol = entry >> 4;
      if (length > have) return *broken = "it ends too early", NULL;
      bits <<= length;
      have -= length;
      if (symbol < 256) {
        *out++ = (uint8_t)symbol;
        continue;
      }
      const int64_t run = (int64_t)2 << (symbol - 256);
      if (out_end - out < run) return *broken = "it holds too many weights", NULL;
      out += run;
    }
  }
  const int rest = have % 8; /* of the byte that the last code ends in */
  if (rest && bits >> (64 - rest)) return *broken = "its last byte is not filled up with 0", NULL;
  return in - have / 8;
}

const char *eq_decode(int coding, const uint8_t *stream, uint32_t coded, const uint8_t *table,
                      uint32_t body, uint8_t *out, uint32_t bytes) {
  const uint8_t *const end = stream + coded;
  const char *broken = "its coding is unknown";
  if (body > bytes) return "its body is longer than the whole";
  if (bytes > (uint64_t)coded * EQ_MOST_EXPANSION) return "no coding holds so many weights";
  const uint8_t *rest = NULL;
  switch (coding) {
  case EQ_CODING_INT4:
    rest = int4(stream, end, out, body, &broken);
    break;
  case EQ_CODING_SPARSE24:
    rest = sparse24(stream, end, out, body, &broken);
    break;
  case EQ_CODING_HUFFMAN:
    rest = huffman(stream, end, table, out, body, &broken);
    break;
  default:
    break;
  }
  if (!rest) return broken;
  const uint32_t plain = (uint32_t)(end - rest), left = bytes - body;
  if (plain > left || (left && !plain)) return "its end does not follow its body";
  memcpy(out + body, rest, plain);
  if (left > plain) memset(out + body + plain, rest[plain - 1], left - plain);
  return NULL;
}
