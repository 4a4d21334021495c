# cython: language_level=3, boundscheck=False, wraparound=False, embedsignature=True
"""Thin binding over csrc/: checks arguments, releases the GIL, makes one C call."""

import os

from cpython.buffer cimport (
    PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
)
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


cdef edgeq_dtype _dtype_of(const Py_buffer *view) noexcept nogil:
    """EDGEQ_* of a buffer's format, 0 for any other."""
    cdef const char *format = view.format
    if format == NULL or format[0] == 0 or format[1] != 0:
        return 0
    if format[0] == c"b":
        return 1
    if format[0] == c"h":
        return 2
    if format[0] == c"i":
        return 3
    return 4 if format[0] == c"f" else 0


cdef edgeq_status _set_input(edgeq_model *model, uint32_t index, const Py_buffer *view, edgeq_dtype dtype) noexcept nogil:
    cdef size_t count = <size_t>(view.len // view.itemsize)
    if dtype == 4:
        return edgeq_set_input_f32(model, index, <const float *>view.buf, count)
    return edgeq_set_input(model, index, view.buf, count, dtype)


cdef edgeq_status _get_output(edgeq_model *model, uint32_t index, const Py_buffer *view, edgeq_dtype dtype) noexcept nogil:
    cdef size_t count = <size_t>(view.len // view.itemsize)
    if dtype == 4:
        return edgeq_get_output_f32(model, index, <float *>view.buf, count)
    return edgeq_get_output(model, index, view.buf, count, dtype)


_DTYPES = {1: "int8", 2: "int16", 3: "int32", 4: "float32"}


cdef class Engine:
    """One opened program: its arena and its threads. Not thread safe; Session adds the lock.

    `source` is a path (mapped read-only) or a bytes-like object (copied). Raises ProgramError when
    the file is damaged, OSError when it cannot be opened, DeviceError for bad `threads` or `isa`.
    """

    cdef edgeq_model *model
    cdef Py_buffer *views  # of the arrays of one call

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
        size = edgeq_input_count(self.model) + edgeq_output_count(self.model)
        self.views = <Py_buffer *>PyMem_Malloc((size + 1) * sizeof(Py_buffer))
        if self.views == NULL:
            raise MemoryError

    def __dealloc__(self):
        edgeq_close(self.model)
        PyMem_Free(self.views)

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
        """Copy a dense array (numpy: C order) of int8, int16, int32 or float32 into input `index`.

        float32 is quantized where the input is not float32 itself; NaN is refused then.
        """
        cdef Py_buffer view
        cdef edgeq_status status
        PyObject_GetBuffer(array, &view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT)
        try:
            dtype = _dtype_of(&view)
            if dtype == 0 or view.len == 0:
                raise DeviceError(
                    f"input {index}: needs elements of int8, int16, int32 or float32, got {array.dtype} of {array.size}."
                )
            with nogil:
                status = _set_input(self.model, index, &view, dtype)
        finally:
            PyBuffer_Release(&view)
        if status:
            raise DeviceError(edgeq_error(self.model).decode("utf-8", "replace"))

    def run(self):
        """Run every command once, without the GIL."""
        with nogil:
            edgeq_run(self.model, NULL)

    def call(self, list inputs, list outputs):
        """set_input of all inputs, run, get_output into all outputs, without the GIL in between.

        False, and nothing done, when there are not as many inputs as the program has, or one is not
        a dense array of its dtype or of float32. Raises DeviceError as set_input and get_output do.
        """
        cdef uint32_t ins = edgeq_input_count(self.model), outs = edgeq_output_count(self.model)
        cdef uint32_t i, taken = 0
        cdef edgeq_dtype dtype
        cdef edgeq_status status = 0
        cdef const edgeq_tensor *tensor
        if <uint32_t>len(inputs) != ins or <uint32_t>len(outputs) != outs:
            return False
        try:
            for i in range(ins):
                try:
                    PyObject_GetBuffer(inputs[i], &self.views[i], PyBUF_C_CONTIGUOUS | PyBUF_FORMAT)
                except (BufferError, ValueError):
                    return False
                taken += 1
                dtype = _dtype_of(&self.views[i])
                tensor = edgeq_get_tensor(self.model, i)
                if dtype != tensor.dtype and dtype != 4:
                    return False
            for i in range(outs):
                PyObject_GetBuffer(outputs[i], &self.views[taken], PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | PyBUF_WRITABLE)
                taken += 1
            with nogil:
                for i in range(ins):
                    if status == 0:
                        status = _set_input(self.model, i, &self.views[i], _dtype_of(&self.views[i]))
                if status == 0:
                    edgeq_run(self.model, NULL)
                for i in range(outs):
                    if status == 0:
                        status = _get_output(self.model, i, &self.views[ins + i], _dtype_of(&self.views[ins + i]))
        finally:
            for i in range(taken):
                PyBuffer_Release(&self.views[i])
        if status:
            raise DeviceError(edgeq_error(self.model).decode("utf-8", "replace"))
        return True

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

    def get_output(self, uint32_t index, into):
        """Copy output `index` into a dense array of its own dtype, or dequantize it into one of float32."""
        cdef Py_buffer view
        cdef edgeq_status status
        PyObject_GetBuffer(into, &view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | PyBUF_WRITABLE)
        try:
            dtype = _dtype_of(&view)
            if dtype == 0 or view.len == 0:
                raise DeviceError(
                    f"output {index}: needs elements of int8, int16, int32 or float32, got {into.dtype} of {into.size}."
                )
            with nogil:
                status = _get_output(self.model, index, &view, dtype)
        finally:
            PyBuffer_Release(&view)
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
