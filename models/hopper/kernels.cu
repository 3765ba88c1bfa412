// Kernels of a convolutional network's forward pass on NVIDIA Hopper (sm_90a), without any header.
//
// This is the only CUDA text of the project: CubeCL 0.11 knows neither `wgmma` nor a kernel that shares its threads out among roles. Rust
// (`models/hopper/launch.rs`) appends one line that instantiates one kernel with its constants, and NVRTC compiles it on first use.
//
//   CONVOLVE  same-size 3x3 convolution, bias, ReLU, and one of: store, store and 2x2 maximum, last 1x1 convolution, store and that
//   FEW       the same, store or store and maximum, for so few pixels that smaller tiles are quicker
//   NARROW    3x3 convolution to at most 8 channels of f32, which may be unfolded into pixels
//   FOLDED_STEM, STEM  first convolution of an image with one channel, in f32
//   DOUBLED   twice the size, bilinear with aligned corners
//
// Images are bf16, or e4m3 where they are asked for, with their channels last, `[batch, height, width, channels]`. Sums are f32.
//
// A *folded* image is the same memory under another name: two by two pixels are one pixel with four times the channels, in the order
// (dy, dx, channel). Two neighbours in a row lie side by side, so (dx, channel) is one run of 2c numbers, and both forms are
//
//   [batch, height, dy, width, run]      run = c and one dy, or run = 2c and two of them
//
// which is how all tensor maps here see an image. So folding, unfolding and joining are addresses, not copies.

typedef unsigned long long u64;
typedef unsigned int u32;
typedef unsigned short u16;
typedef unsigned char u8;

// An opaque CUtensorMap.
struct alignas(64) TensorMap { char bytes[128]; };

// ---------------------------------------------------------------------------------------------------- instructions

__device__ __forceinline__ u32 shared_address(const void* p) { return (u32)__cvta_generic_to_shared(p); }

// Barriers in shared memory. One phase ends when all arrivals came and all announced bytes have landed; who waits names the phase's parity.
__device__ __forceinline__ void barrier_init(u32 barrier, u32 arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" :: "r"(barrier), "r"(arrivals));
}
__device__ __forceinline__ void barrier_expect(u32 barrier, u32 bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" :: "r"(barrier), "r"(bytes) : "memory");
}
__device__ __forceinline__ void barrier_arrive(u32 barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" :: "r"(barrier) : "memory");
}
__device__ __forceinline__ void barrier_wait(u32 barrier, u32 parity) {
  u32 done = 0;
  while (!done)
    asm volatile("{\n.reg .pred p;\nmbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\nselp.u32 %0, 1, 0, p;\n}"
                 : "=r"(done) : "r"(barrier), "r"(parity) : "memory");
}
__device__ __forceinline__ void fence_barrier_init() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }

// What ordinary stores wrote becomes visible to the copy engine.
__device__ __forceinline__ void fence_async() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// Hardware barriers among some of a cube's warps.
__device__ __forceinline__ void named_sync(int id, int threads) { asm volatile("bar.sync %0, %1;" :: "r"(id), "r"(threads) : "memory"); }
__device__ __forceinline__ void named_arrive(int id, int threads) { asm volatile("bar.arrive %0, %1;" :: "r"(id), "r"(threads) : "memory"); }

// A box of an image to shared memory. What lies outside the image is zero: this is the convolution's padding.
__device__ __forceinline__ void load_box(u32 to, const TensorMap* map, u32 barrier, int run, int x, int dy, int y, int image) {
  asm volatile("cp.async.bulk.tensor.5d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5, %6, %7}], [%2];"
               :: "r"(to), "l"(map), "r"(barrier), "r"(run), "r"(x), "r"(dy), "r"(y), "r"(image) : "memory");
}
// A box from shared memory. What lies outside the image is dropped.
__device__ __forceinline__ void store_box(const TensorMap* map, u32 from, int run, int x, int dy, int y, int image) {
  asm volatile("cp.async.bulk.tensor.5d.global.shared::cta.bulk_group [%0, {%2, %3, %4, %5, %6}], [%1];"
               :: "l"(map), "r"(from), "r"(run), "r"(x), "r"(dy), "r"(y), "r"(image) : "memory");
}
// Bytes as they lie.
__device__ __forceinline__ void load_bytes(u32 to, const void* from, u32 bytes, u32 barrier) {
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];"
               :: "r"(to), "l"(from), "r"(bytes), "r"(barrier) : "memory");
}
// A map on its way from memory before it is used.
__device__ __forceinline__ void prefetch(const TensorMap* map) { asm volatile("prefetch.tensormap [%0];" :: "l"(map) : "memory"); }
__device__ __forceinline__ void stores_commit() { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }
__device__ __forceinline__ void stores_have_read() { asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory"); }
__device__ __forceinline__ void stores_done() { asm volatile("cp.async.bulk.wait_group 0;" ::: "memory"); }

// Products of a warpgroup, asynchronous: issued, committed as a group, waited for until at most N groups are under way.
__device__ __forceinline__ void products_begin() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void products_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int N> __device__ __forceinline__ void products_wait() { asm volatile("wgmma.wait_group.sync.aligned %0;" :: "n"(N) : "memory"); }

// d[64, N] (+)= a[64, 16] b[N, 16]ᵀ, both bf16 in shared memory; `add` 0 starts a new sum. WGMMA_N(…) below writes one for each N.
template <int N> __device__ __forceinline__ void multiply(float (&d)[N / 2], u64 a, u64 b, int add);

#define R4(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define R16(i) R4(i), R4(i + 4), R4(i + 8), R4(i + 12)
#define R32(i) R16(i), R16(i + 16)
#define WGMMA(N, NAMES, A, B, P, ...)                                                                                           \
  template <> __device__ __forceinline__ void multiply<N>(float (&d)[N / 2], u64 a, u64 b, int add) {                           \
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " P ", 0;\nwgmma.mma_async.sync.aligned.m64n" #N                             \
                 "k16.f32.bf16.bf16 {" NAMES "}, " A ", " B ", p, 1, 1, 0, 0;\n}"                                               \
                 : __VA_ARGS__ : "l"(a), "l"(b), "r"(add));                                                                     \
  }
// d[64, N] (+)= a[64, 32] b[N, 32]ᵀ, both e4m3.
template <int N> __device__ __forceinline__ void multiply_bytes(float (&d)[N / 2], u64 a, u64 b, int add);
#define WGMMA_BYTES(N, NAMES, A, B, P, ...)                                                                                     \
  template <> __device__ __forceinline__ void multiply_bytes<N>(float (&d)[N / 2], u64 a, u64 b, int add) {                     \
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " P ", 0;\nwgmma.mma_async.sync.aligned.m64n" #N                             \
                 "k32.f32.e4m3.e4m3 {" NAMES "}, " A ", " B ", p, 1, 1;\n}"                                                     \
                 : __VA_ARGS__ : "l"(a), "l"(b), "r"(add));                                                                     \
  }
#define N4 "%0, %1, %2, %3"
#define N16 N4 ", %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15"
#define N32 N16 ", %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, " \
               "%28, %29, %30, %31"
#define N64 N32 ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, "    \
                "%54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define N128 N64 ", %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, %80, %81, %82, %83, %84, %85, "   \
                 "%86, %87, %88, %89, %90, %91, %92, %93, %94, %95, %96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, "   \
                 "%107, %108, %109, %110, %111, %112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, " \
                 "%126, %127"
WGMMA(8, N4, "%4", "%5", "%6", R4(0))
WGMMA(32, N16, "%16", "%17", "%18", R16(0))
WGMMA(64, N32, "%32", "%33", "%34", R32(0))
WGMMA(128, N64, "%64", "%65", "%66", R32(0), R32(32))
WGMMA(256, N128, "%128", "%129", "%130", R32(0), R32(32), R32(64), R32(96))
WGMMA_BYTES(64, N32, "%32", "%33", "%34", R32(0))
WGMMA_BYTES(128, N64, "%64", "%65", "%66", R32(0), R32(32))
WGMMA_BYTES(256, N128, "%128", "%129", "%130", R32(0), R32(32), R32(64), R32(96))

// d[16, 8] += a[16, 16] b[16, 8] of one warp.
__device__ __forceinline__ void multiply_warp(float (&d)[4], const u32 (&a)[4], u32 b0, u32 b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Four 8x8 matrices of bf16 to shared memory, turned: a matrix's column becomes 16 bytes at its thread's address.
__device__ __forceinline__ void store_turned(u32 to, const u32 (&m)[4]) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};"
               :: "r"(to), "r"(m[0]), "r"(m[1]), "r"(m[2]), "r"(m[3]) : "memory");
}
__device__ __forceinline__ uint4 load_shared(u32 from) {
  uint4 v;
  asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "r"(from) : "memory");
  return v;
}

// Two bf16 in a word. Both maxima keep what is not a number: a network must not hide that its input was none.
__device__ __forceinline__ u32 pair(float low, float high) {
  u32 r;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
  return r;
}
__device__ __forceinline__ float low(u32 v) { return __uint_as_float(v << 16); }
__device__ __forceinline__ float high(u32 v) { return __uint_as_float(v & 0xffff0000u); }
__device__ __forceinline__ float larger(float a, float b) {
  float r;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(r) : "f"(a), "f"(b));
  return r;
}
__device__ __forceinline__ u32 larger_pair(u32 a, u32 b) {
  u32 r;
  asm("max.NaN.bf16x2 %0, %1, %2;" : "=r"(r) : "r"(a), "r"(b));
  return r;
}

// Two e4m3 in the lower half of a word, to the nearest; what is beyond the largest becomes that, and what is not a number stays none.
__device__ __forceinline__ u32 pair_bytes(float low, float high) {
  u16 r;
  asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(r) : "f"(high), "f"(low));
  return r;
}
// What two e4m3 in the lower half of a word stand for.
__device__ __forceinline__ void unpack_bytes(u32 v, float& low, float& high) {
  asm("{\n.reg .b32 both;\n.reg .f16 l, h;\ncvt.rn.f16x2.e4m3x2 both, %2;\nmov.b32 {l, h}, both;\ncvt.f32.f16 %0, l;\ncvt.f32.f16 %1, h;\n}"
      : "=f"(low), "=f"(high) : "h"((u16)v));
}
__device__ __forceinline__ u32 larger_halves(u32 a, u32 b) {
  u32 r;
  asm("max.u16x2 %0, %1, %2;" : "=r"(r) : "r"(a), "r"(b));
  return r;
}
// The larger of each of four e4m3 that are not negative, which are in the order of their bits; what is not a number is the largest.
__device__ __forceinline__ u32 larger_bytes(u32 a, u32 b) {
  constexpr u32 EVEN = 0x00ff00ffu;
  return larger_halves(a & EVEN, b & EVEN) | larger_halves(a & ~EVEN, b & ~EVEN);
}

// Eight neighbouring channels of a pixel, of numbers of so many bytes.
template <int BYTES> struct Eight;
template <> struct Eight<2> {
  typedef u16 Number;
  typedef uint4 Word;
  static __device__ __forceinline__ Word packed(const float (&v)[8]) {
    return make_uint4(pair(v[0], v[1]), pair(v[2], v[3]), pair(v[4], v[5]), pair(v[6], v[7]));
  }
  static __device__ __forceinline__ void unpack(Word q, float (&v)[8]) {
    v[0] = low(q.x), v[1] = high(q.x), v[2] = low(q.y), v[3] = high(q.y), v[4] = low(q.z), v[5] = high(q.z), v[6] = low(q.w), v[7] = high(q.w);
  }
};
template <> struct Eight<1> {
  typedef u8 Number;
  typedef uint2 Word;
  static __device__ __forceinline__ Word packed(const float (&v)[8]) {
    return make_uint2(pair_bytes(v[0], v[1]) | pair_bytes(v[2], v[3]) << 16, pair_bytes(v[4], v[5]) | pair_bytes(v[6], v[7]) << 16);
  }
  static __device__ __forceinline__ void unpack(Word q, float (&v)[8]) {
    unpack_bytes(q.x, v[0], v[1]);
    unpack_bytes(q.x >> 16, v[2], v[3]);
    unpack_bytes(q.y, v[4], v[5]);
    unpack_bytes(q.y >> 16, v[6], v[7]);
  }
};

// ------------------------------------------------------------------------------------------------------------ sizes

// A warpgroup: what issues `wgmma`. Two of them compute in turn; a warp of its own loads pixels, another weights.
constexpr int GROUP = 128, GROUPS = 2, PIXEL_LOADER = GROUPS * 4, WEIGHT_LOADER = PIXEL_LOADER + 1;
constexpr int THREADS = GROUPS * GROUP + 64;
// Columns of a tile of outputs, and of the inputs that they see: a 3x3 kernel reaches one pixel to each side.
constexpr int WIDE = 8, SEEN = WIDE + 2;
// Rows of the matrix of weights that a warpgroup multiplies: output channels.
constexpr int CHANNELS = 64;
// Shared memory for tiles begins at a multiple of the longest swizzle pattern.
constexpr int ALIGN = 1024;
__device__ constexpr int aligned(int bytes) { return (bytes + ALIGN - 1) / ALIGN * ALIGN; }

// Hardware barriers: 1 and 2 give the turn to a warpgroup, 3 and 4 are among the threads of one.
constexpr int TURN = 1, OWN = 3;

// What happens to a convolution's output.
constexpr int STORE = 0, POOL = 1, LAST = 2, STORE_LAST = 3;

// Descriptor of a matrix in shared memory whose rows are `row` bytes (a pixel's or an output channel's block of channels: 128 or 64),
// or 32, swizzled with that period; groups of eight rows are `stride` bytes apart. The address is added later, in units of 16 bytes. The
// hardware swizzles by address, so a matrix may begin at any row.
__device__ __forceinline__ constexpr u64 matrix(int row, int stride) {
  return ((row == 128 ? 1ull : row == 64 ? 2ull : 3ull) << 62) | ((u64)(stride / 16) << 32) | (1ull << 16);
}
__device__ __forceinline__ u64 at(u64 matrix, u32 address) { return matrix | ((address & 0x3ffff) >> 4); }

// Where the 16-byte chunk `chunk` of pixel `pixel` is in an image of `CHANNELS` channels that the copy engine swizzles.
template <int BYTES> __device__ __forceinline__ u32 swizzled(u32 pixel, u32 chunk) {
  const u32 turn = BYTES == 128 ? pixel & 7 : BYTES == 64 ? pixel >> 1 & 3 : pixel >> 2 & 1;
  return pixel * BYTES + ((chunk ^ turn) << 4);
}

// Sizes that change from layer to layer. The order is that of `tiles::Sizes`.
struct Sizes {
  int across, down;               // tiles in a row of pixels and in a column
  int parts;                      // parts of the output channels, one a tile
  int blocks, first;              // blocks of input channels, and those of them that are the first image's
  int runs[2];                    // blocks in a run of either image
  int run;                        // output channels in a run of the output
  int batch, height, width;       // of the output, as it is convolved
  int channels;                   // of the output
  int relu;
  int splits;                     // of the pixels, in a weight's gradient
};

// A tile of the output: what one warpgroup computes at a time.
struct Tile {
  int part, x, y, image;
  __device__ __forceinline__ Tile(int index, const Sizes& sizes, int tall) {
    part = index % sizes.parts;
    index /= sizes.parts;
    x = index % sizes.across * WIDE;
    index /= sizes.across;
    y = index % sizes.down * tall;
    image = index / sizes.down;
  }
};

__device__ __forceinline__ int tiles_of(const Sizes& sizes) { return sizes.across * sizes.down * sizes.batch * sizes.parts; }

// A ring of stages in shared memory: `use` counts how often any was taken.
template <int STAGES> struct Ring {
  u32 full, empty;
  __device__ __forceinline__ u32 full_of(int use) const { return full + 8 * (use % STAGES); }
  __device__ __forceinline__ u32 empty_of(int use) const { return empty + 8 * (use % STAGES); }
  __device__ __forceinline__ void init(u32 readers) const {
    for (int i = 0; i < STAGES; i++) {
      barrier_init(full + 8 * i, 1);
      barrier_init(empty + 8 * i, readers);
    }
  }
  __device__ __forceinline__ void wait_empty(int use) const { barrier_wait(empty_of(use), (use / STAGES & 1) ^ 1); }
  __device__ __forceinline__ void wait_full(int use) const { barrier_wait(full_of(use), use / STAGES & 1); }
};

// Loads one block of channels of the inputs of a tile. Blocks count through the runs of the first image, then of the second.
__device__ __forceinline__ void load_block(u32 to, u32 barrier, const TensorMap* one, const TensorMap* two, int block, int channels,
                                           const Tile& tile, const Sizes& sizes) {
  const bool second = block >= sizes.first;
  const int own = second ? block - sizes.first : block, run = sizes.runs[second];
  load_box(to, second ? two : one, barrier, own % run * channels, tile.x - 1, own / run, tile.y - 1, tile.image);
}

// --------------------------------------------------------------------------------------------------------- convolve

// The convolution as a product of matrices, turned so that the long side is pixels:
//
//   D[channels, pixels] = Σ over blocks of input channels, over taps  W[channels, block] X[block, pixels moved by the tap]
//
// A warpgroup has 64 rows of D and 8 · ROWS columns in its registers: 8 pixels of ROWS rows of an image.
//
// PAIR: for layers with 32 output channels the 64 rows are 32 channels of an even and of an odd row of pixels. Its kernel is 4x3, with
// zeros for one row or the other: 3/4 of the products count, where a half would if 32 rows stayed empty.
//
// Roles: warp 8 loads pixels, warp 9 loads weights, and two warpgroups take tiles in turn: one multiplies while the other has bias, ReLU
// and storing to do. Cubes are persistent: cube i of n computes the tiles i, i + n, …
//
// Shared memory, for ROWS = 32 and blocks of 64:
//
//   0        X ring     2 stages of 43 KiB: (32 + 2) rows x (8 + 2) columns x 64 channels, loaded once for all nine taps.
//                       The tap (r, s) is the same matrix, begun r rows and s columns later; groups of 8 pixels are a row apart.
//   86 KiB   W ring     3 stages of 24 KiB: three taps (a row of the kernel) of 64 output x 64 input channels each
//   158 KiB  Y          32 KiB a warpgroup: the tile of outputs on its way to memory
//   222 KiB  barriers   one pair, full and empty, a stage
//
// A layer whose weights fit in the W ring has them loaded once a cube.
// IN, MADE: bytes of a number that is read and of one that is made: 2 is bf16, 1 is e4m3. Where e4m3 is read, a sum times its channel's
// factor and the bias are in units of the image that is made; factors follow the biases. Where e4m3 is made, a ReLU has been before, and rows
// r and r + 8 of each 16 of the matrix of weights are the neighbouring channels 2r and 2r + 1.
template <int ROWS, int BLOCK, int PAIR, int X_STAGES, int W_STAGES, int THEN, int IN, int MADE> struct Convolve {
  static constexpr int N = 8 * ROWS, TALL = PAIR ? 2 * ROWS : ROWS, OUT = PAIR ? 32 : 64;
  // Bytes of a pixel's block of channels, which is a row of both matrices.
  static constexpr int PIXEL = IN * BLOCK;
  static constexpr int TAP_ROWS = PAIR ? 4 : 3;
  static constexpr int X_BYTES = (TALL + 2) * SEEN * PIXEL, X_STAGE = aligned(X_BYTES);
  static constexpr int W_TAP = CHANNELS * PIXEL, W_STAGE = 3 * W_TAP;
  static constexpr int Y_PIXELS = TALL * WIDE, Y_PIXEL = OUT * MADE, Y_BYTES = Y_PIXELS * Y_PIXEL;
  static constexpr int X_AT = 0, W_AT = X_STAGES * X_STAGE, Y_AT = W_AT + W_STAGES * W_STAGE, BARRIERS_AT = Y_AT + GROUPS * Y_BYTES;
  static constexpr int SHARED = BARRIERS_AT + 16 * (X_STAGES + W_STAGES);
  // 16-byte chunks of a pixel of the output.
  static constexpr int CHUNKS = Y_PIXEL / 16;
  // What is made.
  typedef typename Eight<MADE>::Number Number;
  // Whether the output becomes an image.
  static constexpr bool STORES = THEN != LAST;

  u32 base;
  Ring<X_STAGES> xs;
  Ring<W_STAGES> ws;
  const Sizes& sizes;
  // Tap rows of a tile, and whether the ring holds all of them.
  int tap_rows;
  bool resident;

  __device__ __forceinline__ Convolve(u32 base, const Sizes& sizes) : base(base), sizes(sizes) {
    xs.full = base + BARRIERS_AT;
    xs.empty = xs.full + 8 * X_STAGES;
    ws.full = xs.empty + 8 * X_STAGES;
    ws.empty = ws.full + 8 * W_STAGES;
    tap_rows = sizes.blocks * TAP_ROWS;
    resident = tap_rows <= W_STAGES && sizes.parts == 1;
  }

  __device__ __forceinline__ u32 x_stage(int use) const { return base + X_AT + use % X_STAGES * X_STAGE; }
  __device__ __forceinline__ u32 w_stage(int use) const { return base + W_AT + use % W_STAGES * W_STAGE; }

  // One thread: the inputs of this cube's tiles.
  __device__ __forceinline__ void load_pixels(const TensorMap* one, const TensorMap* two) const {
    int use = 0;
    for (int t = blockIdx.x; t < tiles_of(sizes); t += gridDim.x) {
      const Tile tile(t, sizes, TALL);
      for (int block = 0; block < sizes.blocks; block++, use++) {
        xs.wait_empty(use);
        barrier_expect(xs.full_of(use), X_BYTES);
        load_block(x_stage(use), xs.full_of(use), one, two, block, BLOCK, tile, sizes);
      }
    }
  }

  // One thread: the weights of this cube's tiles, a row of taps at a time. In memory they lie as a stage has them: parts of the output
  // channels, blocks of input channels, tap rows, taps.
  __device__ __forceinline__ void load_weights(const char* weights) const {
    int use = 0;
    for (int t = blockIdx.x; t < tiles_of(sizes); t += gridDim.x) {
      const char* part = weights + (size_t)(t % sizes.parts) * tap_rows * W_STAGE;
      for (int row = 0; row < tap_rows; row++, use++) {
        ws.wait_empty(use);
        barrier_expect(ws.full_of(use), W_STAGE);
        load_bytes(w_stage(use), part + (size_t)row * W_STAGE, W_STAGE, ws.full_of(use));
      }
      if (resident) return;
    }
  }

  // A warpgroup's products for its `turn`th tile of the cube. One group of products is always under way while the next is issued; when a
  // group is done, its stages are free.
  __device__ __forceinline__ void products(float (&sums)[N / 2], int turn) const {
    const bool elected = threadIdx.x % GROUP == 0;
    constexpr u64 W = matrix(PIXEL, 8 * PIXEL), X = matrix(PIXEL, (PAIR ? 2 : 1) * SEEN * PIXEL);
    int x_use = turn * sizes.blocks, w_use = resident ? 0 : turn * tap_rows;
    for (int block = 0; block < sizes.blocks; block++, x_use++) {
      xs.wait_full(x_use);
      #pragma unroll 1
      for (int r = 0; r < TAP_ROWS; r++, w_use++) {
        ws.wait_full(w_use);
        products_begin();
        #pragma unroll
        for (int s = 0; s < 3; s++) {
          const u64 a = at(W, w_stage(w_use) + s * W_TAP), b = at(X, x_stage(x_use) + (r * SEEN + s) * PIXEL);
          #pragma unroll
          for (int k = 0; k < PIXEL / 32; k++)
            if (IN == 1) multiply_bytes<N>(sums, a + 2 * k, b + 2 * k, block | r | s | k);
            else multiply<N>(sums, a + 2 * k, b + 2 * k, block | r | s | k);
        }
        products_commit();
        products_wait<1>();
        if (elected && (block | r)) {
          if (!resident) barrier_arrive(ws.empty_of(w_use - 1));
          if (r == 0) barrier_arrive(xs.empty_of(x_use - 1));
        }
      }
    }
    // The other may issue its own: the units take products in order.
    named_arrive(TURN + (threadIdx.x / GROUP ^ 1), GROUPS * GROUP);
    products_wait<0>();
    if (elected) {
      if (!resident) barrier_arrive(ws.empty_of(w_use - 1));
      barrier_arrive(xs.empty_of(x_use - 1));
    }
  }

  // Bias, ReLU and bf16, to `[pixel][channel]` in shared memory. A thread has, of every eight pixels, two neighbours in two channels.
  __device__ __forceinline__ void finish(const float (&sums)[N / 2], const float* bias, u32 y) const {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32 % 4, row = warp * 16 + lane / 4;
    const float biases[2] = {bias[row % OUT], bias[(row + 8) % OUT]};
    float factors[2] = {1.f, 1.f};
    if (IN == 1) factors[0] = bias[sizes.channels + row % OUT], factors[1] = bias[sizes.channels + (row + 8) % OUT];
    const float least = sizes.relu ? 0.f : -__int_as_float(0x7f800000);
    const u32 of = lane >> 3, column = lane & 7, chunk = 2 * warp + (of & 1);
    #pragma unroll
    for (int j = 0; j < ROWS; j += 2) {
      u32 m[4];
      #pragma unroll
      for (int k = 0; k < 4; k++) {
        const float* d = &sums[(j + k / 2) * 4 + (k & 1) * 2];
        const float b = biases[k & 1], f = factors[k & 1];
        m[k] = pair(larger(IN == 1 ? d[0] * f + b : d[0] + b, least), larger(IN == 1 ? d[1] * f + b : d[1] + b, least));
      }
      const u32 group = j + (of >> 1), line = PAIR ? 2 * group + (chunk >> 2) : group;
      store_turned(y + swizzled<Y_PIXEL>(line * WIDE + column, chunk % CHUNKS), m);
    }
  }

  // The same to e4m3. Two neighbouring channels of a pixel are a number of 16 bits, so that what is turned is a matrix of those: a warp's 16
  // channels of eight pixels.
  __device__ __forceinline__ void finish_bytes(const float (&sums)[N / 2], const float* bias, u32 y) const {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32 % 4, channel = (warp * 16 + lane / 4 * 2) % OUT;
    const float* factor = bias + sizes.channels;
    const float b[2] = {bias[channel], bias[channel + 1]}, f[2] = {factor[channel], factor[channel + 1]};
    const float least = sizes.relu ? 0.f : -__int_as_float(0x7f800000);
    const u32 of = lane >> 3, column = lane & 7, chunk = warp % CHUNKS;
    #pragma unroll
    for (int j = 0; j < ROWS; j += 4) {
      u32 m[4];
      #pragma unroll
      for (int k = 0; k < 4; k++) {
        const float* d = &sums[(j + k) * 4];
        const u32 left = pair_bytes(larger(d[0] * f[0] + b[0], least), larger(d[2] * f[1] + b[1], least));
        const u32 right = pair_bytes(larger(d[1] * f[0] + b[0], least), larger(d[3] * f[1] + b[1], least));
        m[k] = left | right << 16;
      }
      const u32 group = j + of, line = PAIR ? 2 * group + (warp >> 1) : group;
      store_turned(y + swizzled<Y_PIXEL>(line * WIDE + column, chunk), m);
    }
  }

  // The largest of each two by two pixels, to `[batch, height / 2, width / 2, channels]`.
  __device__ __forceinline__ void pool(const Tile& tile, u32 y, Number* pooled) const {
    const int height = sizes.height / 2, width = sizes.width / 2;
    for (u32 i = threadIdx.x % GROUP; i < (TALL / 2) * (WIDE / 2) * CHUNKS; i += GROUP) {
      const u32 chunk = i % CHUNKS, px = i / CHUNKS % (WIDE / 2), line = i / CHUNKS / (WIDE / 2);
      // Minus infinity; zero where all are positive.
      uint4 m = MADE == 1 ? make_uint4(0, 0, 0, 0) : make_uint4(0xff80ff80, 0xff80ff80, 0xff80ff80, 0xff80ff80);
      #pragma unroll
      for (int e = 0; e < 4; e++) {
        const uint4 v = load_shared(y + swizzled<Y_PIXEL>((2 * line + e / 2) * WIDE + 2 * px + e % 2, chunk));
        if (MADE == 1) m = {larger_bytes(m.x, v.x), larger_bytes(m.y, v.y), larger_bytes(m.z, v.z), larger_bytes(m.w, v.w)};
        else m = {larger_pair(m.x, v.x), larger_pair(m.y, v.y), larger_pair(m.z, v.z), larger_pair(m.w, v.w)};
      }
      const int at_y = tile.y / 2 + line, at_x = tile.x / 2 + px;
      if (at_y < height && at_x < width)
        *(uint4*)(pooled + ((size_t)(tile.image * height + at_y) * width + at_x) * sizes.channels + tile.part * OUT + chunk * (16 / MADE)) = m;
    }
  }

  // A 1x1 convolution to one channel, `[batch, height, width]` in f32. `last` is its weights, then its bias.
  __device__ __forceinline__ void project(const Tile& tile, u32 y, const float* last, float* logits) const {
    for (u32 i = threadIdx.x % GROUP; i < Y_PIXELS; i += GROUP) {
      float sum = last[OUT];
      #pragma unroll
      for (int chunk = 0; chunk < CHUNKS; chunk++) {
        const uint4 v = load_shared(y + swizzled<Y_PIXEL>(i, chunk));
        const float* w = last + 8 * chunk;
        sum += low(v.x) * w[0] + high(v.x) * w[1] + low(v.y) * w[2] + high(v.y) * w[3];
        sum += low(v.z) * w[4] + high(v.z) * w[5] + low(v.w) * w[6] + high(v.w) * w[7];
      }
      const int at_y = tile.y + i / WIDE, at_x = tile.x + i % WIDE;
      if (at_y < sizes.height && at_x < sizes.width) logits[((size_t)tile.image * sizes.height + at_y) * sizes.width + at_x] = sum;
    }
  }

  // A warpgroup: every other tile of this cube.
  __device__ __forceinline__ void compute(const TensorMap* out, const float* bias, const float* last, void* other) const {
    const int group = threadIdx.x / GROUP;
    const bool elected = threadIdx.x % GROUP == 0;
    const u32 y = base + Y_AT + group * Y_BYTES;
    float sums[N / 2];
    // The first turn is the first warpgroup's.
    if (group == 1) named_arrive(TURN, GROUPS * GROUP);
    int turn = group;
    for (int t = blockIdx.x + group * gridDim.x; t < tiles_of(sizes); t += GROUPS * gridDim.x, turn += GROUPS) {
      const Tile tile(t, sizes, TALL);
      named_sync(TURN + group, GROUPS * GROUP);
      products(sums, turn);
      if (STORES && elected) stores_have_read();
      named_sync(OWN + group, GROUP);
      if (MADE == 1) finish_bytes(sums, bias + tile.part * OUT, y);
      else finish(sums, bias + tile.part * OUT, y);
      if (STORES) fence_async();
      named_sync(OWN + group, GROUP);
      if (STORES && elected) {
        const int channel = tile.part * OUT;
        store_box(out, y, channel % sizes.run, tile.x, channel / sizes.run, tile.y, tile.image);
        stores_commit();
      }
      if (THEN == POOL) pool(tile, y, (Number*)other);
      static_assert(MADE == 2 || (THEN != LAST && THEN != STORE_LAST), "a last layer reads bf16");
      if (THEN == LAST || THEN == STORE_LAST) project(tile, y, last, (float*)other);
    }
    if (STORES && elected) stores_done();
  }

  static __device__ __forceinline__ void run(char* shared, const TensorMap* one, const TensorMap* two, const TensorMap* out,
                                             const char* weights, const float* bias, const float* last, void* other,
                                             const Sizes& sizes) {
    const Convolve self(shared_address(shared), sizes);
    const int warp = threadIdx.x / 32;
    if (threadIdx.x == PIXEL_LOADER * 32) {
      prefetch(one);
      prefetch(two);
    }
    if (threadIdx.x == 0) {
      // A stage is read by the one warpgroup whose tile it belongs to.
      self.xs.init(1);
      self.ws.init(1);
      fence_barrier_init();
      fence_async();
    }
    __syncthreads();
    if (warp < PIXEL_LOADER)
      self.compute(out, bias, last, other);
    else if (threadIdx.x % 32 == 0) {
      if (warp == PIXEL_LOADER) self.load_pixels(one, two);
      if (warp == WEIGHT_LOADER) self.load_weights(weights);
    }
  }
};

#define CONVOLVE(NAME, ROWS, BLOCK, PAIR, X_STAGES, W_STAGES, THEN, IN, MADE)                                                   \
  extern "C" __global__ void __launch_bounds__(THREADS, 1)                                                                      \
      NAME(const __grid_constant__ TensorMap one, const __grid_constant__ TensorMap two, const __grid_constant__ TensorMap out, \
           const char* weights, const float* bias, const float* last, void* other, const __grid_constant__ Sizes sizes) {       \
    typedef Convolve<ROWS, BLOCK, PAIR, X_STAGES, W_STAGES, THEN, IN, MADE> Kernel;                                             \
    __shared__ __align__(ALIGN) char shared[Kernel::SHARED];                                                                    \
    Kernel::run(shared, &one, &two, &out, weights, bias, last, other, sizes);                                                   \
  }

// -------------------------------------------------------------------------------------------------------------- few

// The same convolution for so few pixels that CONVOLVE's tiles would leave much of a card idle, in bf16. Here the rows are pixels, as in NARROW:
//
//   D[pixels, channels] = Σ over blocks of input channels, over taps  X[pixels moved by the tap, block] W[channels, block]ᵀ
//
// A cube has one tile of 8 x 8 pixels, the 64 rows of D, and 32 output channels: at least twice as many cubes as CONVOLVE's tiles make. One
// image waits for its longest sum, and a product of 32 columns is done in half the time of one of 64. Every output is the sum of the same
// products in the same order, so it has the same bits.
//
// One warpgroup computes, one thread loads. A stage has a block of pixels and all nine taps' weights for it:
//
//   0        X          12.5 KiB: (8 + 2) x (8 + 2) pixels of 64 channels
//   13 KiB   W          36 KiB: nine taps of 32 output x 64 input channels, cut out of CONVOLVE's stages. PAIR: out of those for pairs of
//                       rows, where the first 32 rows of the first three rows of taps are the kernel.
//
// What a thread has is stored as it is: two neighbouring channels of a pixel.
template <int BLOCK, int PAIR, int STAGES, int THEN> struct Few {
  static constexpr int TALL = 8, COLUMNS = 32, PIXEL = 2 * BLOCK, TAPS = 9;
  static constexpr int X_BYTES = (TALL + 2) * SEEN * PIXEL, W_AT = aligned(X_BYTES);
  static constexpr int W_TAP = COLUMNS * PIXEL, W_BYTES = TAPS * W_TAP, STAGE = W_AT + W_BYTES;
  static constexpr int BARRIERS_AT = STAGES * STAGE, SHARED = BARRIERS_AT + 16 * STAGES;
  // Rows of matrices of weights in memory: of a tap, of a block of all taps, and of those output channels that lie together.
  static constexpr int TAP_ROWS = CHANNELS, BLOCK_ROWS = (PAIR ? 12 : 9) * TAP_ROWS, PART = PAIR ? 32 : 64;

  u32 base;
  Ring<STAGES> stages;
  const Sizes& sizes;
  Tile tile;

  __device__ __forceinline__ Few(u32 base, const Sizes& sizes) : base(base), sizes(sizes), tile(blockIdx.x, sizes, TALL) {
    stages.full = base + BARRIERS_AT;
    stages.empty = stages.full + 8 * STAGES;
  }

  __device__ __forceinline__ u32 stage(int use) const { return base + use % STAGES * STAGE; }
  __device__ __forceinline__ int first_channel() const { return tile.part * COLUMNS; }

  // One thread: pixels and weights, block by block.
  __device__ __forceinline__ void load(const TensorMap* one, const TensorMap* two, const char* weights) const {
    const int channel = first_channel();
    const char* from = weights + ((size_t)(channel / PART) * sizes.blocks * BLOCK_ROWS + channel % PART) * PIXEL;
    for (int block = 0; block < sizes.blocks; block++, from += BLOCK_ROWS * PIXEL) {
      const u32 full = stages.full_of(block);
      stages.wait_empty(block);
      barrier_expect(full, X_BYTES + W_BYTES);
      load_block(stage(block), full, one, two, block, BLOCK, tile, sizes);
      #pragma unroll
      for (int tap = 0; tap < TAPS; tap++) load_bytes(stage(block) + W_AT + tap * W_TAP, from + tap * TAP_ROWS * PIXEL, W_TAP, full);
    }
  }

  __device__ __forceinline__ void products(float (&sums)[COLUMNS / 2]) const {
    constexpr u64 X = matrix(PIXEL, SEEN * PIXEL), W = matrix(PIXEL, 8 * PIXEL);
    for (int block = 0; block < sizes.blocks; block++) {
      stages.wait_full(block);
      products_begin();
      #pragma unroll
      for (int tap = 0; tap < TAPS; tap++) {
        const u64 x = at(X, stage(block) + (tap / 3 * SEEN + tap % 3) * PIXEL), w = at(W, stage(block) + W_AT + tap * W_TAP);
        #pragma unroll
        for (int k = 0; k < BLOCK / 16; k++) multiply<COLUMNS>(sums, x + 2 * k, w + 2 * k, block | tap | k);
      }
      products_commit();
      products_wait<1>();
      if (threadIdx.x == 0 && block) barrier_arrive(stages.empty_of(block - 1));
    }
    products_wait<0>();
  }

  // Bias, ReLU and bf16. A thread has of every eight channels two, of a pixel and of the one below it.
  __device__ __forceinline__ void finish(const float (&sums)[COLUMNS / 2], const float2 (&biases)[COLUMNS / 8], u16* made, u16* pooled) const {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, x = tile.x + lane / 4, y = tile.y + 2 * warp;
    const int lines = sizes.channels / sizes.run;
    const float least = sizes.relu ? 0.f : -__int_as_float(0x7f800000);
    #pragma unroll
    for (int j = 0; j < COLUMNS / 8; j++) {
      const int channel = first_channel() + 8 * j + lane % 4 * 2;
      const float* d = &sums[4 * j];
      const float2 b = biases[j];
      const u32 pairs[2] = {pair(larger(d[0] + b.x, least), larger(d[1] + b.y, least)), pair(larger(d[2] + b.x, least), larger(d[3] + b.y, least))};
      #pragma unroll
      for (int h = 0; h < 2; h++) {
        const size_t at = ((size_t)(tile.image * sizes.height + y + h) * lines + channel / sizes.run) * sizes.width + x;
        if (x < sizes.width && y + h < sizes.height) *(u32*)(made + at * sizes.run + channel % sizes.run) = pairs[h];
      }
      if (THEN == POOL) {
        const u32 column = larger_pair(pairs[0], pairs[1]), most = larger_pair(column, __shfl_xor_sync(~0u, column, 4));
        const int height = sizes.height / 2, width = sizes.width / 2, at_x = x / 2, at_y = y / 2;
        if (x % 2 == 0 && at_x < width && at_y < height)
          *(u32*)(pooled + ((size_t)(tile.image * height + at_y) * width + at_x) * sizes.channels + channel) = most;
      }
    }
  }

  static __device__ __forceinline__ void run(char* shared, const TensorMap* one, const TensorMap* two, const char* weights,
                                             const float* bias, void* made, void* pooled, const Sizes& sizes) {
    const Few self(shared_address(shared), sizes);
    if (threadIdx.x == GROUP) {
      prefetch(one);
      prefetch(two);
    }
    if (threadIdx.x == 0) {
      self.stages.init(1);
      fence_barrier_init();
      fence_async();
    }
    __syncthreads();
    if (threadIdx.x < GROUP) {
      float sums[COLUMNS / 2];
      float2 biases[COLUMNS / 8];
      // Early, so that nothing waits for memory at the end.
      #pragma unroll
      for (int j = 0; j < COLUMNS / 8; j++) biases[j] = *(const float2*)(bias + self.first_channel() + 8 * j + threadIdx.x % 4 * 2);
      self.products(sums);
      self.finish(sums, biases, (u16*)made, (u16*)pooled);
    } else if (threadIdx.x == GROUP) {
      self.load(one, two, weights);
    }
  }
};

#define FEW(NAME, BLOCK, PAIR, STAGES, THEN)                                                                                    \
  extern "C" __global__ void __launch_bounds__(GROUP + 32)                                                                      \
      NAME(const __grid_constant__ TensorMap one, const __grid_constant__ TensorMap two, const char* weights, const float* bias, \
           void* made, void* pooled, const __grid_constant__ Sizes sizes) {                                                     \
    typedef Few<BLOCK, PAIR, STAGES, THEN> Kernel;                                                                              \
    __shared__ __align__(ALIGN) char shared[Kernel::SHARED];                                                                    \
    Kernel::run(shared, &one, &two, weights, bias, made, pooled, sizes);                                                        \
  }

// ----------------------------------------------------------------------------------------------------------- narrow

// A 3x3 convolution to at most 8 channels of f32, for a network's last layer. Here the long side is the rows: D[pixels, channels], 64
// pixels a product, so that 8 columns and not 64 rows are what a few channels fill. Reading pixels from shared memory is the limit.
//
// Roles and rings are those of CONVOLVE; the weights, 9 taps of 8 x BLOCK a block, stay in shared memory. UNFOLD: four channels are two by
// two pixels of an image twice as large.
template <int ROWS, int BLOCK, int BLOCKS, int UNFOLD> struct Narrow {
  static constexpr int PIXEL = 2 * BLOCK, STAGES = 4, TAPS = 9, COLUMNS = 8, PARTS = ROWS * WIDE / 64;
  static constexpr int X_BYTES = (ROWS + 2) * SEEN * PIXEL, X_STAGE = aligned(X_BYTES);
  static constexpr int W_TAP = COLUMNS * PIXEL, W_BYTES = BLOCKS * TAPS * W_TAP;
  static constexpr int W_AT = STAGES * X_STAGE, BARRIERS_AT = W_AT + aligned(W_BYTES), SHARED = BARRIERS_AT + 16 * STAGES + 8;

  static __device__ __forceinline__ void load(u32 base, const Ring<STAGES>& xs, u32 weights_full, const TensorMap* one,
                                              const TensorMap* two, const char* weights, const Sizes& sizes) {
    barrier_expect(weights_full, W_BYTES);
    load_bytes(base + W_AT, weights, W_BYTES, weights_full);
    int use = 0;
    for (int t = blockIdx.x; t < tiles_of(sizes); t += gridDim.x) {
      const Tile tile(t, sizes, ROWS);
      for (int block = 0; block < BLOCKS; block++, use++) {
        xs.wait_empty(use);
        barrier_expect(xs.full_of(use), X_BYTES);
        load_block(base + use % STAGES * X_STAGE, xs.full_of(use), one, two, block, BLOCK, tile, sizes);
      }
    }
  }

  // A thread has two neighbouring channels of a pixel of two rows.
  static __device__ __forceinline__ void store(const float (&d)[4], int y, int x, int image, const float* bias, float* logits,
                                               const Sizes& sizes) {
    const int channel = threadIdx.x % 4 * 2;
    if (x >= sizes.width || channel >= sizes.channels) return;
    #pragma unroll
    for (int h = 0; h < 2; h++) {
      if (y + h >= sizes.height) return;
      if (UNFOLD) {
        const size_t line = (size_t)(image * sizes.height + y + h) * 2 + channel / 2;
        *(float2*)(logits + (line * sizes.width + x) * 2) = make_float2(d[2 * h] + bias[channel], d[2 * h + 1] + bias[channel + 1]);
      } else {
        logits[((size_t)image * sizes.height + y + h) * sizes.width + x] = d[2 * h] + bias[0];
      }
    }
  }

  static __device__ __forceinline__ void compute(u32 base, const Ring<STAGES>& xs, u32 weights_full, const float* bias, float* logits,
                                                 const Sizes& sizes) {
    const int group = threadIdx.x / GROUP, lane = threadIdx.x % 32, warp = threadIdx.x / 32 % 4;
    constexpr u64 W = matrix(PIXEL, 8 * PIXEL), X = matrix(PIXEL, SEEN * PIXEL);
    barrier_wait(weights_full, 0);
    int use = group * BLOCKS;
    for (int t = blockIdx.x + group * gridDim.x; t < tiles_of(sizes); t += GROUPS * gridDim.x) {
      const Tile tile(t, sizes, ROWS);
      float sums[PARTS][4];
      for (int block = 0; block < BLOCKS; block++, use++) {
        xs.wait_full(use);
        products_begin();
        #pragma unroll
        for (int tap = 0; tap < TAPS; tap++)
          #pragma unroll
          for (int k = 0; k < BLOCK / 16; k++)
            #pragma unroll
            for (int part = 0; part < PARTS; part++) {
              const u32 x = base + use % STAGES * X_STAGE + ((part * 8 + tap / 3) * SEEN + tap % 3) * PIXEL;
              const u32 w = base + W_AT + (block * TAPS + tap) * W_TAP;
              multiply<COLUMNS>(sums[part], at(X, x) + 2 * k, at(W, w) + 2 * k, block | tap | k);
            }
        products_commit();
        products_wait<0>();
        if (threadIdx.x % GROUP == 0) barrier_arrive(xs.empty_of(use));
      }
      use += BLOCKS;
      #pragma unroll
      for (int part = 0; part < PARTS; part++)
        store(sums[part], tile.y + part * 8 + warp * 2, tile.x + lane / 4, tile.image, bias, logits, sizes);
    }
  }

  static __device__ __forceinline__ void run(char* shared, const TensorMap* one, const TensorMap* two, const char* weights,
                                             const float* bias, float* logits, const Sizes& sizes) {
    const u32 base = shared_address(shared), weights_full = base + BARRIERS_AT + 16 * STAGES;
    Ring<STAGES> xs;
    xs.full = base + BARRIERS_AT;
    xs.empty = xs.full + 8 * STAGES;
    if (threadIdx.x == 0) {
      xs.init(1);
      barrier_init(weights_full, 1);
      fence_barrier_init();
      fence_async();
    }
    __syncthreads();
    if (threadIdx.x < GROUPS * GROUP) compute(base, xs, weights_full, bias, logits, sizes);
    else if (threadIdx.x == PIXEL_LOADER * 32) load(base, xs, weights_full, one, two, weights, sizes);
  }
};

#define NARROW(NAME, ROWS, BLOCK, BLOCKS, UNFOLD)                                                                               \
  extern "C" __global__ void __launch_bounds__(THREADS, 1)                                                                      \
      NAME(const __grid_constant__ TensorMap one, const __grid_constant__ TensorMap two, const char* weights, const float* bias, \
           float* logits, const __grid_constant__ Sizes sizes) {                                                                \
    typedef Narrow<ROWS, BLOCK, BLOCKS, UNFOLD> Kernel;                                                                         \
    __shared__ __align__(ALIGN) char shared[Kernel::SHARED];                                                                    \
    Kernel::run(shared, &one, &two, weights, bias, logits, sizes);                                                              \
  }

// ------------------------------------------------------------------------------------------------------------ stems

// The first convolution after a fold, 3x3 of the four pixels that were folded: as it lies, a 6x6 convolution of one channel with stride 2.
// Input f32 `[batch, 2h, 2w]`, output `[batch, h, w, channels]` of MADE bytes a number.
//
// A cube has LINES rows of 128 outputs and keeps what they see as pairs of bf16. A warp has 16 outputs of a row as the rows of a
// product; a row of the kernel is 8 values (6 and two zeros), two rows are a product's depth of 16, so a thread's operand is a pair of
// neighbours as it lies. Weights `[channels / 32][3][4][32]`: the operand's two words of each lane, with channels dealt out such that
// a thread ends with 8 neighbouring ones.
constexpr int STEM_WIDE = 128, STEM_PAIRS = STEM_WIDE + 3;
template <int MADE, int LINES>
__device__ __forceinline__ void folded_stem(const float* __restrict__ x, const uint2* __restrict__ weights, const float* __restrict__ bias,
                                            typename Eight<MADE>::Word* __restrict__ y, const Sizes& sizes) {
  constexpr int SEEN_LINES = 2 * LINES + 4;
  __shared__ u32 seen[SEEN_LINES][STEM_PAIRS];
  const int x0 = blockIdx.x * STEM_WIDE, y0 = blockIdx.y * LINES, image = blockIdx.z;
  const int height = sizes.height, width = sizes.width, channels = sizes.channels;
  for (int i = threadIdx.x; i < SEEN_LINES * STEM_PAIRS; i += blockDim.x) {
    const int row = i / STEM_PAIRS, column = i % STEM_PAIRS, in_y = 2 * y0 - 2 + row, in_x = x0 - 1 + column;
    float2 v = make_float2(0.f, 0.f);
    if (in_y >= 0 && in_y < 2 * height && in_x >= 0 && in_x < width)
      v = *(const float2*)(x + ((size_t)image * 2 * height + in_y) * 2 * width + 2 * in_x);
    seen[row][column] = pair(v.x, v.y);
  }
  __syncthreads();
  const int lane = threadIdx.x % 32, at_x = threadIdx.x / 32 * 16 + lane / 4, of = lane % 4;
  for (int part = 0; part < channels / 32; part++) {
    uint2 w[3][4];
    float b[8];
    #pragma unroll
    for (int i = 0; i < 12; i++) w[i / 4][i % 4] = weights[(part * 12 + i) * 32 + lane];
    #pragma unroll
    for (int i = 0; i < 8; i++) b[i] = bias[part * 32 + of * 8 + i];
    for (int line = 0; line < LINES && y0 + line < height; line++) {
      float d[4][4] = {};
      #pragma unroll
      for (int k = 0; k < 3; k++) {
        const u32* rows = &seen[2 * line + 2 * k][at_x + of];
        const u32 a[4] = {rows[0], rows[8], rows[STEM_PAIRS], rows[STEM_PAIRS + 8]};
        #pragma unroll
        for (int n = 0; n < 4; n++) multiply_warp(d[n], a, w[k][n].x, w[k][n].y);
      }
      #pragma unroll
      for (int h = 0; h < 2; h++) {
        const int px = x0 + at_x + 8 * h;
        float v[8];
        #pragma unroll
        for (int i = 0; i < 8; i++) v[i] = larger(d[i / 2][2 * h + i % 2] + b[i], 0.f);
        const auto made = Eight<MADE>::packed(v);
        if (px < width) y[(((size_t)image * height + y0 + line) * width + px) * (channels / 8) + part * 4 + of] = made;
      }
    }
  }
}

// The first convolution of a U-Net: 3x3 of one channel, with a ReLU. Input f32 `[batch, height, width]`, weights f32 `[9][channels]`, output of
// MADE bytes a number. A thread has 8 channels of STEM_RUN pixels of a row.
constexpr int STEM_RUN = 4;
template <int MADE>
__device__ __forceinline__ void stem(const float* __restrict__ x, const float* __restrict__ weights, const float* __restrict__ bias,
                                     typename Eight<MADE>::Word* __restrict__ y, const Sizes& sizes) {
  const int height = sizes.height, width = sizes.width, groups = sizes.channels / 8, runs = (width + STEM_RUN - 1) / STEM_RUN;
  const size_t id = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
  const int group = id % groups, run = id / groups % runs;
  const size_t line = id / groups / runs;
  const int row = line % height, image = line / height, x0 = run * STEM_RUN;
  if (image >= sizes.batch) return;
  float seen[3][STEM_RUN + 2];
  #pragma unroll
  for (int i = 0; i < 3 * (STEM_RUN + 2); i++) {
    const int in_y = row + i / (STEM_RUN + 2) - 1, in_x = x0 + i % (STEM_RUN + 2) - 1;
    const bool inside = in_y >= 0 && in_y < height && in_x >= 0 && in_x < width;
    seen[i / (STEM_RUN + 2)][i % (STEM_RUN + 2)] = inside ? x[((size_t)image * height + in_y) * width + in_x] : 0.f;
  }
  float sums[STEM_RUN][8];
  #pragma unroll
  for (int i = 0; i < STEM_RUN * 8; i++) sums[i / 8][i % 8] = bias[group * 8 + i % 8];
  #pragma unroll
  for (int tap = 0; tap < 9; tap++) {
    const float4* w = (const float4*)(weights + tap * sizes.channels + group * 8);
    const float4 a = w[0], b = w[1];
    const float of[8] = {a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w};
    #pragma unroll
    for (int i = 0; i < STEM_RUN * 8; i++) sums[i / 8][i % 8] += of[i % 8] * seen[tap / 3][tap % 3 + i / 8];
  }
  #pragma unroll
  for (int p = 0; p < STEM_RUN; p++) {
    float v[8];
    #pragma unroll
    for (int i = 0; i < 8; i++) v[i] = larger(sums[p][i], 0.f);
    const auto made = Eight<MADE>::packed(v);
    if (x0 + p < width) y[(line * width + x0 + p) * groups + group] = made;
  }
}

#define FOLDED_STEM(NAME, MADE, LINES)                                                                                          \
  extern "C" __global__ void __launch_bounds__(256) NAME(const float* x, const uint2* weights, const float* bias,               \
                                                         Eight<MADE>::Word* y, const __grid_constant__ Sizes sizes) {           \
    folded_stem<MADE, LINES>(x, weights, bias, y, sizes);                                                                       \
  }
#define STEM(NAME, MADE)                                                                                                        \
  extern "C" __global__ void __launch_bounds__(256) NAME(const float* x, const float* weights, const float* bias,               \
                                                         Eight<MADE>::Word* y, const __grid_constant__ Sizes sizes) {           \
    stem<MADE>(x, weights, bias, y, sizes);                                                                                     \
  }

// ---------------------------------------------------------------------------------------------------------- doubled

// Twice the size, bilinear with aligned corners: output 2k lies at k - k / (2n - 1), output 2k + 1 at k + (n - 1 - k) / (2n - 1), so the
// two by two outputs of a pixel see it and its eight neighbours. A thread has 8 channels of one input pixel; sizes are the input's. Both
// images have BYTES bytes a number, and the same scale.
template <int BYTES, typename Word = typename Eight<BYTES>::Word>
__device__ __forceinline__ void doubled(const Word* __restrict__ x, Word* __restrict__ y, const Sizes& sizes) {
  const int height = sizes.height, width = sizes.width, groups = sizes.channels / 8;
  const size_t id = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
  const int group = id % groups, column = id / groups % width;
  const size_t line = id / groups / width;
  const int row = line % height, image = line / height;
  if (image >= sizes.batch) return;
  float v[3][3][8];
  #pragma unroll
  for (int i = 0; i < 9; i++) {
    const int in_y = min(max(row + i / 3 - 1, 0), height - 1), in_x = min(max(column + i % 3 - 1, 0), width - 1);
    Eight<BYTES>::unpack(x[(((size_t)image * height + in_y) * width + in_x) * groups + group], v[i / 3][i % 3]);
  }
  #pragma unroll
  for (int i = 0; i < 4; i++) {
    const int dy = i / 2, dx = i % 2;
    const float fy = (float)(dy ? height - 1 - row : row) / (2 * height - 1), fx = (float)(dx ? width - 1 - column : column) / (2 * width - 1);
    float out[8];
    #pragma unroll
    for (int k = 0; k < 8; k++) {
      const float near = v[1][1][k] + (v[1][2 * dx][k] - v[1][1][k]) * fx;
      const float far = v[2 * dy][1][k] + (v[2 * dy][2 * dx][k] - v[2 * dy][1][k]) * fx;
      out[k] = near + (far - near) * fy;
    }
    y[((line * 2 + dy) * 2 * width + 2 * column + dx) * groups + group] = Eight<BYTES>::packed(out);
  }
}
#define DOUBLED(NAME, BYTES)                                                                                                    \
  extern "C" __global__ void __launch_bounds__(128) NAME(const Eight<BYTES>::Word* x, Eight<BYTES>::Word* y,                    \
                                                         const __grid_constant__ Sizes sizes) {                                 \
    doubled<BYTES>(x, y, sizes);                                                                                                \
  }
