/* The pool runs every part exactly once, for any worker and part count, from several callers. */
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include "../threads.h"
#include "guard.h"

enum { CALLERS = 3, JOBS = 3000 };

typedef struct {
  atomic_int runs[64];
  atomic_int busy[8]; /* a worker index is in one place at a time: scratch belongs to it */
} job;

static void mark(void *arg, int part, int worker) {
  job *j = arg;
  CHECK(worker >= 0 && worker < 8);
  CHECK(atomic_fetch_add(&j->busy[worker], 1) == 0);
  atomic_fetch_add(&j->runs[part], 1);
  atomic_fetch_sub(&j->busy[worker], 1);
}

static void *caller(void *arg) {
  uint64_t seed = (uint64_t)(uintptr_t)arg * 7919 + 1;
  for (int n = 0; n < JOBS; n++) {
    job j;
    memset(&j, 0, sizeof j);
    const int workers = random_in(&seed, 1, 8), parts = random_in(&seed, 0, 64);
    eq_pool_run(workers, parts, mark, &j);
    for (int i = 0; i < 64; i++) CHECK(atomic_load(&j.runs[i]) == (i < parts));
  }
  return NULL;
}

int main(void) {
  pthread_t threads[CALLERS];
  for (int i = 0; i < CALLERS; i++)
    CHECK(!pthread_create(&threads[i], NULL, caller, (void *)(uintptr_t)(i + 1)));
  for (int i = 0; i < CALLERS; i++) CHECK(!pthread_join(threads[i], NULL));
  printf("%d jobs ran every part once\n", CALLERS * JOBS);
  return 0;
}
