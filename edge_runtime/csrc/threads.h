/* threads.h: one pool of threads per process. Internal. */
#ifndef EDGEQ_THREADS_H
#define EDGEQ_THREADS_H

typedef void eq_job(void *arg, int worker);

/* Run job(arg, 0..workers-1) and return when all are done; the caller is worker 0. When another
 * model holds the pool the caller runs every part itself: the result is the same. */
void eq_pool_run(int workers, eq_job *job, void *arg);

/* CPUs this process may use, at least 1. */
int eq_cpu_count(void);
#endif
