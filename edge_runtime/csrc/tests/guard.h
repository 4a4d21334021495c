/* guard.h: buffers that end at an unreadable page, and a small random generator, for tests. */
#ifndef EDGEQ_TEST_GUARD_H
#define EDGEQ_TEST_GUARD_H
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define CHECK(condition)                                                                           \
  do {                                                                                             \
    if (!(condition)) {                                                                            \
      fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                              \
      exit(1);                                                                                     \
    }                                                                                              \
  } while (0)

enum { GUARDS = 1024 };
static struct {
  void *base[GUARDS];
  size_t bytes[GUARDS];
  int count;
} guards;

/* `bytes` bytes whose end touches an unreadable page, until release_guards(). */
static inline void *guarded(size_t bytes) {
  const size_t page = (size_t)sysconf(_SC_PAGESIZE), room = (bytes + page - 1) / page * page;
  uint8_t *p = mmap(NULL, room + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(p != MAP_FAILED && !mprotect(p + room, page, PROT_NONE) && guards.count < GUARDS);
  guards.base[guards.count] = p;
  guards.bytes[guards.count++] = room + page;
  return p + room - bytes;
}

static inline void release_guards(void) {
  while (guards.count--) munmap(guards.base[guards.count], guards.bytes[guards.count]);
  guards.count = 0;
}

/* xorshift64* (Vigna, 2016) */
static inline uint64_t next_random(uint64_t *state) {
  *state ^= *state >> 12;
  *state ^= *state << 25;
  *state ^= *state >> 27;
  return *state * 0x2545f4914f6cdd1dull;
}
static inline int random_in(uint64_t *state, int low, int high) {
  return low + (int)(next_random(state) >> 33) % (high - low + 1);
}
#endif
