/* Compile SOURCE twice, for float and for double. A file of kernels begins with
 *
 *     #ifndef real
 *     #define SOURCE "name.c"
 *     #include "twice.h"
 *     #else
 *
 * and ends with #endif; between them `real` is the type, `integer` and `word` are integers of its size, and NAME(f) is
 * f_f32 or f_f64.
 */
#include <float.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "../minicnn.h"
#include "machine.h"

#define real float
#define integer int32_t
#define word uint32_t
#define REAL_BYTES 4
#define NAME(function) function##_f32
#define MATH(function) function##f
#include SOURCE
#undef real
#undef integer
#undef word
#undef REAL_BYTES
#undef NAME
#undef MATH

#define real double
#define integer int64_t
#define word uint64_t
#define REAL_BYTES 8
#define NAME(function) function##_f64
#define MATH(function) function
#include SOURCE
