// Gradient of a 3x3 convolution's weights on NVIDIA Hopper. It follows kernels.cu in one text, and uses its words.
//
//   WEIGHT_GRADIENT  dW[to, tap, from] = Σ over pixels  dZ[pixel, to] X[pixel moved by the tap, from]
//
// dZ is the gradient of the convolution's sums, X what it reads, both bf16 with their channels last, both seen through tensor maps: folded,
// unfolded and joined images are addresses here too. Where an image has fewer channels than a block, the copy engine fills up with zeros.
//
// A cube has 64 output channels, 64 input channels, and a split of the pixels. Depth is pixels: sixteen of them, two rows of eight, are one
// product. Both operands have their channels side by side, so both are read turned, which `wgmma` does for bf16. As in the
// convolution, X is loaded once with its border and a tap is the same matrix begun elsewhere.
//
// Roles: three warpgroups compute, a row of the kernel each, three taps in registers; warp 12 loads.
//
// Shared memory, for ROWS = 32:
//
//   0        ring       2 stages of 76 KiB: dZ, 32 rows x 8 columns x 64 channels, and X, (32 + 2) rows x (8 + 2) columns x 64 channels
//   152 KiB  barriers   one pair, full and empty, a stage
//
// Splits are written apart, `[split][to block][from block][tap][64][64]` in f32, and summed in order by whoever reads them: no atomic addition,
// so a gradient has the same bits in every run.

// d[64, 64] (+)= aᵀ[64, 16] b[16, 64], both bf16 in shared memory with the depth along their rows.
__device__ __forceinline__ void multiply_turned(float (&d)[32], u64 a, u64 b, int add) {
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %34, 0;\nwgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" N32
               "}, %32, %33, p, 1, 1, 1, 1;\n}"
               : R32(0) : "l"(a), "l"(b), "r"(add));
}

// Descriptor of such a matrix: rows of 128 bytes, eight of them side by side, the next eight `stride` bytes on.
__device__ __forceinline__ constexpr u64 turned_matrix(int stride) {
  return (1ull << 62) | ((u64)(stride / 16) << 32) | ((u64)(stride / 16) << 16);
}

template <int ROWS, int STAGES> struct WeightGradient {
  static constexpr int TAP_GROUPS = 3, LOADER = TAP_GROUPS * 4, BLOCK = 64, PIXEL = 2 * BLOCK, TAPS = 9;
  static constexpr int Z_LINE = WIDE * PIXEL, Z_BYTES = ROWS * Z_LINE;
  static constexpr int X_LINE = SEEN * PIXEL, X_BYTES = (ROWS + 2) * X_LINE;
  static constexpr int STAGE = Z_BYTES + aligned(X_BYTES), BARRIERS_AT = STAGES * STAGE, SHARED = BARRIERS_AT + 16 * STAGES;

  // One thread: the tiles of this cube's split.
  static __device__ __forceinline__ void load(u32 base, const Ring<STAGES>& ring, const TensorMap* gradient, const TensorMap* one,
                                              const TensorMap* two, int to, int from, int split, const Sizes& sizes) {
    const int tiles = sizes.across * sizes.down * sizes.batch;
    int use = 0;
    for (int t = split; t < tiles; t += sizes.splits, use++) {
      const Tile tile(t * sizes.parts, sizes, ROWS);
      const u32 stage = base + use % STAGES * STAGE, full = ring.full_of(use);
      ring.wait_empty(use);
      barrier_expect(full, Z_BYTES + X_BYTES);
      load_box(stage, gradient, full, to % sizes.run * BLOCK, tile.x, to / sizes.run, tile.y, tile.image);
      load_block(stage + Z_BYTES, full, one, two, from, BLOCK, tile, sizes);
    }
  }

  // A warpgroup: three taps, a row of the kernel.
  static __device__ __forceinline__ void compute(u32 base, const Ring<STAGES>& ring, int split, float* parts, const Sizes& sizes) {
    constexpr u64 Z = turned_matrix(Z_LINE), X = turned_matrix(X_LINE);
    const int group = threadIdx.x / GROUP, lane = threadIdx.x % 32, row = threadIdx.x / 32 % 4 * 16 + lane / 4;
    const int tiles = sizes.across * sizes.down * sizes.batch;
    const bool elected = threadIdx.x % GROUP == 0;
    float sums[3][32];
    int use = 0;
    for (int t = split; t < tiles; t += sizes.splits, use++) {
      const u32 z = base + use % STAGES * STAGE, x = z + Z_BYTES + group * X_LINE;
      ring.wait_full(use);
      products_begin();
      #pragma unroll
      for (int k = 0; k < ROWS / 2; k++)
        #pragma unroll
        for (int s = 0; s < 3; s++)
          multiply_turned(sums[s], at(Z, z + 2 * k * Z_LINE), at(X, x + 2 * k * X_LINE + s * PIXEL), use | k);
      products_commit();
      products_wait<1>();
      if (elected && use) barrier_arrive(ring.empty_of(use - 1));
    }
    products_wait<0>();
    #pragma unroll
    for (int s = 0; s < 3; s++)
      #pragma unroll
      for (int j = 0; j < 8; j++)
        #pragma unroll
        for (int h = 0; h < 2; h++) {
          float* to = parts + ((group * 3 + s) * BLOCK + row + 8 * h) * BLOCK + j * 8 + lane % 4 * 2;
          *(float2*)to = make_float2(sums[s][j * 4 + h * 2], sums[s][j * 4 + h * 2 + 1]);
        }
  }

  static __device__ __forceinline__ void run(char* shared, const TensorMap* gradient, const TensorMap* one, const TensorMap* two,
                                             float* parts, const Sizes& sizes) {
    const u32 base = shared_address(shared);
    Ring<STAGES> ring;
    ring.full = base + BARRIERS_AT;
    ring.empty = ring.full + 8 * STAGES;
    if (threadIdx.x == 0) {
      ring.init(TAP_GROUPS);
      fence_barrier_init();
      fence_async();
    }
    __syncthreads();
    // Cubes of one split are neighbours: what they read in common is in the cache.
    const int products = sizes.parts * sizes.blocks, split = blockIdx.x / products, product = blockIdx.x % products;
    const int to = product / sizes.blocks, from = product % sizes.blocks;
    if (threadIdx.x < LOADER * 32) compute(base, ring, split, parts + (size_t)blockIdx.x * TAPS * BLOCK * BLOCK, sizes);
    else if (threadIdx.x == LOADER * 32) load(base, ring, gradient, one, two, to, from, split, sizes);
  }
};

#define WEIGHT_GRADIENT(NAME, ROWS, STAGES)                                                                                     \
  extern "C" __global__ void __launch_bounds__(3 * GROUP + 32, 1)                                                               \
      NAME(const __grid_constant__ TensorMap gradient, const __grid_constant__ TensorMap one,                                   \
           const __grid_constant__ TensorMap two, float* parts, const __grid_constant__ Sizes sizes) {                          \
    typedef WeightGradient<ROWS, STAGES> Kernel;                                                                                \
    __shared__ __align__(ALIGN) char shared[Kernel::SHARED];                                                                    \
    Kernel::run(shared, &gradient, &one, &two, parts, sizes);                                                                   \
  }
