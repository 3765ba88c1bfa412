// Direct 3x3 convolutions of the default network on one core in int8 (vpdpbusd), bf16 (vdpbf16ps) and f32, to set beside the f32 ones by Winograd
// that the program has. cc -O3 -march=native int8_convolution.c -o int8_convolution && ./int8_convolution
//
// Needs AVX-512 with VNNI and BF16. Images are [height + 2][width + 2 + PIXELS][channels] with a border of zeros, weights lie as they are read:
// parts of 64 output channels, taps, input channels in fours (twos, ones), outputs. A tile of 6 pixels by 64 outputs stays in registers. int8 includes
// its factor, bias, ReLU and rounding to bytes. Milliseconds of the processor, least of some rounds; each kind is checked against plain sums.
#include <immintrin.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { PIXELS = 6, VECTORS = 4, PART = 16 * VECTORS, ROUNDS = 9 };

typedef struct { int height, width, from, to; } Shape;

static size_t place(Shape s, int y, int x) { return ((size_t)y * (s.width + 2 + PIXELS) + x) * s.from; }

// KIND's loop over one tile: SUMS of VECTOR, DEPTH channels a step, whose WORD of a pixel goes to all lanes.
#define TILE(SUM, ZERO, VALUE, DEPTH, LANES, ALL, ADD)                                                   \
  SUM sums[PIXELS][VECTORS];                                                                             \
  for (int p = 0; p < PIXELS; p++)                                                                       \
    for (int v = 0; v < VECTORS; v++) sums[p][v] = ZERO();                                               \
  for (int tap = 0; tap < 9; tap++) {                                                                    \
    const VALUE* seen = x + place(s, row + tap / 3, column + tap % 3);                                   \
    for (int c = 0; c < s.from; c += DEPTH, of += LANES * VECTORS) {                                     \
      LOAD(of);                                                                                          \
      _Pragma("GCC unroll 6") for (int p = 0; p < PIXELS; p++) {                                         \
        const __m512i word = ALL(seen + (size_t)p * s.from + c);                                         \
        for (int v = 0; v < VECTORS; v++) sums[p][v] = ADD(sums[p][v], word, w[v]);                      \
      }                                                                                                  \
    }                                                                                                    \
  }
#define LOAD(OF)      \
  __m512i w[VECTORS]; \
  for (int v = 0; v < VECTORS; v++) w[v] = _mm512_loadu_si512((const char*)(OF) + 64 * v)

static __m512i word_of(const void* p) {
  int32_t word;
  memcpy(&word, p, 4);
  return _mm512_set1_epi32(word);
}
static __m512 add_bf16(__m512 sum, __m512i x, __m512i w) { return _mm512_dpbf16_ps(sum, (__m512bh)x, (__m512bh)w); }
static __m512 add_f32(__m512 sum, __m512i x, __m512i w) { return _mm512_fmadd_ps(_mm512_castsi512_ps(x), _mm512_castsi512_ps(w), sum); }

static void int8(Shape s, const uint8_t* x, const int8_t* weights, const float* factor, const float* bias, uint8_t* y) {
  for (int part = 0; part < s.to; part += PART)
    for (int row = 0; row < s.height; row++)
      for (int column = 0; column < s.width; column += PIXELS) {
        const int8_t* of = weights + (size_t)part * 9 * s.from;
        TILE(__m512i, _mm512_setzero_si512, uint8_t, 4, 64, word_of, _mm512_dpbusd_epi32)
        for (int p = 0; p < PIXELS && column + p < s.width; p++)
          for (int v = 0; v < VECTORS; v++) {
            const int at = part + 16 * v;
            const __m512 real = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums[p][v]), _mm512_loadu_ps(factor + at), _mm512_loadu_ps(bias + at));
            const __m512i whole = _mm512_max_epi32(_mm512_cvtps_epi32(real), _mm512_setzero_si512());
            _mm_storeu_si128((__m128i*)(y + ((size_t)row * s.width + column + p) * s.to + at), _mm512_cvtusepi32_epi8(whole));
          }
      }
}

#define FLOATING(NAME, VALUE, DEPTH, LANES, ADD)                                                                                   \
  static void NAME(Shape s, const VALUE* x, const VALUE* weights, const float* bias, float* y) {                                  \
    for (int part = 0; part < s.to; part += PART)                                                                                 \
      for (int row = 0; row < s.height; row++)                                                                                    \
        for (int column = 0; column < s.width; column += PIXELS) {                                                                \
          const VALUE* of = weights + (size_t)part * 9 * s.from;                                                                  \
          TILE(__m512, _mm512_setzero_ps, VALUE, DEPTH, LANES, word_of, ADD)                                                      \
          for (int p = 0; p < PIXELS && column + p < s.width; p++)                                                                \
            for (int v = 0; v < VECTORS; v++) {                                                                                   \
              const __m512 sum = _mm512_add_ps(sums[p][v], _mm512_loadu_ps(bias + part + 16 * v));                                \
              _mm512_storeu_ps(y + ((size_t)row * s.width + column + p) * s.to + part + 16 * v, _mm512_max_ps(sum, _mm512_setzero_ps())); \
            }                                                                                                                     \
        }                                                                                                                         \
  }
FLOATING(bf16, uint16_t, 2, 32, add_bf16)
FLOATING(f32, float, 1, 16, add_f32)

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return t.tv_sec + 1e-9 * t.tv_nsec;
}

static void* memory(size_t bytes) {
  void* p = aligned_alloc(64, (bytes + 4096) / 64 * 64);
  if (!p) exit(1);
  return memset(p, 0, (bytes + 4096) / 64 * 64);
}

// The weight of a tap where a kind reads it, with `depth` channels side by side.
static size_t weight_at(Shape s, int to, int tap, int from, int depth) {
  return ((((size_t)(to / PART) * 9 + tap) * (s.from / depth) + from / depth) * PART + to % PART) * depth + from % depth;
}

static uint16_t half(float v) {
  uint32_t bits;
  memcpy(&bits, &v, 4);
  return bits >> 16;
}

static void measure(Shape s) {
  const size_t seen = place(s, s.height + 2, 0), all = (size_t)9 * s.from * s.to, made = (size_t)s.height * s.width * s.to;
  uint8_t *x8 = memory(seen), *y8 = memory(made);
  int8_t* w8 = memory(all);
  uint16_t *xh = memory(2 * seen), *wh = memory(2 * all);
  float *xf = memory(4 * seen), *wf = memory(4 * all), *yf = memory(4 * made), *yh = memory(4 * made), *factor = memory(4 * s.to), *bias = memory(4 * s.to);
  for (int y = 1; y <= s.height; y++)
    for (int x = 1; x <= s.width; x++)
      for (int c = 0; c < s.from; c++) {
        const size_t at = place(s, y, x) + c;
        x8[at] = rand() % 128, xf[at] = x8[at], xh[at] = half(x8[at]);
      }
  for (int to = 0; to < s.to; to++) {
    factor[to] = 1.f / 64;
    for (int i = 0; i < 9 * s.from; i++) {
      const int v = rand() % 15 - 7, tap = i / s.from, from = i % s.from;
      w8[weight_at(s, to, tap, from, 4)] = v, wf[weight_at(s, to, tap, from, 1)] = v, wh[weight_at(s, to, tap, from, 2)] = half(v);
    }
  }
  double best[3] = {1e9, 1e9, 1e9};
  for (int round = 0; round < ROUNDS; round++) {
    double at[4] = {now()};
    int8(s, x8, w8, factor, bias, y8), at[1] = now();
    bf16(s, xh, wh, bias, yh), at[2] = now();
    f32(s, xf, wf, bias, yf), at[3] = now();
    for (int i = 0; i < 3; i++)
      if (at[i + 1] - at[i] < best[i]) best[i] = at[i + 1] - at[i];
  }
  // Whole numbers below 2^24: all kinds are exact.
  for (int i = 0; i < 2000; i++) {
    const int y = rand() % s.height, x = rand() % s.width, to = rand() % s.to;
    long sum = 0;
    for (int j = 0; j < 9 * s.from; j++)
      sum += (long)x8[place(s, y + j / s.from / 3, x + j / s.from % 3) + j % s.from] * w8[weight_at(s, to, j / s.from, j % s.from, 4)];
    const float real = sum < 0 ? 0 : sum, bytes = __builtin_rintf(real / 64) > 255 ? 255 : __builtin_rintf(real / 64);
    const size_t at = ((size_t)y * s.width + x) * s.to + to;
    if (yf[at] != real || yh[at] != real || y8[at] != bytes) {
      printf("wrong at %d, %d, %d: %ld, f32 %f, bf16 %f, int8 %d\n", y, x, to, sum, yf[at], yh[at], y8[at]);
      exit(1);
    }
  }
  const double products = 9e-9 * s.height * s.width * s.from * s.to;
  printf("%4d to %3d, %3d²:  int8 %5.2f ms (%3.0f G products/s)  bf16 %5.2f ms (%3.0f)  f32 %5.2f ms (%3.0f)\n", s.from, s.to, s.width, 1e3 * best[0], products / best[0],
         1e3 * best[1], products / best[1], 1e3 * best[2], products / best[2]);
  void* all_of_it[] = {x8, y8, w8, xh, wh, xf, wf, yf, yh, factor, bias};
  for (int i = 0; i < 11; i++) free(all_of_it[i]);
}

int main(void) {
  const Shape shapes[] = {{64, 64, 128, 64}, {64, 64, 64, 64}, {32, 32, 256, 128}, {32, 32, 128, 128}, {16, 16, 512, 256}, {64, 64, 64, 128}};
  for (int i = 0; i < 6; i++) measure(shapes[i]);
}
