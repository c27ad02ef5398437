/* A stub libnvidia-ml.so.1: the functions that benchmarks/meter/nvml*.py calls, with the real structures.
 *
 * Devices: a whole GPU, and a GPU cut into MIG slices, of which only the one at index 1 exists.
 * Scripted by the environment:
 *   NVML_STUB_MEMORY_MIB    used memory, one value a reading: "1000,4072,1000"; the last one repeats
 *   NVML_STUB_THROTTLE      bits, one value a reading
 *   NVML_STUB_ENERGY_MJ     what each reading adds to the energy counter
 *   NVML_STUB_FAIL          "function:code:n": the function fails from its n-th call on
 * Compiled with -DWITHOUT_..., a function is missing as from an old driver; -DMEMORY_VERSION=n changes the
 * version of the memory structure that is understood.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    SUCCESS = 0,
    INVALID_ARGUMENT = 2,
    NOT_SUPPORTED = 3,
    NOT_FOUND = 6,
    INSUFFICIENT_SIZE = 7,
    ARGUMENT_VERSION_MISMATCH = 25,
};

#ifndef MEMORY_VERSION
#define MEMORY_VERSION 2
#endif

#define MIB (1024ull * 1024ull)
#define UNAVAILABLE (~0ull)

typedef struct Device {
    const char *uuid;
    const char *name;
    unsigned long long total_mib;
    struct Device *whole; /* of a MIG slice */
    struct Device *slice; /* of a GPU in MIG mode */
} Device;

typedef struct {
    unsigned int version;
    unsigned long long total, reserved, free, used;
} MemoryV2;

static Device slice;
static Device whole = {"GPU-aaaa0000-0000-0000-0000-000000000000", "NVIDIA Stub 80GB", 81920, NULL, NULL};
static Device sliced = {"GPU-bbbb0000-0000-0000-0000-000000000000", "NVIDIA Stub 40GB", 40960, NULL, &slice};
static Device slice = {
    "MIG-cccc0000-0000-0000-0000-000000000000", "NVIDIA Stub 40GB MIG 1g.5gb", 4864, &sliced, NULL};
static Device *const DEVICES[] = {&whole, &sliced, &slice};

/* Calls so far, by function. */

static struct {
    const char *function;
    int calls;
} counters[32];

static int *counter(const char *function) {
    int i = 0;
    while (counters[i].function && strcmp(counters[i].function, function)) i++;
    counters[i].function = function;
    return &counters[i].calls;
}

int stub_calls(const char *function) {
    for (int i = 0; counters[i].function; i++)
        if (!strcmp(counters[i].function, function)) return counters[i].calls;
    return 0;
}

static int failure(const char *function) {
    char named[64] = "";
    int code = 0, first = 1, call = ++*counter(function);
    const char *script = getenv("NVML_STUB_FAIL");
    if (!script || sscanf(script, "%63[^:]:%d:%d", named, &code, &first) < 2) return SUCCESS;
    return !strcmp(named, function) && call >= first ? code : SUCCESS;
}

#define COUNT_OR_FAIL                             \
    do {                                          \
        int code = failure(__func__);             \
        if (code != SUCCESS) return code;         \
    } while (0)

/* The value for the n-th reading (from 1) of a comma-separated script. */
static unsigned long long scripted(const char *variable, unsigned long long otherwise, int n) {
    const char *text = getenv(variable);
    if (!text) return otherwise;
    for (const char *comma; n > 1 && (comma = strchr(text, ',')); n--) text = comma + 1;
    return strtoull(text, NULL, 0);
}

static int put(const char *text, char *buffer, unsigned int length) {
    return snprintf(buffer, length, "%s", text) < (int)length ? SUCCESS : INSUFFICIENT_SIZE;
}

int nvmlInitWithFlags(unsigned int flags) {
    COUNT_OR_FAIL;
    return flags ? INVALID_ARGUMENT : SUCCESS;
}

int nvmlShutdown(void) {
    COUNT_OR_FAIL;
    return SUCCESS;
}

const char *nvmlErrorString(int code) { return code == 77 ? "Unheard Of" : "Other"; }

int nvmlDeviceGetHandleByUUID(const char *uuid, Device **device) {
    COUNT_OR_FAIL;
    if (strncmp(uuid, "GPU-", 4) && strncmp(uuid, "MIG-", 4)) return INVALID_ARGUMENT;
    for (unsigned i = 0; i < sizeof DEVICES / sizeof *DEVICES; i++)
        if (!strcmp(DEVICES[i]->uuid, uuid)) return *device = DEVICES[i], SUCCESS;
    return NOT_FOUND;
}

int nvmlDeviceGetUUID(Device *device, char *uuid, unsigned int length) {
    COUNT_OR_FAIL;
    return put(device->uuid, uuid, length);
}

int nvmlDeviceGetName(Device *device, char *name, unsigned int length) {
    COUNT_OR_FAIL;
    return put(device->name, name, length);
}

#ifndef WITHOUT_MIG
int nvmlDeviceIsMigDeviceHandle(Device *device, unsigned int *is_slice) {
    COUNT_OR_FAIL;
    *is_slice = device->whole != NULL;
    return SUCCESS;
}

int nvmlDeviceGetDeviceHandleFromMigDeviceHandle(Device *device, Device **of_whole) {
    COUNT_OR_FAIL;
    if (!device->whole) return INVALID_ARGUMENT;
    *of_whole = device->whole;
    return SUCCESS;
}

int nvmlDeviceGetMigMode(Device *device, unsigned int *current, unsigned int *pending) {
    COUNT_OR_FAIL;
    if (device->whole) return NOT_SUPPORTED;
    *current = *pending = device->slice != NULL;
    return SUCCESS;
}

int nvmlDeviceGetMaxMigDeviceCount(Device *device, unsigned int *count) {
    COUNT_OR_FAIL;
    *count = device->slice ? 7 : 0;
    return SUCCESS;
}

int nvmlDeviceGetMigDeviceHandleByIndex(Device *device, unsigned int index, Device **of_slice) {
    COUNT_OR_FAIL;
    if (!device->slice || index != 1) return NOT_FOUND;
    *of_slice = device->slice;
    return SUCCESS;
}
#endif

#ifndef WITHOUT_MEMORY_V2
int nvmlDeviceGetMemoryInfo_v2(Device *device, MemoryV2 *memory) {
    COUNT_OR_FAIL;
    if (memory->version != (sizeof *memory | MEMORY_VERSION << 24)) return ARGUMENT_VERSION_MISMATCH;
    memory->total = device->total_mib * MIB;
    memory->reserved = 512 * MIB;
    memory->used = scripted("NVML_STUB_MEMORY_MIB", 1000, *counter(__func__)) * MIB;
    memory->free = memory->total - memory->reserved - memory->used;
    return SUCCESS;
}
#endif

/* What a slice does not tell, only the whole GPU. */

int nvmlDeviceGetTotalEnergyConsumption(Device *device, unsigned long long *millijoules) {
    COUNT_OR_FAIL;
    if (device->whole) return NOT_SUPPORTED;
    *millijoules = 1000000 + *counter(__func__) * scripted("NVML_STUB_ENERGY_MJ", 1500, 1);
    return SUCCESS;
}

int nvmlDeviceGetPowerUsage(Device *device, unsigned int *milliwatts) {
    COUNT_OR_FAIL;
    if (device->whole) return NOT_SUPPORTED;
    *milliwatts = 312500;
    return SUCCESS;
}

int nvmlDeviceGetClockInfo(Device *device, unsigned int domain, unsigned int *mhz) {
    COUNT_OR_FAIL;
    if (device->whole) return NOT_SUPPORTED;
    if (domain != 1 && domain != 2) return INVALID_ARGUMENT;
    *mhz = domain == 1 ? 1410 : 1593;
    return SUCCESS;
}

static inline int throttle(const char *function, Device *device, unsigned long long *bits) {
    if (device->whole) return NOT_SUPPORTED;
    *bits = scripted("NVML_STUB_THROTTLE", 0, *counter(function));
    return SUCCESS;
}

#ifndef WITHOUT_EVENT_REASONS
int nvmlDeviceGetCurrentClocksEventReasons(Device *device, unsigned long long *bits) {
    COUNT_OR_FAIL;
    return throttle(__func__, device, bits);
}
#endif

#ifndef WITHOUT_THROTTLE_REASONS
int nvmlDeviceGetCurrentClocksThrottleReasons(Device *device, unsigned long long *bits) {
    COUNT_OR_FAIL;
    return throttle(__func__, device, bits);
}
#endif
