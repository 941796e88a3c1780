// The time loop of neurons that drive each other through a matrix: the product of dense_product.h between any two steps,
// and for a step itself the compiled kernel of the neuron, by its function pointer.
//
//     forward    currents[t] = x[t] + s[t-1] M             M = W transposed
//     backward   of_s[t] = of_outs[t] + of_currents[t+1] M  M = W
//
// Rows, the samples of a batch, know nothing of each other. So a thread takes a group of rows through all steps.
//
// A pass keeps one state in CHUNK. The backward pass computes those between them anew, into slots that the chunks share:
// from the currents, which takes no product.


// An array over time: step j of a chunk begins at start + chunk * (bytes) + j * (bytes), and its rows one after the other
// there. Strides are zero for what is the same at all steps or rows.
typedef struct {
    char *start;
    int64_t chunk, step, row;
} Place;

// A kernel of one step: its Layout of kernel.h as numbers, and where its arrays are at each step.
typedef struct {
    int (*run)(const int64_t *layout, const double *scalars);
    const int64_t *layout;
    const double *scalars;
    int64_t length, arrays;
    const int64_t *positions;  // of the arrays' pointers among the numbers
    const Place *places;
} Kernel;

// What is carried from chunk to chunk: slot j holds it before step j, slot CHUNK after the last one.
typedef struct {
    Place slots;
    Place kept;   // what slot 0 holds at the beginning of each chunk
    char *final;  // where it goes after the last step
} Carried;

typedef struct {
    int64_t threads, rows, rows_per_group, steps;  // `rows_per_group` rows make a group
    Matrix matrix;
    Place source, base, target;  // of the product
    const char *first;           // forward: output before the first step
    char *of_first;              // backward: its gradient, if it is wanted
    Kernel forward, backward;
    int64_t states, of_states;
    const Carried *carried, *of_carried;
} Loop;

// A group of rows as a thread sees it.
typedef struct {
    const Loop *loop;
    int64_t first, rows;
} Group;

static inline char *at(const Place *place, const Group *group, int64_t chunk, int64_t step) {
    if (!place->start) return 0;
    return place->start + chunk * place->chunk + step * place->step + group->first * place->row;
}

static void multiply(const Group *group, const char *source, const char *base, char *target) {
    product(&group->loop->matrix, group->rows, (const real *)source, (const real *)base, (real *)target);
}

// Copies one step of a group; arrays for all steps hand on in place.
static void copy(const Group *group, const Place *place, char *to, const char *from) {
    if (to && to != from) memcpy(to, from, (size_t)(group->rows * place->row));
}

// Runs a kernel on one step. `layout` is the thread's own copy.
static void run(const Kernel *kernel, int64_t *layout, const Group *group, int64_t chunk, int64_t step) {
    for (int64_t array = 0; array < kernel->arrays; array++)
        layout[kernel->positions[array]] = (int64_t)at(&kernel->places[array], group, chunk, step);
    kernel->run(layout, kernel->scalars);
}

// Copies a layout for one thread, which is alone on its neurons.
static void own(const Kernel *kernel, int64_t *layout, const Group *group) {
    memcpy(layout, kernel->layout, (size_t)kernel->length * sizeof *layout);
    layout[0] = 1;
    layout[2] = group->rows * group->loop->matrix.size;
}

static int64_t steps_of(const Loop *loop, int64_t chunk) {
    const int64_t left = loop->steps - chunk * CHUNK;
    return left < CHUNK ? left : CHUNK;
}

// Takes a group through all steps.
static void go_forward(const Group *group) {
    const Loop *const loop = group->loop;
    int64_t layout[loop->forward.length];
    own(&loop->forward, layout, group);
    const int64_t chunks = (loop->steps + CHUNK - 1) / CHUNK;
    for (int64_t chunk = 0; chunk < chunks; chunk++) {
        const int64_t n = steps_of(loop, chunk);
        for (int64_t step = 0; step < n; step++) {
            const char *source = at(&loop->source, group, chunk, step);
            if (chunk == 0 && step == 0) source = loop->first + group->first * loop->source.row;
            multiply(group, source, at(&loop->base, group, chunk, step), at(&loop->target, group, chunk, step));
            run(&loop->forward, layout, group, chunk, step);
        }
        for (const Carried *state = loop->carried; state < loop->carried + loop->states; state++) {
            const char *after = at(&state->slots, group, chunk, n);
            const int last = chunk == chunks - 1;
            copy(group, &state->slots, at(&state->slots, group, chunk + 1, 0), after);
            if (!last) copy(group, &state->slots, at(&state->kept, group, chunk + 1, 0), after);
            else copy(group, &state->slots, state->final + group->first * state->slots.row, after);
        }
    }
}

// Fills the slots with the states before each step of a chunk.
static void recompute(const Group *group, int64_t *layout, int64_t chunk) {
    const Loop *const loop = group->loop;
    for (const Carried *state = loop->carried; state < loop->carried + loop->states; state++)
        copy(group, &state->slots, at(&state->slots, group, chunk, 0), at(&state->kept, group, chunk, 0));
    for (int64_t step = 0; step < steps_of(loop, chunk) - 1; step++) run(&loop->forward, layout, group, chunk, step);
}

// Takes a group back through all steps.
static void go_backward(const Group *group) {
    const Loop *const loop = group->loop;
    int64_t layout[loop->backward.length], again[loop->forward.length];
    own(&loop->backward, layout, group);
    own(&loop->forward, again, group);
    for (int64_t chunk = (loop->steps - 1) / CHUNK; chunk >= 0; chunk--) {
        recompute(group, again, chunk);
        for (int64_t step = steps_of(loop, chunk) - 1; step >= 0; step--) {
            // what reaches the last output from outside is there already, and nothing comes after it
            if (chunk * CHUNK + step < loop->steps - 1)
                multiply(
                    group, at(&loop->source, group, chunk, step), at(&loop->base, group, chunk, step),
                    at(&loop->target, group, chunk, step)
                );
            run(&loop->backward, layout, group, chunk, step);
        }
        for (const Carried *of = loop->of_carried; of < loop->of_carried + loop->of_states && chunk; of++)
            copy(group, &of->slots, at(&of->slots, group, chunk - 1, CHUNK), at(&of->slots, group, chunk, 0));
    }
    if (loop->of_first)
        // the source of a step is that of the step after it
        multiply(group, at(&loop->source, group, 0, -1), 0, loop->of_first + group->first * loop->source.row);
}

static void each_group(const Loop *loop, void (*go)(const Group *)) {
    const int64_t groups = (loop->rows + loop->rows_per_group - 1) / loop->rows_per_group;
    const uint64_t mode = float_mode();
    #pragma omp parallel for schedule(static) num_threads((int)loop->threads) if (loop->threads > 1)
    for (int64_t index = 0; index < groups; index++) {
        const int64_t first = index * loop->rows_per_group, left = loop->rows - first;
        const Group group = {loop, first, left < loop->rows_per_group ? left : loop->rows_per_group};
        const uint64_t own = float_mode();
        set_float_mode(mode);
        go(&group);
        set_float_mode(own);
    }
}

void forward_loop(const Loop *loop) { each_group(loop, go_forward); }

void backward_loop(const Loop *loop) { each_group(loop, go_backward); }

// The product alone.
void multiply_rows(const Matrix *matrix, int64_t rows, const real *a, const real *base, real *out) {
    for (int64_t row = 0; row < rows; row += ROWS) {
        const int64_t offset = row * matrix->size, n = rows - row < ROWS ? rows - row : ROWS;
        product(matrix, n, a + offset, base ? base + offset : 0, out + offset);
    }
}
