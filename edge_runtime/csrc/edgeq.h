/* edgeq.h: run an .edgeq program from C.
 *
 *   edgeq_model *m;
 *   char why[EDGEQ_ERROR_BYTES];
 *   if (edgeq_open_path("m.edgeq", NULL, &m, why)) { fprintf(stderr, "%s\n", why); return 1; }
 *   edgeq_set_input_f32(m, 0, pixels, count);
 *   edgeq_run(m, NULL);
 *   edgeq_get_output_f32(m, 0, scores, score_count);
 *   edgeq_close(m);
 *
 * A model is not thread safe: one thread at a time may call it. Different models may run at once.
 * Caller arrays are dense, row-major, channels last. Sizes count elements.
 */
#ifndef EDGEQ_H
#define EDGEQ_H
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define EDGEQ_API __attribute__((visibility("default")))
#else
#define EDGEQ_API
#endif

enum { EDGEQ_ERROR_BYTES = 512, EDGEQ_MAX_DIMS = 6, EDGEQ_MAX_THREADS = 64 };

typedef enum {
  EDGEQ_OK = 0,
  EDGEQ_BAD_PROGRAM = 1, /* the file is damaged, too new, or not an .edgeq file */
  EDGEQ_BAD_CALL = 2,    /* wrong index, size or dtype in a call */
  EDGEQ_NO_MEMORY = 3,
  EDGEQ_NO_FILE = 4, /* the path cannot be opened or mapped */
} edgeq_status;

typedef enum {
  EDGEQ_INT8 = 1,
  EDGEQ_INT16 = 2,
  EDGEQ_INT32 = 3,
  EDGEQ_FLOAT32 = 4,
} edgeq_dtype;

/* One input or output, or any other tensor of the program. Pointers live as long as the model. */
typedef struct {
  const char *name;
  edgeq_dtype dtype;
  int ndim;
  int32_t dims[EDGEQ_MAX_DIMS];
  int32_t strides[EDGEQ_MAX_DIMS]; /* inside the arena, in elements */
  uint64_t offset;                 /* inside the arena (or the constants), in bytes */
  size_t count;                    /* elements */
  uint32_t q_count;                /* 0: not quantized; 1: per tensor; else one per channel */
  const float *scales;             /* real = scale * (integer - zero_point) */
  const int32_t *zero_points;
} edgeq_tensor;

typedef struct {
  int threads;     /* 0: the CPUs this process may use, at most 8 */
  const char *isa; /* NULL: EDGEQ_ISA from the environment, else the best; see edgeq_isa_list */
} edgeq_options;

typedef struct edgeq_model edgeq_model;

/* Open a program. `error` (NULL or EDGEQ_ERROR_BYTES bytes) receives one sentence on failure.
 * edgeq_open_path maps the file read-only: replace it by rename, never edit it in place.
 * edgeq_open_memory copies the bytes. */
EDGEQ_API edgeq_status edgeq_open_path(const char *path, const edgeq_options *options,
                                       edgeq_model **model, char *error);
EDGEQ_API edgeq_status edgeq_open_memory(const void *bytes, size_t size,
                                         const edgeq_options *options, edgeq_model **model,
                                         char *error);
EDGEQ_API void edgeq_close(edgeq_model *model);

/* The sentence of the last failure on this model. */
EDGEQ_API const char *edgeq_error(const edgeq_model *model);

/* Describe. Tensors are numbered inputs first, then outputs, then the rest. */
EDGEQ_API uint32_t edgeq_input_count(const edgeq_model *model);
EDGEQ_API uint32_t edgeq_output_count(const edgeq_model *model);
EDGEQ_API uint32_t edgeq_tensor_count(const edgeq_model *model);
EDGEQ_API uint32_t edgeq_command_count(const edgeq_model *model);
EDGEQ_API const edgeq_tensor *edgeq_get_tensor(const edgeq_model *model, uint32_t index);
EDGEQ_API const char *edgeq_command_op(const edgeq_model *model, uint32_t index);
EDGEQ_API uint64_t edgeq_arena_bytes(const edgeq_model *model);
EDGEQ_API int edgeq_threads(const edgeq_model *model);
EDGEQ_API const char *edgeq_model_isa(const edgeq_model *model);
EDGEQ_API const void *edgeq_section(const edgeq_model *model, int kind, size_t *bytes);

/* Copy a dense array into input `index`. `_f32` quantizes by the edge rule of numerics.py and
 * refuses NaN. The native form takes the input's own dtype. */
EDGEQ_API edgeq_status edgeq_set_input(edgeq_model *model, uint32_t index, const void *data,
                                       size_t count, edgeq_dtype dtype);
EDGEQ_API edgeq_status edgeq_set_input_f32(edgeq_model *model, uint32_t index, const float *data,
                                           size_t count);

/* Run every command once. `ns`, when not NULL, receives the nanoseconds of each command. */
EDGEQ_API edgeq_status edgeq_run(edgeq_model *model, uint64_t *ns);

/* Copy output `index` (0 = first output) into a dense array, as it is or dequantized. */
EDGEQ_API edgeq_status edgeq_get_output(edgeq_model *model, uint32_t index, void *data,
                                        size_t count, edgeq_dtype dtype);
EDGEQ_API edgeq_status edgeq_get_output_f32(edgeq_model *model, uint32_t index, float *data,
                                            size_t count);

/* The machine. Names, slowest first: scalar, then what this CPU and this build can run. */
EDGEQ_API int edgeq_isa_count(void);
EDGEQ_API const char *edgeq_isa_list(int index);
EDGEQ_API int edgeq_isa_runnable(const char *isa);
EDGEQ_API const char *edgeq_isa_name(void);   /* the one chosen when options name none */
EDGEQ_API const char *edgeq_isa_reason(void); /* why, one sentence */
EDGEQ_API const char *edgeq_cpu_features(void);
EDGEQ_API uint32_t edgeq_crc32(uint32_t crc, const void *bytes, size_t size);

#ifdef __cplusplus
}
#endif
#endif
