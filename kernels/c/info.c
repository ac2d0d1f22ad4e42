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

/* Everything that -march=x86-64-v3 and -march=x86-64-v4 let the compiler use, as the psABI of x86-64 lists it, and whether the
 * system keeps the wide registers (xgetbv). The processor itself is asked: __builtin_cpu_supports knows these levels too late
 * (gcc 12, clang 17), some features under no name, and on Windows needs a library of clang's that is often not there. */
int minicnn_cpu_level(void)
{
#if defined(__x86_64__)
    enum { FMA = 1 << 12, SSE42 = 1 << 20, MOVBE = 1 << 22, POPCNT = 1 << 23, OSXSAVE = 1 << 27, AVX = 1 << 28, F16C = 1 << 29 };
    enum { LZCNT = 1 << 5, BMI = 1 << 3, AVX2 = 1 << 5, BMI2 = 1 << 8 };
    enum { AVX512F = 1 << 16, AVX512DQ = 1 << 17, AVX512CD = 1 << 28, AVX512BW = 1 << 30 };
    const unsigned basic = FMA | SSE42 | MOVBE | POPCNT | OSXSAVE | AVX | F16C, extended = BMI | AVX2 | BMI2;
    const unsigned wide = AVX512F | AVX512DQ | AVX512CD | AVX512BW | 1u << 31; /* the last is AVX512VL */
    unsigned a, b, c, d, kept, high;
    if (!__get_cpuid(1, &a, &b, &c, &d) || (c & basic) != basic)
        return 0;
    if (!__get_cpuid(0x80000001, &a, &b, &c, &d) || !(c & LZCNT))
        return 0;
    __asm__ volatile("xgetbv" : "=a"(kept), "=d"(high) : "c"(0));
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (b & extended) != extended || (kept & 0x6) != 0x6)
        return 0;
    return (b & wide) == wide && (kept & 0xe6) == 0xe6 ? 2 : 1;
#else
    return 0;
#endif
}
