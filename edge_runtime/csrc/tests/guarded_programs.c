/* guarded_programs FILE...: opens each program by path and from memory, and runs it with every
 * kernel set on 1 and 3 threads: once with an unreadable page right behind all that the library
 * allocates or maps and all that the caller hands it, once with one right before. The outputs must
 * be those of the scalar kernels. Linked with --wrap: the library itself knows nothing of this. */
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include "../isa.h"
#include "../program.h"
#include "guard.h"

/* From the linker: __real_f is the C library's f where __wrap_f is what this program calls as f. */
void *__real_calloc(size_t count, size_t size);
void __real_free(void *user);
void *__real_mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset);
int __real_munmap(void *at, size_t bytes);

enum { BLOCKS = 256, OUTPUTS = 1 << 24 };
static struct {
  void *user, *base;
  size_t bytes;
} blocks[BLOCKS];
static bool before;  /* the side of the unreadable page */
static bool opening; /* a statically linked C library allocates through here too, at other times */
static char doing[1024];

/* Memory of `bytes` bytes, or of a file, whose end (or start) touches an unreadable page. */
static void *place(size_t bytes, int fd) {
  const size_t page = (size_t)sysconf(_SC_PAGESIZE), room = (bytes + page - 1) / page * page;
  uint8_t *base = __real_mmap(NULL, room + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  int i = 0;
  while (i < BLOCKS && blocks[i].user) i++;
  CHECK(base != MAP_FAILED && i < BLOCKS);
  if (fd < 0)
    CHECK(!room || !mprotect(base + page, room, PROT_READ | PROT_WRITE));
  else
    CHECK(__real_mmap(base + page, room, PROT_READ, MAP_PRIVATE | MAP_FIXED, fd, 0) != MAP_FAILED);
  blocks[i].base = base;
  blocks[i].bytes = room + 2 * page;
  return blocks[i].user = base + page + (before || fd >= 0 ? 0 : room - bytes);
}

static bool unplace(void *user) {
  int i = 0;
  while (i < BLOCKS && blocks[i].user != user) i++;
  if (!user || i == BLOCKS) return false;
  blocks[i].user = NULL;
  __real_munmap(blocks[i].base, blocks[i].bytes);
  return true;
}

void *__wrap_calloc(size_t count, size_t size) {
  return opening ? place(count * size, -1) : __real_calloc(count, size);
}
void __wrap_free(void *user) {
  if (!unplace(user)) __real_free(user);
}
void *__wrap_mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset) {
  return opening ? place(bytes, fd) : __real_mmap(at, bytes, protection, flags, fd, offset);
}
int __wrap_munmap(void *user, size_t bytes) {
  return unplace(user) ? 0 : __real_munmap(user, bytes);
}

static void fault(int signal, siginfo_t *info, void *context) {
  (void)signal, (void)context;
  char text[64] = "touched an address outside every buffer\n";
  for (int i = 0; i < BLOCKS; i++) {
    const uint8_t *at = info->si_addr, *base = blocks[i].base;
    if (blocks[i].user && at >= base && at < base + blocks[i].bytes)
      snprintf(text, sizeof text, "touched byte %td of a buffer's pages\n",
               at - (uint8_t *)blocks[i].user);
  }
  if (write(2, doing, strlen(doing)) < 0 || write(2, text, strlen(text)) < 0) _exit(4);
  _exit(3);
}

/* Random integers, or reals; the whole range, so that everything saturates somewhere. */
static void *random_input(const edgeq_tensor *t, bool real, uint64_t *seed) {
  const size_t size = real ? 4 : eq_dtype_bytes(t->dtype);
  uint8_t *x = place(t->count * size, -1);
  for (size_t i = 0; i < t->count; i++) {
    const uint32_t bits = (uint32_t)(next_random(seed) >> 32);
    const float f = (float)(int32_t)bits * 0x1p-31f * (t->q_count ? 200.0f * t->scales[0] : 4.0f);
    if (real)
      memcpy(x + i * 4, &f, 4);
    else
      memcpy(x + i * size, &bits, size);
  }
  return x;
}

/* One run with integers or reals at the edges; the outputs' bytes one after the other. */
static size_t run(edgeq_model *m, bool real, uint8_t *outputs) {
  uint64_t seed = 88172645463325252ull;
  for (uint32_t i = 0; i < edgeq_input_count(m); i++) {
    const edgeq_tensor *t = edgeq_get_tensor(m, i);
    const bool reals = t->dtype == EDGEQ_FLOAT32 || (real && t->q_count);
    void *x = random_input(t, reals, &seed);
    const edgeq_status status = reals ? edgeq_set_input_f32(m, i, x, t->count)
                                      : edgeq_set_input(m, i, x, t->count, t->dtype);
    if (status) fprintf(stderr, "%s%s\n", doing, edgeq_error(m));
    CHECK(!status);
    unplace(x);
  }
  CHECK(!edgeq_run(m, NULL));
  size_t used = 0;
  for (uint32_t i = 0; i < edgeq_output_count(m); i++) {
    const edgeq_tensor *t = edgeq_get_tensor(m, edgeq_input_count(m) + i);
    const bool reals = t->dtype == EDGEQ_FLOAT32 || (real && t->q_count);
    const size_t bytes = t->count * (reals ? 4 : eq_dtype_bytes(t->dtype));
    void *y = place(bytes, -1);
    CHECK(used + bytes <= OUTPUTS);
    CHECK(!(reals ? edgeq_get_output_f32(m, i, y, t->count)
                  : edgeq_get_output(m, i, y, t->count, t->dtype)));
    memcpy(outputs + used, y, bytes);
    used += bytes;
    unplace(y);
  }
  return used;
}

static int run_file(const char *path, const uint8_t *file, size_t bytes) {
  static uint8_t expected[2][OUTPUTS], actual[OUTPUTS];
  int runs = 0;
  for (int isa = 0; isa < edgeq_isa_count(); isa++)
    for (int way = 0; way < 8; way++) {
      const edgeq_options options = {way & 1 ? 3 : 1, edgeq_isa_list(isa)};
      char error[EDGEQ_ERROR_BYTES];
      edgeq_model *m;
      before = way & 2;
      snprintf(doing, sizeof doing, "%s: %s, %d threads, unreadable page %s: ", path, options.isa,
               options.threads, before ? "before" : "behind");
      opening = true;
      const edgeq_status status = way & 4 ? edgeq_open_path(path, &options, &m, error)
                                          : edgeq_open_memory(file, bytes, &options, &m, error);
      opening = false;
      if (status) fprintf(stderr, "%s%s\n", doing, error);
      CHECK(!status);
      for (int real = 0; real < 2; real++, runs++) {
        const bool first = isa == 0 && way == 0;
        const size_t used = run(m, real, first ? expected[real] : actual);
        if (first || !memcmp(expected[real], actual, used)) continue;
        fprintf(stderr, "%sother bytes than scalar on one thread\n", doing);
        exit(1);
      }
      edgeq_close(m);
      for (int i = 0; i < BLOCKS; i++) CHECK(!blocks[i].user); /* nothing leaks */
    }
  return runs;
}

int main(int argc, char **argv) {
  const struct sigaction action = {.sa_sigaction = fault, .sa_flags = SA_SIGINFO};
  sigaction(SIGSEGV, &action, NULL);
  sigaction(SIGBUS, &action, NULL);
  int runs = 0;
  for (int i = 1; i < argc; i++) {
    FILE *f = fopen(argv[i], "rb");
    CHECK(f && !fseek(f, 0, SEEK_END));
    const size_t bytes = (size_t)ftell(f);
    rewind(f);
    uint8_t *file = malloc(bytes);
    CHECK(file && fread(file, 1, bytes, f) == bytes);
    fclose(f);
    runs += run_file(argv[i], file, bytes);
    free(file);
  }
  printf("%d runs of %d programs stayed inside their buffers\n", runs, argc - 1);
  return 0;
}
