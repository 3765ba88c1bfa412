// A 3x3 convolution whose sums are those of Hopper's tensor cores in e4m3, as they are reported: of 32 products and the sum so far, `places` binary
// places below the largest exponent among them are kept, the rest is cut off. Blocks of channels, taps and channels come as the kernel has them.
//
// `padded` [height + 2][width + 2][channels], `weights` [9][channels][to], `made` [height][width][to]; `to` is a multiple of 16. Needs AVX-512.
// Built and called by eight_bits.py.
#include <immintrin.h>
#include <stddef.h>

enum { DEPTH = 32, EXPONENT = 23 };

static __m512 added(__m512 sum, const float* x, const float* w, int depth, int to, int places) {
  const __m512i exponent = _mm512_set1_epi32(0x7f800000), below = _mm512_set1_epi32(places << EXPONENT);
  __m512 products[DEPTH];
  __m512i most = _mm512_and_si512(_mm512_castps_si512(sum), exponent);
  for (int i = 0; i < depth; i++) {
    products[i] = _mm512_mul_ps(_mm512_set1_ps(x[i]), _mm512_loadu_ps(w + (size_t)i * to));
    most = _mm512_max_epi32(most, _mm512_and_si512(_mm512_castps_si512(products[i]), exponent));
  }
  // 2^(places - most) and its inverse, by their exponents.
  const __m512 up = _mm512_castsi512_ps(_mm512_sub_epi32(_mm512_set1_epi32((254 + places) << EXPONENT), most));
  const __m512 down = _mm512_castsi512_ps(_mm512_sub_epi32(most, below));
  __m512i total = _mm512_cvttps_epi32(_mm512_mul_ps(sum, up));
  for (int i = 0; i < depth; i++) total = _mm512_add_epi32(total, _mm512_cvttps_epi32(_mm512_mul_ps(products[i], up)));
  return _mm512_maskz_mul_ps(_mm512_cmpgt_epi32_mask(most, below), _mm512_cvtepi32_ps(total), down);
}

void convolve(const float* padded, const float* weights, float* made, int height, int width, int channels, int to, int places) {
  const int block = channels % 128 == 0 ? 128 : channels % 64 == 0 ? 64 : channels, depth = block < DEPTH ? block : DEPTH;
  for (int y = 0; y < height; y++)
    for (int x = 0; x < width; x++)
      for (int o = 0; o < to; o += 16) {
        __m512 sum = _mm512_setzero_ps();
        for (int start = 0; start < channels; start += block)
          for (int tap = 0; tap < 9; tap++)
            for (int c = start; c < start + block; c += depth)
              sum = added(sum, padded + ((size_t)(y + tap / 3) * (width + 2) + x + tap % 3) * channels + c,
                          weights + ((size_t)tap * channels + c) * to + o, depth, to, places);
        _mm512_storeu_ps(made + ((size_t)y * width + x) * to + o, sum);
      }
}
