/* cpu.c: what this CPU and OS can run, and which variant of each kernel that means. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <pthread.h>
#include "edgeq.h"
#include "kernels/kernels.h"
#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

enum { SCALAR, AVX2, AVXVNNI, AVX512VNNI, NEON, DOTPROD, I8MM, LEVELS };
static const char *const level_names[LEVELS] = {"scalar", "avx2",    "avxvnni", "avx512vnni",
                                                "neon",   "dotprod", "i8mm"};
#if defined(__x86_64__)
enum { FIRST = AVX2, LAST = AVX512VNNI }; /* the levels of this architecture, beside scalar */
#elif defined(__aarch64__)
enum { FIRST = NEON, LAST = I8MM };
#else
enum { FIRST = SCALAR, LAST = SCALAR };
#endif

static struct {
  bool runs[LEVELS];
  int count, list[LEVELS]; /* runnable levels, slowest first */
  int chosen;
  char features[256], reason[256];
} cpu = {.runs = {true}};
static pthread_once_t once = PTHREAD_ONCE_INIT;

#if defined(__x86_64__) || defined(__aarch64__)
static void feature(const char *name, bool has) {
  size_t used = strlen(cpu.features);
  if (has) snprintf(cpu.features + used, sizeof cpu.features - used, "%s%s", used ? " " : "", name);
}
#endif

#if defined(__x86_64__)
static uint64_t xcr0(void) {
  uint32_t lo, hi;
  __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
  return (uint64_t)hi << 32 | lo;
}

/* A feature counts when the CPU has it and the OS saves its registers. */
static void detect(void) {
  uint32_t a, b, c, d, b7 = 0, c7 = 0, a71 = 0;
  if (!__get_cpuid(1, &a, &b, &c, &d)) return;
  const bool osxsave = c >> 27 & 1;
  const uint64_t saved = osxsave ? xcr0() : 0;
  if (__get_cpuid_count(7, 0, &a, &b7, &c7, &d) && a >= 1)
    if (!__get_cpuid_count(7, 1, &a71, &b, &c, &d)) a71 = 0;
  const bool os_avx = (saved & 0x06) == 0x06, os_avx512 = (saved & 0xe6) == 0xe6;
  const bool avx2 = os_avx && (b7 >> 5 & 1);
  const bool f = os_avx512 && (b7 >> 16 & 1), bw = b7 >> 30 & 1, vl = b7 >> 31 & 1;
  cpu.runs[AVX2] = avx2;
  cpu.runs[AVXVNNI] = avx2 && (a71 >> 4 & 1);
  cpu.runs[AVX512VNNI] = avx2 && f && bw && vl && (c7 >> 11 & 1);
  feature("avx2", avx2);
  feature("avxvnni", cpu.runs[AVXVNNI]);
  feature("avx512f", f);
  feature("avx512bw", f && bw);
  feature("avx512vl", f && vl);
  feature("avx512vnni", f && (c7 >> 11 & 1));
  feature("avx512vbmi", f && (c7 >> 1 & 1));
}
#elif defined(__aarch64__)
/* Linux says what the CPU has and the kernel saves; elsewhere only what the build takes for
 * granted. Numbers of the kernel's ABI: old C libraries lack the names. */
static void detect(void) {
  enum { HWCAP_DOTPROD = 20, HWCAP2_MATMUL8 = 13 };
#if defined(__linux__)
  const unsigned long caps = getauxval(AT_HWCAP), caps2 = getauxval(AT_HWCAP2);
  const bool dotprod = caps >> HWCAP_DOTPROD & 1, i8mm = caps2 >> HWCAP2_MATMUL8 & 1;
#elif defined(__ARM_FEATURE_DOTPROD)
  const bool dotprod = true, i8mm = false;
#else
  const bool dotprod = false, i8mm = false;
#endif
  cpu.runs[NEON] = true; /* part of every aarch64 */
  cpu.runs[DOTPROD] = dotprod;
  cpu.runs[I8MM] = dotprod && i8mm;
  feature("neon", true);
  feature("dotprod", dotprod);
  feature("i8mm", i8mm);
}
#else
static void detect(void) {}
#endif

static int level_of(const char *isa) {
  for (int i = 0; i < LEVELS; i++)
    if (!strcmp(isa, level_names[i])) return i;
  return -1;
}

/* The faster levels of this architecture, which the CPU lacks, as " (no a, b)"; empty when none. */
static void say_missing(char *text, size_t size) {
  size_t used = 0;
  *text = 0;
  for (int i = cpu.chosen + 1; i <= LAST; i++)
    if (i >= FIRST) {
      snprintf(text + used, size - used, "%s%s", used ? ", " : " (no ", level_names[i]);
      used = strlen(text);
    }
  if (used) snprintf(text + used, size - used, ")");
}

static void choose(void) {
  detect();
  for (int i = 0; i < LEVELS; i++)
    if (cpu.runs[i]) cpu.list[cpu.count++] = i;
  cpu.chosen = cpu.list[cpu.count - 1];
  const char *want = getenv("EDGEQ_ISA"), *best = level_names[cpu.chosen];
  if (!want || !*want) {
    char missing[64];
    say_missing(missing, sizeof missing);
    snprintf(cpu.reason, sizeof cpu.reason, "%s: the best this CPU and build can run%s", best,
             missing);
    return;
  }
  const int level = level_of(want);
  if (level >= 0 && cpu.runs[level]) {
    cpu.chosen = level;
    snprintf(cpu.reason, sizeof cpu.reason, "%s: asked for by EDGEQ_ISA", want);
  } else {
    snprintf(cpu.reason, sizeof cpu.reason, "%s: EDGEQ_ISA=%.40s is %s, so the best is used", best,
             want, level < 0 ? "not a known name" : "not supported by this CPU");
  }
}

int edgeq_isa_count(void) {
  pthread_once(&once, choose);
  return cpu.count;
}

const char *edgeq_isa_list(int index) {
  pthread_once(&once, choose);
  return index >= 0 && index < cpu.count ? level_names[cpu.list[index]] : NULL;
}

int edgeq_isa_runnable(const char *isa) {
  pthread_once(&once, choose);
  const int level = level_of(isa);
  return level >= 0 && cpu.runs[level];
}

const char *edgeq_isa_name(void) {
  pthread_once(&once, choose);
  return level_names[cpu.chosen];
}

const char *edgeq_isa_reason(void) {
  pthread_once(&once, choose);
  return cpu.reason;
}

const char *edgeq_cpu_features(void) {
  pthread_once(&once, choose);
  return cpu.features;
}

/* The variants are listed slowest first: the last one that runs here and is not above the level
 * wins. A level without a variant of its own (avxvnni has no row kernels) uses the one below. */
bool eq_kernels_for(const char *isa, eq_kernels *k) {
  pthread_once(&once, choose);
  const int level = isa ? level_of(isa) : cpu.chosen;
  if (level < 0 || !cpu.runs[level]) return false;
  *k = (eq_kernels){.isa = level_names[level]};
#define ALLOWED(name) (level_of(#name) <= level && cpu.runs[level_of(#name)])
#define EQ_KERNEL_CONV(name, mr, np)                                                               \
  if (ALLOWED(name)) k->conv = eq_conv__##name, k->conv_mr = mr, k->conv_np = np;
#define EQ_KERNEL_CONV4(name)                                                                      \
  if (k->conv == eq_conv__##name) k->conv4 = eq_conv4__##name;
#define EQ_KERNEL_CONV_LINES(name)                                                                 \
  if (ALLOWED(name)) k->conv_lines = &eq_conv_lines__##name;
#define EQ_KERNEL_CONV_STRIP(name)                                                                 \
  if (ALLOWED(name)) k->conv_strip = eq_conv_strip__##name;
#define EQ_KERNEL_CONV_POINTS(name)                                                                \
  if (ALLOWED(name)) k->conv_points = &eq_conv_points__##name;
#define EQ_KERNEL_DW(name)                                                                         \
  if (ALLOWED(name)) k->dw = eq_dw__##name;
#define EQ_KERNEL_DW_ROW(name)                                                                     \
  if (ALLOWED(name)) k->dw_row = eq_dw_row__##name;
#define EQ_KERNEL_UNPACK4(name)                                                                    \
  if (ALLOWED(name)) k->unpack4 = eq_unpack4__##name;
#define EQ_KERNEL_ROWS(name)                                                                       \
  if (ALLOWED(name)) k->rows = &eq_rows__##name;
#include "kernels/conv.inc"
#include "kernels/conv4.inc"
#include "kernels/conv_lines.inc"
#include "kernels/conv_strip.inc"
#include "kernels/conv_points.inc"
#include "kernels/dw.inc"
#include "kernels/dw_row.inc"
#include "kernels/unpack4.inc"
#include "kernels/rows.inc"
  return true;
}
