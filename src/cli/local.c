/* local.c - ps-plus local: a whole cluster on this machine. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/limits.h"
#include "cli/cli.h"
#include "cli/local_cluster.h"
#include "cli/role.h"
#include "coord/coord.h"
#include "net/loop.h"

enum { SIGNALED = 128, WORKERS_MAX = 4096 };

struct options {
    struct cli_options cli;
    int64_t servers;
    int64_t shards;
    int64_t workers;
    const char *kv;
    struct role_limits limits;
    struct role_saves saves;
    const char *log_path;
    int64_t wait_s;
    struct opt_list plugins;
    bool binds_cores;
    bool is_json;
};
_Static_assert(offsetof(struct options, cli) == 0, "rows of cli.h");

#define AT(field) offsetof(struct options, field)

static const struct opt table[] = {
    {.name = "servers",
     .type = OPT_INT,
     .offset = AT(servers),
     .min = 1,
     .max = LIMIT_SERVERS,
     .fallback = "1",
     .value = "N",
     .help = "How many servers."},
    {.name = "shards",
     .type = OPT_INT,
     .offset = AT(shards),
     .min = 1,
     .max = LIMIT_SHARDS,
     .value = "M",
     .help = "How many threads of each server hold rows. Left out: the CPUs, "
             "divided by the servers."},
    {.name = "workers",
     .type = OPT_INT,
     .offset = AT(workers),
     .min = 1,
     .max = WORKERS_MAX,
     .value = "W",
     .help = "How many times the command is run at the same time. Left out: "
             "once."},
    {.name = "kv",
     .type = OPT_TEXT,
     .offset = AT(kv),
     .value = "DIR",
     .help = "The folder of the store, which stays. Left out: a new one, which "
             "is removed at the end."},
    ROLE_LIMITS(AT(limits)),
    ROLE_SAVES(AT(saves)),
    {.name = "log_path",
     .type = OPT_TEXT,
     .offset = AT(log_path),
     .value = "DIR",
     .help = "Where pushes are logged, as in -r server: a folder for each "
             "server is below it. They stay."},
    {.name = "bind_cores",
     .brief = "bc",
     .type = OPT_BOOL,
     .offset = AT(binds_cores),
     .fallback = "false",
     .value = "BOOL",
     .help = "As in -r server, for scheduler and servers."},
    {.name = "wait",
     .type = OPT_INT,
     .offset = AT(wait_s),
     .max = INT32_MAX,
     .fallback = "300",
     .value = "SECONDS",
     .help = "How long it waits for the cluster to serve; 0 is for ever."},
    {.name = "plugin",
     .type = OPT_LIST,
     .offset = AT(plugins),
     .value = "LIB.so",
     .help = "Loads a plugin into the scheduler and the servers."},
    {.name = "json",
     .type = OPT_FLAG,
     .offset = AT(is_json),
     .help = "Each step as an object of JSON."},
    CLI_OPTIONS("warning"),
};

static const struct cli_page page = {
    .usage = "ps-plus local [OPTION...] [-- COMMAND [ARGUMENT...]]",
    .about =
        "Runs a scheduler and servers on this machine, which end with it in\n"
        "any case. With a command, runs that in it and ends with its status:\n"
        "the first that is not 0, or 128 + the number of a signal; the other\n"
        "workers are stopped then. A worker finds its cluster and itself in\n"
        "the environment: PS_SCHEDULER_KV_PATH, PS_WORKER_ID, PS_WORKER_NUM.\n"
        "Without a command it runs until SIGTERM or SIGINT.\n"
        "\n"
        "Two servers of two threads, and a trainer run twice:\n"
        "    ps-plus local --servers 2 --shards 2 --workers 2 -- ./train\n",
    .table = table,
    .n = ARRAY_LEN(table),
};

/* Where the command begins: behind the first lone --; argc if there is none. */
static int find_command(int argc, char **argv)
{
    int i = 0;

    while (i < argc && strcmp(argv[i], "--") != 0) {
        i++;
    }
    return i;
}

/* A folder may be named as others name it, or relative to where we are. */
static int parse_kv(const char *kv, char *url, struct err *e)
{
    char path[LOCAL_FOLDER_BYTES];
    char whole[LOCAL_FOLDER_BYTES];

    if (kv[0] != '/' && strstr(kv, "://") == NULL && kv[0] != '\0') {
        char here[LOCAL_FOLDER_BYTES];
        int n;

        if (getcwd(here, sizeof(here)) == NULL) {
            return err_set(e, PS_EIO, "where are we? %s", strerror(errno));
        }
        n = snprintf(whole, sizeof(whole), "%s/%s", here, kv);
        if (n < 0 || (size_t)n >= sizeof(whole)) {
            return err_set(e, PS_EARGUMENT,
                           "option --kv wants a shorter folder");
        }
        kv = whole;
    }
    if (coord_path_parse(kv, path, sizeof(path), e) != PS_OK) {
        return err_wrap(e, "option --kv");
    }
    snprintf(url, LOCAL_URL_BYTES, "file://%s", path);
    return PS_OK;
}

static int make_folder(char *folder, struct err *e)
{
    const char *parent = getenv("TMPDIR");
    int n;

    if (parent == NULL || parent[0] != '/') {
        parent = "/tmp";
    }
    n = snprintf(folder, LOCAL_FOLDER_BYTES, "%s/ps-plus-XXXXXX", parent);
    if (n < 0 || n >= LOCAL_FOLDER_BYTES || mkdtemp(folder) == NULL) {
        return err_set(e, PS_EIO, "cannot make a folder in %s: %s", parent,
                       strerror(errno));
    }
    return PS_OK;
}

/* From ready to the end of the workers; returns the exit status. */
static int run_workers(struct local_cluster *c)
{
    const struct local_options *o = c->options;
    struct err e;

    if (o->command == NULL) {
        while (c->signal == 0 && c->dead == NULL) {
            local_cluster_look(c, -1);
        }
        return c->dead == NULL ? CLI_OK : CLI_FAILED;
    }
    local_cluster_say(c, "workers", "running %u x %s", (unsigned)o->workers,
                      o->command[0]);
    if (local_cluster_start_workers(c, &e) != PS_OK) {
        return cli_fail(&e);
    }
    while (c->signal == 0 && c->dead == NULL && c->worker_status == 0 &&
           local_cluster_running(c->workers, c->n_workers) > 0) {
        local_cluster_look(c, -1);
    }
    if (c->signal != 0) {
        local_cluster_say(c, "signal", "signal %d: stopping the workers",
                          c->signal);
    }
    local_cluster_stop_workers(c);
    return c->dead == NULL ? c->worker_status : CLI_FAILED;
}

static int run(struct local_cluster *c)
{
    const struct local_options *o = c->options;
    struct err e;
    int rc;

    local_cluster_say(c, "start", "starting a scheduler and %u server%s",
                      (unsigned)o->servers, o->servers == 1 ? "" : "s");
    rc = local_cluster_start_roles(c, &e);
    if (rc == PS_OK) {
        rc = local_cluster_wait_ready(c, &e);
    }
    if (rc == PS_ECANCELED) {
        return o->command == NULL ? CLI_OK : SIGNALED + c->signal;
    }
    if (rc != PS_OK) {
        return cli_fail(&e);
    }
    local_cluster_say(c, "ready",
                      "cluster ready: %u server%s x %u shard%s, store %s",
                      (unsigned)o->servers, o->servers == 1 ? "" : "s",
                      (unsigned)o->shards, o->shards == 1 ? "" : "s", c->store);
    return run_workers(c);
}

static int run_in_store(const struct local_options *o, const char *kv)
{
    struct local_cluster c;
    char url[LOCAL_URL_BYTES];
    char folder[LOCAL_FOLDER_BYTES];
    const char *own = NULL; /* the folder to remove at the end */
    struct err e;
    int status;

    if (kv != NULL) {
        snprintf(url, sizeof(url), "%s", kv);
    } else if (make_folder(folder, &e) != PS_OK) {
        return cli_fail(&e);
    } else {
        snprintf(url, sizeof(url), "file://%s", folder);
        own = folder;
    }
    if (local_cluster_init(&c, o, url, own, &e) == PS_OK) {
        status = run(&c);
    } else {
        status = cli_fail(&e);
        if (own != NULL) {
            (void)rmdir(own); /* no guard does it */
        }
    }
    local_cluster_say(&c, "stop", "stopping the cluster");
    local_cluster_fini(&c);
    return status;
}

/* Whether the values go together; those left out are filled in. */
static int check(struct options *o, const struct opt_list *rest,
                 bool has_command, char *url, struct err *e)
{
    char place[ROLE_PLACE_BYTES]; /* the scheduler does it again */

    if (rest->n > 0) {
        return err_set(e, PS_EARGUMENT,
                       "unexpected word \"%.64s\"; the command stands behind "
                       "--, as in: ps-plus local -- %.64s",
                       rest->items[0], rest->items[0]);
    }
    if (o->workers != 0 && !has_command) {
        return err_set(e, PS_EARGUMENT,
                       "option --workers wants a command to run, behind --");
    }
    if (o->plugins.n > LOCAL_PLUGINS_MAX) {
        return err_set(e, PS_EARGUMENT, "option --plugin: at most %d of them",
                       LOCAL_PLUGINS_MAX);
    }
    if (o->workers == 0 && has_command) {
        o->workers = 1;
    }
    if (o->shards == 0) {
        o->shards = (int64_t)base_min_u64(
            base_max_u64(loop_cpus() / (uint64_t)o->servers, 1), LIMIT_SHARDS);
    }
    if (role_saves_check(&o->saves, place, e) != PS_OK ||
        role_log_check(o->log_path, e) != PS_OK) {
        return e->status;
    }
    return o->kv == NULL ? PS_OK : parse_kv(o->kv, url, e);
}

int local_main(int argc, char **argv)
{
    int at = find_command(argc, argv);
    bool has_command = at + 1 < argc;
    struct opt_list rest = {0};
    char url[LOCAL_URL_BYTES];
    struct options o;
    struct err e;
    int status;

    if (!cli_parse(&page, at, argv, &o, &rest, &status)) {
        return status;
    }
    if (at + 1 == argc) {
        err_set(&e, PS_EARGUMENT, "nothing stands behind --: give a command");
        status = cli_refuse(&e);
    } else if (check(&o, &rest, has_command, url, &e) != PS_OK) {
        status = cli_refuse(&e);
    } else if (!cli_shows_config(&page, &o)) {
        struct local_options run = {
            .servers = (uint32_t)o.servers,
            .shards = (uint32_t)o.shards,
            .workers = (uint32_t)o.workers,
            .wait_s = (uint32_t)o.wait_s,
            .limits = o.limits,
            .saves = &o.saves,
            .log_path = o.log_path,
            .plugins = o.plugins.items,
            .n_plugins = o.plugins.n,
            .log_level = o.cli.log_level,
            /* argv ends with NULL */
            .command = has_command ? (const char *const *)argv + at + 1 : NULL,
            .is_json = o.is_json,
            .binds_cores = o.binds_cores,
        };

        status = run_in_store(&run, o.kv == NULL ? NULL : url);
    }
    opt_list_free(&rest);
    opt_list_free(&o.plugins);
    return status;
}
