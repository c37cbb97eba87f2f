#include "cli/cores.h"

#include <errno.h>
#include <hwloc.h>
#include <sched.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"

/* A line of the log has room for this and what stands before it. */
enum { LINE_BYTES = 900 };

static uint32_t find_nth(const struct cores_cpu *cpus, size_t n, uint32_t core,
                         uint32_t nth)
{
    for (uint32_t i = 0; i < n; i++) {
        if (cpus[i].core == core && nth == 0) {
            return i;
        }
        nth -= cpus[i].core == core ? 1 : 0;
    }
    return UINT32_MAX;
}

void cores_order(const struct cores_cpu *cpus, size_t n, uint32_t start,
                 uint32_t *order)
{
    uint32_t n_cores = n > 0 ? cpus[n - 1].core + 1 : 0;
    size_t at = 0;

    for (uint32_t nth = 0; at < n; nth++) {
        for (uint32_t k = 0; k < n_cores; k++) {
            uint32_t core = (start % n_cores + k) % n_cores;
            uint32_t i = find_nth(cpus, n, core, nth);

            if (i != UINT32_MAX) {
                order[at] = cpus[i].cpu;
                at++;
            }
        }
    }
}

/* How often a CPU is among those chosen so far. */
static uint32_t count_uses(const uint32_t *chosen, uint32_t n, uint32_t cpu)
{
    uint32_t uses = 0;

    for (uint32_t i = 0; i < n; i++) {
        uses += chosen[i] == cpu ? 1 : 0;
    }
    return uses;
}

static uint32_t least_used(const uint32_t *order, size_t n,
                           const uint32_t *chosen, uint32_t n_chosen)
{
    uint32_t best = order[0];
    uint32_t least = UINT32_MAX;

    for (size_t i = 0; i < n; i++) {
        uint32_t uses = count_uses(chosen, n_chosen, order[i]);

        if (uses < least) {
            best = order[i];
            least = uses;
        }
    }
    return best;
}

uint32_t cores_choose(const uint32_t *order, size_t n, uint32_t want,
                      bool (*take)(void *context, uint32_t cpu), void *context,
                      uint32_t *chosen)
{
    uint32_t taken = 0;

    for (size_t i = 0; i < n && taken < want; i++) {
        if (take(context, order[i])) {
            chosen[taken] = order[i];
            taken++;
        }
    }
    for (uint32_t i = taken; i < want; i++) {
        chosen[i] = least_used(order, n, chosen, i);
    }
    return want - taken;
}

/* How many shards from `at` on have CPUs that follow each other. */
static uint32_t run_length(const uint32_t *cpus, uint32_t n, uint32_t at)
{
    uint32_t length = 1;

    while (at + length < n && cpus[at + length] == cpus[at] + length) {
        length++;
    }
    return length;
}

void cores_describe(const uint32_t *cpus, uint32_t n, uint32_t *at, char *text,
                    size_t room)
{
    size_t used = 0;

    text[0] = '\0';
    while (*at < n) {
        uint32_t length = run_length(cpus, n, *at);
        const char *comma = used > 0 ? ", " : "";
        char part[96];
        int size;

        if (length == 1) {
            size = snprintf(part, sizeof(part), "%sshard %u on CPU %u", comma,
                            (unsigned)*at, (unsigned)cpus[*at]);
        } else {
            size = snprintf(part, sizeof(part), "%sshards %u-%u on CPUs %u-%u",
                            comma, (unsigned)*at, (unsigned)(*at + length - 1),
                            (unsigned)cpus[*at],
                            (unsigned)(cpus[*at] + length - 1));
        }
        if (size < 0 || used + (size_t)size >= room) {
            return;
        }
        memcpy(text + used, part, (size_t)size + 1);
        used += (size_t)size;
        *at += length;
    }
}

/* The CPUs of the topology that are in `mine`, node by node. */
static int list_cpus(hwloc_topology_t topology, hwloc_const_bitmap_t mine,
                     struct cores_cpu **cpus, size_t *n, struct err *e)
{
    int count = hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_PU);
    struct cores_cpu *all =
        mem_try(mem_array((size_t)(count > 0 ? count : 1), sizeof(*all)));
    unsigned former = UINT_MAX;

    if (all == NULL) {
        return err_set(e, PS_ENOMEM, "no memory for a list of CPUs");
    }
    *cpus = all;
    *n = 0;
    for (unsigned i = 0; (int)i < count; i++) {
        hwloc_obj_t pu = hwloc_get_obj_by_type(topology, HWLOC_OBJ_PU, i);
        hwloc_obj_t core;
        unsigned number;

        /* A set of the C library has room for so many. */
        if (pu == NULL || !hwloc_bitmap_isset(mine, pu->os_index) ||
            pu->os_index >= CPU_SETSIZE) {
            continue;
        }
        core = hwloc_get_ancestor_obj_by_type(topology, HWLOC_OBJ_CORE, pu);
        number = core != NULL ? core->logical_index : i;
        all[*n].cpu = pu->os_index;
        all[*n].core =
            *n == 0 ? 0 : all[*n - 1].core + (number != former ? 1 : 0);
        former = number;
        *n += 1;
    }
    return *n > 0 ? PS_OK
                  : err_set(e, PS_EIO,
                            "none of the CPUs that this process may use is "
                            "known to the machine's description");
}

/* The caller frees *cpus, also after a failure. */
static int read_cpus(struct cores_cpu **cpus, size_t *n, struct err *e)
{
    hwloc_topology_t topology;
    hwloc_bitmap_t mine;
    int rc = PS_OK;

    *cpus = NULL;
    if (hwloc_topology_init(&topology) != 0) {
        return err_set(e, PS_ENOMEM, "no memory to describe the machine");
    }
    mine = hwloc_bitmap_alloc();
    if (mine == NULL) {
        rc = err_set(e, PS_ENOMEM, "no memory for a set of CPUs");
    } else if (hwloc_topology_load(topology) != 0 ||
               hwloc_get_cpubind(topology, mine, HWLOC_CPUBIND_THREAD) != 0) {
        rc = err_set(e, PS_EIO, "cannot see which CPUs there are: %s",
                     strerror(errno));
    } else {
        rc = list_cpus(topology, mine, cpus, n, e);
    }
    hwloc_bitmap_free(mine);
    hwloc_topology_destroy(topology);
    return rc;
}

/* True unless another process has that name: where it cannot be asked, nobody
 * is known to have it. The socket is open until this process ends. */
static bool take_cpu(void *context, uint32_t cpu)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    int size = snprintf(name.sun_path + 1, sizeof(name.sun_path) - 1,
                        "ps-plus/cpu/%u", (unsigned)cpu);
    socklen_t length =
        (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)size);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void)context;
    if (fd < 0) {
        return true;
    }
    if (bind(fd, (const struct sockaddr *)(const void *)&name, length) != 0) {
        bool is_taken = errno == EADDRINUSE;

        close(fd);
        return !is_taken;
    }
    /* cppcheck-suppress resourceLeak ; open on purpose */
    return true;
}

static void say(const uint32_t *cpus, uint32_t n, uint32_t n_shared)
{
    uint32_t at = 0;

    while (at < n) {
        char text[LINE_BYTES];

        cores_describe(cpus, n, &at, text, sizeof(text));
        log_write(LOG_INFO, "bound: %s", text);
    }
    if (n_shared > 0) {
        log_write(LOG_WARNING,
                  "too few CPUs: %u of %u shards share one with each other or "
                  "with another server",
                  (unsigned)n_shared, (unsigned)n);
    }
}

int cores_of_server(uint32_t server, uint32_t n_shards, uint32_t *cpus,
                    struct err *e)
{
    struct cores_cpu *all;
    uint32_t *order = NULL;
    size_t n = 0;
    int rc = read_cpus(&all, &n, e);

    if (rc == PS_OK) {
        order = mem_try(mem_array(n, sizeof(*order)));
        rc =
            order != NULL ? PS_OK : err_set(e, PS_ENOMEM, "no memory for CPUs");
    }
    if (rc == PS_OK) {
        cores_order(all, n, server * n_shards, order);
        say(cpus, n_shards,
            cores_choose(order, n, n_shards, take_cpu, NULL, cpus));
    }
    mem_free(order);
    mem_free(all);
    return rc;
}

int cores_bind_scheduler(struct err *e)
{
    struct cores_cpu *all;
    cpu_set_t set;
    size_t n = 0;
    int rc = read_cpus(&all, &n, e);

    if (rc == PS_OK) {
        ASSERT(all != NULL && n > 0);
        uint32_t cpu = all[find_nth(all, n, all[n - 1].core, 0)].cpu;

        CPU_ZERO(&set);
        CPU_SET(cpu, &set);
        if (sched_setaffinity(0, sizeof(set), &set) != 0) {
            rc = err_set(e, PS_EIO, "cannot bind to CPU %u: %s", (unsigned)cpu,
                         strerror(errno));
        } else {
            log_write(LOG_INFO, "bound to CPU %u", (unsigned)cpu);
        }
    }
    mem_free(all);
    return rc;
}
