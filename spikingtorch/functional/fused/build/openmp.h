// OpenMP for a clang that has no library for it: the functions that clang calls for the loops of our kernels. A library
// of C runs them on the threads that torch works with already, as GCC's does: `take_threads` says how to get a team.
//
// A region has as many members as threads were asked for. Each thread of the team takes members until none is left, so
// that all of them run whatever number of threads there are, one for instance.

#if defined(_OPENMP) && defined(__clang__)
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

// the functions of all libraries have the same names: each library calls its own
#define OWN __attribute__((visibility("hidden")))
// the most variables that the body of a loop may take from around it
#define MOST 32

// what clang makes of the body of a region: it takes the member's number, a number of no use here, and addresses or
// numbers of 64 bits; it does not look at more than it takes
#define FOUR void *, void *, void *, void *
typedef void (*Region)(int32_t *, int32_t *, FOUR, FOUR, FOUR, FOUR, FOUR, FOUR, FOUR, FOUR);

typedef struct {
    Region region;
    void *variables[MOST];
    int32_t members;
    int32_t next;   // member that no thread has taken yet
    int64_t taken;  // iterations of a dynamic loop that some member has taken
} Team;

// What a thread is at: a member of a team, or on its own where a loop needs no team.
typedef struct {
    Team *team;
    int32_t number, alone;
    int64_t taken, end, chunk;  // of a dynamic loop; `taken` where there is no team
} Member;

static _Thread_local Member me;
static _Thread_local int32_t wanted;

// GNU's library makes a team in one call; LLVM's and Intel's need to know before how large it is.
static struct {
    void (*gnu)(void (*)(void *), void *, unsigned, unsigned);
    int32_t (*number)(void *);
    void (*ask)(void *, int32_t, int32_t);
    void (*llvm)(void *, int32_t, void (*)(int32_t *, int32_t *, void *), ...);
} threads;

void take_threads(void *gnu, void *number, void *ask, void *llvm) {
    memcpy(&threads.gnu, &gnu, sizeof gnu), memcpy(&threads.number, &number, sizeof number);
    memcpy(&threads.ask, &ask, sizeof ask), memcpy(&threads.llvm, &llvm, sizeof llvm);
}

static void take_part(void *given) {
    Team *const team = (Team *)given;
    void **const v = team->variables;
    const Member before = me;
    for (int32_t number; (number = __atomic_fetch_add(&team->next, 1, __ATOMIC_RELAXED)) < team->members;) {
        int32_t zero = 0;
        me = (Member){.team = team, .number = number};
#define FROM(i) v[i], v[i + 1], v[i + 2], v[i + 3]
        team->region(&number, &zero, FROM(0), FROM(4), FROM(8), FROM(12), FROM(16), FROM(20), FROM(24), FROM(28));
    }
    me = before;
}

static void take_part_of_llvm(int32_t *number, int32_t *zero, void *team) {
    (void)number, (void)zero;
    take_part(team);
}

OWN void __kmpc_push_num_threads(void *where, int32_t thread, int32_t number) {
    (void)where, (void)thread;
    wanted = number;
}

OWN void __kmpc_fork_call(void *where, int32_t count, Region region, ...) {
    Team team = {.region = region, .members = wanted};
    va_list variables;
    if (count > MOST) __builtin_trap();
    va_start(variables, region);
    for (int32_t i = 0; i < count; i++) team.variables[i] = va_arg(variables, void *);
    va_end(variables);
    if (threads.gnu) {
        threads.gnu(take_part, &team, (unsigned)wanted, 0);
    } else if (threads.llvm) {
        threads.ask(where, threads.number(where), wanted);
        threads.llvm(where, 1, take_part_of_llvm, (void *)&team);
    } else {
        take_part(&team);
    }
}

// A region that needs no team: clang calls its body in between.
OWN void __kmpc_serialized_parallel(void *where, int32_t thread) {
    (void)where, (void)thread;
    me.alone++;
}

OWN void __kmpc_end_serialized_parallel(void *where, int32_t thread) {
    (void)where, (void)thread;
    me.alone--;
}

static Team *team_here(void) { return me.alone ? 0 : me.team; }

OWN int32_t __kmpc_global_thread_num(void *where) {
    (void)where;
    return me.number;
}

OWN int omp_get_thread_num(void) { return team_here() ? me.number : 0; }

// schedule(static): each member has one stretch of the iterations, and the first ones have one more where they differ
OWN void __kmpc_for_static_init_8(
    void *where, int32_t thread, int32_t schedule, int32_t *last, int64_t *low, int64_t *high, int64_t *stride,
    int64_t step, int64_t chunk
) {
    (void)where, (void)thread, (void)schedule, (void)step, (void)chunk;
    const Team *const team = team_here();
    const int64_t members = team ? team->members : 1, number = team ? me.number : 0, n = *high - *low + 1;
    const int64_t each = n / members, more = n % members;
    *low += number * each + (number < more ? number : more);
    *high = *low + each - (number >= more);
    *stride = n;
    *last = number == members - 1;
}

// the same where clang knows that the iterations count from zero
OWN void __kmpc_for_static_init_8u(
    void *where, int32_t thread, int32_t schedule, int32_t *last, uint64_t *low, uint64_t *high, int64_t *stride,
    int64_t step, int64_t chunk
) {
    __kmpc_for_static_init_8(where, thread, schedule, last, (int64_t *)low, (int64_t *)high, stride, step, chunk);
}

OWN void __kmpc_for_static_fini(void *where, int32_t thread) { (void)where, (void)thread; }

// schedule(dynamic, chunk): a member takes the next iterations when it is done with others
OWN void __kmpc_dispatch_init_8(
    void *where, int32_t thread, int32_t schedule, int64_t low, int64_t high, int64_t step, int64_t chunk
) {
    (void)where, (void)thread, (void)schedule, (void)step;
    me.taken = low, me.end = high + 1, me.chunk = chunk;
}

OWN int32_t __kmpc_dispatch_next_8(
    void *where, int32_t thread, int32_t *last, int64_t *low, int64_t *high, int64_t *stride
) {
    (void)where, (void)thread;
    Team *const team = team_here();
    // loops begin at zero
    *low = __atomic_fetch_add(team ? &team->taken : &me.taken, me.chunk, __ATOMIC_RELAXED);
    *high = (*low + me.chunk < me.end ? *low + me.chunk : me.end) - 1;
    *stride = 1;
    *last = *high + 1 >= me.end;
    return *low < me.end;
}

OWN void __kmpc_dispatch_deinit(void *where, int32_t thread) { (void)where, (void)thread; }

// 2: with atomic operations
OWN int32_t __kmpc_reduce_nowait(
    void *where, int32_t thread, int32_t number, size_t size, void *data, void (*reduce)(void *, void *), void *lock
) {
    (void)where, (void)thread, (void)number, (void)size, (void)data, (void)reduce, (void)lock;
    return 2;
}

OWN void __kmpc_end_reduce_nowait(void *where, int32_t thread, void *lock) { (void)where, (void)thread, (void)lock; }
#endif
