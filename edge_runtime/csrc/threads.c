/* threads.c: the pool. After a job, workers spin and then yield for about a millisecond, because
 * the next command of a network follows at once; then they park on a condition variable.
 *
 * A worker's parts are a run of neighbours: the same rows of the picture in every command of a
 * network, so what it wrote lies in its own cache when it reads it. Who is done early takes from
 * the far end of the others' runs. */
#define _GNU_SOURCE
#include "threads.h"
#include <fenv.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <unistd.h>
#include "edgeq.h"

/* Spins before a thread gives way: a worker that shares a CPU with the caller must not hold it up,
 * and where nobody else wants the CPU yielding costs little. WAITS of these before it parks. */
enum { SPINS = 64, WAITS = 4000 };

/* The parts one worker has left: number << 32 | end << 16 | begin, in one word and with the number
 * of the job, so that a late worker can never mistake one job for another. A cache line each. */
typedef struct {
  _Alignas(64) _Atomic uint64_t left;
} share;

static struct {
  pthread_mutex_t owner; /* held by the model that uses the pool */
  pthread_mutex_t lock;  /* guards parking and starting */
  pthread_cond_t wake;
  int started; /* worker threads alive */
  share shares[EDGEQ_MAX_THREADS];
  _Alignas(64) _Atomic uint64_t state; /* of the current job: number << 32 | workers */
  eq_job *job;
  void *arg;
  _Alignas(64) atomic_int done; /* finished parts of this job */
  _Alignas(64) atomic_int parked;
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

/* The next part of one share, from its front or its end; -1 when it has none of this job. */
static int take(share *s, uint32_t number, bool front) {
  uint64_t left = atomic_load(&s->left);
  for (;;) {
    const int begin = (int)(left & 0xffff), end = (int)(left >> 16 & 0xffff);
    if (number_of(left) != number || begin >= end) return -1;
    const uint64_t next = front ? left + 1 : left - 0x10000;
    if (atomic_compare_exchange_weak(&s->left, &left, next)) return front ? begin : end - 1;
  }
}

/* Take parts of the job in `state` until none is left. Once a part is taken the job cannot end
 * before it is done, so `job` and `arg` belong to it. */
static void take_parts(uint64_t state, int worker) {
  const int workers = (int)(state & 255);
  int done = 0;
  for (int k = 0; k < workers && worker < workers; k++) {
    share *s = &pool.shares[(worker + k) % workers];
    for (int part; (part = take(s, number_of(state), k == 0)) >= 0; done++)
      pool.job(pool.arg, part, worker);
  }
  if (done) atomic_fetch_add(&pool.done, done);
}

static uint64_t wait_for_job(uint64_t seen) {
  for (int i = 0; i < SPINS + WAITS; i++) {
    const uint64_t state = atomic_load(&pool.state);
    if (state != seen) return state;
    if (i < SPINS)
      relax();
    else
      sched_yield();
  }
  pthread_mutex_lock(&pool.lock);
  atomic_fetch_add(&pool.parked, 1);
  while (atomic_load(&pool.state) == seen) pthread_cond_wait(&pool.wake, &pool.lock);
  atomic_fetch_sub(&pool.parked, 1);
  pthread_mutex_unlock(&pool.lock);
  return atomic_load(&pool.state);
}

typedef struct {
  int worker;
  uint64_t seen; /* the last job before this thread */
} worker_start;
static worker_start starts[EDGEQ_MAX_THREADS];

static void *worker_main(void *arg) {
  const worker_start start = *(const worker_start *)arg;
  uint64_t seen = start.seen;
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
    *s = (worker_start){pool.started + 1, atomic_load(&pool.state)};
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
  atomic_store_explicit(&pool.done, 0, memory_order_relaxed);
  const uint64_t number = number_of(atomic_load(&pool.state)) + 1u;
  for (int w = 0; w < workers; w++) {
    const uint64_t begin = (uint64_t)(parts * w / workers),
                   end = (uint64_t)(parts * (w + 1) / workers);
    atomic_store_explicit(&pool.shares[w].left, number << 32 | end << 16 | begin,
                          memory_order_relaxed); /* `state` publishes them */
  }
  const uint64_t state = number << 32 | (uint64_t)workers;
  atomic_store(&pool.state, state);
  if (atomic_load(&pool.parked)) {
    pthread_mutex_lock(&pool.lock);
    pthread_cond_broadcast(&pool.wake);
    pthread_mutex_unlock(&pool.lock);
  }
  take_parts(state, 0);
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
