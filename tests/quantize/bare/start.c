/* A program without a C library: it starts here, and reads and writes by Linux' system calls, which qemu-user serves. */
#include <stddef.h>
#include "stdio.h"

int main(void);

#if defined(__riscv)
enum { READ = 63, WRITE = 64, EXIT = 93 };
static long call(long number, long a, long b, long c)
{
    register long a7 __asm__("a7") = number, a0 __asm__("a0") = a, a1 __asm__("a1") = b, a2 __asm__("a2") = c;
    __asm__ volatile("ecall" : "+r"(a0) : "r"(a7), "r"(a1), "r"(a2) : "memory");
    return a0;
}
#else
enum { READ = 3, WRITE = 4, EXIT = 1 };
/* Thumb code keeps its frame pointer in r7, where the number of a call goes */
__attribute__((naked)) static long call(long number, long a, long b, long c)
{
    __asm__ volatile(
        "push {r7, lr}\n mov r7, r0\n mov r0, r1\n mov r1, r2\n mov r2, r3\n svc 0\n pop {r7, pc}" ::: "memory");
    (void)number, (void)a, (void)b, (void)c;
}
#endif

static char written[4096];
static long filled;

static void flush(void)
{
    long first = 0;
    while (first < filled) first += call(WRITE, 1, (long)(written + first), filled - first);
    filled = 0;
}

int putchar(int letter)
{
    if (filled == (long)sizeof written) flush();
    written[filled++] = (char)letter;
    return letter;
}

int getchar(void)
{
    static unsigned char waiting[4096];
    static long size, next;
    if (next == size) {
        size = call(READ, 0, (long)waiting, sizeof waiting);
        next = 0;
        if (size <= 0) { size = 0; return -1; }
    }
    return waiting[next++];
}

/* compilers call these for loops that they recognise */
void *memset(void *at, int value, size_t size)
{
    volatile char *each = at;
    while (size--) *each++ = (char)value;
    return at;
}

void *memcpy(void *to, const void *from, size_t size)
{
    volatile char *each = to;
    const char *source = from;
    while (size--) *each++ = *source++;
    return to;
}

__attribute__((used)) void _start(void)
{
    int code = main();
    flush();
    call(EXIT, code, 0, 0);
    for (;;) { }
}
