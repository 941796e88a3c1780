// Sums of rows at listed places, the one product of all kernels here:
//
//     sum[v] = start[v] + sum over i of factor[i] * from[place[i] * pitch + v]
//
// Each sum takes the places in order, in blocks that start from zero: results depend neither on the width of a vector
// nor on how many columns are summed together.

#include <stdint.h>
#include <string.h>
#ifdef _OPENMP
int omp_get_thread_num(void);
#else
static int omp_get_thread_num(void) { return 0; }
#endif

#if defined(__AVX512F__)
#define VECTOR 64
#elif defined(__AVX__)
#define VECTOR 32
#else
#define VECTOR 16
#endif
#define LANES ((int64_t)(VECTOR / sizeof(float)))
// vectors that one loop sums: half of the registers, or somewhat more
#if defined(__AVX512F__) || defined(__aarch64__)
#define WIDEST 16
#else
#define WIDEST 12
#endif
// places that are summed before the sum is added to that of others, which keeps rounding errors small
#define BLOCK 32

typedef float Vector __attribute__((vector_size(VECTOR)));

// A layer of images in channels-last memory; a linear layer is one of images of a single pixel.
typedef struct {
    int64_t threads, images, height, width, channels, out_height, out_width, outputs;
    int64_t kernel_height, kernel_width, stride_y, stride_x, padding_y, padding_x;
} Shape;

static inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }
static inline int64_t rows_of(const Shape *s) { return s->kernel_height * s->kernel_width * s->channels; }

static inline int64_t above(int64_t a, int64_t b) { return (a + b - 1) / b; }

static inline Vector whole(const float *from) {
    Vector vector;
    memcpy(&vector, from, sizeof vector);
    return vector;
}

// Returns whether n numbers are finite: the difference of one that is not with itself is NaN.
static inline int64_t all_finite(const float *x, int64_t n) {
    Vector check = {0};
    int64_t i = 0, finite = 1;
    for (; i + LANES <= n; i += LANES) {
        const Vector vector = whole(x + i);
        check += vector - vector;
    }
    for (int64_t lane = 0; i < n; i++, lane++) check[lane] += x[i] - x[i];
    for (int64_t lane = 0; lane < LANES; lane++) finite &= check[lane] == 0;
    return finite;
}

// sum + factor * vector, rounded once where the processor can
static inline Vector add(Vector sum, float factor, Vector vector) {
#if defined(__FMA__) || defined(__aarch64__)
    for (int64_t lane = 0; lane < LANES; lane++) sum[lane] = __builtin_fmaf(factor, vector[lane], sum[lane]);
    return sum;
#else
    return sum + factor * vector;
#endif
}

// The sums are variables with names: an array of them would not stay in registers.
#define EACH_1(DO) DO(0)
#define EACH_2(DO) EACH_1(DO) DO(1)
#define EACH_3(DO) EACH_2(DO) DO(2)
#define EACH_4(DO) EACH_3(DO) DO(3)
#define EACH_6(DO) EACH_4(DO) DO(4) DO(5)
#define EACH_8(DO) EACH_6(DO) DO(6) DO(7)
#define EACH_12(DO) EACH_8(DO) DO(8) DO(9) DO(10) DO(11)
#define EACH_16(DO) EACH_12(DO) DO(12) DO(13) DO(14) DO(15)

#define BEGIN(v) Vector sum##v = {0};
#define ADD(v) sum##v += whole(row + v * LANES);
#define ADD_TIMES(v) sum##v = add(sum##v, factor, whole(row + v * LANES));
#define END(v) sum##v += whole(start + v * LANES); memcpy(sum + v * LANES, &sum##v, sizeof sum##v);
#define AGAIN(v) END(v) sum##v = (Vector){0};

// Some places with their factors, and what they count from; no factors stand for ones.
typedef struct {
    const int32_t *places;
    const float *factors, *from;
    int64_t n;
} Segment;

// Defines the sum of so many vectors. `start` may be `sum`.
#define GATHER(NUMBER) \
    static void gather_##NUMBER( \
        const Segment *segments, int64_t count, int64_t pitch, const float *start, float *sum \
    ) { \
        int64_t room = BLOCK; \
        EACH_##NUMBER(BEGIN) \
        for (const Segment *segment = segments; segment < segments + count; segment++) { \
            const float *const from = segment->from; \
            for (int64_t i = 0; i < segment->n;) { \
                const int64_t first = i, end = least(segment->n, i + room); \
                if (segment->factors) \
                    for (; i < end; i++) { \
                        const float *row = from + segment->places[i] * pitch, factor = segment->factors[i]; \
                        EACH_##NUMBER(ADD_TIMES) \
                    } \
                else \
                    for (; i < end; i++) { \
                        const float *row = from + segment->places[i] * pitch; \
                        EACH_##NUMBER(ADD) \
                    } \
                room -= end - first; \
                if (room == 0) { \
                    EACH_##NUMBER(AGAIN) \
                    start = sum, room = BLOCK; \
                } \
            } \
        } \
        EACH_##NUMBER(END) \
    }
GATHER(1)
GATHER(2)
GATHER(3)
GATHER(4)
GATHER(6)
GATHER(8)
GATHER(12)
#if WIDEST == 16
GATHER(16)
#endif

typedef void (*Gather)(const Segment *, int64_t, int64_t, const float *, float *);

// for a number of vectors, the most of them that one loop sums
static const int64_t SIZES[] = {0, 1, 2, 3, 4, 4, 6, 6, 8, 8, 8, 8, 12, 12, 12, 12, 16};
static const Gather GATHERS[] = {
    [1] = gather_1, [2] = gather_2, [3] = gather_3, [4] = gather_4, [6] = gather_6, [8] = gather_8, [12] = gather_12,
#if WIDEST == 16
    [16] = gather_16,
#endif
};

// How many vectors a panel has: all columns that are left if one loop sums so many, with zeros to fill it up.
static inline int64_t panel(int64_t columns, int64_t widest) {
    int64_t size = least(above(columns, LANES), least(widest, WIDEST));
    while (SIZES[size] != size) size++;
    return size;
}

// Returns how many columns all panels have together.
int64_t padded(int64_t columns, int64_t widest) {
    int64_t j = 0;
    while (j < columns) j += panel(columns - j, widest) * LANES;
    return j;
}
