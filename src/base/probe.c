/* probe.c - the list of all probes and plants of a program.
 *
 * Each lies in the section ps_probe, and the linker names its two ends. They
 * are weak: a program without any probe has no such section.
 */
#include "probe.h"

#ifdef PS_TEST_HOOKS

extern struct probe __start_ps_probe[] __attribute__((weak));
extern struct probe __stop_ps_probe[] __attribute__((weak));

struct probe *probe_all(size_t *n)
{
    uintptr_t end = (uintptr_t)__stop_ps_probe;

    *n = (end - (uintptr_t)__start_ps_probe) / sizeof(struct probe);
    return __start_ps_probe;
}

bool probe_plant(const char *name)
{
    size_t n;
    struct probe *all = probe_all(&n);

    for (size_t i = 0; i < n; i++) {
        if (all[i].is_plant && strcmp(all[i].name, name) == 0) {
            all[i].is_chosen = 1;
            return true;
        }
    }
    return false;
}

void probe_reset(void)
{
    size_t n;
    struct probe *all = probe_all(&n);

    for (size_t i = 0; i < n; i++) {
        __atomic_store_n(&all[i].hits, 0, __ATOMIC_RELAXED);
        all[i].is_chosen = 0;
    }
}

#else

/* ISO C wants something in every file. */
_Static_assert(PLANT(none) == false, "without test hooks a plant is nothing");

#endif
