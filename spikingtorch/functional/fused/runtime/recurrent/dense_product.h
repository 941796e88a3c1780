// Rows times a matrix: out[r] = base[r] + sum_k a[r][k] values[k], for the steps of dense_loop.h.
//
// Every element is one sum with k ascending, whichever way it is computed: results depend neither on which rows are
// computed rows_per_group nor on whether zeros are skipped. `real` is float or double.

#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__)
#define VECTOR 64
#elif defined(__AVX__)
#define VECTOR 32
#else
#define VECTOR 16
#endif
#define LANES ((int64_t)(VECTOR / sizeof(real)))
// columns of a dense product that are summed rows_per_group, and of a sparse one
#define PANEL (2 * LANES)
#define WIDE (8 * LANES)
#define TILE 16
// rows that one call takes at most
#define ROWS 64
// whether eight rows of a dense product are summed rows_per_group: with 16 registers, four are
#if defined(__AVX512F__) || defined(__aarch64__)
#define TALL 1
#else
#define TALL 0
#endif
// a row with fewer than one nonzero in so many is taken as sparse
#define SPARSE 3

typedef real Vector __attribute__((vector_size(VECTOR)));

// Row k of the matrix begins at values + k * pitch. The pitch is a multiple of PANEL, and zeros fill it up.
typedef struct {
    real *values;
    int64_t size, pitch, finite;
} Matrix;

// Fills a matrix with weights or, `across`, with their transpose, and notes whether all are finite.
void fill_matrix(Matrix *matrix, const real *weights, int64_t across) {
    const int64_t size = matrix->size, pitch = matrix->pitch;
    real *const values = matrix->values;
    int64_t finite = 1;
    for (int64_t i = 0; i < size * size; i++) finite &= weights[i] - weights[i] == 0;
    matrix->finite = finite;
    for (int64_t k = 0; k < size; k++) {
        if (!across) memcpy(values + k * pitch, weights + k * size, (size_t)size * sizeof(real));
        memset(values + k * pitch + size, 0, (size_t)(pitch - size) * sizeof(real));
    }
    // TILE columns of the weights at a time: of each row a line of the cache
    for (int64_t first = 0; first < size && across; first += TILE)
        for (int64_t j = 0; j < size; j++)
            for (int64_t k = first; k < size && k < first + TILE; k++) values[k * pitch + j] = weights[j * size + k];
}

static inline Vector whole(const real *from) {
    Vector vector;
    memcpy(&vector, from, sizeof vector);
    return vector;
}

// the first `count` numbers, then zeros
static inline Vector part(const real *from, int64_t count) {
    Vector vector = {0};
    if (count >= LANES) return whole(from);
    if (count > 0) memcpy(&vector, from, (size_t)count * sizeof(real));
    return vector;
}

static inline void store(real *to, const Vector *vector, int64_t count) {
    if (count >= LANES) memcpy(to, vector, sizeof *vector);
    else if (count > 0) memcpy(to, vector, (size_t)count * sizeof(real));
}

// what a sum starts from; + 0 because -0 would tell a sum of zeros from no sum
static inline Vector start(const real *base, int64_t offset, int64_t count) {
    return base ? part(base + offset, count) + (real)0 : (Vector){0};
}

// sum + factor * vector: rounded once where the processor can, and then everywhere
static inline Vector add(Vector sum, real factor, Vector vector) {
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA) || defined(__aarch64__)
    for (int64_t lane = 0; lane < LANES; lane++)
        sum[lane] = sizeof(real) == 4 ? (real)__builtin_fmaf((float)factor, (float)vector[lane], (float)sum[lane])
                                      : (real)__builtin_fma((double)factor, (double)vector[lane], (double)sum[lane]);
    return sum;
#else
    return sum + factor * vector;
#endif
}

// The sums of some rows, as variables with names: an array of them would not stay in registers.
#define EACH_2(DO) DO(0) DO(1)
#define EACH_4(DO) EACH_2(DO) DO(2) DO(3)
#define EACH_8(DO) EACH_4(DO) DO(4) DO(5) DO(6) DO(7)

#define BEGIN_ROW(r) \
    const int64_t row##r = chosen[r] * size; \
    Vector left##r = start(base, row##r + j, count), right##r = start(base, row##r + j + LANES, count - LANES);
#define ADD_ROW(r) \
    left##r = add(left##r, a[row##r + k], left); \
    right##r = add(right##r, a[row##r + k], right);
#define END_ROW(r) \
    store(out + row##r + j, &left##r, count); \
    store(out + row##r + j + LANES, &right##r, count - LANES);

// Defines the product of so many chosen rows with the panel of columns from j on.
#define DENSE(NUMBER) \
    static void dense_##NUMBER( \
        const Matrix *matrix, const int64_t *chosen, int64_t j, const real *a, const real *base, real *out \
    ) { \
        const int64_t size = matrix->size, pitch = matrix->pitch, count = size - j; \
        const real *values = matrix->values + j; \
        EACH_##NUMBER(BEGIN_ROW) \
        for (int64_t k = 0; k < size; k++, values += pitch) { \
            const Vector left = whole(values), right = whole(values + LANES); \
            EACH_##NUMBER(ADD_ROW) \
        } \
        EACH_##NUMBER(END_ROW) \
    }
DENSE(2)
DENSE(4)
DENSE(8)

#define BEGIN_COLUMN(c) Vector sum##c = start(base, j + c * LANES, size - j - c * LANES);
#define ADD_COLUMN(c) sum##c = add(sum##c, factor, whole(values + c * LANES));
#define END_COLUMN(c) store(out + j + c * LANES, &sum##c, size - j - c * LANES);

// Defines the product of one row, of which only the elements at `places` count, with so many vectors of columns.
#define SINGLE(NUMBER) \
    static void single_##NUMBER( \
        const Matrix *matrix, const int32_t *places, int64_t n, int64_t j, const real *a, const real *base, real *out \
    ) { \
        const int64_t size = matrix->size; \
        EACH_##NUMBER(BEGIN_COLUMN) \
        for (int64_t i = 0; i < n; i++) { \
            const real factor = a[places[i]]; \
            const real *values = matrix->values + places[i] * matrix->pitch + j; \
            EACH_##NUMBER(ADD_COLUMN) \
        } \
        EACH_##NUMBER(END_COLUMN) \
    }
SINGLE(2)
SINGLE(8)

static void single(
    const Matrix *matrix, const int32_t *places, int64_t n, const real *a, const real *base, real *out
) {
    int64_t j = 0;
    for (; matrix->size - j > WIDE - LANES; j += WIDE) single_8(matrix, places, n, j, a, base, out);
    for (; j < matrix->size; j += PANEL) single_2(matrix, places, n, j, a, base, out);
}

// Fills in where a row is not zero, and returns how often that is, or -1 if it is too often to be worth it.
static int64_t nonzeros(const real *a, int64_t size, int32_t *places) {
    int64_t total = 0, n = 0;
    for (int64_t k = 0; k < size; k++) total += a[k] != 0;
    if (total * SPARSE >= size) return -1;
    for (int64_t k = 0; k < size; k++) {
        places[n] = (int32_t)k;
        n += a[k] != 0;
    }
    return n;
}

// The product for at most ROWS rows that lie one after the other; no base stands for zeros.
static void product(const Matrix *matrix, int64_t rows, const real *a, const real *base, real *out) {
    const int64_t size = matrix->size;
    int64_t chosen[ROWS], dense = 0;
    int32_t places[size];
    for (int64_t row = 0; row < rows; row++) {
        // zero times infinity is no zero
        const int64_t n = matrix->finite ? nonzeros(a + row * size, size, places) : -1;
        if (n < 0) chosen[dense++] = row;
        else single(matrix, places, n, a + row * size, base ? base + row * size : 0, out + row * size);
    }
    if (dense % 2) {
        const int64_t offset = chosen[--dense] * size;
        for (int64_t k = 0; k < size; k++) places[k] = (int32_t)k;
        single(matrix, places, size, a + offset, base ? base + offset : 0, out + offset);
    }
    // all rows take a panel while it is near
    for (int64_t j = 0; j < size && dense; j += PANEL) {
        int64_t row = 0;
        for (; TALL && dense - row >= 8; row += 8) dense_8(matrix, chosen + row, j, a, base, out);
        for (; dense - row >= 4; row += 4) dense_4(matrix, chosen + row, j, a, base, out);
        if (dense - row >= 2) dense_2(matrix, chosen + row, j, a, base, out);
    }
}
