// The layer: out[y][x] = bias + sum over the kernel's rows, of the weights at the places that are not zero.

// weights are laid out in squares of so many rows and columns, and by a thread so many rows at a time
#define SQUARE 16
#define TILE (8 * SQUARE)

// Lays weights (outputs, channels, kernel height, kernel width) out as one panel of columns from j on, with the rows
// (kernel height, kernel width, channels), and returns whether all are finite.
static int64_t fill_panel(const Shape *s, const float *weights, int64_t j, int64_t columns, float *to) {
    const int64_t rows = rows_of(s), taps = s->kernel_height * s->kernel_width;
    int64_t finite = 1;
    #pragma omp parallel for schedule(static) reduction(&:finite) num_threads((int)s->threads) if (s->threads > 1)
    for (int64_t tile = 0; tile < above(rows, TILE); tile++) {
        float check[SQUARE] = {0};
        for (int64_t column = 0; column < columns; column += SQUARE)
            for (int64_t row = tile * TILE; row < least(rows, (tile + 1) * TILE); row += SQUARE) {
                float square[SQUARE][SQUARE] = {0};
                const int64_t n = least(SQUARE, rows - row), there = least(SQUARE, s->outputs - j - column);
                for (int64_t c = 0; c < there; c++)
                    memcpy(square[c], weights + (j + column + c) * rows + row, (size_t)n * sizeof(float));
                for (int64_t c = 0; c < SQUARE; c++)
                    for (int64_t i = 0; i < SQUARE; i++) check[i] += square[c][i] - square[c][i];
                for (int64_t i = 0; i < n; i++) {
                    float *line = to + ((row + i) % taps * s->channels + (row + i) / taps) * columns + column;
                    for (int64_t c = 0; c < least(SQUARE, columns - column); c++) line[c] = square[c][i];
                }
            }
        for (int64_t i = 0; i < SQUARE; i++) finite &= check[i] == 0;
    }
    return finite;
}

typedef struct {
    const int32_t *starts, *places;
    const float *factors;
} Lists;

// What one panel of columns needs.
typedef struct {
    int64_t first, size;
    const float *weights, *bias;
    float *out;
} Panel;

// One row of outputs.
static void forward_row(const Shape *s, const Lists *lists, const Panel *panel, int64_t row) {
    const int64_t image = row / s->out_height, top = row % s->out_height * s->stride_y - s->padding_y;
    const int64_t columns = panel->size * LANES, there = least(columns, s->outputs - panel->first);
    const int64_t first_row = most(0, -top), end_row = least(s->kernel_height, s->height - top);
    const Gather run = GATHERS[panel->size];
    float rest[WIDEST * LANES];
    Segment segments[s->kernel_height];
    for (int64_t x = 0; x < s->out_width; x++) {
        const int64_t left = x * s->stride_x - s->padding_x;
        const int64_t first = most(0, left), end = most(first, least(s->width, left + s->kernel_width));
        int64_t count = 0;
        for (int64_t y = first_row; y < end_row && first < end; y++) {
            const int32_t *starts = lists->starts + (image * s->height + top + y) * s->width;
            const int64_t i = starts[first], n = starts[end] - i;
            const float *from = panel->weights + (y * s->kernel_width - left) * s->channels * columns;
            segments[count] = (Segment){lists->places + i, lists->factors ? lists->factors + i : 0, from, n};
            count += n > 0;
        }
        float *out = panel->out + (row * s->out_width + x) * s->outputs + panel->first;
        run(segments, count, columns, panel->bias, there < columns ? rest : out);
        if (there < columns) memcpy(out, rest, (size_t)there * sizeof(float));
    }
}

// All outputs, or 0 if a weight is not finite. The lists start at each pixel, and their places count from the beginning
// of a row of an image; `room` takes the widest panel.
int64_t forward(
    const Shape *s, const Lists *lists, const float *weights, int64_t widest, const float *bias, float *room, float *out
) {
    const int64_t rows = s->images * s->out_height;
    for (int64_t j = 0, size; j < s->outputs; j += size * LANES) {
        size = panel(s->outputs - j, widest);
        if (!fill_panel(s, weights, j, size * LANES, room)) return 0;
        float begin[WIDEST * LANES] = {0};
        if (bias) memcpy(begin, bias + j, (size_t)least(size * LANES, s->outputs - j) * sizeof(float));
        const Panel panel = {j, size, room, begin, out};
        #pragma omp parallel for schedule(dynamic, 16) num_threads((int)s->threads) if (s->threads > 1)
        for (int64_t row = 0; row < rows; row++) forward_row(s, lists, &panel, row);
    }
    return 1;
}
