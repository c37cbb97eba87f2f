/* role_server.c - ps-plus -r server. */
#include <stdio.h>

#include "base/limits.h"
#include "base/log.h"
#include "ckpt/disk_loop.h"
#include "cli/cores.h"
#include "cli/role.h"
#include "net/loop.h"
#include "server/serve.h"

struct options {
    struct role_options role;
    int64_t id;
    int64_t shards;
    const char *log_path;
};
_Static_assert(offsetof(struct options, role) == 0, "rows of role.h");

#define AT(field) offsetof(struct options, field)

static const struct opt table[] = {
    ROLE_FIRST_OPTIONS,
    {.name = "server_id",
     .brief = "si",
     .type = OPT_INT,
     .flags = OPT_REQUIRED,
     .offset = AT(id),
     .max = LIMIT_SERVERS - 1,
     .value = "ID",
     .help = "Which server it is, counted from 0."},
    {.name = "shards",
     .type = OPT_INT,
     .offset = AT(shards),
     .min = 1,
     .max = LIMIT_SHARDS,
     .value = "N",
     .help = "How many threads hold rows. Left out: one for each CPU that "
             "this process may use."},
    {.name = "log_path",
     .type = OPT_TEXT,
     .offset = AT(log_path),
     .value = "DIR",
     .help = "Where pushes are logged to variables of durability log or "
             "fsync: a folder on this host's own disk, which the server must "
             "find again when it is started again."},
    ROLE_OPTIONS,
};

static const struct cli_page page = {
    .usage = "ps-plus -r server -sp KV -si ID [OPTION...]",
    .about =
        "Holds rows, answers pulls and applies pushes: each exactly once. It\n"
        "may be started before the scheduler, and waits for it then.\n"
        "\n"
        "The first of the servers on this host:\n"
        "    ps-plus -r server -sp file:///run/ps -si 0\n",
    .table = table,
    .n = ARRAY_LEN(table),
};

static int fill_in(struct options *o, struct serve_options *run, struct err *e)
{
    int rc = role_check(&o->role, e);

    if (rc != PS_OK) {
        return rc;
    }
    if (o->shards == 0) {
        o->shards = (int64_t)base_min_u64(loop_cpus(), LIMIT_SHARDS);
    }
    if (o->role.port != 0 && o->role.port + o->shards - 1 > UINT16_MAX) {
        return err_set(e, PS_EARGUMENT,
                       "option --port or -p: %d shards listen on as many "
                       "ports from there on, so it wants a number from 1 to "
                       "%d",
                       (int)o->shards, UINT16_MAX + 1 - (int)o->shards);
    }
    rc = role_log_check(o->log_path, e);
    if (rc != PS_OK) {
        return rc;
    }
    *run = (struct serve_options){
        .kv_path = o->role.kv_path,
        .id = (uint32_t)o->id,
        .n_shards = (uint32_t)o->shards,
        .bind = o->role.bind,
        .advertise = o->role.advertise,
        .port = (uint16_t)o->role.port,
        .wait_s = (uint32_t)o->role.wait_s,
        .log_path = o->log_path,
    };
    return PS_OK;
}

/* Binds where that is asked for, and serves. */
static int serve(const struct options *o, struct serve_options *run,
                 struct err *e)
{
    uint32_t cpus[LIMIT_SHARDS];

    if (o->role.binds_cores) {
        int rc = cores_of_server(run->id, run->n_shards, cpus, e);

        if (rc != PS_OK) {
            return err_wrap(e, "option --bind_cores or -bc");
        }
        run->cpus = cpus;
    }
    loop_threads(DISK_LOOP_THREADS);
    return serve_run(run, e);
}

int role_server_main(int argc, char **argv)
{
    struct options o;
    struct serve_options run;
    struct err e;
    char name[32];
    int status;

    if (!cli_parse(&page, argc, argv, &o, NULL, &status)) {
        return status;
    }
    snprintf(name, sizeof(name), "server %d", (int)o.id);
    if (fill_in(&o, &run, &e) != PS_OK) {
        status = cli_refuse(&e);
    } else if (!cli_shows_config(&page, &o)) {
        log_set_name(name);
        if (role_begin(&o.role, &e) != PS_OK) {
            status = cli_refuse(&e);
        } else if (serve(&o, &run, &e) != PS_OK) {
            err_wrap(&e, "%s", name);
            status = cli_fail(&e);
        }
    }
    opt_list_free(&o.role.plugins);
    return status;
}
