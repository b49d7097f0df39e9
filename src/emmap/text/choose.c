#include "kernels.h"

const struct emmap_kernels *emmap_kernels_find(unsigned i)
{
    const struct emmap_kernels *found[4];
    unsigned n = 0;
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vbmi") &&
        __builtin_cpu_supports("bmi2"))
        found[n++] = &emmap_avx512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2"))
        found[n++] = &emmap_avx2;
#elif defined(__aarch64__)
    found[n++] = &emmap_neon; /* every one has it */
#endif
    found[n++] = &emmap_portable;
    return i < n ? found[i] : NULL;
}
