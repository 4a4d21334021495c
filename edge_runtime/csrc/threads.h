/* threads.h: one pool of threads per process. Internal. */
#ifndef EDGEQ_THREADS_H
#define EDGEQ_THREADS_H

typedef void eq_job(void *arg, int part, int worker);

/* Run job(arg, 0..parts-1, worker) and return when all parts are done. The caller is worker 0 and
 * takes parts like the others, so it never waits for a thread that has not started. Which worker
 * takes a part varies; what a part is does not. When another model holds the pool the caller runs
 * every part itself. parts <= EQ_MAX_PARTS. */
enum { EQ_MAX_PARTS = 4095 };
void eq_pool_run(int workers, int parts, eq_job *job, void *arg);

/* CPUs this process may use, at least 1. */
int eq_cpu_count(void);
#endif
