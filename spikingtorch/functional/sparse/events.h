// Which numbers are not zero: as bits, one after the other in the order of memory, and as lists of places.

// 0: plain C, 1: AVX2, 2: AVX-512
#ifndef PACKING
#if defined(__AVX512F__)
#define PACKING 2
#elif defined(__AVX2__)
#define PACKING 1
#else
#define PACKING 0
#endif
#endif
#if PACKING
#include <immintrin.h>
#endif
// numbers whose bits one thread makes at a time, and bits that are looked at together
#define STRETCH 4096
#define GROUP 16

// Returns the bits of GROUP numbers, and clears `binary` if one of them is neither 0 nor 1.
static inline uint32_t marks(const float *x, int64_t *binary) {
#if PACKING == 2
    const __m512 vector = _mm512_loadu_ps(x);
    const __mmask16 found = _mm512_cmp_ps_mask(vector, _mm512_setzero_ps(), _CMP_NEQ_UQ);
    *binary &= found == _mm512_cmp_ps_mask(vector, _mm512_set1_ps(1), _CMP_EQ_OQ);
    return found;
#elif PACKING == 1
    uint32_t found = 0, ones = 0;
    for (int half = 0; half < 2; half++) {
        const __m256 vector = _mm256_loadu_ps(x + 8 * half);
        found |= (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps(vector, _mm256_setzero_ps(), _CMP_NEQ_UQ)) << 8 * half;
        ones |= (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps(vector, _mm256_set1_ps(1), _CMP_EQ_OQ)) << 8 * half;
    }
    *binary &= found == ones;
    return found;
#else
    uint32_t found = 0, ones = 0;
    for (int i = 0; i < GROUP; i++) {
        found |= (uint32_t)(x[i] != 0) << i;
        ones |= (uint32_t)(x[i] == 1) << i;
    }
    *binary &= found == ones;
    return found;
#endif
}

// Writes n bits and whether all numbers are 0 or 1, and returns how many are not zero. Beyond `most`, some number above
// it is returned, as soon as there are so many: whether that happens does not depend on the number of threads.
int64_t mark(const float *x, int64_t n, uint8_t *bits, int64_t most, int64_t *all_binary, int64_t threads) {
    int64_t binary = 1, total = 0;
    const int64_t stretches = (n + STRETCH - 1) / STRETCH;
    #pragma omp parallel for schedule(static) reduction(&:binary) num_threads((int)threads) if (threads > 1)
    for (int64_t stretch = 0; stretch < stretches; stretch++) {
        const int64_t end = least(n, (stretch + 1) * STRETCH);
        int64_t i = stretch * STRETCH, sum = 0, before;
        #pragma omp atomic read
        before = total;
        if (before > most) continue;
        for (; i + GROUP <= end; i += GROUP) {
            const uint16_t found = (uint16_t)marks(x + i, &binary);
            sum += __builtin_popcount(found);
            memcpy(bits + i / 8, &found, 2);
        }
        if (i < end) {
            float last[GROUP] = {0};
            memcpy(last, x + i, (size_t)(end - i) * sizeof(float));
            const uint32_t found = marks(last, &binary);
            sum += __builtin_popcount(found);
            for (int64_t at = i; at < end; at += 8) bits[at / 8] = (uint8_t)(found >> (at - i));
        }
        #pragma omp atomic
        total += sum;
    }
    *all_binary = binary;
    return total;
}

// Returns the bits of eight bytes that are 0 or 1: byte k is moved to bit 56 + k.
static inline uint8_t bits_of(const uint8_t *bytes) {
    uint64_t word;
    memcpy(&word, bytes, sizeof word);
    return (uint8_t)((word * 0x0102040810204080ull) >> 56);
}

// Writes the bits of n bytes that are 0 or 1, and returns how many are 1.
int64_t mark_bools(const uint8_t *x, int64_t n, uint8_t *bits, int64_t threads) {
    int64_t total = 0;
    #pragma omp parallel for schedule(static) reduction(+:total) num_threads((int)threads) if (threads > 1)
    for (int64_t place = 0; place < n / 8; place++) {
        bits[place] = bits_of(x + 8 * place);
        total += __builtin_popcount(bits[place]);
    }
    if (n % 8) {
        uint8_t last[8] = {0};
        memcpy(last, x + n / 8 * 8, (size_t)(n % 8));
        bits[n / 8] = bits_of(last);
        total += __builtin_popcount(bits[n / 8]);
    }
    return total;
}

// Returns at least 57 bits; bits have eight bytes behind them that may be read.
static inline uint64_t bits_at(const uint8_t *bits, int64_t position) {
    uint64_t word;
    memcpy(&word, bits + position / 8, sizeof word);
    return word >> position % 8;
}

// Writes where the list of each row starts and, behind the last one, ends; returns that.
int64_t count(const uint8_t *bits, int64_t rows, int64_t width, int32_t *starts, int64_t threads) {
    #pragma omp parallel for schedule(static) num_threads((int)threads) if (threads > 1)
    for (int64_t row = 0; row < rows; row++) {
        int64_t total = 0;
        for (int64_t i = 0; i < width; i += 32) {
            const uint64_t inside = width - i < 32 ? (1ull << (width - i)) - 1 : 0xffffffff;
            total += __builtin_popcountll(bits_at(bits, row * width + i) & inside);
        }
        starts[row + 1] = (int32_t)total;
    }
    starts[0] = 0;
    for (int64_t row = 0; row < rows; row++) starts[row + 1] += starts[row];
    return starts[rows];
}

// Writes the places in a row that the bits of a group tell, and their numbers if `x` is given; returns how many.
static inline int64_t list(
    uint32_t found, int32_t place, const float *x, int64_t inside, int32_t *places, float *factors
) {
#if PACKING == 2
    const int n = __builtin_popcount(found);
    const __mmask16 first = (__mmask16)((1u << n) - 1);
    const __m512i iota = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m512i all = _mm512_add_epi32(iota, _mm512_set1_epi32(place));
    _mm512_mask_storeu_epi32(places, first, _mm512_maskz_compress_epi32((__mmask16)found, all));
    if (x) {
        const __m512 numbers = _mm512_maskz_loadu_ps((__mmask16)((1u << inside) - 1), x);
        _mm512_mask_storeu_ps(factors, first, _mm512_maskz_compress_ps((__mmask16)found, numbers));
    }
    return n;
#else
    (void)inside;
    int64_t n = 0;
    for (; found; found &= found - 1, n++) {
        const int bit = __builtin_ctz(found);
        places[n] = place + bit;
        if (x) factors[n] = x[bit];
    }
    return n;
#endif
}

// Writes the lists of all rows, and returns whether all factors are finite. Row r begins where starts[r * step] says.
// Without `x`, there are no factors.
int64_t fill(
    const uint8_t *bits, const float *x, int64_t rows, int64_t width, const int32_t *starts, int64_t step,
    int32_t *places, float *factors, int64_t threads
) {
    int64_t finite = 1;
    #pragma omp parallel for schedule(static) reduction(&:finite) num_threads((int)threads) if (threads > 1)
    for (int64_t row = 0; row < rows; row++) {
        int64_t n = starts[row * step];
        for (int64_t i = 0; i < width; i += GROUP) {
            const int64_t inside = least(GROUP, width - i), at = row * width + i;
            const uint32_t found = (uint32_t)bits_at(bits, at) & ((1u << inside) - 1);
            n += list(found, (int32_t)i, x ? x + at : 0, inside, places + n, x ? factors + n : 0);
        }
        if (x) finite &= all_finite(factors + starts[row * step], n - starts[row * step]);
    }
    return finite;
}
