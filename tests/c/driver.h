/* A plain C driver of all kernels of minicnn.h, for the sanitizers and for processors without Python.
 *
 * A check calls a kernel on arrays from here and compares what it wrote with a naive loop in double precision. `run`
 * repeats each check with 1, 2 and 3 threads and every time in three places in memory, which must give the same bits. An
 * array has exactly its size, at one place at the start of its block, at one at the end, at one an element further on, and
 * memory that a kernel is to write or to work in holds other rubbish in each place. What lies around an array and what is
 * only read is compared afterwards. Without a sanitizer the block ends, and begins, at a page that cannot be touched.
 */
#ifndef MINICNN_DRIVER_H
#define MINICNN_DRIVER_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "minicnn.h"

/* Of the check that is running in this thread. */
extern _Thread_local int threads;

/* Arrays live until the check's run ends. `input` is only read, `output` all written, `inout` both. */
enum kind { INPUT, OUTPUT, INOUT, SCRATCH };
void *take(enum kind kind, int64_t bytes, int64_t element);
void *scratch(int64_t bytes);

/* Numbers of [-1, 1), the same again in every run of a check. */
double draw(void);
int64_t draw_below(int64_t limit);

/* The kernel of this name is called next. */
void mark(const char *kernel);

/* Whether results are to be compared with the naive loop now: not again where they must be the same. */
int comparing(void);

/* Item i: |actual - expected| <= tolerance, or both NaN, or both the same infinity. */
void agree(int64_t i, double actual, double expected, double tolerance);

/* Say where it failed, with the text that describes the case. */
void describe(const char *format, ...) __attribute__((format(printf, 1, 2)));

void run(void (*check)(const void *), const void *options);

/* The checks, in files of their own. */
void products_f32(void);
void products_f64(void);
void convolutions_f32(void);
void convolutions_f64(void);
void pools_f32(void);
void pools_f64(void);
void norms_f32(void);
void norms_f64(void);
void elements_f32(void);
void elements_f64(void);
void losses_f32(void);
void losses_f64(void);
void limits_f32(void);
void limits_f64(void);
void memory(void);

#endif
