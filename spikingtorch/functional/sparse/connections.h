// Sums over the edges of a sparse matrix, for connections.py: w[e] leads from sender i to receiver[e], and the edges of
// sender i are those from starts[i] to starts[i+1].
//
//     to_receivers    g[n][receiver[e]] += w[e] x[n][i]        rows are the samples n
//     to_senders      x[n][i] = sum over e of w[e] g[n][receiver[e]]
//     to_edges        w[e] = sum over n of x[n][i] g[n][receiver[e]]
//
// Every number is one sum in a fixed order, whichever thread computes it. With `skips`, senders with x = 0 are left out.

#include <string.h>

typedef struct {
    int64_t threads, rows, senders, receivers;
    const int64_t *starts;
    const int32_t *receiver;
} Edges;

// Senders fall into so many ranges for each thread, which takes the rows of a range one after the other: the numbers of a row
// then stay in its cache, and edges lie side by side.
#define RANGES 4

static inline int64_t start_of(const Edges *edges, int64_t range) {
    return edges->senders * range / (RANGES * edges->threads);
}

void to_receivers(const Edges *edges, const real *x, const real *w, real *g, int64_t skips) {
    const uint64_t mode = float_mode();
    #pragma omp parallel for schedule(static) num_threads((int)edges->threads) if (edges->threads > 1)
    for (int64_t row = 0; row < edges->rows; row++) {
        const real *from = x + row * edges->senders;
        real *to = g + row * edges->receivers;
        const uint64_t own = float_mode();
        set_float_mode(mode);
        memset(to, 0, (size_t)edges->receivers * sizeof *to);
        for (int64_t i = 0; i < edges->senders; i++) {
            const real factor = from[i];
            if (skips && factor == 0) continue;
            for (int64_t e = edges->starts[i]; e < edges->starts[i + 1]; e++) to[edges->receiver[e]] += w[e] * factor;
        }
        set_float_mode(own);
    }
}

void to_senders(const Edges *edges, const real *g, const real *w, real *x) {
    const uint64_t mode = float_mode();
    #pragma omp parallel for schedule(static) num_threads((int)edges->threads) if (edges->threads > 1)
    for (int64_t range = 0; range < RANGES * edges->threads; range++) {
        const int64_t first = start_of(edges, range), end = start_of(edges, range + 1);
        const uint64_t own = float_mode();
        set_float_mode(mode);
        for (int64_t row = 0; row < edges->rows; row++) {
            const real *from = g + row * edges->receivers;
            for (int64_t i = first; i < end; i++) {
                real sum = 0;
                for (int64_t e = edges->starts[i]; e < edges->starts[i + 1]; e++) sum += w[e] * from[edges->receiver[e]];
                x[row * edges->senders + i] = sum;
            }
        }
        set_float_mode(own);
    }
}

void to_edges(const Edges *edges, const real *x, const real *g, real *w, int64_t skips) {
    const uint64_t mode = float_mode();
    #pragma omp parallel for schedule(static) num_threads((int)edges->threads) if (edges->threads > 1)
    for (int64_t range = 0; range < RANGES * edges->threads; range++) {
        const int64_t first = start_of(edges, range), end = start_of(edges, range + 1);
        const int64_t begin = edges->starts[first];
        const uint64_t own = float_mode();
        set_float_mode(mode);
        memset(w + begin, 0, (size_t)(edges->starts[end] - begin) * sizeof *w);
        for (int64_t row = 0; row < edges->rows; row++) {
            const real *from = g + row * edges->receivers;
            for (int64_t i = first; i < end; i++) {
                const real factor = x[row * edges->senders + i];
                if (skips && factor == 0) continue;
                for (int64_t e = edges->starts[i]; e < edges->starts[i + 1]; e++) w[e] += factor * from[edges->receiver[e]];
            }
        }
        set_float_mode(own);
    }
}
