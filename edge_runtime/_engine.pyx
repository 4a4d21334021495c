# cython: language_level=3, boundscheck=False, wraparound=False, embedsignature=True
"""Thin binding over csrc/: checks arguments, releases the GIL, makes one C call."""

import os

from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stddef cimport size_t
from libc.stdint cimport int8_t, int16_t, int32_t, uint8_t, uint32_t, uint64_t

from edgeq.errors import DeviceError, ProgramError


cdef extern from "edgeq.h" nogil:
    enum: EDGEQ_ERROR_BYTES
    enum: EDGEQ_BAD_PROGRAM
    enum: EDGEQ_NO_FILE
    ctypedef int edgeq_status
    ctypedef int edgeq_dtype
    ctypedef struct edgeq_tensor:
        const char *name
        int dtype
        int ndim
        int32_t dims[6]
        int32_t strides[6]
        uint64_t offset
        size_t count
        uint32_t q_count
        const float *scales
        const int32_t *zero_points
    ctypedef struct edgeq_options:
        int threads
        const char *isa
    ctypedef struct edgeq_model:
        pass
    edgeq_status edgeq_open_path(const char *path, const edgeq_options *options, edgeq_model **model, char *error)
    edgeq_status edgeq_open_memory(const void *bytes, size_t size, const edgeq_options *options,
                                   edgeq_model **model, char *error)
    void edgeq_close(edgeq_model *model)
    const char *edgeq_error(const edgeq_model *model)
    uint32_t edgeq_input_count(const edgeq_model *model)
    uint32_t edgeq_output_count(const edgeq_model *model)
    uint32_t edgeq_tensor_count(const edgeq_model *model)
    uint32_t edgeq_command_count(const edgeq_model *model)
    const edgeq_tensor *edgeq_get_tensor(const edgeq_model *model, uint32_t index)
    const char *edgeq_command_op(const edgeq_model *model, uint32_t index)
    uint64_t edgeq_arena_bytes(const edgeq_model *model)
    int edgeq_threads(const edgeq_model *model)
    const char *edgeq_model_isa(const edgeq_model *model)
    const void *edgeq_section(const edgeq_model *model, int kind, size_t *bytes)
    edgeq_status edgeq_set_input(edgeq_model *model, uint32_t index, const void *data, size_t count, edgeq_dtype dtype)
    edgeq_status edgeq_set_input_f32(edgeq_model *model, uint32_t index, const float *data, size_t count)
    edgeq_status edgeq_run(edgeq_model *model, uint64_t *ns)
    edgeq_status edgeq_get_output(edgeq_model *model, uint32_t index, void *data, size_t count, edgeq_dtype dtype)
    edgeq_status edgeq_get_output_f32(edgeq_model *model, uint32_t index, float *data, size_t count)
    int edgeq_isa_count()
    const char *edgeq_isa_list(int index)
    const char *edgeq_isa_name()
    const char *edgeq_isa_reason()
    const char *edgeq_cpu_features()
    uint32_t edgeq_crc32(uint32_t crc, const void *bytes, size_t size)


_DTYPES = {1: "int8", 2: "int16", 3: "int32", 4: "float32"}


cdef class Engine:
    """One opened program: its arena and its threads. Not thread safe; Session adds the lock.

    `source` is a path (mapped read-only) or a bytes-like object (copied). Raises ProgramError when
    the file is damaged, OSError when it cannot be opened, DeviceError for bad `threads` or `isa`.
    """

    cdef edgeq_model *model

    def __cinit__(self, source, *, int threads=0, str isa=None):
        cdef char error[512]
        cdef edgeq_options options
        cdef edgeq_status status
        cdef const uint8_t[::1] view
        cdef bytes path, level
        cdef const char *c_path
        cdef const void *data
        cdef size_t size
        assert EDGEQ_ERROR_BYTES <= sizeof(error)
        level = b"" if isa is None else isa.encode()
        options.threads = threads
        options.isa = NULL if isa is None else <const char *>level
        if isinstance(source, (str, os.PathLike)):
            path = os.fsencode(source)
            c_path = path
            with nogil:
                status = edgeq_open_path(c_path, &options, &self.model, error)
        else:
            view = memoryview(source).cast("B")
            size = view.shape[0]
            data = &view[0] if size else <const void *>error
            with nogil:
                status = edgeq_open_memory(data, size, &options, &self.model, error)
        if status:
            text = error.decode("utf-8", "replace")
            if status == EDGEQ_NO_FILE:
                raise OSError(text)
            raise (ProgramError if status == EDGEQ_BAD_PROGRAM else DeviceError)(text)

    def __dealloc__(self):
        edgeq_close(self.model)

    @property
    def input_count(self):
        return edgeq_input_count(self.model)

    @property
    def output_count(self):
        return edgeq_output_count(self.model)

    @property
    def arena_bytes(self):
        return edgeq_arena_bytes(self.model)

    @property
    def threads(self):
        return edgeq_threads(self.model)

    @property
    def isa(self):
        """Kernel level this program runs on."""
        return edgeq_model_isa(self.model).decode()

    @property
    def tensor_count(self):
        return edgeq_tensor_count(self.model)

    def tensor(self, uint32_t index):
        """Describe tensor `index`: inputs first, then outputs, then the rest."""
        cdef const edgeq_tensor *t = edgeq_get_tensor(self.model, index)
        if t == NULL:
            raise IndexError(f"tensor {index} of {edgeq_tensor_count(self.model)}")
        return {
            "name": t.name.decode("utf-8", "replace"),
            "dtype": _DTYPES[t.dtype],
            "shape": tuple([t.dims[i] for i in range(t.ndim)]),
            "strides": tuple([t.strides[i] for i in range(t.ndim)]),
            "offset": t.offset,
            "count": t.count,
            "scale": [t.scales[i] for i in range(t.q_count)],
            "zero_point": [t.zero_points[i] for i in range(t.q_count)],
        }

    def commands(self):
        """Opcode names in order."""
        return [edgeq_command_op(self.model, i).decode() for i in range(edgeq_command_count(self.model))]

    def section(self, int kind):
        """A copy of the bytes of section `kind` (isa.SECTIONS)."""
        cdef size_t size = 0
        cdef const uint8_t *at = <const uint8_t *>edgeq_section(self.model, kind, &size)
        if at == NULL:
            raise IndexError(f"section {kind} does not exist")
        return at[:size]

    def set_input(self, uint32_t index, array):
        """Copy a dense array (numpy: C order) into input `index`, in the input's own dtype."""
        cdef const int8_t[::1] i8
        cdef const int16_t[::1] i16
        cdef const int32_t[::1] i32
        cdef const float[::1] f32
        cdef const void *data
        cdef size_t count = array.size
        cdef edgeq_dtype dtype
        cdef edgeq_status status
        flat = array.reshape(-1)
        kind = str(array.dtype)
        if count == 0:
            raise DeviceError("an input array must not be empty. Pass one element per input element.")
        if kind == "int8":
            i8 = flat
            dtype, data = 1, &i8[0]
        elif kind == "int16":
            i16 = flat
            dtype, data = 2, &i16[0]
        elif kind == "int32":
            i32 = flat
            dtype, data = 3, &i32[0]
        elif kind == "float32":
            f32 = flat
            dtype, data = 4, &f32[0]
        else:
            raise DeviceError(f"input {index}: dtype int8, int16, int32 or float32, got {kind}. Convert it with astype.")
        with nogil:
            status = edgeq_set_input(self.model, index, data, count, dtype)
        if status:
            raise DeviceError(edgeq_error(self.model).decode("utf-8", "replace"))

    def set_input_f32(self, uint32_t index, const float[::1] values not None):
        """Quantize dense float32 values into input `index`; NaN is refused."""
        cdef edgeq_status status
        cdef size_t count = values.shape[0]
        if count == 0:
            raise DeviceError("an input array must not be empty. Pass one element per input element.")
        with nogil:
            status = edgeq_set_input_f32(self.model, index, &values[0], count)
        if status:
            raise DeviceError(edgeq_error(self.model).decode("utf-8", "replace"))

    def run(self):
        """Run every command once, without the GIL."""
        with nogil:
            edgeq_run(self.model, NULL)

    def run_timed(self):
        """Run once; return the nanoseconds of each command."""
        cdef uint32_t n = edgeq_command_count(self.model)
        cdef uint64_t *ns = <uint64_t *>PyMem_Malloc((n + 1) * sizeof(uint64_t))
        if ns == NULL:
            raise MemoryError
        try:
            with nogil:
                edgeq_run(self.model, ns)
            return [ns[i] for i in range(n)]
        finally:
            PyMem_Free(ns)

    def get_output(self, uint32_t index, uint8_t[::1] into not None, size_t count, int dtype):
        """Copy output `index` into a writable byte view of `count` elements of isa.DTYPES `dtype`."""
        cdef edgeq_status status
        cdef size_t size = 1 if dtype == 1 else 2 if dtype == 2 else 4
        if <size_t>into.shape[0] != count * size or count == 0:
            raise DeviceError(f"output {index}: the buffer must hold {count} elements")
        with nogil:
            status = edgeq_get_output(self.model, index, &into[0], count, dtype)
        if status:
            raise DeviceError(edgeq_error(self.model).decode("utf-8", "replace"))

    def get_output_f32(self, uint32_t index, float[::1] into not None):
        """Dequantize output `index` into a writable dense float32 buffer."""
        cdef edgeq_status status
        cdef size_t count = into.shape[0]
        if count == 0:
            raise DeviceError(f"output {index}: the buffer must not be empty")
        with nogil:
            status = edgeq_get_output_f32(self.model, index, &into[0], count)
        if status:
            raise DeviceError(edgeq_error(self.model).decode("utf-8", "replace"))


def isa():
    """Kernel level that programs use unless told otherwise."""
    return edgeq_isa_name().decode()


def isa_reason():
    """Why that level, in one sentence (EDGEQ_ISA included)."""
    return edgeq_isa_reason().decode("utf-8", "replace")


def isa_list():
    """Levels this machine and build can run, slowest first."""
    return [edgeq_isa_list(i).decode() for i in range(edgeq_isa_count())]


def cpu_features():
    """SIMD features that the CPU has and the operating system supports."""
    return edgeq_cpu_features().decode().split()


def crc32(data, uint32_t crc=0):
    """CRC-32 as in zlib."""
    cdef const uint8_t[::1] view = memoryview(data).cast("B")
    cdef size_t size = view.shape[0]
    return edgeq_crc32(crc, &view[0], size) if size else crc
