// What the way from host to host costs a card that computes nothing: numbers up, a kernel that adds one, as many numbers down, waited for.
//
//   nvcc -O2 -std=c++17 -arch=sm_90 -o copies benches/peers/copies.cu && ./copies
//
// By three calls, as a CUDA graph of the three, and by a kernel that reads and writes the host's memory itself; from memory that the card reads
// for itself (pinned) and from other. Microseconds, the middle of 400 rounds.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cuda_runtime.h>
#include <vector>

__global__ void add_one(const float* x, float* y) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  y[i] = x[i] + 1;
}

static void checked(cudaError_t error) {
  if (error == cudaSuccess) return;
  fprintf(stderr, "%s\n", cudaGetErrorString(error));
  exit(1);
}

template <typename Round> static double middle(Round round) {
  std::vector<double> all;
  for (int i = 0; i < 400; i++) {
    const auto start = std::chrono::steady_clock::now();
    round();
    all.push_back(std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start).count());
  }
  std::sort(all.begin(), all.end());
  return all[all.size() / 2];
}

static void measured(int bytes, bool pinned) {
  void *up, *down;
  float *x, *y;
  cudaStream_t stream;
  checked(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  if (pinned) checked(cudaMallocHost(&up, bytes)), checked(cudaMallocHost(&down, bytes));
  else up = malloc(bytes), down = malloc(bytes);
  checked(cudaMalloc(&x, bytes));
  checked(cudaMalloc(&y, bytes));
  for (int i = 0; i < bytes / 4; i++) ((float*)up)[i] = (float)rand() / RAND_MAX;
  const int cubes = bytes / 4 / 256;
  const auto wait = [&] { checked(cudaStreamSynchronize(stream)); };
  const auto all = [&] {
    checked(cudaMemcpyAsync(x, up, bytes, cudaMemcpyHostToDevice, stream));
    add_one<<<cubes, 256, 0, stream>>>(x, y);
    checked(cudaMemcpyAsync(down, y, bytes, cudaMemcpyDeviceToHost, stream));
  };
  const double calls = middle([&] { all(), wait(); });
  for (int i = 0; i < bytes / 4; i++)
    if (((float*)down)[i] != ((float*)up)[i] + 1) fprintf(stderr, "wrong numbers came back\n"), exit(1);
  const double kernel = middle([&] { add_one<<<cubes, 256, 0, stream>>>(x, y), wait(); });
  printf("%7d bytes, %s: calls %.1f, the kernel alone %.1f", bytes, pinned ? "pinned" : "other ", calls, kernel);
  if (pinned) {
    cudaGraph_t graph;
    cudaGraphExec_t recorded;
    checked(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
    all();
    checked(cudaStreamEndCapture(stream, &graph));
    checked(cudaGraphInstantiate(&recorded, graph, 0));
    const double replayed = middle([&] { checked(cudaGraphLaunch(recorded, stream)), wait(); });
    const double mapped = middle([&] { add_one<<<cubes, 256, 0, stream>>>((float*)up, (float*)down), wait(); });
    printf(", graph %.1f, a kernel on the host's memory %.1f", replayed, mapped);
  }
  printf(" us\n");
}

int main() {
  for (const int bytes : {16384, 65536, 262144})
    for (const bool pinned : {false, true}) measured(bytes, pinned);
}
