// The gradient of the input at the places where it is wanted, and zero elsewhere: a product of which entries are sampled.
//
//     dx[y][x][c] = sum over the taps that reach outputs, and over outputs, of g[y'][x'][o] * weights[o][c][tap]
//
// Weights are laid out as (channels, kernel height, kernel width, outputs). Of a row of the kernel, taps that differ by
// the stride reach outputs beside each other: they lie beside each other as well, from the last one on, so that each row
// of the kernel is one product of two stretches of memory.

// Part of a product: output gradients, where the weights of a channel begin for it, and how many there are.
typedef struct {
    const float *g;
    int64_t weights, n;
} Stretch;

static inline int64_t taps_before(const Shape *s, int64_t phase) {
    int64_t sum = 0;
    for (int64_t each = 0; each < phase; each++) sum += taps(s->kernel_width, s->stride_x, each);
    return sum;
}

// Lays the weights out, and returns whether all are finite.
static int64_t lay_out(const Shape *s, const float *weights, float *to) {
    const int64_t rows = rows_of(s);
    int64_t finite = 1;
    #pragma omp parallel for schedule(static) reduction(&:finite) num_threads((int)s->threads) if (s->threads > 1)
    for (int64_t row = 0; row < rows; row += SQUARE) {
        const int64_t n = least(SQUARE, rows - row);
        float *lines[SQUARE], check = 0;
        for (int64_t i = 0; i < n; i++) {
            const int64_t tap = (row + i) % s->kernel_width, phase = tap % s->stride_x;
            const int64_t last = taps_before(s, phase) + taps(s->kernel_width, s->stride_x, phase) - 1;
            lines[i] = to + (row + i - tap + last - tap / s->stride_x) * s->outputs;
        }
        for (int64_t o = 0; o < s->outputs; o++)
            for (int64_t i = 0; i < n; i++) {
                const float weight = weights[o * rows + row + i];
                lines[i][o] = weight;
                check += weight - weight;
            }
        finite &= check == 0;
    }
    return finite;
}

static inline Vector part(const float *from, int64_t n) {
    Vector vector = {0};
    memcpy(&vector, from, (size_t)n * sizeof(float));
    return vector;
}

// sum + a * b, rounded once where the processor can
static inline Vector add_product(Vector sum, Vector a, Vector b) {
#if defined(__FMA__) || defined(__aarch64__)
    for (int64_t lane = 0; lane < LANES; lane++) sum[lane] = __builtin_fmaf(a[lane], b[lane], sum[lane]);
    return sum;
#else
    return sum + a * b;
#endif
}

static inline float sum_of(Vector vector) {
    for (int64_t half = LANES / 2; half > 0; half /= 2)
        for (int64_t lane = 0; lane < half; lane++) vector[lane] += vector[lane + half];
    return vector[0];
}

#define BEGIN_PRODUCT(v) \
    const float *const weights##v = weights + (places[v] - first) * size; \
    Vector even##v = {0}, odd##v = {0};
#define BEGIN_STRETCH(v) const float *const from##v = weights##v + stretch->weights;
#define ADD_EVEN(v) even##v = add_product(even##v, near, whole(from##v + i));
#define ADD_ODD(v) odd##v = add_product(odd##v, far, whole(from##v + i + LANES));
#define ADD_PART(v) even##v = add_product(even##v, near, part(from##v + i, stretch->n - i));
#define END_PRODUCT(v) out[places[v]] = sum_of(even##v + odd##v);

// Defines the products for so many channels of a pixel, whose first one is at place `first`.
#define PRODUCTS(NUMBER) \
    static void products_##NUMBER( \
        const Stretch *stretches, int64_t count, const float *weights, int64_t size, const int32_t *places, \
        int64_t first, float *out \
    ) { \
        EACH_##NUMBER(BEGIN_PRODUCT) \
        for (const Stretch *stretch = stretches; stretch < stretches + count; stretch++) { \
            EACH_##NUMBER(BEGIN_STRETCH) \
            int64_t i = 0; \
            for (; i + 2 * LANES <= stretch->n; i += 2 * LANES) { \
                const Vector near = whole(stretch->g + i), far = whole(stretch->g + i + LANES); \
                EACH_##NUMBER(ADD_EVEN) \
                EACH_##NUMBER(ADD_ODD) \
            } \
            for (; i + LANES <= stretch->n; i += LANES) { \
                const Vector near = whole(stretch->g + i); \
                EACH_##NUMBER(ADD_EVEN) \
            } \
            if (i < stretch->n) { \
                const Vector near = part(stretch->g + i, stretch->n - i); \
                EACH_##NUMBER(ADD_PART) \
            } \
        } \
        EACH_##NUMBER(END_PRODUCT) \
    }
PRODUCTS(1)
PRODUCTS(2)
PRODUCTS(4)

// Writes where each product of a pixel is taken, and returns how many stretches it has.
static int64_t stretches_of(const Shape *s, const float *g, int64_t image, int64_t y, int64_t x, Stretch *found) {
    const int64_t reached = (x + s->padding_x) / s->stride_x, phase = (x + s->padding_x) % s->stride_x;
    const int64_t along = taps(s->kernel_width, s->stride_x, phase);
    // the first and the last of the taps that reach an output
    const int64_t near = most(0, reached - s->out_width + 1), far = least(along - 1, reached);
    const int64_t before = taps_before(s, phase) + along - 1 - far, n = (far - near + 1) * s->outputs;
    int64_t count = 0;
    for (int64_t row = 0; row < s->kernel_height && n > 0; row++) {
        const int64_t moved = y + s->padding_y - row, above = moved / s->stride_y;
        if (moved < 0 || moved % s->stride_y || above >= s->out_height) continue;
        const float *from = g + ((image * s->out_height + above) * s->out_width + reached - far) * s->outputs;
        found[count++] = (Stretch){from, (row * s->kernel_width + before) * s->outputs, n};
    }
    return count;
}

// One row of an image, at the places of one list.
static void sampled_row(
    const Shape *s, const int32_t *places, int64_t n, const float *g, const float *weights, int64_t image, int64_t y,
    float *out
) {
    const int64_t size = s->kernel_height * s->kernel_width * s->outputs;
    Stretch stretches[s->kernel_height];
    for (int64_t i = 0; i < n;) {
        const int64_t x = places[i] / s->channels, first = x * s->channels;
        const int64_t count = stretches_of(s, g, image, y, x, stretches);
        int64_t end = i;
        while (end < n && places[end] < first + s->channels) end++;
        for (; i + 4 <= end; i += 4) products_4(stretches, count, weights, size, places + i, first, out);
        if (i + 2 <= end) products_2(stretches, count, weights, size, places + i, first, out), i += 2;
        if (i < end) products_1(stretches, count, weights, size, places + i, first, out), i++;
    }
}

// The gradient; returns whether all of g and of the weights is finite. Rows of images are divided into pieces, with a list
// each: all images take one piece after the other, so that its weights stay in the cache. `room` takes the weights.
int64_t sampled_input_gradient(
    const Shape *s, const Lists *lists, int64_t pieces, const float *g, const float *weights, float *room, float *out
) {
    const int64_t width = s->width * s->channels, results = s->out_height * s->out_width * s->outputs;
    int64_t finite = lay_out(s, weights, room);
    for (int64_t piece = 0; piece < pieces && finite; piece++) {
        #pragma omp parallel for schedule(dynamic, 4) reduction(&:finite) num_threads((int)s->threads) \
            if (s->threads > 1)
        for (int64_t image = 0; image < s->images; image++) {
            if (piece == 0) {
                finite &= all_finite(g + image * results, results);
                memset(out + image * s->height * width, 0, (size_t)(s->height * width) * sizeof(float));
            }
            for (int64_t y = 0; y < s->height; y++) {
                const int64_t row = image * s->height + y;
                const int32_t *starts = lists->starts + row * pieces + piece;
                const int64_t n = starts[1] - starts[0];
                sampled_row(s, lists->places + starts[0], n, g, room, image, y, out + row * width);
            }
        }
    }
    return finite;
}
