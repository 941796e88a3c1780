// The gradient of weights: for each channel, the sum of the output gradients around the places where it is not zero.
//
// A tap of the kernel moves an input at (y, x) to the output at ((y + padding - tap) / stride). Taps that differ by the
// stride reach outputs beside each other, so that one list serves a row of taps: there is a list for each channel and
// each phase (y + padding) % stride, (x + padding) % stride. Images are taken in blocks; for each block, output
// gradients of one panel of columns are copied into a buffer that stays in the cache, with zeros around them.

// How images are divided; it does not depend on the number of threads, and so the sums do not.
typedef struct {
    // blocks, and groups of them with a partial sum each; images and rows of an image in a block
    int64_t count, splits, images, rows;
    // buffer of an image: its first output row is that of the first input row, less the taps there are beside one
    int64_t height, width, taps_y, taps_x;
    int64_t keys, widest;
} Blocks;

// taps of a kernel that belong to a phase
static inline int64_t taps(int64_t kernel, int64_t stride, int64_t phase) {
    return kernel > phase ? (kernel - phase + stride - 1) / stride : 0;
}

// For each place in a row of an image, writes which list it belongs to, and where its taps begin in the buffer.
void tables(const Shape *s, const Blocks *b, int32_t *keys, int32_t *pixels) {
    for (int64_t x = 0; x < s->width; x++) {
        const int64_t phase = (x + s->padding_x) % s->stride_x, reached = (x + s->padding_x) / s->stride_x;
        const int64_t pixel = reached + b->taps_x - taps(s->kernel_width, s->stride_x, phase);
        for (int64_t channel = 0; channel < s->channels; channel++) {
            keys[x * s->channels + channel] = (int32_t)(phase * s->channels + channel);
            pixels[x * s->channels + channel] = (int32_t)pixel;
        }
    }
}

typedef struct {
    int64_t image, images, y, rows;
} Block;

static Block block_at(const Shape *s, const Blocks *b, int64_t index) {
    const int64_t bands = (s->height + b->rows - 1) / b->rows;
    const int64_t image = index / bands * b->images, y = index % bands * b->rows;
    return (Block){image, least(b->images, s->images - image), y, least(b->rows, s->height - y)};
}

static inline int64_t reached_row(const Shape *s, int64_t y) { return (y + s->padding_y) / s->stride_y; }

// Sorts the lists of the rows of images into one list for each block and key, which ends where `ends` says.
void sort(
    const Shape *s, const Blocks *b, const Lists *rows, const int32_t *keys, const int32_t *pixels, int32_t *ends,
    int32_t *places, float *factors
) {
    #pragma omp parallel for schedule(dynamic, 1) num_threads((int)s->threads) if (s->threads > 1)
    for (int64_t index = 0; index < b->count; index++) {
        const Block block = block_at(s, b, index);
        int32_t *end = ends + index * b->keys;
        const int64_t first = block.image * s->height + block.y;
        memset(end, 0, (size_t)b->keys * sizeof *end);
        for (int64_t again = 0; again < 2; again++) {
            for (int64_t row = 0; row < block.images * block.rows; row++) {
                const int64_t image = row / block.rows, y = block.y + row % block.rows;
                const int64_t start = (image + block.image) * s->height + y;
                const int64_t above = reached_row(s, y) - reached_row(s, block.y) + b->taps_y - 1;
                const int32_t shift = (int32_t)((image * b->height + above) * b->width);
                int32_t *to = end + (y + s->padding_y) % s->stride_y * s->stride_x * s->channels;
                for (int64_t i = rows->starts[start]; i < rows->starts[start + 1]; i++) {
                    const int32_t at = to[keys[rows->places[i]]]++;
                    if (!again) continue;
                    places[at] = pixels[rows->places[i]] + shift;
                    if (factors) factors[at] = rows->factors[i];
                }
            }
            // from how many there are to where each list starts; after the second time, that is where it ends
            for (int64_t key = 0, at = rows->starts[first]; key < b->keys && !again; key++) {
                const int32_t n = end[key];
                end[key] = (int32_t)at;
                at += n;
            }
        }
    }
}

// Copies the columns of a panel into the buffer, and returns whether all of them are finite.
static int64_t copy(
    const Shape *s, const Blocks *b, const Block *block, const float *g, int64_t j, int64_t size, float *buffer
) {
    const int64_t columns = size * LANES, there = least(columns, s->outputs - j), vectors = there / LANES;
    const int64_t border = b->taps_x - 1, end = least(b->width, border + s->out_width);
    Vector check = {0};
    for (int64_t row = 0; row < block->images * b->height; row++) {
        const int64_t y = reached_row(s, block->y) - b->taps_y + 1 + row % b->height;
        const int64_t image = block->image + row / b->height, inside = y >= 0 && y < s->out_height;
        float *to = buffer + row * b->width * columns;
        for (int64_t x = 0; x < b->width; x++, to += columns) {
            if (!inside || x < border || x >= end) {
                memset(to, 0, (size_t)columns * sizeof(float));
                continue;
            }
            const float *from = g + ((image * s->out_height + y) * s->out_width + x - border) * s->outputs + j;
            for (int64_t v = 0; v < vectors; v++) {
                const Vector vector = whole(from + v * LANES);
                check += vector - vector;
                memcpy(to + v * LANES, &vector, sizeof vector);
            }
            if (there < columns) memset(to + vectors * LANES, 0, (size_t)(columns - vectors * LANES) * sizeof(float));
            for (int64_t c = vectors * LANES; c < there; c++) {
                to[c] = from[c];
                check[0] += from[c] - from[c];
            }
        }
    }
    int64_t finite = 1;
    for (int64_t lane = 0; lane < LANES; lane++) finite &= check[lane] == 0;
    return finite;
}

// Adds the sums of any number of vectors at the places of one list.
static void add_run(
    int64_t vectors, const Lists *lists, int64_t i, int64_t n, const float *from, int64_t pitch, float *sum
) {
    for (int64_t done = 0, size; done < vectors; done += size) {
        size = SIZES[least(vectors - done, WIDEST)];
        float *to = sum + done * LANES;
        const float *factors = lists->factors ? lists->factors + i : 0;
        const Segment segment = {lists->places + i, factors, from + done * LANES, n};
        GATHERS[size](&segment, 1, pitch, to, to);
    }
}

// Adds the sums of one block, one list after the other.
static void add_block(
    const Shape *s, const Blocks *b, const Lists *lists, int64_t index, const float *buffer, int64_t size, float *sums
) {
    const int64_t columns = size * LANES, channels = s->channels;
    const int32_t *ends = lists->starts + index * b->keys;
    int64_t i = index ? ends[-1] : 0;
    for (int64_t key = 0; key < b->keys; i = ends[key++]) {
        const int64_t n = ends[key] - i, channel = key % channels, phase = key / channels;
        const int64_t phase_y = phase / s->stride_x, phase_x = phase % s->stride_x;
        const int64_t along = taps(s->kernel_width, s->stride_x, phase_x);
        if (n == 0 || along == 0) continue;
        int64_t before = 0;
        for (int64_t other = 0; other < phase_x; other++) before += taps(s->kernel_width, s->stride_x, other);
        for (int64_t tap = 0; tap < taps(s->kernel_height, s->stride_y, phase_y); tap++) {
            const int64_t y = phase_y + tap * s->stride_y;
            float *sum = sums + ((y * channels + channel) * s->kernel_width + before) * columns;
            add_run(along * size, lists, i, n, buffer - tap * b->width * columns, columns, sum);
        }
    }
}

// Returns where a row of the sums is among the weights of an output: (channels, kernel height, kernel width).
static int64_t place_of(const Shape *s, int64_t row) {
    const int64_t channel = row / s->kernel_width % s->channels, y = row / (s->kernel_width * s->channels);
    int64_t phase = 0, place = row % s->kernel_width, along;
    while (place >= (along = taps(s->kernel_width, s->stride_x, phase))) place -= along, phase++;
    const int64_t x = phase + (along - 1 - place) * s->stride_x;
    return (channel * s->kernel_height + y) * s->kernel_width + x;
}

// Adds the sums of all groups of blocks for one panel from j on, and puts them where the weights are.
static void collect(const Shape *s, const Blocks *b, int64_t j, const float *sums, int64_t apart, float *weights) {
    const int64_t rows = rows_of(s), columns = panel(s->outputs - j, b->widest) * LANES;
    const int64_t inside = least(columns, s->outputs - j);
    #pragma omp parallel for schedule(static) num_threads((int)s->threads) if (b->splits > 1 && s->threads > 1)
    for (int64_t tile = 0; tile < above(rows, TILE); tile++)
        for (int64_t column = 0; column < inside; column += SQUARE)
            for (int64_t row = tile * TILE; row < least(rows, (tile + 1) * TILE); row += SQUARE) {
                float square[SQUARE][SQUARE] = {0};
                int64_t to[SQUARE];
                const int64_t n = least(SQUARE, rows - row), there = least(SQUARE, inside - column);
                for (int64_t split = 0; split < b->splits; split++)
                    for (int64_t i = 0; i < n; i++) {
                        const float *from = sums + split * apart + (row + i) * columns + column;
                        for (int64_t c = 0; c < there; c++) square[i][c] += from[c];
                    }
                for (int64_t i = 0; i < n; i++) to[i] = place_of(s, row + i);
                for (int64_t c = 0; c < there; c++)
                    for (int64_t i = 0; i < n; i++) weights[(j + column + c) * rows + to[i]] = square[i][c];
            }
}

// Returns where a panel begins, by its number, and the number of columns if there is none.
static int64_t begin_of(const Shape *s, const Blocks *b, int64_t number) {
    int64_t j = 0;
    for (; j < s->outputs && number > 0; number--) j += panel(s->outputs - j, b->widest) * LANES;
    return least(j, s->outputs);
}

// The gradient; returns whether all of g is finite. A thread has a buffer of its own for g. There are sums for each
// group of blocks if there are groups, which are added in the end, and else for each thread.
int64_t weight_gradient(
    const Shape *s, const Blocks *b, const Lists *lists, const float *g, float *buffers, int64_t buffer, float *room,
    int64_t apart, float *weights
) {
    const int64_t rows = rows_of(s), splits = b->splits;
    int64_t finite = 1, panels = 0;
    while (begin_of(s, b, panels) < s->outputs) panels++;
    #pragma omp parallel for schedule(dynamic, 1) reduction(&:finite) num_threads((int)s->threads) if (s->threads > 1)
    for (int64_t task = 0; task < panels * splits; task++) {
        const int64_t split = task % splits, j = begin_of(s, b, task / splits), thread = omp_get_thread_num();
        const int64_t size = panel(s->outputs - j, b->widest), end = (split + 1) * b->count / splits;
        float *own = buffers + thread * buffer, *sums = room + (splits > 1 ? split * apart + j * rows : thread * apart);
        memset(sums, 0, (size_t)(size * LANES * rows) * sizeof(float));
        for (int64_t index = split * b->count / splits; index < end; index++) {
            const Block block = block_at(s, b, index);
            finite &= copy(s, b, &block, g, j, size, own);
            add_block(s, b, lists, index, own, size, sums);
        }
        if (splits == 1) collect(s, b, j, sums, 0, weights);
    }
    for (int64_t number = 0; splits > 1 && number < panels; number++) {
        const int64_t j = begin_of(s, b, number);
        collect(s, b, j, room + j * rows, apart, weights);
    }
    return finite;
}

// The sum of each column, in a fixed number of parts. They are in double precision: gradients of a bias often cancel.
void column_sums(
    const float *g, int64_t rows, int64_t columns, int64_t parts, double *partial, float *sums, int64_t threads
) {
    #pragma omp parallel for schedule(static) num_threads((int)threads) if (threads > 1)
    for (int64_t part = 0; part < parts; part++) {
        double *sum = partial + part * columns;
        memset(sum, 0, (size_t)columns * sizeof(double));
        for (int64_t row = part * rows / parts; row < (part + 1) * rows / parts; row++)
            for (int64_t c = 0; c < columns; c++) sum[c] += g[row * columns + c];
    }
    for (int64_t c = 0; c < columns; c++) {
        double sum = 0;
        for (int64_t part = 0; part < parts; part++) sum += partial[part * columns + c];
        sums[c] = (float)sum;
    }
}
