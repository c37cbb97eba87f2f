/* probe.h - PROBE: did the rare path really run?  PLANT: a bug on request.
 *
 * Both exist only in the test build (-Dtest_hooks=true); elsewhere they are
 * nothing. PROBE(name) counts each time it is passed; a simulator run that
 * never hit one fails. PLANT(name) is false unless probe_plant("name") chose
 * it; it marks the place where a known bug can be switched on at run time, to
 * prove that the tests find it. Names are C identifiers, unique in the tree.
 */
#ifndef PROBE_H
#define PROBE_H

#include "base.h"

#ifdef PS_TEST_HOOKS

struct probe {
    const char *name;
    uint64_t hits;      /* [a] relaxed */
    uint32_t is_plant;  /* PLANT, not PROBE */
    uint32_t is_chosen; /* set before threads start */
};

#define PROBE_ENTRY(n, plant)                                            \
    static struct probe probe_##n                                        \
        __attribute__((section("ps_probe"), used, aligned(8))) = {#n, 0, \
                                                                  plant, 0}

#define PROBE(n)                                                  \
    do {                                                          \
        PROBE_ENTRY(n, 0);                                        \
        __atomic_fetch_add(&probe_##n.hits, 1, __ATOMIC_RELAXED); \
    } while (0)

/* At file scope: PLANT_DECLARE(name); in code: if (PLANT(name)) ... */
#define PLANT_DECLARE(n) PROBE_ENTRY(n, 1)
#define PLANT(n) (UNLIKELY(probe_##n.is_chosen) && probe_hit(&probe_##n))

static inline bool probe_hit(struct probe *p)
{
    __atomic_fetch_add(&p->hits, 1, __ATOMIC_RELAXED);
    return true;
}

/* Walks all probes and plants of the program; *n is their number. */
struct probe *probe_all(size_t *n);
/* Chooses a planted bug; false if there is none of that name. */
bool probe_plant(const char *name);
void probe_reset(void); /* hits to 0, no plant chosen */

#else
#define PROBE(n) ((void)0)
#define PLANT_DECLARE(n) _Static_assert(1, #n)
#define PLANT(n) false
#endif

#endif
