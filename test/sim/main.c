/* main.c - ps-sim: runs seeds, judges the run as a whole, replays one.
 *
 *     ps-sim --seeds N [--first S] [--jobs J] [--deep]
 *     ps-sim --seed N [--trace]
 *     ps-sim --plants
 *     ps-sim --plant NAME [--seed K] [--trace]
 *
 * The last line is `N passed, N failed`. Seeds are shared among J processes,
 * which report through a pipe; a seed that ends its process is found, too. */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "sim.h"

enum {
    DEEP_SEEDS = 20000,
    TWICE_EVERY = 50,   /* seeds: one is run twice */
    PLANT_SEEDS = 400,  /* a plant must be found within */
    PLANT_WALL_S = 20,  /* or its child is ended, which is found as well */
    FAULTS_MEAN = 100,  /* at least, a seed */
    ACKED_PERCENT = 95, /* at least, of the pushes */
    PUSHES_MIN = 500,   /* at least, a seed */
    VALID_SEEDS = 100,  /* fewer are not judged as a run */
    PROBE_SEEDS = 500,  /* fewer need not have every fault and probe */
    FAILURES_SHOWN = 20,
    PROBES_MAX = 256
};

struct options {
    uint64_t first;
    uint64_t seeds; /* 0: one seed */
    uint32_t jobs;
    bool is_traced;
    bool plants;
    bool has_seed;
    const char *plant;
};

/* What a worker reports: one for each seed. */
struct report {
    uint64_t seed;
    uint64_t trace;
    uint32_t has_failed;
    struct sim_totals totals;
    uint64_t probes[PROBES_MAX]; /* hits so far in this worker */
    char why[512];
};

static void print_log(enum log_level level, const char *text)
{
    static const char letters[] = "DIWE";

    printf("           ## %c %s\n", letters[level], text);
}

static void no_log(enum log_level level, const char *text)
{
    (void)level;
    (void)text;
}

static void copy_probes(struct report *r)
{
#ifdef PS_TEST_HOOKS
    size_t n;
    const struct probe *all = probe_all(&n);

    for (size_t i = 0; i < n && i < PROBES_MAX; i++) {
        r->probes[i] = all[i].hits;
    }
#else
    (void)r;
#endif
}

static void run_seed(uint64_t seed, bool is_traced, struct report *r)
{
    static struct sim s;

    memset(r, 0, sizeof(*r));
    world_run(&s, seed, is_traced);
    if (!s.has_failed && !s.was_given_up && s.totals.pushes < PUSHES_MIN) {
        world_fail(&s, "%" PRIu64 " pushes only", s.totals.pushes);
    }
    r->seed = seed;
    r->trace = s.trace;
    r->has_failed = s.has_failed;
    r->totals = s.totals;
    memcpy(r->why, s.why, sizeof(r->why));
    world_fini(&s);
    copy_probes(r);
}

static void run_twice(uint64_t seed, struct report *r)
{
    uint64_t trace;

    run_seed(seed, false, r);
    trace = r->trace;
    if (!r->has_failed) {
        run_seed(seed, false, r);
        if (!r->has_failed && r->trace != trace) {
            r->has_failed = 1;
            snprintf(r->why, sizeof(r->why),
                     "two runs differ: trace %016" PRIx64 " and %016" PRIx64,
                     trace, r->trace);
        }
    }
}

static void write_all(int fd, const void *data, size_t size)
{
    const char *p = data;

    while (size > 0) {
        ssize_t n = write(fd, p, size);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            _exit(3);
        }
        p += n;
        size -= (size_t)n;
    }
}

/* False at the end of the stream. */
static bool read_all(int fd, void *data, size_t size)
{
    char *p = data;

    while (size > 0) {
        ssize_t n = read(fd, p, size);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return false;
        }
        p += n;
        size -= (size_t)n;
    }
    return true;
}

/* ---- a run of seeds ---------------------------------------------------- */

struct worker {
    pid_t pid;
    int fd;
    uint64_t next; /* the seed it is at */
    uint64_t probes[PROBES_MAX];
};

static void add_totals(struct sim_totals *t, const struct sim_totals *more)
{
    uint64_t *to = (uint64_t *)(void *)t;
    const uint64_t *from = (const uint64_t *)(const void *)more;

    for (size_t i = 0; i < sizeof(*t) / sizeof(*to); i++) {
        to[i] += from[i];
    }
}

/* Seeds next, next + jobs, ... in a process of its own. */
static void start_worker(struct worker *w, const struct options *o)
{
    int fds[2];
    static struct report r;

    fflush(stdout);
    if (pipe(fds) != 0 || (w->pid = fork()) < 0) {
        perror("ps-sim");
        exit(2);
    }
    if (w->pid > 0) {
        close(fds[1]);
        w->fd = fds[0];
        return;
    }
    close(fds[0]);
    for (uint64_t seed = w->next; seed < o->first + o->seeds; seed += o->jobs) {
        if (seed % TWICE_EVERY == 0) {
            run_twice(seed, &r);
        } else {
            run_seed(seed, false, &r);
        }
        write_all(fds[1], &r, sizeof(r));
    }
    _exit(0);
}

static void say_failed(uint64_t seed, const char *why, uint64_t *n_failed)
{
    (*n_failed)++;
    if (*n_failed <= FAILURES_SHOWN) {
        printf("seed %" PRIu64 " FAILED: %s\n    replay: ps-sim --seed %" PRIu64
               " --trace\n",
               seed, why, seed);
        fflush(stdout);
    }
}

/* Takes what a worker has to say until its pipe ends; a seed it died of
 * failed, and the next is given to another process. */
static void drain(struct worker *w, const struct options *o,
                  struct sim_totals *totals, uint64_t *probes,
                  uint64_t *n_failed)
{
    static struct report r;
    char why[64];
    int status = 0;

    for (;;) {
        memset(w->probes, 0, sizeof(w->probes));
        while (read_all(w->fd, &r, sizeof(r))) {
            add_totals(totals, &r.totals);
            memcpy(w->probes, r.probes, sizeof(w->probes));
            if (r.has_failed != 0) {
                say_failed(r.seed, r.why, n_failed);
            }
            w->next = r.seed + o->jobs;
        }
        for (size_t i = 0; i < PROBES_MAX; i++) {
            probes[i] += w->probes[i];
        }
        close(w->fd);
        waitpid(w->pid, &status, 0);
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
            return;
        }
        snprintf(why, sizeof(why), "the process ends with status %d", status);
        say_failed(w->next, why, n_failed);
        w->next += o->jobs;
        if (w->next >= o->first + o->seeds) {
            return;
        }
        start_worker(w, o);
    }
}

static uint64_t judge_probes(const uint64_t *probes)
{
    uint64_t missing = 0;
#ifdef PS_TEST_HOOKS
    size_t n;
    const struct probe *all = probe_all(&n);

    if (n > PROBES_MAX) {
        printf("run FAILED: more than %d probes\n", PROBES_MAX);
        return 1;
    }
    for (size_t i = 0; i < n; i++) {
        if (!all[i].is_plant && probes[i] == 0) {
            printf("run FAILED: probe %s was never hit\n", all[i].name);
            missing++;
        }
    }
#else
    (void)probes;
#endif
    return missing;
}

/* A run that disturbed nothing proves nothing. */
static uint64_t judge(const struct sim_totals *t, const uint64_t *probes)
{
    uint64_t n_failed = 0, faults = 0;

    for (uint32_t f = 0; f < FAULTS_N; f++) {
        faults += t->faults[f];
        if (t->faults[f] == 0 && t->seeds >= PROBE_SEEDS) {
            printf("run FAILED: no fault of kind %s\n", faults_names[f]);
            n_failed++;
        }
    }
    if (faults < FAULTS_MEAN * t->seeds) {
        printf("run FAILED: a mean of %.1f faults a seed, not %d\n",
               (double)faults / (double)t->seeds, FAULTS_MEAN);
        n_failed++;
    }
    if (t->pushes_acked * 100 < t->pushes * ACKED_PERCENT) {
        printf("run FAILED: %.2f %% of the pushes were acknowledged\n",
               100.0 * (double)t->pushes_acked / (double)t->pushes);
        n_failed++;
    }
    return n_failed + (t->seeds < PROBE_SEEDS ? 0 : judge_probes(probes));
}

static void print_totals(const struct sim_totals *t, const uint64_t *probes,
                         double wall_s)
{
    uint64_t faults = 0;
    double seeds = t->seeds == 0 ? 1 : (double)t->seeds;

    for (uint32_t f = 0; f < FAULTS_N; f++) {
        faults += t->faults[f];
        printf("  fault %-18s %10" PRIu64 "\n", faults_names[f], t->faults[f]);
    }
#ifdef PS_TEST_HOOKS
    size_t n;
    const struct probe *all = probe_all(&n);

    for (size_t i = 0; i < n && i < PROBES_MAX; i++) {
        if (!all[i].is_plant) {
            printf("  probe %-32s %10" PRIu64 "\n", all[i].name, probes[i]);
        }
    }
#else
    (void)probes;
#endif
    printf("%" PRIu64 " seeds, %.1f s (%.1f a second): %" PRIu64
           " pushes, %.2f %% acknowledged; mean faults %.1f, events %.0f, "
           "frames %.0f, virtual seconds %.0f\n",
           t->seeds, wall_s, (double)t->seeds / wall_s, t->pushes,
           100.0 * (double)t->pushes_acked /
               (double)(t->pushes == 0 ? 1 : t->pushes),
           (double)faults / seeds, (double)t->events / seeds,
           (double)t->frames / seeds, (double)t->virtual_us / SIM_S / seeds);
    printf("not acknowledged: %" PRIu64 " canceled, %" PRIu64
           " of a dropped variable, %" PRIu64 " over the memory limit, %" PRIu64
           " abandoned, %" PRIu64
           " rolled back; the rest died with their client\n",
           t->pushes_canceled, t->pushes_gone, t->pushes_limited,
           t->pushes_given_up, t->pushes_rolled_back);
    printf("%" PRIu64 " frames applied, %" PRIu64 " lost and told, %" PRIu64
           " come-backs, %" PRIu64 " sessions, %" PRIu64 " rows and %" PRIu64
           " pulled rows checked\n",
           t->applied, t->losses, t->come_backs, t->sessions, t->rows,
           t->pulls_checked);
    printf(
        "%" PRIu64 " saves: %" PRIu64 " done, %" PRIu64 " failed, %" PRIu64
        " canceled, %" PRIu64 " times begun again; %" PRIu64
        " checkpoints (%" PRIu64 " increments) with %" PRIu64 " rows, %" PRIu64
        " late frames and %" PRIu64 " positions checked, %" PRIu64
        " damaged and found; %" PRIu64 " parts loaded, %" PRIu64
        " frames of ended lanes kept in part; %" PRIu64 " moves begun, %" PRIu64
        " done\n"
        "%" PRIu64 " logged frames found, %" PRIu64
        " not, after damage or a power cut; %" PRIu64
        " times a log was refused, in %" PRIu64
        " seeds with nothing to go back to\n",
        t->saves, t->saves_done, t->saves_failed, t->saves_canceled,
        t->saves_again, t->folders, t->increments, t->rows_saved, t->lates,
        t->positions, t->flips_found, t->loads, t->kept, t->moves,
        t->moves_done, t->logged, t->logged_lost, t->logs_refused, t->given_up);
}

static double wall(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static uint64_t run_seeds(const struct options *o, uint64_t *n_passed)
{
    struct worker *workers = calloc(o->jobs, sizeof(*workers));
    struct sim_totals totals = {0};
    uint64_t probes[PROBES_MAX] = {0};
    uint64_t n_failed = 0;
    double begin = wall();

    if (workers == NULL) {
        return 1;
    }
    for (uint32_t i = 0; i < o->jobs; i++) {
        workers[i].next = o->first + i;
        start_worker(&workers[i], o);
    }
    for (uint32_t i = 0; i < o->jobs; i++) {
        drain(&workers[i], o, &totals, probes, &n_failed);
    }
    free(workers);
    print_totals(&totals, probes, wall() - begin);
    *n_passed = o->seeds - n_failed;
    if (o->seeds >= VALID_SEEDS) {
        uint64_t invalid = judge(&totals, probes);

        *n_passed += invalid == 0;
        n_failed += invalid;
    }
    return n_failed;
}

/* ---- one seed ---------------------------------------------------------- */

static uint64_t run_one(const struct options *o)
{
    static struct report r;

    if (o->is_traced) {
        log_set_level(LOG_DEBUG);
        log_set_sink(print_log);
    }
    run_seed(o->first, o->is_traced, &r);
    printf("seed %" PRIu64 ": trace %016" PRIx64 ", %" PRIu64
           " events, %" PRIu64 " pushes, %" PRIu64
           " acknowledged, %.1f virtual s\n",
           r.seed, r.trace, r.totals.events, r.totals.pushes,
           r.totals.pushes_acked, (double)r.totals.virtual_us / SIM_S);
    if (r.has_failed != 0) {
        printf("seed %" PRIu64 " FAILED: %s\n", r.seed, r.why);
    }
    return r.has_failed;
}

/* ---- plants ------------------------------------------------------------ */

#ifdef PS_TEST_HOOKS
/* Runs one seed with a plant in a child. True if it was found. */
static bool finds(const char *plant, uint64_t seed, char *why, size_t size)
{
    static struct report r;
    int fds[2], status = 0;
    pid_t pid;
    bool found;

    fflush(stdout);
    if (pipe(fds) != 0 || (pid = fork()) < 0) {
        perror("ps-sim");
        exit(2);
    }
    if (pid == 0) {
        close(fds[0]);
        alarm(PLANT_WALL_S);
        if (freopen("/dev/null", "w", stderr) == NULL || !probe_plant(plant)) {
            _exit(3);
        }
        faults_for_plant();
        run_seed(seed, false, &r);
        write_all(fds[1], &r, sizeof(r));
        _exit(0);
    }
    close(fds[1]);
    found = !read_all(fds[0], &r, sizeof(r));
    close(fds[0]);
    waitpid(pid, &status, 0);
    if (found) {
        snprintf(why, size, "the process ends with %s %d",
                 WIFSIGNALED(status) ? "signal" : "status",
                 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
        return true;
    }
    snprintf(why, size, "%s", r.why);
    return r.has_failed != 0;
}

/* Tries seeds until one finds it. */
static bool seek(const char *plant, const struct options *o)
{
    char why[512];
    uint64_t last = o->has_seed ? o->first : PLANT_SEEDS;

    for (uint64_t seed = o->has_seed ? o->first : 1; seed <= last; seed++) {
        if (finds(plant, seed, why, sizeof(why))) {
            printf("plant %s found at seed %" PRIu64 ": %s\n", plant, seed,
                   why);
            return true;
        }
    }
    printf("plant %s NOT FOUND\n", plant);
    return false;
}

static uint64_t run_plants(const struct options *o, uint64_t *n_passed)
{
    size_t n;
    const struct probe *all = probe_all(&n);
    uint64_t n_failed = 0;
    bool is_there = false;

    for (size_t i = 0; i < n; i++) {
        if (!all[i].is_plant ||
            (o->plant != NULL && strcmp(o->plant, all[i].name) != 0)) {
            continue;
        }
        is_there = true;
        if (seek(all[i].name, o)) {
            (*n_passed)++;
        } else {
            n_failed++;
        }
        fflush(stdout);
    }
    if (!is_there) {
        printf("there is no such plant\n");
        n_failed++;
    }
    return n_failed;
}
#else
static uint64_t run_plants(const struct options *o, uint64_t *n_passed)
{
    (void)o;
    (void)n_passed;
    printf("plants need a build with -Dtest_hooks=true\n");
    return 1;
}
#endif

/* ---- the command line -------------------------------------------------- */

static void usage(void)
{
    fprintf(stderr,
            "usage: ps-sim --seeds N [--first S] [--jobs J] | --deep |\n"
            "       --seed N [--trace] | --plants | "
            "--plant NAME [--seed N] [--trace]\n");
    exit(2);
}

static uint64_t number(const char *text)
{
    char *end;
    uint64_t n;

    if (text == NULL || *text < '0' || *text > '9') {
        usage();
    }
    errno = 0;
    n = strtoull(text, &end, 10);
    if (errno != 0 || *end != '\0') {
        usage();
    }
    return n;
}

static void parse(int argc, char **argv, struct options *o)
{
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;

        if (strcmp(argv[i], "--trace") == 0) {
            o->is_traced = true;
        } else if (strcmp(argv[i], "--plants") == 0) {
            o->plants = true;
        } else if (strcmp(argv[i], "--deep") == 0) {
            o->seeds = DEEP_SEEDS;
        } else if (strcmp(argv[i], "--seeds") == 0) {
            o->seeds = number(value);
            i++;
        } else if (strcmp(argv[i], "--first") == 0) {
            o->first = number(value);
            i++;
        } else if (strcmp(argv[i], "--seed") == 0) {
            o->first = number(value);
            o->has_seed = true;
            i++;
        } else if (strcmp(argv[i], "--jobs") == 0) {
            o->jobs = (uint32_t)number(value);
            i++;
        } else if (strcmp(argv[i], "--plant") == 0 && value != NULL) {
            o->plant = value;
            o->plants = true;
            i++;
        } else {
            usage();
        }
    }
    if (o->jobs == 0 || o->jobs > 256 ||
        (o->seeds == 0 && !o->has_seed && !o->plants)) {
        usage();
    }
}

int main(int argc, char **argv)
{
    struct options o = {.first = 1, .jobs = 1};
    uint64_t n_passed = 0, n_failed = 0;

    parse(argc, argv, &o);
    log_set_level(LOG_NONE);
    log_set_sink(no_log);
    if (o.plants && o.plant != NULL && o.has_seed && o.is_traced) {
#ifdef PS_TEST_HOOKS
        (void)probe_plant(o.plant);
        faults_for_plant();
#endif
        n_failed = run_one(&o);
        n_passed = 1 - n_failed;
    } else if (o.plants) {
        n_failed = run_plants(&o, &n_passed);
    } else if (o.has_seed) {
        n_failed = run_one(&o);
        n_passed = 1 - n_failed;
    } else {
        n_failed = run_seeds(&o, &n_passed);
    }
    printf("%" PRIu64 " passed, %" PRIu64 " failed\n", n_passed, n_failed);
    return n_failed == 0 ? 0 : 1;
}
