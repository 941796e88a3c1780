// A checksum of bytes in their order. In a block, with w[i, k] its 64-bit words, 32 in a row, and P an odd number, lane
// k computes
//
//     a[k] = P * rotate(a[k] xor w[i, k])          modulo 2^64, i = 0, 1, ...
//
// Each step has an inverse, so one changed word always changes its lane. The rotation brings high bits, such as the
// exponents of floats, down to where a product spreads them. The blocks start from their numbers, and are summed: the
// number of threads does not matter.

#include <stdint.h>
#include <string.h>

#define LANES 32
#define BLOCK (1 << 16)
#define FACTOR 0x9E3779B97F4A7C15u

static uint64_t checksum_step(uint64_t a, uint64_t w) {
    a ^= w;
    return ((a << 29) | (a >> 35)) * FACTOR;
}

static void checksum_row(uint64_t *lanes, const unsigned char *row) {
    uint64_t words[LANES];
    memcpy(words, row, sizeof words);  // of a fixed size, so that it is compiled to loads
    for (int k = 0; k < LANES; k++) lanes[k] = checksum_step(lanes[k], words[k]);
}

static uint64_t checksum_block(const unsigned char *bytes, int64_t number, uint64_t start) {
    uint64_t lanes[LANES];
    unsigned char last[sizeof lanes] = {0};
    int64_t rest = number % (int64_t)sizeof last;
    for (int k = 0; k < LANES; k++) lanes[k] = start + (uint64_t)k;
    for (int64_t at = 0; at < number - rest; at += sizeof last) checksum_row(lanes, bytes + at);
    memcpy(last, bytes + number - rest, (size_t)rest);
    if (rest) checksum_row(lanes, last);
    uint64_t all = start;
    for (int k = 0; k < LANES; k++) all = checksum_step(all, lanes[k]);
    return all ^ (all >> 32);
}

uint64_t checksum(const unsigned char *bytes, int64_t number, int64_t threads) {
    uint64_t total = 0;
    int64_t blocks = (number + BLOCK - 1) / BLOCK;
    #pragma omp parallel for schedule(static) reduction(+:total) num_threads((int)threads) if (threads > 1 && blocks > 1)
    for (int64_t b = 0; b < blocks; b++) {
        int64_t rest = number - b * BLOCK;
        total += checksum_block(bytes + b * BLOCK, rest < BLOCK ? rest : BLOCK, LANES * (uint64_t)b);
    }
    return total;
}
