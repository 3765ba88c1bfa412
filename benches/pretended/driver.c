// The CUDA driver with one card that is shown several times. `README.md` beside this says what for.
//
// CubeCL opens `libcuda.so` by that name; this one is found first, has the two calls that count and name cards, and leaves all others to the driver,
// which it depends on. Every card is the first one then, with one context.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>

static void *driver(const char *name) {
  static void *library;
  if (!library) library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_GLOBAL);
  return dlsym(library, name);
}

int cuDeviceGetCount(int *count) {
  int (*call)(int *) = (int (*)(int *))driver("cuDeviceGetCount");
  const int error = call(count);
  const char *cards = getenv("PRETENDED_CARDS");
  if (!error && cards) *count = atoi(cards);
  return error;
}

int cuDeviceGet(int *device, int card) {
  int (*call)(int *, int) = (int (*)(int *, int))driver("cuDeviceGet");
  (void)card;
  return call(device, 0);
}
