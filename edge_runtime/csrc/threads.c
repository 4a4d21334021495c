/* threads.c: the pool. Workers spin for some microseconds after a job, because the next command of
 * a network follows at once, then park on a condition variable. */
#define _GNU_SOURCE
#include "threads.h"
#include <fenv.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <unistd.h>
#include "edgeq.h"

enum { SPINS = 4000 };

static struct {
  pthread_mutex_t owner; /* held by the model that uses the pool */
  pthread_mutex_t lock;  /* guards parking and starting */
  pthread_cond_t wake;
  int started;              /* worker threads alive */
  /* job number << 8 | workers of that job, the caller included: one word, so that a late worker
   * that has no part in a job can never mistake it for the next one */
  _Atomic uint64_t ticket;
  atomic_int parked, pending;
  eq_job *job;
  void *arg;
} pool = {.owner = PTHREAD_MUTEX_INITIALIZER,
          .lock = PTHREAD_MUTEX_INITIALIZER,
          .wake = PTHREAD_COND_INITIALIZER};
static pthread_once_t once = PTHREAD_ONCE_INIT;

static inline void relax(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

/* A forked child has none of the threads: forget them, they start again on demand. */
static void after_fork(void) {
  pthread_mutex_init(&pool.owner, NULL);
  pthread_mutex_init(&pool.lock, NULL);
  pthread_cond_init(&pool.wake, NULL);
  pool.started = 0;
  atomic_store(&pool.parked, 0);
  atomic_store(&pool.pending, 0);
}

static void prepare(void) { pthread_atfork(NULL, NULL, after_fork); }

static uint64_t wait_for_job(uint64_t seen) {
  for (int i = 0; i < SPINS; i++) {
    const uint64_t ticket = atomic_load(&pool.ticket);
    if (ticket != seen) return ticket;
    relax();
  }
  pthread_mutex_lock(&pool.lock);
  atomic_fetch_add(&pool.parked, 1);
  while (atomic_load(&pool.ticket) == seen) pthread_cond_wait(&pool.wake, &pool.lock);
  atomic_fetch_sub(&pool.parked, 1);
  pthread_mutex_unlock(&pool.lock);
  return atomic_load(&pool.ticket);
}

typedef struct {
  int worker;
  uint64_t seen;
} worker_start;
static worker_start starts[EDGEQ_MAX_THREADS];

static void *worker_main(void *arg) {
  const worker_start *start = arg;
  const int worker = start->worker;
  uint64_t seen = start->seen;
  fesetenv(FE_DFL_ENV); /* round to nearest even, denormals kept */
  for (;;) {
    seen = wait_for_job(seen);
    if (worker >= (int)(seen & 255)) continue; /* this job needs fewer threads */
    pool.job(pool.arg, worker);
    atomic_fetch_sub(&pool.pending, 1);
  }
  return NULL;
}

/* Start threads until `workers` exist; returns how many workers there are, the caller included. */
static int start_threads(int workers) {
  while (pool.started + 1 < workers) {
    pthread_t thread;
    pthread_attr_t attr;
    worker_start *s = &starts[pool.started + 1];
    *s = (worker_start){pool.started + 1, atomic_load(&pool.ticket)};
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    const int failed = pthread_create(&thread, &attr, worker_main, s);
    pthread_attr_destroy(&attr);
    if (failed) break;
    pool.started++;
  }
  return pool.started + 1;
}

static void run_alone(int workers, eq_job *job, void *arg) {
  for (int i = 0; i < workers; i++) job(arg, i);
}

void eq_pool_run(int workers, eq_job *job, void *arg) {
  if (workers > EDGEQ_MAX_THREADS) workers = EDGEQ_MAX_THREADS;
  if (workers <= 1 || pthread_mutex_trylock(&pool.owner)) {
    run_alone(workers, job, arg);
    return;
  }
  pthread_once(&once, prepare);
  if (start_threads(workers) < workers) { /* the system refuses threads */
    pthread_mutex_unlock(&pool.owner);
    run_alone(workers, job, arg);
    return;
  }
  pool.job = job;
  pool.arg = arg;
  atomic_store(&pool.pending, workers - 1);
  atomic_store(&pool.ticket, ((atomic_load(&pool.ticket) >> 8) + 1) << 8 | (unsigned)workers);
  if (atomic_load(&pool.parked)) {
    pthread_mutex_lock(&pool.lock);
    pthread_cond_broadcast(&pool.wake);
    pthread_mutex_unlock(&pool.lock);
  }
  job(arg, 0);
  for (int i = 0; atomic_load(&pool.pending); i++) {
    if (i < SPINS) relax();
    else sched_yield(); /* the other CPU may be busy with another process */
  }
  pthread_mutex_unlock(&pool.owner);
}

int eq_cpu_count(void) {
#if defined(__linux__)
  cpu_set_t set;
  if (!sched_getaffinity(0, sizeof set, &set)) return CPU_COUNT(&set);
#endif
  long n = sysconf(_SC_NPROCESSORS_ONLN);
  return n < 1 ? 1 : (int)n;
}
