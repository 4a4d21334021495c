/* crc32.c: CRC-32 (IEEE 802.3, as in zlib), eight bytes per step (Kounavis and Berry, 2005). */
#include <pthread.h>
#include <string.h>
#include "edgeq.h"

static uint32_t table[8][256];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void build(void) {
  for (uint32_t i = 0; i < 256; i++) {
    uint32_t c = i;
    for (int k = 0; k < 8; k++) c = c & 1 ? 0xedb88320u ^ c >> 1 : c >> 1;
    table[0][i] = c;
  }
  for (int k = 1; k < 8; k++)
    for (int i = 0; i < 256; i++)
      table[k][i] = table[k - 1][i] >> 8 ^ table[0][table[k - 1][i] & 255];
}

uint32_t edgeq_crc32(uint32_t crc, const void *bytes, size_t size) {
  pthread_once(&once, build);
  const uint8_t *p = bytes;
  crc = ~crc;
  for (; size >= 8; size -= 8, p += 8) {
    uint32_t a, b;
    memcpy(&a, p, 4);
    memcpy(&b, p + 4, 4);
    a ^= crc; /* little-endian hosts only, like the file itself */
    crc = table[7][a & 255] ^ table[6][a >> 8 & 255] ^ table[5][a >> 16 & 255] ^ table[4][a >> 24] ^
          table[3][b & 255] ^ table[2][b >> 8 & 255] ^ table[1][b >> 16 & 255] ^ table[0][b >> 24];
  }
  for (; size; size--) crc = table[0][(crc ^ *p++) & 255] ^ crc >> 8;
  return ~crc;
}

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "edgeq runs on little-endian machines");
