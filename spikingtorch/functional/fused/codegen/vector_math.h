/* Elementary functions for loops that the compiler vectorises.
 *
 * Every float32 function, and exp, expm1, sigmoid and tanh in float64, is straight-line code: no calls, no tables and
 * no branches, only ternaries that become blends. Rounding to an integer adds and subtracts a large constant, which
 * also leaves the integer in the low bits of the sum, so nothing here needs more than SSE2. Errors are in units in the
 * last place (ulp) of the true value, the largest measured over all float32 inputs (float64: random inputs), with and
 * without fused multiply-add. The bounds hold for subnormal inputs and results too, special values are C99's, and
 * compiling with -ffast-math breaks all of it. The polynomials are minimax fits made for this file.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

/* Where the machine has no fused multiply-add, the two-step form keeps every bound below: the reductions either round
 * nothing in the product or do not care. */
#if defined(__FMA__) || defined(__aarch64__)
#define FMA_F32(a, b, c) __builtin_fmaf((a), (b), (c))
#define FMA_F64(a, b, c) __builtin_fma((a), (b), (c))
#else
#define FMA_F32(a, b, c) ((a) * (b) + (c))
#define FMA_F64(a, b, c) ((a) * (b) + (c))
#endif

/* x + ROUND is x rounded to an integer (ties to even), held in the low mantissa bits, for |x| < 2^22 or 2^51. */
#define ROUND_F32 0x1.8p23f
#define ROUND_F64 0x1.8p52

static inline uint32_t bits_f32(float x) { uint32_t u; memcpy(&u, &x, sizeof u); return u; }
static inline uint64_t bits_f64(double x) { uint64_t u; memcpy(&u, &x, sizeof u); return u; }
static inline float as_f32(uint32_t u) { float x; memcpy(&x, &u, sizeof x); return x; }
static inline double as_f64(uint64_t u) { double x; memcpy(&x, &u, sizeof x); return x; }

/* The magnitude of x with the sign of s; x must not be negative. */
static inline float with_sign_f32(float x, float s) { return as_f32(bits_f32(x) | (bits_f32(s) & 0x80000000u)); }
static inline double with_sign_f64(double x, double s) {
    return as_f64(bits_f64(x) | (bits_f64(s) & 0x8000000000000000u));
}

/* All ones for NaN, else 0. */
static inline uint32_t nan_f32(float x) { return x != x ? UINT32_MAX : 0; }
static inline uint64_t nan_f64(double x) { return x != x ? UINT64_MAX : 0; }

/* x, or zero where it is subnormal: where the bits of its exponent are. */
static inline float flush_f32(float x) { return bits_f32(x) & 0x7f800000u ? x : 0; }
static inline double flush_f64(double x) { return bits_f64(x) & 0x7ff0000000000000u ? x : 0; }

/* The smaller and the larger of an x that is the same for all and a y; NaN if one of them is. Whether x is NaN is
 * asked once, before the loop, so that two instructions remain. */
static inline float min_f32(float x, float y) { return as_f32(bits_f32(x < y ? x : y) | nan_f32(x)); }
static inline float max_f32(float x, float y) { return as_f32(bits_f32(x > y ? x : y) | nan_f32(x)); }
static inline double min_f64(double x, double y) { return as_f64(bits_f64(x < y ? x : y) | nan_f64(x)); }
static inline double max_f64(double x, double y) { return as_f64(bits_f64(x > y ? x : y) | nan_f64(x)); }

/* ---- the exponential family in float32 ---- */

/* The integer n nearest x / ln 2, as the bits of the rounding sum. */
static inline float exp_round_f32(float x) { return FMA_F32(x, 0x1.715476p+0f, ROUND_F32); }

/* e^r - 1 for r = x - n ln 2, |r| <= ln 2 / 2; the upper part of ln 2 has 15 bits, so its product with n is exact.
 * Degree 6, relative error of the polynomial 2^-26. */
static inline float exp_tail_f32(float x, float n) {
    float r = FMA_F32(n, -1.4286068e-06f, FMA_F32(n, -0.693145751953125f, x));
    float q = 1.3870607e-03f;
    q = FMA_F32(q, r, 8.366455e-03f);
    q = FMA_F32(q, r, 4.166744e-02f);
    q = FMA_F32(q, r, 1.6666545e-01f);
    q = FMA_F32(q, r, 4.9999997e-01f);
    return FMA_F32(r * r, q, r);
}

/* e^x = 2^n (1 + tail), the power in two factors so that subnormal results round once. 1.04 ulp. */
static inline float exp_f32(float x) {
    float c = x > 89.0f ? 89.0f : x;
    c = c < -105.0f ? -105.0f : c;
    float t = exp_round_f32(c);
    float y = 1.0f + exp_tail_f32(c, t - ROUND_F32);
    uint32_t e = bits_f32(t) - bits_f32(ROUND_F32) + 254u;
    uint32_t half = e >> 1;
    return y * as_f32(half << 23) * as_f32((e - half) << 23);
}

/* 2^(n-1) from the rounding sum, for n - 1 in [-126, 127]. */
static inline float half_scale_f32(float t) { return as_f32((bits_f32(t) - bits_f32(ROUND_F32) + 126u) << 23); }

/* e^x - 1 = 2 (2^(n-1) tail + (2^(n-1) - 1/2)), one rounding; x itself where x^2 / 2 is out of sight. 1.66 ulp. */
static inline float expm1_f32(float x) {
    float c = x > 89.0f ? 89.0f : x;
    c = c < -20.0f ? -20.0f : c;
    float t = exp_round_f32(c);
    float h = half_scale_f32(t);
    float y = 2.0f * FMA_F32(exp_tail_f32(c, t - ROUND_F32), h, h - 0.5f);
    return __builtin_fabsf(x) < 0x1p-25f ? x : y;
}

/* 1 / (1 + e^-x) as (1/2) / (2^(n-1) tail + (2^(n-1) + 1/2)): one rounding in the sum. From n = 24 on the bracket
 * would not be exact, and 2^(n-1) comes last instead. 0 where e^-x overflows, as torch has it. 1.77 ulp. */
static inline float sigmoid_f32(float x) {
    float z = -x;
    float c = z > 0x1.62e42ep+6f ? 0x1.62e42ep+6f : z;
    c = c < -60.0f ? -60.0f : c;
    float t = exp_round_f32(c);
    float h = half_scale_f32(t);
    float last = (h + 0x1.8p46f) - 0x1.8p46f;  /* h from 2^23 on, 0 below */
    float y = 0.5f / (FMA_F32(exp_tail_f32(c, t - ROUND_F32), h, (h - last) + 0.5f) + last);
    return z > 0x1.62e42ep+6f ? 0.0f : y;
}

/* The derivative of the sigmoid, e^-|x| / (1 + e^-|x|)^2, which needs no difference; 0 beyond |x| = 87. 4.4 ulp. */
static inline float sigmoid_slope_f32(float x) {
    float m = as_f32(bits_f32(x) | 0x80000000u);
    float c = -87.0f > m ? -87.0f : m;
    float t = exp_round_f32(c);
    float h = as_f32((bits_f32(t) - bits_f32(ROUND_F32) + 127u) << 23);
    float e = FMA_F32(exp_tail_f32(c, t - ROUND_F32), h, h);
    float d = 1.0f + e;
    return m < -87.0f ? 0.0f : e / (d * d);
}

/* Below 0.55 an odd polynomial of degree 11 (relative error 2^-29), above it 1 - 2 / (1 + e^2|x|). 1.38 ulp. */
static inline float tanh_f32(float x) {
    float a = __builtin_fabsf(x);
    float z = a * a;
    float p = -6.242859e-03f;
    p = FMA_F32(p, z, 2.1050714e-02f);
    p = FMA_F32(p, z, -5.3847548e-02f);
    p = FMA_F32(p, z, 1.3332544e-01f);
    p = FMA_F32(p, z, -3.3333316e-01f);
    float small = FMA_F32(a * z, p, a);
    float c = a > 10.0f ? 20.0f : 2.0f * a;
    float t = exp_round_f32(c);
    float h = half_scale_f32(t);
    float large = 1.0f - 1.0f / FMA_F32(exp_tail_f32(c, t - ROUND_F32), h, h + 0.5f);
    return with_sign_f32(a < 0.55f ? small : large, x);
}

/* ---- the exponential family in float64: the same steps ---- */

static inline double exp_round_f64(double x) { return FMA_F64(x, 1.4426950408889634, ROUND_F64); }

/* e^r - 1; the upper part of ln 2 has 42 bits. Degree 12, relative error of the polynomial 2^-60. keep_rest, known when
 * compiling, adds back what rounding r lost. */
static inline double exp_tail_f64(double x, double n, int keep_rest) {
    double high = FMA_F64(n, -0.6931471805598903, x);
    double r = FMA_F64(n, -5.497923018708371e-14, high);
    double rest = FMA_F64(n, -5.497923018708371e-14, high - r);
    double q = 2.08749814974808e-09;
    q = FMA_F64(q, r, 2.510930230871429e-08);
    q = FMA_F64(q, r, 2.7557404725729683e-07);
    q = FMA_F64(q, r, 2.7557243522361803e-06);
    q = FMA_F64(q, r, 2.480158716894475e-05);
    q = FMA_F64(q, r, 0.00019841269886728983);
    q = FMA_F64(q, r, 0.0013888888888964803);
    q = FMA_F64(q, r, 0.008333333333321428);
    q = FMA_F64(q, r, 0.041666666666666505);
    q = FMA_F64(q, r, 0.16666666666666677);
    q = FMA_F64(q, r, 0.5);
    return keep_rest ? r + FMA_F64(r * r, q, rest) : FMA_F64(r * r, q, r);
}

/* 0.97 ulp. */
static inline double exp_f64(double x) {
    double c = x > 710.0 ? 710.0 : x;
    c = c < -746.0 ? -746.0 : c;
    double t = exp_round_f64(c);
    double y = 1.0 + exp_tail_f64(c, t - ROUND_F64, 0);
    uint64_t e = bits_f64(t) - bits_f64(ROUND_F64) + 2046u;
    uint64_t half = e >> 1;
    return y * as_f64(half << 52) * as_f64((e - half) << 52);
}

static inline double half_scale_f64(double t) { return as_f64((bits_f64(t) - bits_f64(ROUND_F64) + 1022u) << 52); }

/* 1.61 ulp. */
static inline double expm1_f64(double x) {
    double c = x > 710.0 ? 710.0 : x;
    c = c < -40.0 ? -40.0 : c;
    double t = exp_round_f64(c);
    double h = half_scale_f64(t);
    double y = 2.0 * FMA_F64(exp_tail_f64(c, t - ROUND_F64, 1), h, h - 0.5);
    return __builtin_fabs(x) < 0x1p-54 ? x : y;
}

/* 1.71 ulp. */
static inline double sigmoid_f64(double x) {
    double z = -x;
    double c = z > 0x1.62e42fefa39efp+9 ? 0x1.62e42fefa39efp+9 : z;
    c = c < -60.0 ? -60.0 : c;
    double t = exp_round_f64(c);
    double h = half_scale_f64(t);
    double last = (h + 0x1.8p104) - 0x1.8p104;  /* h from 2^52 on, 0 below */
    double y = 0.5 / (FMA_F64(exp_tail_f64(c, t - ROUND_F64, 0), h, (h - last) + 0.5) + last);
    return z > 0x1.62e42fefa39efp+9 ? 0.0 : y;
}

/* 4.4 ulp; 0 beyond |x| = 708. */
static inline double sigmoid_slope_f64(double x) {
    double m = as_f64(bits_f64(x) | 0x8000000000000000u);
    double c = -708.0 > m ? -708.0 : m;
    double t = exp_round_f64(c);
    double h = as_f64((bits_f64(t) - bits_f64(ROUND_F64) + 1023u) << 52);
    double e = FMA_F64(exp_tail_f64(c, t - ROUND_F64, 0), h, h);
    double d = 1.0 + e;
    return m < -708.0 ? 0.0 : e / (d * d);
}

/* The odd polynomial has degree 23, relative error 2^-60. 1.34 ulp. */
static inline double tanh_f64(double x) {
    double a = __builtin_fabs(x);
    double z = a * a;
    double p = -1.9490741477960602e-05;
    p = FMA_F64(p, z, 8.331020979858405e-05);
    p = FMA_F64(p, z, -0.00023337732038288596);
    p = FMA_F64(p, z, 0.0005884428596953167);
    p = FMA_F64(p, z, -0.0014555424605579043);
    p = FMA_F64(p, z, 0.0035920919721994684);
    p = FMA_F64(p, z, -0.008863232595837281);
    p = FMA_F64(p, z, 0.02186948838552435);
    p = FMA_F64(p, z, -0.05396825396374945);
    p = FMA_F64(p, z, 0.13333333333326602);
    p = FMA_F64(p, z, -0.333333333333333);
    double small = FMA_F64(a * z, p, a);
    double c = a > 25.0 ? 50.0 : 2.0 * a;
    double t = exp_round_f64(c);
    double h = half_scale_f64(t);
    double large = 1.0 - 1.0 / FMA_F64(exp_tail_f64(c, t - ROUND_F64, 0), h, h + 0.5);
    return with_sign_f64(a < 0.55 ? small : large, x);
}

/* ---- float32 through float64: the one rounding at the end leaves little more than half an ulp ---- */

/* x = 2^k m with m in [sqrt(1/2), sqrt(2)), for positive normal x; returns m - 1, which is exact, and k. */
static inline double split_exponent(double x, double *k) {
    uint64_t u = bits_f64(x) - 0x3fe6a09e667f3bcdu + 0x4000000000000000u;
    uint64_t e = u >> 52;
    *k = as_f64(e | 0x4330000000000000u) - (0x1p52 + 1024.0);
    return as_f64(bits_f64(x) - (e << 52) + 0x4000000000000000u) - 1.0;
}

/* log(1 + f) for 1 + f in [sqrt(1/2), sqrt(2)], degree 10, relative error 2^-27.9. */
static inline double log1p_near_one(double f) {
    double p = -0.07621947222081939;
    p = FMA_F64(p, f, 0.12904545273752704);
    p = FMA_F64(p, f, -0.13242982495239838);
    p = FMA_F64(p, f, 0.14181809523075398);
    p = FMA_F64(p, f, -0.16609080944801888);
    p = FMA_F64(p, f, 0.20001974474818315);
    p = FMA_F64(p, f, -0.25001583020629314);
    p = FMA_F64(p, f, 0.3333332569083204);
    p = FMA_F64(p, f, -0.4999998834754895);
    return FMA_F64(f * f, p, f);
}

/* y, the logarithm of a positive finite x, completed for zero, negative, infinite and NaN x. */
static inline double log_special(double x, double y) {
    double z = x == 0.0 ? -INFINITY : NAN;
    y = x > 0.0 ? y : z;
    return x == INFINITY ? x : y;
}

/* 0.57 ulp. */
static inline float log_f32(float x) {
    double k, d = x;
    double y = log1p_near_one(split_exponent(d, &k));
    return (float)log_special(d, FMA_F64(k, 0.6931471805599453, y));
}

/* 0.57 ulp. */
static inline float log2_f32(float x) {
    double k, d = x;
    double y = log1p_near_one(split_exponent(d, &k));
    return (float)log_special(d, FMA_F64(y, 1.4426950408889634, k));
}

/* 0.57 ulp. */
static inline float log10_f32(float x) {
    double k, d = x;
    double y = log1p_near_one(split_exponent(d, &k)) * 0.4342944819032518;
    return (float)log_special(d, FMA_F64(k, 0.3010299956639812, y));
}

/* Where 1 + x needs no exponent, x itself goes to the polynomial, so nothing of a small x is lost. 0.57 ulp. */
static inline float log1p_f32(float x) {
    double k, d = x;
    double u = 1.0 + d;
    double f = split_exponent(u, &k);
    double y = log1p_near_one(k == 0.0 ? d : f);
    y = log_special(u, FMA_F64(k, 0.6931471805599453, y));
    return (float)(d == 0.0 ? d : y);
}

/* sin(x + quarter * pi/2) for a float32 x >= 0 and a quarter of 0 or 1, degree 11, any magnitude.
 *
 * x / pi is wanted modulo 2. 1 / pi is held in three parts, the first two of 29 bits, whose products with the 24 bits
 * of x are exact. From 2^50 on, x is a multiple of 2^26, so 2^26 / pi may be reduced modulo 2 beforehand, and likewise
 * for 2^52 and 2^78: one set of parts (scaled by 2^-26, 2^-52, 2^-78) for each 26 binades keeps the products below
 * 2^50. The error of the reduction is 2^-59, and no float32 lies nearer than about 2^-31 to a zero. */
static inline double sin_phase(double x, int quarter) {
    double w1 = 0x1.45f306cp-2, w2 = 0x1.c9c882ap-30, w3 = 0x1.4fe13abe8fa9ap-60;
    w1 = x >= 0x1p50 ? 0x1.b939106p-27 : w1;
    w2 = x >= 0x1p50 ? -0x1.6b01ec6p-56 : w2;
    w3 = x >= 0x1p50 ? 0x1.7d1f534ddc0dbp-85 : w3;
    w1 = x >= 0x1p76 ? 0x1.529fc28p-53 : w1;
    w2 = x >= 0x1p76 ? -0x1.505c15ap-82 : w2;
    w3 = x >= 0x1p76 ? 0x1.377036d8a5665p-111 : w3;
    w1 = x >= 0x1p102 ? 0x1.d5f47d4p-79 : w1;
    w2 = x >= 0x1p102 ? 0x1.a6ee06ep-108 : w2;
    w3 = x >= 0x1p102 ? -0x1.3ad4cd8778df8p-138 : w3;
    double p1 = x * w1, p2 = x * w2, p3 = x * w3;
    double t1 = p1 + ROUND_F64, t2 = p2 + ROUND_F64;
    double g1 = p1 - (t1 - ROUND_F64), g2 = p2 - (t2 - ROUND_F64);
    g1 = quarter ? g1 + 0.5 : g1;
    double t3 = (g1 + g2) + ROUND_F64;
    double r = ((g1 - (t3 - ROUND_F64)) + g2) + p3;
    double z = r * r;
    double p = -0.007008136508132517;
    p = FMA_F64(p, z, 0.08203822550160925);
    p = FMA_F64(p, z, -0.5992496409476914);
    p = FMA_F64(p, z, 2.5501631001859053);
    p = FMA_F64(p, z, -5.167712758077127);
    p = FMA_F64(p, z, 3.141592653504861);
    uint64_t odd = bits_f64(t1) + bits_f64(t2) + bits_f64(t3);
    return as_f64(bits_f64(r * p) ^ (odd << 63));
}

/* 0.50 ulp each. */
static inline float sin_f32(float x) {
    double y = sin_phase(__builtin_fabs((double)x), 0);
    return as_f32(bits_f32((float)y) ^ (bits_f32(x) & 0x80000000u));
}

static inline float cos_f32(float x) { return (float)sin_phase(__builtin_fabs((double)x), 1); }

/* |x| P((x^2 - 8) / 8), P of degree 17 on [-1, 1], relative error 2^-29; from |x| = 4 on, erf rounds to 1. 0.53 ulp. */
static inline float erf_f32(float x) {
    double a = __builtin_fabs((double)x);
    a = a > 4.0 ? 4.0 : a;
    double s = FMA_F64(a * 0.125, a, -1.0);
    double p = -0.00022236365216438274;
    p = FMA_F64(p, s, 0.0005888932788287272);
    p = FMA_F64(p, s, -0.0004255955133498688);
    p = FMA_F64(p, s, 0.0006461420628117641);
    p = FMA_F64(p, s, -0.0027387719176196795);
    p = FMA_F64(p, s, 0.005530455851078043);
    p = FMA_F64(p, s, -0.008538466338879834);
    p = FMA_F64(p, s, 0.013946811265184836);
    p = FMA_F64(p, s, -0.02248342526513069);
    p = FMA_F64(p, s, 0.03319941997966256);
    p = FMA_F64(p, s, -0.0457672050811287);
    p = FMA_F64(p, s, 0.059860311646079314);
    p = FMA_F64(p, s, -0.07472699570185735);
    p = FMA_F64(p, s, 0.09021152540161446);
    p = FMA_F64(p, s, -0.10771053017006693);
    p = FMA_F64(p, s, 0.131675024850193);
    p = FMA_F64(p, s, -0.1765762311382703);
    p = FMA_F64(p, s, 0.35353099619047945);
    return with_sign_f32((float)(a * p), x);
}

/* atan|x|, or pi/2 + atan(-1/|x|) above 1; the odd polynomial has degree 19, relative error 2^-28.6. 0.54 ulp. */
static inline float atan_f32(float x) {
    double a = __builtin_fabs((double)x);
    double s = (a > 1.0 ? -1.0 : a) / (a > 1.0 ? a : 1.0);
    double z = s * s;
    double p = -0.0017544418736945133;
    p = FMA_F64(p, z, 0.010729321907873686);
    p = FMA_F64(p, z, -0.030809202278721845);
    p = FMA_F64(p, z, 0.05755691747340515);
    p = FMA_F64(p, z, -0.0837760994737407);
    p = FMA_F64(p, z, 0.10942137347878256);
    p = FMA_F64(p, z, -0.14261955193878553);
    p = FMA_F64(p, z, 0.19998268400685074);
    p = FMA_F64(p, z, -0.33333283740044894);
    p = FMA_F64(p, z, 0.9999999976362147);
    double y = FMA_F64(s, p, a > 1.0 ? 1.5707963267948966 : 0.0);
    return with_sign_f32((float)y, x);
}

/* 2^(y log2|x|); the logarithm has degree 13 and relative error 2^-35.7, since y log2|x| may reach 150; 2^r for
 * |r| <= 1/2 has degree 6 and relative error 2^-29. 0.55 ulp over 10^8 pairs. */
static inline float pow_f32(float x, float y) {
    double k, d = x, e = y;
    double a = __builtin_fabs(d);
    double f = split_exponent(a, &k);
    double p = 0.0535860969079495;
    p = FMA_F64(p, f, -0.09871811247913138);
    p = FMA_F64(p, f, 0.10015369706092822);
    p = FMA_F64(p, f, -0.0992732239034061);
    p = FMA_F64(p, f, 0.1100961634359908);
    p = FMA_F64(p, f, -0.12497411547414564);
    p = FMA_F64(p, f, 0.14290570811626085);
    p = FMA_F64(p, f, -0.16666927475759102);
    p = FMA_F64(p, f, 0.19999898144852304);
    p = FMA_F64(p, f, -0.2499999482935456);
    p = FMA_F64(p, f, 0.3333333404369721);
    p = FMA_F64(p, f, -0.5000000002151636);
    double l = FMA_F64(FMA_F64(f * f, p, f), 1.4426950408889634, k);
    l = a == 0.0 ? -INFINITY : l;
    l = a < INFINITY ? l : a;
    /* An infinite y becomes a huge one, so that its product with log2(1) = 0 is 0. The limits carry the sign, because
     * gcc pulls a clamp to a constant out into a branch. */
    double c = __builtin_fabs(e) > 0x1p200 ? with_sign_f64(0x1p200, e) : e;
    double v = c * l;
    v = __builtin_fabs(v) > 200.0 ? with_sign_f64(200.0, v) : v;
    double t = v + ROUND_F64;
    double r = v - (t - ROUND_F64);
    double q = 0.00015345745348319272;
    q = FMA_F64(q, r, 0.0013399955778292494);
    q = FMA_F64(q, r, 0.00961848937429302);
    q = FMA_F64(q, r, 0.05550328716750218);
    q = FMA_F64(q, r, 0.24022646885170712);
    q = FMA_F64(q, r, 0.6931472057639009);
    q = FMA_F64(q, r, 1.0000000005549436);
    double m = as_f64(bits_f64(q) + (bits_f64(t) << 52));
    /* A negative x keeps its sign under an odd y; a finite one is NaN under a fraction. From 2^24 on, y is even. */
    double w = __builtin_fabs(e) < 0x1p24 ? e : 0.0;
    double ti = w + ROUND_F64;
    double fraction = w - (ti - ROUND_F64);
    double with_sign = as_f64(bits_f64(m) ^ ((bits_f64(ti) << 63) & bits_f64(d)));
    double fractional = d < 0.0 ? NAN : m;
    fractional = a == INFINITY ? m : fractional;
    m = fraction != 0.0 ? fractional : with_sign;
    m = e == 0.0 ? 1.0 : m;
    m = d == 1.0 ? 1.0 : m;
    return (float)m;
}

/* ---- float64 functions that have no vector form here ---- */

static inline double log_f64(double x) { return log(x); }
static inline double log1p_f64(double x) { return log1p(x); }
static inline double log2_f64(double x) { return log2(x); }
static inline double log10_f64(double x) { return log10(x); }
static inline double sin_f64(double x) { return sin(x); }
static inline double cos_f64(double x) { return cos(x); }
static inline double erf_f64(double x) { return erf(x); }
static inline double atan_f64(double x) { return atan(x); }
static inline double pow_f64(double x, double y) { return pow(x, y); }
