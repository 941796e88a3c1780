// The floating-point mode of a thread: whether it takes subnormal numbers for zero, and how it rounds. OpenMP's threads keep
// the mode of the thread that has made them, which may be one of XLA's, so each share of a kernel sets the mode of its caller.

#include <stdint.h>

#if defined(__x86_64__) || defined(__i386__)
#define FLUSHES 0x8040u  // results to zero, and operands
static inline uint64_t float_mode(void) { return __builtin_ia32_stmxcsr(); }
static inline void set_float_mode(uint64_t mode) { __builtin_ia32_ldmxcsr((unsigned)mode); }
#elif defined(__aarch64__)
#define FLUSHES 0x1000000u
static inline uint64_t float_mode(void) {
    uint64_t mode;
    __asm__ volatile("mrs %0, fpcr" : "=r"(mode) : : "memory");
    return mode;
}
static inline void set_float_mode(uint64_t mode) { __asm__ volatile("msr fpcr, %0" : : "r"(mode) : "memory"); }
#else
#define FLUSHES 0u
static inline uint64_t float_mode(void) { return 0; }
static inline void set_float_mode(uint64_t mode) { (void)mode; }
#endif
