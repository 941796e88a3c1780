// The gradients of the input and of the weights of a convolution of few channels, for dense gradients of its outputs.
//
// In channels-last memory a row of the kernel reaches pixels that lie one after the other, so that one output reads, or
// adds to, (kernel width) * (channels) numbers on end: vectors are full even where there are few channels.
//
//     of_x[oy * stride + ky][ox * stride ...] += sum over outputs o of g[oy][ox][o] * weights[o][ky][...]
//     of_weights[o][ky][...] = sum over images and pixels (oy, ox) of g[oy][ox][o] * x[oy * stride + ky][ox * stride ...]
//
// Each image has a buffer with its padding around it.

// images that are taken together: they share what is read of the weights, and keep the adders busy
#define TOGETHER 8
// vectors that a row of the kernel may take
#define LONGEST 2

#define EACH_IMAGE(DO, v) DO(0, v) DO(1, v) DO(2, v) DO(3, v) DO(4, v) DO(5, v) DO(6, v) DO(7, v)
#define BEGIN_AT(n, v) Vector sum##n##_##v = {0};
#define ADD_AT(n, v) sum##n##_##v = add(sum##n##_##v, g[n][pixel + o], vector##v);
#define END_AT(n, v) \
    sum##n##_##v += whole(to[n] + at + v * LANES); \
    memcpy(to[n] + at + v * LANES, &sum##n##_##v, sizeof sum##n##_##v);
#define BEGIN_ALL(v) EACH_IMAGE(BEGIN_AT, v)
#define ADD_ALL(v) const Vector vector##v = whole(row + v * LANES); EACH_IMAGE(ADD_AT, v)
#define END_ALL(v) EACH_IMAGE(END_AT, v)

// Defines what one output pixel adds to all rows that the kernel reaches, for so many vectors. Outputs are summed in
// blocks, which keeps rounding errors small.
#define SPREAD(NUMBER) \
    static void spread_##NUMBER( \
        const Shape *s, const float *weights, const float *const *g, int64_t pixel, float *const *to, int64_t first, \
        int64_t pitch \
    ) { \
        const float *row = weights; \
        for (int64_t y = 0, at = first; y < s->kernel_height; y++, at += pitch) \
            for (int64_t o = 0, end; o < s->outputs;) { \
                EACH_##NUMBER(BEGIN_ALL) \
                for (end = least(o + BLOCK, s->outputs); o < end; o++, row += NUMBER * LANES) { \
                    EACH_##NUMBER(ADD_ALL) \
                } \
                EACH_##NUMBER(END_ALL) \
            } \
    }
SPREAD(1)
SPREAD(2)

typedef void (*Spread)(const Shape *, const float *, const float *const *, int64_t, float *const *, int64_t, int64_t);
static const Spread SPREADS[] = {[1] = spread_1, [2] = spread_2};

// Returns how many vectors a row of the kernel takes, 0 if they are too many.
int64_t vectors_of_row(const Shape *s) {
    const int64_t vectors = above(s->kernel_width * s->channels, LANES);
    return vectors <= LONGEST ? vectors : 0;
}

// Returns how many numbers the buffer of an image has.
int64_t padded_image(const Shape *s) {
    const int64_t height = s->height + 2 * s->padding_y, width = s->width + 2 * s->padding_x;
    return height * width * s->channels + LONGEST * LANES;
}

// Lays weights (outputs, channels, kernel height, kernel width) out as rows (kernel height, outputs) of whole vectors.
static void fill_rows(const Shape *s, const float *weights, int64_t vectors, float *rows) {
    const int64_t length = vectors * LANES, height = s->kernel_height, width = s->kernel_width;
    memset(rows, 0, (size_t)(height * s->outputs * length) * sizeof(float));
    for (int64_t o = 0; o < s->outputs; o++)
        for (int64_t c = 0; c < s->channels; c++)
            for (int64_t y = 0; y < height; y++)
                for (int64_t x = 0; x < width; x++)
                    rows[(y * s->outputs + o) * length + x * s->channels + c] =
                        weights[((o * s->channels + c) * height + y) * width + x];
}

// The gradient of all images; returns whether all of g is finite: zeros fill up the vectors. A thread has buffers of its
// own, and `rows` takes the weights.
int64_t input_gradient(
    const Shape *s, const float *g, const float *weights, float *rows, float *buffers, float *x
) {
    const int64_t vectors = vectors_of_row(s), room = padded_image(s), groups = above(s->images, TOGETHER);
    const int64_t pitch = (s->width + 2 * s->padding_x) * s->channels, outputs = s->out_height * s->out_width * s->outputs;
    // outputs so far apart reach pixels of their own; neighbours one after the other would wait for what was written
    const int64_t apart = above(s->kernel_width, s->stride_x);
    const Spread spread = SPREADS[vectors];
    int64_t finite = 1;
    fill_rows(s, weights, vectors, rows);
    #pragma omp parallel for schedule(static) reduction(&:finite) num_threads((int)s->threads) if (s->threads > 1)
    for (int64_t group = 0; group < groups; group++) {
        const int64_t image = group * TOGETHER, there = least(TOGETHER, s->images - image);
        float *own = buffers + omp_get_thread_num() * TOGETHER * room, *to[TOGETHER];
        const float *from[TOGETHER];
        for (int64_t n = 0; n < TOGETHER; n++) {
            to[n] = own + n * room;
            from[n] = g + (image + least(n, there - 1)) * outputs;
        }
        memset(own, 0, (size_t)(TOGETHER * room) * sizeof(float));
        finite &= all_finite(from[0], there * outputs);
        for (int64_t y = 0; y < s->out_height; y++)
            for (int64_t begin = 0; begin < apart; begin++)
                for (int64_t column = begin; column < s->out_width; column += apart) {
                    const int64_t pixel = (y * s->out_width + column) * s->outputs;
                    const int64_t first = y * s->stride_y * pitch + column * s->stride_x * s->channels;
                    spread(s, rows, from, pixel, to, first, pitch);
                }
        for (int64_t n = 0; n < there; n++)
            for (int64_t y = 0; y < s->height; y++)
                memcpy(
                    x + ((image + n) * s->height + y) * s->width * s->channels,
                    to[n] + (y + s->padding_y) * pitch + s->padding_x * s->channels,
                    (size_t)(s->width * s->channels) * sizeof(float)
                );
    }
    return finite;
}

// outputs, and vectors of each, whose sums one loop holds; the most pixels that it sums, which keeps rounding errors small
#define OUTPUTS 8
#define PAIR 2
#define PIXELS 64

#define BEGIN_PAIR(o) Vector sum##o##_0 = {0}, sum##o##_1 = {0};
#define ADD_PAIR(o) sum##o##_0 = add(sum##o##_0, g[o], one), sum##o##_1 = add(sum##o##_1, g[o], other);
#define END_PAIR(o) \
    sum##o##_0 += whole(sums + o * PAIR * LANES), sum##o##_1 += whole(sums + (o * PAIR + 1) * LANES); \
    memcpy(sums + o * PAIR * LANES, &sum##o##_0, sizeof sum##o##_0); \
    memcpy(sums + (o * PAIR + 1) * LANES, &sum##o##_1, sizeof sum##o##_1);

// Some output pixels: the first input that they read, and their gradients.
typedef struct {
    const float *x, *g;
    int64_t rows, columns;
} Patch;

// Defines what the pixels of a patch add to two vectors of the weights of so many outputs, those that read x[a] and x[b]
// for the first pixel.
#define SUM_PATCH(NUMBER) \
    static void sum_patch_##NUMBER( \
        const Shape *s, const Patch *patch, int64_t a, int64_t b, int64_t pitch, float *sums \
    ) { \
        EACH_##NUMBER(BEGIN_PAIR) \
        for (int64_t y = 0; y < patch->rows; y++) { \
            const float *x = patch->x + y * s->stride_y * pitch, *g = patch->g + y * s->out_width * s->outputs; \
            for (int64_t column = 0; column < patch->columns; column++) { \
                const Vector one = whole(x + a), other = whole(x + b); \
                EACH_##NUMBER(ADD_PAIR) \
                x += s->stride_x * s->channels, g += s->outputs; \
            } \
        } \
        EACH_##NUMBER(END_PAIR) \
    }
SUM_PATCH(1)
SUM_PATCH(2)
SUM_PATCH(3)
SUM_PATCH(4)
SUM_PATCH(6)
SUM_PATCH(8)

typedef void (*SumPatch)(const Shape *, const Patch *, int64_t, int64_t, int64_t, float *);
static const SumPatch SUMS_OF_PATCH[] = {
    [1] = sum_patch_1, [2] = sum_patch_2, [3] = sum_patch_3, [4] = sum_patch_4, [6] = sum_patch_6, [8] = sum_patch_8,
};

// Returns how many numbers hold the sums of some images: (pairs of vectors, outputs, pair).
int64_t sums_of_weights(const Shape *s) {
    return above(s->kernel_height * vectors_of_row(s), PAIR) * s->outputs * PAIR * LANES;
}

// Adds what a patch gives to all sums.
static void add_patch(const Shape *s, Patch patch, int64_t pitch, float *sums) {
    const int64_t vectors = vectors_of_row(s), units = s->kernel_height * vectors;
    const float *const g = patch.g;
    for (int64_t unit = 0; unit < units; unit += PAIR) {
        const int64_t next = least(unit + 1, units - 1);  // of an odd number the last one is summed twice
        const int64_t a = unit / vectors * pitch + unit % vectors * LANES;
        const int64_t b = next / vectors * pitch + next % vectors * LANES;
        for (int64_t o = 0, size; o < s->outputs; o += size) {
            for (size = least(OUTPUTS, s->outputs - o); SIZES[size] != size;) size--;
            patch.g = g + o;
            SUMS_OF_PATCH[size](s, &patch, a, b, pitch, sums + (unit * s->outputs + o * PAIR) * LANES);
        }
    }
}

// The gradient of the weights (outputs, channels, kernel height, kernel width); returns whether all of g is finite.
// Images are summed in `parts`, one after the other, whatever the number of threads; `sums` has room for those of each
// part, and a thread has a buffer of its own.
int64_t dense_weight_gradient(
    const Shape *s, const float *x, const float *g, float *buffers, int64_t parts, float *sums, float *found
) {
    const int64_t room = padded_image(s), size = sums_of_weights(s), vectors = vectors_of_row(s);
    const int64_t line = s->width * s->channels, pitch = line + 2 * s->padding_x * s->channels;
    const int64_t outputs = s->out_height * s->out_width * s->outputs, images = above(s->images, parts);
    const int64_t columns = least(PIXELS, s->out_width), rows = PIXELS / columns;
    int64_t finite = 1;
    #pragma omp parallel for schedule(static) reduction(&:finite) num_threads((int)s->threads) if (s->threads > 1)
    for (int64_t part = 0; part < parts; part++) {
        float *own = buffers + omp_get_thread_num() * room, *to = sums + part * size;
        memset(own, 0, (size_t)room * sizeof(float));
        memset(to, 0, (size_t)size * sizeof(float));
        for (int64_t image = part * images; image < least((part + 1) * images, s->images); image++) {
            for (int64_t y = 0; y < s->height; y++)
                memcpy(
                    own + (y + s->padding_y) * pitch + s->padding_x * s->channels,
                    x + (image * s->height + y) * line, (size_t)line * sizeof(float)
                );
            finite &= all_finite(g + image * outputs, outputs);
            for (int64_t y = 0; y < s->out_height; y += rows)
                for (int64_t column = 0; column < s->out_width; column += columns) {
                    const Patch patch = {
                        own + y * s->stride_y * pitch + column * s->stride_x * s->channels,
                        g + image * outputs + (y * s->out_width + column) * s->outputs,
                        least(rows, s->out_height - y), least(columns, s->out_width - column),
                    };
                    add_patch(s, patch, pitch, to);
                }
        }
    }
    for (int64_t o = 0; o < s->outputs; o++)
        for (int64_t c = 0; c < s->channels; c++)
            for (int64_t y = 0; y < s->kernel_height; y++)
                for (int64_t column = 0; column < s->kernel_width; column++) {
                    const int64_t lane = column * s->channels + c, unit = y * vectors + lane / LANES;
                    const int64_t place = (unit / PAIR * s->outputs + o) * PAIR + unit % PAIR;
                    float sum = 0.0f;
                    for (int64_t part = 0; part < parts; part++) sum += sums[part * size + place * LANES + lane % LANES];
                    *found++ = sum;
                }
    return finite;
}
