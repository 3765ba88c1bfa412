// A driver's library with two cards, of which each value is told by a formula of the card's number.
// The second card has no performance counters, and says so.
#include <string.h>
#include <stdio.h>

enum { SUCCESS = 0, INVALID = 2, NOT_SUPPORTED = 3 };
enum { CARDS = 2 };

typedef struct { unsigned version; unsigned long long total, reserved, free, used; } Memory;
typedef struct { unsigned gpu, memory; } Utilization;
typedef struct { unsigned version, supported; } Support;
typedef struct { unsigned id; int ret; double value; char *names[3]; } Metric;
typedef struct { unsigned version, count; void *a, *b; Metric metrics[210]; } Metrics;

static long handle(void *device) { return (long)device - 1; }

int nvmlInit_v2(void) { return SUCCESS; }
int nvmlShutdown(void) { return SUCCESS; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = CARDS; return SUCCESS; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) {
    if (index >= CARDS) return INVALID;
    *device = (void *)(long)(index + 1);
    return SUCCESS;
}
int nvmlDeviceGetUUID(void *device, char *text, unsigned length) {
    snprintf(text, length, "GPU-%ld", handle(device));
    return SUCCESS;
}
int nvmlDeviceGetName(void *device, char *text, unsigned length) {
    snprintf(text, length, "Card \"%ld\"", handle(device));
    return SUCCESS;
}
int nvmlDeviceGetUtilizationRates(void *device, Utilization *rates) {
    rates->gpu = 40 + handle(device);
    rates->memory = 7;
    return SUCCESS;
}
int nvmlDeviceGetMemoryInfo_v2(void *device, Memory *memory) {
    memory->total = 80ull << 30;
    memory->used = (3ull + handle(device)) << 30;
    memory->free = memory->total - memory->used;
    memory->reserved = 0;
    return SUCCESS;
}
int nvmlDeviceGetPowerUsage(void *device, unsigned *milliwatts) {
    *milliwatts = 250500 + 1000 * handle(device);
    return SUCCESS;
}
int nvmlDeviceGetEnforcedPowerLimit(void *device, unsigned *milliwatts) {
    *milliwatts = 700000;
    return SUCCESS;
}
int nvmlDeviceGetTotalEnergyConsumption(void *device, unsigned long long *millijoules) {
    if (handle(device) == 1) return NOT_SUPPORTED;
    *millijoules = 123456789012ull;
    return SUCCESS;
}
int nvmlDeviceGetTemperature(void *device, int sensor, unsigned *celsius) {
    *celsius = 50 + handle(device);
    return sensor == 0 ? SUCCESS : INVALID;
}
int nvmlDeviceGetPcieThroughput(void *device, int counter, unsigned *kib) {
    *kib = counter == 0 ? 1000 : 2000;
    return SUCCESS;
}
int nvmlGpmQueryDeviceSupport(void *device, Support *support) {
    support->supported = handle(device) == 0;
    return SUCCESS;
}
int nvmlGpmSampleAlloc(void **sample) { *sample = (void *)1; return SUCCESS; }
int nvmlGpmSampleFree(void *sample) { return sample ? SUCCESS : INVALID; }
int nvmlGpmSampleGet(void *device, void *sample) { return device && sample ? SUCCESS : INVALID; }
int nvmlGpmMetricsGet(Metrics *metrics) {
    for (unsigned i = 0; i < metrics->count; i++) {
        metrics->metrics[i].ret = SUCCESS;
        metrics->metrics[i].value = metrics->metrics[i].id;
    }
    return SUCCESS;
}
