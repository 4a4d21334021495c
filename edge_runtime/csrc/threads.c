/* threads.c: the pool. After a job, workers spin and then yield for about a millisecond, because
 * the next command of a network follows at once; then they park on a condition variable. */
#define _GNU_SOURCE
#include "threads.h"
#include <fenv.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <unistd.h>
#include "edgeq.h"

/* Spins before a thread gives way: a worker that shares a CPU with the caller must not hold it up,
 * and where nobody else wants the CPU yielding costs little. WAITS of these before it parks. */
enum { SPINS = 64, WAITS = 4000 };

static struct {
  pthread_mutex_t owner; /* held by the model that uses the pool */
  pthread_mutex_t lock;  /* guards parking and starting */
  pthread_cond_t wake;
  int started; /* worker threads alive */
  /* The state of the current job in one word, so that a late worker can never mistake one job for
   * another: number << 32 | workers << 24 | parts << 12 | next part to take. */
  _Atomic uint64_t state;
  atomic_int parked, done; /* done: finished parts of this job */
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
}

static void prepare(void) { pthread_atfork(NULL, NULL, after_fork); }

static inline uint32_t number_of(uint64_t state) { return (uint32_t)(state >> 32); }

/* Take parts of job `number` until none is left. Once a part is taken the job cannot end before it
 * is done, so `job` and `arg` belong to it. */
static void take_parts(uint32_t number, int worker) {
  uint64_t s = atomic_load(&pool.state);
  for (;;) {
    const int next = (int)(s & 4095), parts = (int)(s >> 12 & 4095), workers = (int)(s >> 24 & 255);
    if (number_of(s) != number || next >= parts || worker >= workers) return;
    if (!atomic_compare_exchange_weak(&pool.state, &s, s + 1)) continue;
    pool.job(pool.arg, next, worker);
    atomic_fetch_add(&pool.done, 1);
    s = atomic_load(&pool.state);
  }
}

static uint32_t wait_for_job(uint32_t seen) {
  for (int i = 0; i < SPINS + WAITS; i++) {
    const uint32_t number = number_of(atomic_load(&pool.state));
    if (number != seen) return number;
    if (i < SPINS)
      relax();
    else
      sched_yield();
  }
  pthread_mutex_lock(&pool.lock);
  atomic_fetch_add(&pool.parked, 1);
  while (number_of(atomic_load(&pool.state)) == seen) pthread_cond_wait(&pool.wake, &pool.lock);
  atomic_fetch_sub(&pool.parked, 1);
  pthread_mutex_unlock(&pool.lock);
  return number_of(atomic_load(&pool.state));
}

typedef struct {
  int worker;
  uint32_t seen; /* number of the last job before this thread */
} worker_start;
static worker_start starts[EDGEQ_MAX_THREADS];

static void *worker_main(void *arg) {
  const worker_start start = *(const worker_start *)arg;
  uint32_t seen = start.seen;
  fesetenv(FE_DFL_ENV); /* round to nearest even, denormals kept */
  for (;;) {
    seen = wait_for_job(seen);
    take_parts(seen, start.worker);
  }
  return NULL;
}

/* Start threads until `workers` exist; returns how many of them there are, the caller included. */
static int start_threads(int workers) {
  while (pool.started + 1 < workers) {
    pthread_t thread;
    pthread_attr_t attr;
    worker_start *s = &starts[pool.started + 1];
    *s = (worker_start){pool.started + 1, number_of(atomic_load(&pool.state))};
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    const int failed = pthread_create(&thread, &attr, worker_main, s);
    pthread_attr_destroy(&attr);
    if (failed) break;
    pool.started++;
  }
  return pool.started + 1 < workers ? pool.started + 1 : workers;
}

void eq_pool_run(int workers, int parts, eq_job *job, void *arg) {
  if (workers > EDGEQ_MAX_THREADS) workers = EDGEQ_MAX_THREADS;
  if (workers <= 1 || parts <= 1 || pthread_mutex_trylock(&pool.owner)) {
    for (int i = 0; i < parts; i++) job(arg, i, 0);
    return;
  }
  pthread_once(&once, prepare);
  workers = start_threads(workers); /* fewer when the system refuses threads */
  pool.job = job;
  pool.arg = arg;
  atomic_store(&pool.done, 0);
  const uint32_t number = number_of(atomic_load(&pool.state)) + 1;
  atomic_store(&pool.state, (uint64_t)number << 32 | (uint64_t)(unsigned)workers << 24 |
                                (uint64_t)(unsigned)parts << 12);
  if (atomic_load(&pool.parked)) {
    pthread_mutex_lock(&pool.lock);
    pthread_cond_broadcast(&pool.wake);
    pthread_mutex_unlock(&pool.lock);
  }
  take_parts(number, 0);
  for (int i = 0; atomic_load(&pool.done) < parts; i++) {
    if (i < SPINS)
      relax();
    else
      sched_yield(); /* the other CPU may be busy with another process */
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
