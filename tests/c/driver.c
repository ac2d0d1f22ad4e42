/* Arrays at the edge of their memory, repetition and comparison; see driver.h. */
#include "driver.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined(__has_feature)
#define HAS(feature) __has_feature(feature)
#else
#define HAS(feature) 0
#endif
/* A sanitizer sees what malloc gave, byte by byte; without one the processor sees pages. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || HAS(address_sanitizer) || HAS(thread_sanitizer) \
    || HAS(memory_sanitizer)
#define PAGES 0
#else
#define PAGES 1
#endif

enum { PLACES = 3, MOST_THREADS = 3, ROOMS = 64, NAMES = 256, CANARY = 0xA5 };
static const int rubbish[PLACES] = {0xFF, 0x00, 0x7F}; /* NaN, zero, and 3.4e38 or 1.4e306 */

typedef struct {
    unsigned char *block, *array;
    size_t whole, bytes;
    enum kind kind;
    uint64_t sum; /* of an input, before the first kernel */
} room;

_Thread_local int threads;
static _Thread_local int place, rooms, summed, compared;
static _Thread_local room held[ROOMS];
static _Thread_local uint64_t generator;
static _Thread_local char text[400];
static _Thread_local const char *called[NAMES], *kernel;
static _Thread_local int names;
static atomic_int failures;

static void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void fail(const char *format, ...)
{
    char message[300];
    va_list values;
    va_start(values, format);
    vsnprintf(message, sizeof message, format, values);
    va_end(values);
    if (atomic_fetch_add(&failures, 1) < 40)
        printf("FAILED %s, %s, %d threads, place %d: %s\n", kernel ? kernel : "", text, threads, place, message);
}

void describe(const char *format, ...)
{
    va_list values;
    va_start(values, format);
    vsnprintf(text, sizeof text, format, values);
    va_end(values);
}

double draw(void)
{
    generator = generator * 6364136223846793005u + 1442695040888963407u;
    return (double)(int32_t)(generator >> 32) / 2147483648.0;
}

int64_t draw_below(int64_t limit) { return (int64_t)((draw() + 1) / 2 * (double)limit); }

static uint64_t hash(const unsigned char *bytes, size_t count)
{
    uint64_t sum = count, part;
    for (; count >= 8; count -= 8, bytes += 8) {
        memcpy(&part, bytes, 8);
        sum = (sum ^ part) * 0x9E3779B97F4A7C15u;
        sum ^= sum >> 29;
    }
    for (; count; count--)
        sum = (sum ^ *bytes++) * 0x9E3779B97F4A7C15u;
    return sum ^ sum >> 32;
}

static void need(int fine, const char *what)
{
    if (!fine) {
        fprintf(stderr, "the driver itself failed: %s\n", what);
        exit(3);
    }
}

/* `bytes` at place 0 from the start of a block, at 1 up to its end, at 2 one element from the start. */
static void *take_aligned(enum kind kind, size_t bytes, size_t element, size_t alignment)
{
    room r = {.kind = kind, .bytes = bytes};
    size_t lead = place == 2 && kind != SCRATCH ? element : 0;
    need(rooms < ROOMS, "too many arrays");
    if (PAGES) {
        size_t page = (size_t)sysconf(_SC_PAGESIZE), inner = (bytes + lead + page) / page * page;
        r.whole = inner + 2 * page;
        r.block = mmap(NULL, r.whole, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        need(r.block != MAP_FAILED && !mprotect(r.block + page, inner, PROT_READ | PROT_WRITE), "no memory");
        memset(r.block + page, CANARY, inner);
        r.array = r.block + page + (place == 1 ? (inner - bytes) / alignment * alignment : lead);
    } else {
        void *block;
        r.whole = bytes + lead;
        need(!posix_memalign(&block, alignment < sizeof(void *) ? sizeof(void *) : alignment, r.whole), "no memory");
        r.block = block;
        r.array = r.block + lead;
        memset(r.block, CANARY, lead);
    }
    memset(r.array, rubbish[place], bytes);
    held[rooms++] = r;
    return r.array;
}

void *take(enum kind kind, int64_t bytes, int64_t element)
{
    return take_aligned(kind, (size_t)bytes, (size_t)element, (size_t)element);
}

void *scratch(int64_t bytes)
{
    need(bytes >= 0, "a negative size of scratch memory");
    return take_aligned(SCRATCH, (size_t)bytes, 64, 64);
}

void mark(const char *name)
{
    kernel = name;
    for (; summed < rooms; summed++)
        if (held[summed].kind == INPUT)
            held[summed].sum = hash(held[summed].array, held[summed].bytes);
    for (int i = 0; i < names; i++)
        if (!strcmp(called[i], name))
            return;
    need(names < NAMES, "too many kernels");
    called[names++] = name;
}

int comparing(void) { return compared; }

void agree(int64_t i, double actual, double expected, double tolerance)
{
    if (actual == expected || (isnan(actual) && isnan(expected)))
        return;
    if (!(fabs(actual - expected) <= tolerance))
        fail("number %lld is %.17g, must be %.17g within %.3g", (long long)i, actual, expected, tolerance);
}

/* What surrounds the array in its block is as it was. */
static void check_surroundings(const room *r)
{
    size_t page = PAGES ? (size_t)sysconf(_SC_PAGESIZE) : 0;
    const unsigned char *first = r->block + page, *end = PAGES ? r->block + r->whole - page : r->array + r->bytes;
    for (const unsigned char *at = first; at < r->array; at++)
        if (*at != CANARY) {
            fail("wrote %lld bytes before an array", (long long)(r->array - at));
            break;
        }
    for (const unsigned char *at = r->array + r->bytes; at < end; at++)
        if (*at != CANARY) {
            fail("wrote %lld bytes past the end of an array", (long long)(at - (r->array + r->bytes)));
            break;
        }
}

/* Give a hash of what the kernels wrote. */
static uint64_t finish_run(void)
{
    uint64_t bits = 0;
    for (int i = 0; i < rooms; i++) {
        room *r = &held[i];
        check_surroundings(r);
        if (r->kind == OUTPUT || r->kind == INOUT)
            bits = (bits ^ hash(r->array, r->bytes)) * 0x9E3779B97F4A7C15u;
        if (r->kind == INPUT && i < summed && r->sum != hash(r->array, r->bytes))
            fail("array %d, which is only read, has changed", i);
        if (PAGES)
            munmap(r->block, r->whole);
        else
            free(r->block);
    }
    rooms = summed = 0;
    return bits;
}

static uint64_t run_once(void (*check)(const void *), const void *options, int compare)
{
    generator = 1;
    compared = compare;
    check(options);
    return finish_run();
}

/* Results are compared once: more threads than one need it only if they give other bits. */
void run(void (*check)(const void *), const void *options)
{
    uint64_t alone = 0, first = 0;
    for (threads = 1; threads <= MOST_THREADS; threads++)
        for (place = 0; place < PLACES; place++) {
            uint64_t bits = run_once(check, options, threads == 1 && place == 0);
            if (place == 0) {
                first = bits;
                alone = threads == 1 ? bits : alone;
                if (bits != alone)
                    run_once(check, options, 1);
            } else if (bits != first)
                fail("not the same bits as at place 0");
        }
}

static void run_all(void)
{
    products_f32(), products_f64();
    convolutions_f32(), convolutions_f64();
    pools_f32(), pools_f64();
    norms_f32(), norms_f64();
    elements_f32(), elements_f64();
    losses_f32(), losses_f64();
    limits_f32(), limits_f64(), memory();
}

static void *run_in_thread(void *unused)
{
    run_all();
    return unused;
}

/* Mistakes on purpose, which show that a tool sees into the kernels: each must end the program or be reported. */

static void read_too_far(const void *unused)
{
    (void)unused;
    float *x = take(INPUT, 4 * sizeof(float), sizeof(float)), *y = take(OUTPUT, 5 * sizeof(float), sizeof(float));
    memset(x, 0, 4 * sizeof(float));
    mark("relu_f32");
    relu_f32(x, y, 5, 1);
}

static void write_too_far(const void *unused)
{
    (void)unused;
    float *x = take(INPUT, 5 * sizeof(float), sizeof(float)), *y = take(OUTPUT, 4 * sizeof(float), sizeof(float));
    memset(x, 0, 5 * sizeof(float));
    mark("relu_f32");
    relu_f32(x, y, 5, 1);
}

static void leave_unwritten(const void *unused)
{
    (void)unused;
    float *x = take(INPUT, 5 * sizeof(float), sizeof(float)), *y = take(OUTPUT, 5 * sizeof(float), sizeof(float));
    memset(x, 0, 5 * sizeof(float));
    mark("relu_f32");
    relu_f32(x, y, 4, 1);
}

static void overflow(const void *unused)
{
    (void)unused;
    conv2d_geometry g = {.R = INT64_MAX / 2, .S = 3};
    float x = 0, y = 0;
    im2col_f32(&x, &g, &y, 1);
}

/* Two threads have the kernel write to the same array. */
static void race(const void *unused)
{
    (void)unused;
    static float x[1 << 17], y[1 << 17];
#pragma omp parallel for num_threads(2) schedule(static, 1)
    for (int i = 0; i < 2; i++)
        relu_f32(x, y, 1 << 17, 1);
}

static const struct {
    const char *name;
    void (*check)(const void *);
} mistakes[] = {
    {"read", read_too_far}, {"write", write_too_far}, {"unwritten", leave_unwritten}, {"overflow", overflow}, {"race", race},
};

/* driver [concurrent | a mistake]: exits with 0 if all is well, 1 if a check failed. */
int main(int count, char **arguments)
{
    const char *wanted = count > 1 ? arguments[1] : "";
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (size_t i = 0; i < sizeof mistakes / sizeof *mistakes; i++)
        if (!strcmp(wanted, mistakes[i].name)) {
            run(mistakes[i].check, NULL);
            return failures ? 1 : 0;
        }
    need(!*wanted || !strcmp(wanted, "concurrent"), "unknown argument");
    printf("%s, OpenMP %d, processor level %d\n", minicnn_compiler(), minicnn_openmp(), minicnn_cpu_level());
    for (int precision = 0; precision < 3; precision++)
        printf("terms of precision %d: %d\n", precision, minicnn_terms(precision));
    if (!minicnn_ready()) {
        printf("the system does not permit these instructions\n");
        return 2;
    }
    if (*wanted) { /* the same kernels from two threads of the caller's: cffi lets Python do that */
        pthread_t other;
        need(!pthread_create(&other, NULL, run_in_thread, NULL), "no thread");
        run_all();
        pthread_join(other, NULL);
    } else
        run_all();
    for (int i = 0; i < names; i++)
        printf("called %s\n", called[i]);
    printf("%d failures\n", failures);
    return failures ? 1 : 0;
}
