/* What was compiled, and what this processor can run. */
#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include "../minicnn.h"
#include "machine.h"

const char *minicnn_compiler(void)
{
#if defined(__clang__)
    return "clang " __clang_version__;
#elif defined(__GNUC__)
    return "gcc " __VERSION__;
#else
    return "unknown";
#endif
}

int minicnn_openmp(void)
{
#ifdef _OPENMP
    return _OPENMP;
#else
    return 0;
#endif
}

/* Everything that -march=x86-64-v3 and -march=x86-64-v4 let the compiler use, as the psABI of x86-64 lists it. The compiler's
 * __builtin_cpu_supports knows these levels too late (gcc 12, clang 17) and some of the features under no name, so cpuid is
 * asked for those. */
int minicnn_cpu_level(void)
{
#if defined(__x86_64__)
    unsigned a, b, c, d;
    __builtin_cpu_init();
    int has = __builtin_cpu_supports("popcnt") && __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("avx2")
              && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
    has = has && __get_cpuid(1, &a, &b, &c, &d) && (c & bit_MOVBE) && (c & bit_F16C);
    has = has && __get_cpuid(0x80000001, &a, &b, &c, &d) && (c & bit_LZCNT);
    if (!has)
        return 0;
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd")
                   && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")
               ? 2
               : 1;
#else
    return 0;
#endif
}
