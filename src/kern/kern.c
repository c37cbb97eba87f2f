#include "kern/kern.h"

#include "base/base.h"

/* Bits of the SSE control register, MXCSR. AVX and AVX-512 obey it as well. */
enum {
    MXCSR_DAZ = 1 << 6, /* a denormal operand counts as zero */
    MXCSR_FTZ = 1 << 15 /* a denormal result becomes zero */
};

static bool can_always(void)
{
    return true;
}

static bool can_avx2(void)
{
    return __builtin_cpu_supports("avx2") != 0;
}

static bool can_avx512(void)
{
    return __builtin_cpu_supports("avx512f") != 0;
}

/* Best first. */
static const struct {
    const struct kern *kern;
    bool (*can)(void); /* can this CPU, and its operating system, run it */
} kerns[] = {
    {&kern_avx512, can_avx512},
    {&kern_avx2, can_avx2},
    {&kern_generic, can_always},
};

const struct kern *kern_choose(void)
{
    for (size_t i = 0; i < ARRAY_LEN(kerns); i++) {
        if (kerns[i].can()) {
            return kerns[i].kern;
        }
    }
    return &kern_generic;
}

const struct kern *kern_named(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(kerns); i++) {
        if (strcmp(kerns[i].kern->name, name) == 0) {
            return kerns[i].can() ? kerns[i].kern : NULL;
        }
    }
    return NULL;
}

void kern_enter(void)
{
    (void)kern_save();
}

uint32_t kern_save(void)
{
    uint32_t saved = __builtin_ia32_stmxcsr();

    __builtin_ia32_ldmxcsr(saved | MXCSR_DAZ | MXCSR_FTZ);
    return saved;
}

void kern_restore(uint32_t saved)
{
    __builtin_ia32_ldmxcsr(saved);
}
