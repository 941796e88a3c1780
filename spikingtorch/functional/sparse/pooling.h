// Max pooling, which notes where in its window the largest number is: one byte an output.

// Images of numbers beside each other: each channel is an image of its own or, in channels-last memory, all channels of
// a place lie beside each other.
typedef struct {
    int64_t threads, images, height, width, channels, out_height, out_width, kernel_height, kernel_width;
    int64_t stride_y, stride_x, padding_y, padding_x, dilation_y, dilation_x;
} Pool;

// numbers that are computed together, at most; and those of a band, which are to stay near the processor
#define WHOLE 16
#define NEAR 16384

// Returns which number of a window is the first that is no padding, in one direction.
static inline int64_t first_within(int64_t start, int64_t dilation) { return start < 0 ? above(-start, dilation) : 0; }

// Takes those of n numbers that are larger than the largest so far, or NaN, and notes their place.
static inline __attribute__((always_inline)) void larger(
    const float *x, int64_t n, int64_t step, int32_t place, float *restrict largest,
    int32_t *restrict at
) {
    for (int64_t i = 0; i < n; i++) {
        const float number = x[i * step];
        const int taken = (number > largest[i]) | (number != number);
        largest[i] = taken ? number : largest[i];
        at[i] = taken ? place : at[i];
    }
}

// The largest number of each window within one row of an image, and which column of the window it is in.
static void across(const Pool *p, const float *x, int64_t width, int64_t windows, float *largest, int32_t *at) {
    const int64_t C = p->channels, step = p->stride_x;
    for (int64_t i = 0; i < windows * C; i++) {
        largest[i] = -__builtin_inff();
        at[i] = 0;
    }
    for (int64_t i = 0; i < windows * C && i / C * step < p->padding_x; i++)
        at[i] = (int32_t)first_within(i / C * step - p->padding_x, p->dilation_x);
    for (int64_t kx = 0; kx < p->kernel_width; kx++) {
        const int64_t shift = kx * p->dilation_x - p->padding_x;
        // windows whose number lies within the image
        const int64_t low = first_within(shift, step);
        const int64_t n = shift < width ? least(windows, (width - 1 - shift) / step + 1) - low : 0;
        const float *from = x + (low * step + shift) * C;
        largest += low * C, at += low * C;
        if (C > 1)
            for (int64_t i = 0; i < n; i++)
                larger(from + i * step * C, C, 1, (int32_t)kx, largest + i * C, at + i * C);
        else if (step == 1)
            larger(from, n, 1, (int32_t)kx, largest, at);
        else if (step == 2)
            larger(from, n, 2, (int32_t)kx, largest, at);
        else
            larger(from, n, step, (int32_t)kx, largest, at);
        largest -= low * C, at -= low * C;
    }
}

// The same for n numbers whose places in their row are known; the first row of a window is taken whatever it holds.
static void down(
    const float *x, const int32_t *columns, int64_t n, int first, int32_t before, float *restrict largest,
    int32_t *restrict at
) {
    for (int64_t i = 0; first && i < n; i++) {
        largest[i] = x[i];
        at[i] = before + columns[i];
    }
    for (int64_t i = 0; !first && i < n; i++) {
        const float number = x[i];
        const int32_t place = before + columns[i];
        const int taken = (number > largest[i]) | (number != number);
        largest[i] = taken ? number : largest[i];
        at[i] = taken ? place : at[i];
    }
}

// Some rows of the outputs of an image, and the rows of its pixels that their windows reach over.
typedef struct { int64_t outputs, pixels; } Band;

static Band band(const Pool *p) {
    const int64_t reach = (p->kernel_height - 1) * p->dilation_y + 1, n = p->out_width * p->channels;
    const int64_t more = most(0, NEAR / n - reach) / p->stride_y;
    const int64_t outputs = least(p->out_height, 1 + more);
    return (Band){outputs, (outputs - 1) * p->stride_y + reach};
}

// Of equal numbers the first counts, row by row, and of NaNs the last, as in torch.
static void pool_image(const Pool *p, const float *x, float *out, uint8_t *places, float *room) {
    const Band b = band(p);
    const int64_t C = p->channels, n = p->out_width * C, all = b.pixels * n + WHOLE;
    float *rows = room, *found = rows + all;
    int32_t *columns = (int32_t *)(found + b.outputs * n + WHOLE), *at = columns + all;
    // where windows neither overlap nor leave the image, its rows are one
    const int one = C == 1 && p->padding_x == 0 && p->width == p->stride_x * p->out_width
        && (p->kernel_width - 1) * p->dilation_x < p->stride_x;
    for (int64_t row = 0; row < p->out_height; row += b.outputs) {
        const int64_t n_rows = least(b.outputs, p->out_height - row);
        const int64_t top = most(0, row * p->stride_y - p->padding_y);
        const int64_t height = least(p->height, row * p->stride_y - p->padding_y + b.pixels) - top;
        for (int64_t y = 0; y < (one ? 1 : height); y++)
            across(p, x + (top + y) * p->width * C, p->width * (one ? height : 1), p->out_width * (one ? height : 1),
                   rows + y * n, columns + y * n);
        for (int64_t r = 0; r < n_rows; r++) {
            const int64_t start = (row + r) * p->stride_y - p->padding_y, first = first_within(start, p->dilation_y);
            for (int64_t ky = first; ky < p->kernel_height && start + ky * p->dilation_y < p->height; ky++) {
                const int64_t begin = (start + ky * p->dilation_y - top) * n;
                // whole vectors: what is too much is written over by the next row
                down(rows + begin, columns + begin, above(n, WHOLE) * WHOLE, ky == first,
                     (int32_t)(ky * p->kernel_width), found + r * n, at + r * n);
            }
        }
        memcpy(out + row * n, found, (size_t)(n_rows * n) * sizeof *out);
        if (places)
            for (int64_t i = 0; i < n_rows * n; i++) places[row * n + i] = (uint8_t)at[i];
    }
}

// Returns how many numbers of room one thread needs.
int64_t pool_room(const Pool *p) {
    const Band b = band(p);
    return 2 * ((b.pixels + b.outputs) * p->out_width * p->channels + 2 * WHOLE);
}

// Writes the outputs and, unless `places` is 0, where in their windows they are.
int64_t max_pool(const Pool *p, const float *x, float *out, uint8_t *places, float *room) {
    const int64_t pixels = p->height * p->width * p->channels, outputs = p->out_height * p->out_width * p->channels;
    #pragma omp parallel for schedule(static) num_threads((int)p->threads) if (p->threads > 1)
    for (int64_t image = 0; image < p->images; image++)
        pool_image(p, x + image * pixels, out + image * outputs, places ? places + image * outputs : 0,
                   room + omp_get_thread_num() * pool_room(p));
    return 0;
}

// Writes how far each place of a window is from where it begins, or would begin without padding.
static void reach(const Pool *p, int32_t *far) {
    for (int64_t k = 0; k < p->kernel_height * p->kernel_width; k++) {
        const int64_t down = k / p->kernel_width * p->dilation_y, right = k % p->kernel_width * p->dilation_x;
        far[k] = (int32_t)((down * p->width + right) * p->channels);
    }
}

// Writes, of bools of the images, those at the places that the outputs were taken from.
int64_t pool_bools(const Pool *p, const uint8_t *x, const uint8_t *places, uint8_t *out) {
    const int64_t C = p->channels, pixels = p->height * p->width * C, outputs = p->out_height * p->out_width * C;
    int32_t far[256];
    reach(p, far);
    #pragma omp parallel for schedule(static) num_threads((int)p->threads) if (p->threads > 1)
    for (int64_t image = 0; image < p->images; image++) {
        const uint8_t *at = places + image * outputs;
        uint8_t *to = out + image * outputs;
        for (int64_t row = 0; row < p->out_height; row++)
            for (int64_t column = 0; column < p->out_width; column++, to += C, at += C) {
                const int64_t y = row * p->stride_y - p->padding_y, left = column * p->stride_x - p->padding_x;
                const uint8_t *window = x + image * pixels + (y * p->width + left) * C;
                for (int64_t c = 0; c < C; c++) to[c] = window[c + far[at[c]]];
            }
    }
    return 0;
}

// Writes the gradient of the input; where windows overlap, gradients are added in the order of the outputs.
int64_t max_pool_gradient(const Pool *p, const float *g, const uint8_t *places, float *of_x) {
    const int64_t C = p->channels, pixels = p->height * p->width * C, outputs = p->out_height * p->out_width * C;
    int32_t far[256];
    reach(p, far);
    #pragma omp parallel for schedule(static) num_threads((int)p->threads) if (p->threads > 1)
    for (int64_t image = 0; image < p->images; image++) {
        float *to = of_x + image * pixels;
        const float *from = g + image * outputs;
        const uint8_t *at = places + image * outputs;
        memset(to, 0, (size_t)pixels * sizeof *to);
        for (int64_t row = 0; row < p->out_height; row++)
            for (int64_t column = 0; column < p->out_width; column++, from += C, at += C) {
                const int64_t y = row * p->stride_y - p->padding_y, left = column * p->stride_x - p->padding_x;
                float *window = to + (y * p->width + left) * C;
                for (int64_t c = 0; c < C; c++) window[c + far[at[c]]] += from[c];
            }
    }
    return 0;
}
