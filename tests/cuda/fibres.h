/* The threads of a CUDA block as fibres, for emulation.h. */
#ifndef FIBRES_H
#define FIBRES_H
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

struct dim3 {
    unsigned x = 1, y = 1, z = 1;
};
static dim3 threadIdx, blockIdx, blockDim, gridDim;

/* What is not static is hidden, or the libraries of two files would share it. */
#define HIDDEN __attribute__((visibility("hidden")))
/* `used`, or the compiler takes what is never written for 0. */
#define __shared__ static __attribute__((section("shared_memory"), used))

namespace emulation {

enum { WARP = 32, MOST_THREADS = 1024, STACK = 64 << 10, PAGE = 4096 };
enum State { READY, AT_BARRIER, IN_WARP, ENDED };

struct Thread {
    State state;
    const char *file; /* where it waits */
    int line;
    dim3 index;
    unsigned mask; /* in a warp: who exchange their values */
    int source;    /* whose it wants */
    unsigned long long value, received;
    bool begun;
    jmp_buf place;
};

extern "C" HIDDEN char __start_shared_memory[], __stop_shared_memory[]; /* from the linker */
__shared__ char some_shared_memory;

static Thread threads[MOST_THREADS], *current;
static int count;
static char *stacks;
static jmp_buf scheduler;
static void (*body)();
static char error[1000];

static void report(const char *format, ...)
{
    int length = snprintf(error, sizeof(error), "block (%u, %u, %u): ", blockIdx.x, blockIdx.y, blockIdx.z);
    va_list values;
    va_start(values, format);
    vsnprintf(error + length, sizeof(error) - length, format, values);
    va_end(values);
}

static const char *base(const char *path) { return strrchr(path, '/') ? strrchr(path, '/') + 1 : path; }

/* End the launch from within a thread. */
[[noreturn]] static void fail(const char *file, int line, const char *what)
{
    report("%s:%d: thread %d: %s", base(file), line, (int)(current - threads), what);
    _longjmp(scheduler, 1);
}

__attribute__((noinline)) static void wait(State state, const char *file, int line)
{
    current->state = state, current->file = file, current->line = line;
    if (!_setjmp(current->place))
        _longjmp(scheduler, 1);
}

/* A fibre lives on from block to block: to make one takes system calls. */
static void fibre()
{
    for (;;) {
        body();
        wait(ENDED, "", 0);
    }
}

/* Run a thread until it waits or ends. */
__attribute__((noinline)) static void resume(Thread *thread)
{
    current = thread, threadIdx = thread->index;
    if (_setjmp(scheduler))
        return;
    if (current->begun)
        _longjmp(current->place, 1);
    current->begun = true;
    static ucontext_t context;
    getcontext(&context);
    context.uc_stack.ss_sp = stacks + (current - threads) * (size_t)STACK;
    context.uc_stack.ss_size = STACK;
    mprotect(context.uc_stack.ss_sp, PAGE, PROT_NONE); /* so that a stack cannot grow into the next */
    makecontext(&context, fibre, 0);
    setcontext(&context);
}

static bool same_place(const Thread *a, const Thread *b)
{
    return a->state == b->state && a->line == b->line && !strcmp(a->file, b->file);
}

static Thread *warp_of(const Thread *thread) { return threads + (thread - threads) / WARP * WARP; }

/* Whoever keeps `thread`, which waits in its warp, from going on: a thread that it names and that is elsewhere, or that is in the
 * same place and names others. Null if there is none. Who has ended need not come. */
static const Thread *missing(const Thread *thread)
{
    for (int lane = 0; lane < WARP; lane++) {
        const Thread *other = warp_of(thread) + lane;
        bool here = same_place(thread, other), named = thread->mask >> lane & 1, names = here && other->mask & thread->mask;
        if (other->state != ENDED && (named || names) && !(here && other->mask == thread->mask))
            return other;
    }
    return nullptr;
}

/* Who has ended, or is not named, has NaN to give. */
static void exchange(unsigned mask, Thread *warp)
{
    for (int lane = 0; lane < WARP; lane++) {
        const Thread *source = warp + warp[lane].source;
        bool there = mask >> warp[lane].source & 1 && source->state == IN_WARP;
        if (mask >> lane & 1 && warp[lane].state == IN_WARP)
            warp[lane].received = there ? source->value : ~0ull;
    }
    for (int lane = 0; lane < WARP; lane++)
        if (mask >> lane & 1 && warp[lane].state == IN_WARP)
            warp[lane].state = READY;
}

static void describe(const Thread *thread, const char *end)
{
    size_t length = strlen(error);
    const char *where = thread->state == IN_WARP ? " for its warp" : "";
    snprintf(error + length, sizeof(error) - length, "thread %d waits at %s:%d%s%s", (int)(thread - threads), base(thread->file),
        thread->line, where, end);
}

/* Let those go on who need not wait any longer. False: all have ended, or there is an error. */
static bool release()
{
    bool released = false;
    const Thread *first = nullptr, *other = nullptr;
    for (Thread *thread = threads; thread < threads + count; thread++)
        if (thread->state == IN_WARP && !missing(thread)) {
            exchange(thread->mask, warp_of(thread));
            released = true;
        }
    if (released)
        return true;
    for (Thread *thread = threads; thread < threads + count; thread++)
        if (thread->state != ENDED) {
            first = first ? first : thread;
            other = thread->state == IN_WARP ? missing(first = thread) : same_place(first, thread) ? nullptr : thread;
            if (other) {
                report("");
                describe(first, ", ");
                describe(other, "");
                return false;
            }
        }
    for (Thread *thread = threads; thread < threads + count; thread++)
        if (thread->state == AT_BARRIER)
            thread->state = READY;
    return first;
}

static void run_block(bool backward)
{
    memset(__start_shared_memory, 0xFF, __stop_shared_memory - __start_shared_memory);
    for (int i = 0; i < count; i++)
        threads[i].state = READY;
    do
        for (int i = 0; i < count && !*error; i++) {
            Thread *thread = threads + (backward ? count - 1 - i : i);
            if (thread->state == READY)
                resume(thread);
        }
    while (!*error && release());
    for (int i = 0; i < count; i++) /* after an error: who is left in the middle begins anew */
        threads[i].begun = threads[i].begun && threads[i].state == ENDED;
}

static dim3 place(size_t i, dim3 of) { return {unsigned(i % of.x), unsigned(i / of.x % of.y), unsigned(i / of.x / of.y)}; }

static void at_fault(int, siginfo_t *info, void *)
{
    char what[100];
    snprintf(what, sizeof(what), "touches the address %p, which belongs to nobody", info->si_addr);
    fail("?", 0, what);
}

/* Whether this processor takes denormal numbers for 0, and other things, as one word. */
#ifdef __SSE2__
static unsigned mode() { return __builtin_ia32_stmxcsr(); }
static void set_mode(unsigned mode) { __builtin_ia32_ldmxcsr(mode); }
enum { FLUSH = 0x8040 };
#else
static unsigned mode() { return 0; }
static void set_mode(unsigned) {}
enum { FLUSH = 0 };
#endif

/* Run `kernel` on a grid. sizes: of the grid and of a block, x, y and z. Returns an error or null. */
static const char *launch(void (*kernel)(), const unsigned *sizes, bool backward)
{
    gridDim = {sizes[0], sizes[1], sizes[2]}, blockDim = {sizes[3], sizes[4], sizes[5]};
    size_t blocks = (size_t)gridDim.x * gridDim.y * gridDim.z, in_block = (size_t)blockDim.x * blockDim.y * blockDim.z;
    if (in_block < 1 || in_block > MOST_THREADS || blockDim.z > 64)
        return "a block has 1 .. 1024 threads, along z at most 64";
    if (blocks < 1 || gridDim.x > 0x7FFFFFFF || gridDim.y > 65535 || gridDim.z > 65535)
        return "a grid has at least 1 block, along x at most 2,147,483,647, along y and z 65,535";
    static char signal_stack[64 << 10];
    stack_t own = {}, outer;
    own.ss_sp = signal_stack, own.ss_size = sizeof(signal_stack);
    struct sigaction fault = {}, before[2];
    fault.sa_sigaction = at_fault, fault.sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK;
    sigaltstack(&own, &outer);
    sigaction(SIGSEGV, &fault, &before[0]), sigaction(SIGBUS, &fault, &before[1]);
    if (!stacks)
        stacks = (char *)mmap(nullptr, (size_t)MOST_THREADS * STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    body = kernel, count = (int)in_block, *error = 0;
    for (int i = 0; i < MOST_THREADS; i++)
        threads[i].state = ENDED, threads[i].index = place(i, blockDim);
    unsigned mode_before = mode();
    set_mode(mode_before | (REAL_BYTES == 4 ? FLUSH : 0));
    for (size_t i = 0; i < blocks && !*error; i++) {
        blockIdx = place(backward ? blocks - 1 - i : i, gridDim);
        run_block(backward);
    }
    set_mode(mode_before);
    sigaction(SIGSEGV, &before[0], nullptr), sigaction(SIGBUS, &before[1], nullptr);
    sigaltstack(&outer, nullptr);
    return *error ? error : nullptr;
}

} // namespace emulation

#endif
