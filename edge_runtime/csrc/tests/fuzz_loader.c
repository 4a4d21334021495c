/* fuzz_loader FILE SEED ITERATIONS: damages a program in memory, mends its checksums, opens it and,
 * when the loader accepts it, runs it. Meant for the sanitizer build: a bug is a report or a crash.
 */
#include <string.h>
#include "../isa.h"
#include "edgeq.h"
#include "guard.h"

static const int32_t interesting[] = {
    0, 1, 2, -1, 127, 128, 255, 256, 32767, 65535, 65536, 1 << 24, 1 << 30, INT32_MAX, INT32_MIN};

static void mend(uint8_t *file, size_t size) {
  eq_header *h = (eq_header *)(void *)file;
  const uint32_t count = h->sections > 64 ? 64 : h->sections;
  eq_section *table = (eq_section *)(void *)(file + sizeof *h);
  for (uint32_t i = 0; i < count && sizeof *h + (i + 1) * sizeof *table <= size; i++)
    if (table[i].offset <= size && table[i].bytes <= size - table[i].offset)
      table[i].crc = edgeq_crc32(0, file + table[i].offset, table[i].bytes);
  if (sizeof *h + count * sizeof *table <= size)
    h->table_crc = edgeq_crc32(edgeq_crc32(0, file, offsetof(eq_header, table_crc)), table,
                               count * sizeof *table);
}

static void damage(uint8_t *file, size_t size, uint64_t *seed) {
  const int edits = random_in(seed, 1, 4);
  for (int e = 0; e < edits; e++) {
    const int width = 1 << random_in(seed, 0, 2);
    size_t at = next_random(seed) % (size - 4) / (size_t)width * (size_t)width;
    int32_t value = interesting[random_in(seed, 0, 14)];
    switch (random_in(seed, 0, 3)) {
    case 0:
      file[at] ^= (uint8_t)(1 << random_in(seed, 0, 7));
      break;
    case 1:
      memcpy(file + at, &value, (size_t)width);
      break;
    case 2: /* near the old value */
      memcpy(&value, file + at, (size_t)width);
      value = (int32_t)((uint32_t)value + (uint32_t)random_in(seed, -16, 16));
      memcpy(file + at, &value, (size_t)width);
      break;
    default: /* a piece from elsewhere */
      memmove(file + at, file + next_random(seed) % (size - 4), (size_t)width);
    }
  }
}

/* A run that would only take long is not interesting. */
static int worth_running(const edgeq_model *m) {
  for (uint32_t i = 0; i < edgeq_tensor_count(m); i++)
    if (edgeq_get_tensor(m, i)->count > 1 << 14) return 0;
  return 1;
}

int main(int argc, char **argv) {
  if (argc != 4) return fprintf(stderr, "usage: fuzz_loader FILE SEED ITERATIONS\n"), 2;
  FILE *f = fopen(argv[1], "rb");
  CHECK(f && !fseek(f, 0, SEEK_END));
  const size_t size = (size_t)ftell(f);
  rewind(f);
  uint8_t *original = malloc(size), *file = malloc(size);
  CHECK(original && file && size > 256 && fread(original, 1, size, f) == size);
  fclose(f);
  uint64_t seed = strtoull(argv[2], NULL, 0) * 2 + 1;
  const long iterations = strtol(argv[3], NULL, 0);
  long accepted = 0, runs = 0;
  for (long i = 0; i < iterations; i++) {
    memcpy(file, original, size);
    damage(file, size, &seed);
    if (random_in(&seed, 0, 15)) mend(file, size);
    const size_t length = random_in(&seed, 0, 31) ? size : next_random(&seed) % size;
    char error[EDGEQ_ERROR_BYTES] = "";
    const edgeq_options options = {1 + (int)(i % 2), edgeq_isa_list((int)(i % edgeq_isa_count()))};
    edgeq_model *m;
    const edgeq_status status = edgeq_open_memory(file, length, &options, &m, error);
    CHECK(status == EDGEQ_OK ? m != NULL : m == NULL && error[0] && strlen(error) < sizeof error);
    if (status) continue;
    accepted++;
    if (worth_running(m)) runs++, edgeq_run(m, NULL);
    edgeq_close(m);
  }
  free(original);
  free(file);
  printf("%ld files: %ld accepted, %ld run\n", iterations, accepted, runs);
  return 0;
}
