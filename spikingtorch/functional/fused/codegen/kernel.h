// What every kernel shares: how the arrays lie in memory, and the formats that are stored but not computed in.
// BLOCK, SHORTEST, CHUNK and AXES are defined before it, by what prints a program.

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

// offset of an array's row: the position of the row's number on each axis of the batch
static inline int64_t row_offset(const Layout *layout, const Array *array, int64_t row) {
    int64_t offset = 0;
    for (int64_t axis = layout->axes - 1; axis >= 0; axis--) {
        offset += row % layout->sizes[axis] * array->batch[axis];
        row /= layout->sizes[axis];
    }
    return offset;
}

#define FIRST(type, number) \
    ((type *)layout->arrays[number].data + row_offset(layout, &layout->arrays[number], row) + \
     first * layout->arrays[number].neuron)

// an array without time
#define START(type, name, number) \
    type *const name = FIRST(type, number); \
    const int64_t name##_neuron = layout->arrays[number].neuron; \
    (void)name, (void)name##_neuron;

// an array over time, one that may be missing and then reads as zero, and one that may not be wanted
#define STREAM(type, name, number) \
    type *const name = FIRST(type, number); \
    const int64_t name##_step = layout->arrays[number].step;
#define GIVEN(type, name, number) \
    const type *const name = layout->arrays[number].data ? FIRST(const type, number) : (const type *)zeros; \
    const int64_t name##_step = layout->arrays[number].step;
#define WANTED(type, name, number) \
    type *const name = layout->arrays[number].data ? FIRST(type, number) : (type *)unused; \
    const int64_t name##_step = layout->arrays[number].step;
#define AT(name, t) (name + (t) * name##_step)

// The rows of a block lie far apart, and processors foresee no jump: ask for the next ones early, into the second cache.
#define FETCH(name, t) \
    if ((t) >= 0 && (t) < steps) \
        for (int i = 0; i < n; i += 64 / (int)sizeof *name) __builtin_prefetch(AT(name, t) + i, 0, 2);
#define EACH for (int i = 0; i < n; i++)

static const int64_t zeros[BLOCK];

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
