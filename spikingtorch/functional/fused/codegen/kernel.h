// What every kernel shares: how the arrays lie in memory, and the formats that are stored but not computed in.
// BLOCK, GROUP, CHUNK and AXES are defined before it, by what prints a program.

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(__clang__)
#define INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#else
#define INDEPENDENT _Pragma("GCC ivdep")
#endif

// An array (batch..., time, neurons): strides count elements; that of the neurons is 1, or 0 where they share a value.
typedef struct {
    char *data;
    int64_t step, neuron, batch[AXES];
} Array;

typedef struct {
    int64_t threads, steps, neurons, rows, axes, sizes[AXES];
    Array arrays[];
} Layout;

// What follows is printed: share `number` of layout->threads equal shares of the work. A forward pass, which reads every
// input anyway, returns whether one is NaN or infinite.
static __attribute__((noinline)) int share(const Layout *layout, const double *scalars, int64_t number);
#define FIRST(tasks, number) ((tasks) * (number) / layout->threads)

// Runs a share in a floating-point mode, on any thread.
int part(const Layout *layout, const double *scalars, int64_t number, uint64_t mode) {
    const uint64_t own = float_mode();
    set_float_mode(mode);
    const int odd = share(layout, scalars, number);
    set_float_mode(own);
    return odd;
}

// Runs all shares on OpenMP's threads, in the mode of the caller.
int run(const Layout *layout, const double *scalars) {
    const uint64_t mode = float_mode();
    int odd = 0;
    #pragma omp parallel for schedule(static) reduction(|:odd) \
        num_threads((int)layout->threads) if (layout->threads > 1)
    for (int64_t number = 0; number < layout->threads; number++) odd |= part(layout, scalars, number, mode);
    return odd;
}

// offset of an array's row: the position of the row's number on each axis of the batch; a copy of its code for each
// array would take the compiler a fifth of its time
static __attribute__((noinline)) int64_t row_offset(const Layout *layout, const Array *array, int64_t row) {
    int64_t offset = 0;
    for (int64_t axis = layout->axes - 1; axis >= 0; axis--) {
        offset += row % layout->sizes[axis] * array->batch[axis];
        row /= layout->sizes[axis];
    }
    return offset;
}

#define ROW(type, number) \
    ((type *)layout->arrays[number].data + row_offset(layout, &layout->arrays[number], row))
// the row of an array without time, of one over time, and of one over time that may be missing and then reads as zero
// or is not wanted
#define STATIC(type, name, number) \
    type *const name##_row = ROW(type, number); \
    const int64_t name##_neuron = layout->arrays[number].neuron; \
    (void)name##_row, (void)name##_neuron;
#define STREAM(type, name, number) \
    type *const name##_row = ROW(type, number); \
    const int64_t name##_step = layout->arrays[number].step, name##_neuron = layout->arrays[number].neuron;
#define GIVEN(type, name, number) \
    const int name##_there = layout->arrays[number].data != 0; \
    const type *const name##_row = name##_there ? ROW(const type, number) : (const type *)zeros; \
    const int64_t name##_step = layout->arrays[number].step, name##_neuron = name##_there;
#define WANTED(type, name, number) \
    const int name##_there = layout->arrays[number].data != 0; \
    type *const name##_row = name##_there ? ROW(type, number) : (type *)unused; \
    const int64_t name##_step = layout->arrays[number].step, name##_neuron = name##_there;

// block b of a group: its first neuron, how many it has, and where an array has them
#define BLOCK_OF(b) \
    const int64_t first = begin + (int64_t)(b) * BLOCK; \
    const int n = (int)(neurons - first < BLOCK ? neurons - first : BLOCK);
#define HERE(type, name) type *const name = name##_row + first * name##_neuron;
#define STORED(type, name, number) type *const name = ROW(type, number) + first * layout->arrays[number].neuron;
#define AT(name, t) (name + (t) * name##_step)

// A block goes through a large array in pieces that processors do not foresee: ask for the same steps of the next block, and
// behind the last block of a group for the next chunk of the first, early, into the second cache; what is written as well,
// for a store reads its line first.
#define AHEAD(chunk) \
    const int wide = far ? (int)(neurons < BLOCK ? neurons : BLOCK) : 0; \
    const int64_t over = b + 1 < count ? BLOCK : -(int64_t)b * BLOCK, later = b + 1 < count ? 0 : (chunk);
#define FETCH(name, t, writes) \
    if ((uint64_t)((t) + later) < (uint64_t)steps) \
        for (int i = 0; i < wide; i += 64 / (int)sizeof *name) \
            __builtin_prefetch(AT(name, (t) + later) + over + i, writes, 2);
#define EACH INDEPENDENT for (int i = 0; i < n; i++)

static const int64_t zeros[BLOCK];

// not zero for NaN and infinities: x - x is NaN then, else +0
static inline int odd_f32(float x) {
    float difference = x - x;
    int bits;
    memcpy(&bits, &difference, sizeof bits);
    return bits;
}
static inline int odd_f64(double x) { return !(fabs(x) <= DBL_MAX); }

static inline float load_bf16(uint16_t stored) {
    uint32_t bits = (uint32_t)stored << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

// to nearest, ties to even; a NaN stays one, where adding to its bits could make it infinite
static inline uint16_t store_bf16(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    return value == value ? (uint16_t)rounded : 0x7fc0;
}

// Defines what adds to `before` at how many steps an output was not zero, once for all outputs of a dtype; `value` is that
// of y[i].
#define COUNT(dtype, type, value) \
    static __attribute__((noinline)) void count_##dtype( \
        const type *y, int64_t step, int64_t steps, int n, const int32_t *before, int32_t *count \
    ) { \
        for (int64_t t = 0; t < steps; t++, y += step, before = count) \
            EACH count[i] = before[i] + ((value) != 0); \
    }
