# cython: language_level=3, boundscheck=False, wraparound=False, embedsignature=True
"""The event clock: four in-order queues per core, tokens between them, one external memory for all.

The rule, in words, and slowly, is timeline.py; a test keeps the two equal.
"""

from cpython.mem cimport PyMem_Free, PyMem_Calloc
from libc.stdint cimport int8_t, int64_t, uint8_t, uint16_t

from edgeq.errors import ProgramError

DEF QUEUES = 4
DEF EXEC = 2
DEF DRAM = 5
DEF SYNC = 6


cdef struct State:
    int64_t *order      # commands by queue
    int64_t *head       # next command of each queue, an index into order
    int64_t *end
    int64_t *free       # when each queue is free
    int64_t *fifo       # times at which tokens were given
    int64_t *given      # per core and token, indices into fifo
    int64_t *taken


def simulate(const uint8_t[::1] queue, const uint8_t[::1] core, const uint16_t[::1] wait,
             const uint16_t[::1] signal, const int64_t[::1] cycles, const int64_t[::1] dram,
             const uint8_t[::1] sync, int cores,
             int64_t[::1] start, int64_t[::1] finish, int8_t[::1] cause):
    """Fill start, finish and the cause of each start; raises ProgramError when commands wait forever."""
    cdef Py_ssize_t n = queue.shape[0]
    cdef int lanes = cores * QUEUES, tokens = cores * 16
    cdef Py_ssize_t words = 2 * n * 16 + 3 * lanes + 2 * tokens + n + 64
    cdef int64_t *block = <int64_t *>PyMem_Calloc(words, sizeof(int64_t))
    cdef State s
    cdef Py_ssize_t stuck
    if block == NULL:
        raise MemoryError
    s.order = block
    s.head = s.order + n
    s.end = s.head + lanes
    s.free = s.end + lanes
    s.given = s.free + lanes
    s.taken = s.given + tokens
    s.fifo = s.taken + tokens
    try:
        with nogil:
            stuck = _run(queue, core, wait, signal, cycles, dram, sync, cores, start, finish, cause, &s)
    finally:
        PyMem_Free(block)
    if stuck:
        raise ProgramError(f"COMMANDS: {stuck} commands wait for tokens that nobody gives. Compile the model again.")


cdef Py_ssize_t _run(const uint8_t[::1] queue, const uint8_t[::1] core, const uint16_t[::1] wait,
                     const uint16_t[::1] signal, const int64_t[::1] cycles, const int64_t[::1] dram,
                     const uint8_t[::1] sync, int cores, int64_t[::1] start, int64_t[::1] finish,
                     int8_t[::1] cause, State *s) noexcept nogil:
    cdef Py_ssize_t n = queue.shape[0], i, done = 0, best
    cdef int lanes = cores * QUEUES, q, b, lane
    cdef int64_t at, t, best_t, dram_free = 0, sync_t
    cdef int8_t why, best_why
    for i in range(n):  # count, then sort by queue
        s.end[core[i] * QUEUES + queue[i]] += 1
        for b in range(16):
            if signal[i] >> b & 1:
                s.given[core[i] * 16 + b] += 1
    at = 0
    for q in range(lanes):
        s.head[q] = at
        at += s.end[q]
        s.end[q] = s.head[q]
    for i in range(n):
        lane = core[i] * QUEUES + queue[i]
        s.order[s.end[lane]] = i
        s.end[lane] += 1
    at = 0
    for b in range(cores * 16):
        t = s.given[b]
        s.given[b] = s.taken[b] = at
        at += t
    while done < n:
        best, best_t, best_why = -1, 0, 0
        sync_t = _sync_time(wait, sync, cores, s)
        for q in range(lanes):
            if s.head[q] == s.end[q]:
                continue
            i = s.order[s.head[q]]
            t = _ready(wait[i], q, s, &why)
            if t < 0:
                continue
            if sync[i]:
                if sync_t < 0:
                    continue
                if sync_t > t:
                    t, why = sync_t, SYNC
            if dram[i] and dram_free > t:
                t, why = dram_free, DRAM
            if best < 0 or t < best_t:
                best, best_t, best_why, lane = i, t, why, q
        if best < 0:
            return n - done
        if sync[best]:  # all cores at once
            for q in range(EXEC, lanes, QUEUES):
                i = s.order[s.head[q]]
                t = _ready(wait[i], q, s, &why)
                done += _take(i, q, sync_t, SYNC if sync_t > t else why, wait, signal, cycles, start, finish, cause, s)
            continue
        if dram[best]:
            dram_free = best_t + dram[best]
        done += _take(best, lane, best_t, best_why, wait, signal, cycles, start, finish, cause, s)
    return 0


cdef inline int64_t _ready(uint16_t wait, int lane, State *s, int8_t *why) noexcept nogil:
    """When the queue and all tokens are there; -1 while a token is missing."""
    cdef int64_t t = s.free[lane]
    cdef int b, k
    why[0] = 0
    if wait == 0:
        return t
    for b in range(16):
        if wait >> b & 1:
            k = lane // QUEUES * 16 + b
            if s.taken[k] == s.given[k]:
                return -1
            if s.fifo[s.taken[k]] > t:
                t = s.fifo[s.taken[k]]
                why[0] = 1 + b // QUEUES
    return t


cdef int64_t _sync_time(const uint16_t[::1] wait, const uint8_t[::1] sync, int cores, State *s) noexcept nogil:
    """When every core has come to its SYNC; -1 while one has not."""
    cdef int64_t most = 0, t
    cdef int8_t why
    cdef int q
    for q in range(EXEC, cores * QUEUES, QUEUES):
        if s.head[q] == s.end[q] or not sync[s.order[s.head[q]]]:
            return -1
        t = _ready(wait[s.order[s.head[q]]], q, s, &why)
        if t < 0:
            return -1
        most = max(most, t)
    return most


cdef Py_ssize_t _take(Py_ssize_t i, int lane, int64_t t, int8_t why, const uint16_t[::1] wait,
                      const uint16_t[::1] signal, const int64_t[::1] cycles, int64_t[::1] start,
                      int64_t[::1] finish, int8_t[::1] cause, State *s) noexcept nogil:
    """Start command i of a queue at t."""
    cdef int b, k = lane // QUEUES * 16
    start[i], finish[i], cause[i] = t, t + cycles[i], why
    s.free[lane] = t + cycles[i]
    s.head[lane] += 1
    for b in range(16):
        if wait[i] >> b & 1:
            s.taken[k + b] += 1
        if signal[i] >> b & 1:
            s.fifo[s.given[k + b]] = t + cycles[i]
            s.given[k + b] += 1
    return 1
