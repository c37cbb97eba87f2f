/* role_scheduler.c - ps-plus -r scheduler. */
#include <stdio.h>

#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "cli/memory_limit.h"
#include "cli/role.h"
#include "scheduler/schedule.h"

enum { MB_BITS = 20 };

struct options {
    struct role_options role;
    const char *server_num;
    int64_t network_mb;
    int64_t memory_mb;
    int64_t queries;
    const char *checkpoint_path;
};
_Static_assert(offsetof(struct options, role) == 0, "rows of role.h");

#define AT(field) offsetof(struct options, field)

static const struct opt table[] = {
    ROLE_FIRST_OPTIONS,
    {.name = "server_num",
     .brief = "sn",
     .type = OPT_TEXT,
     .flags = OPT_REQUIRED,
     .offset = AT(server_num),
     .value = "N[,M...]",
     .help = "How many servers there are; behind a comma how many model "
             "servers, which are not built yet."},
    {.name = "server_network_limit",
     .brief = "snet",
     .type = OPT_INT,
     .offset = AT(network_mb),
     .min = 1,
     .max = INT32_MAX,
     .value = "MB/s",
     .help = "What a server may be asked to send and receive a second, in "
             "units of 2^20 bytes. Left out: no limit."},
    {.name = "server_memory_limit",
     .brief = "smem",
     .type = OPT_INT,
     .offset = AT(memory_mb),
     .min = 1,
     .max = INT32_MAX,
     .value = "MB",
     .help = "What the rows of a server may take, in units of 2^20 bytes. "
             "Left out: 80 % of the memory that this process may use, divided "
             "by the servers, since all of them may be on this machine."},
    {.name = "server_query_limit",
     .brief = "sqps",
     .type = OPT_INT,
     .offset = AT(queries),
     .min = 1,
     .max = INT32_MAX,
     .value = "N",
     .help = "What a server may be asked a second. Left out: no limit."},
    {.name = "checkpoint_path",
     .brief = "cp",
     .type = OPT_TEXT,
     .offset = AT(checkpoint_path),
     .fallback = "none://",
     .value = "URL",
     .help = "Where checkpoints go. Not built yet: only none://."},
    ROLE_OPTIONS,
};

static const struct cli_page page = {
    .usage = "ps-plus -r scheduler -sp KV -sn N [OPTION...]",
    .about =
        "Decides which server holds which part of which variable. What it\n"
        "decides is in the store: a scheduler that is started anew goes on\n"
        "where the former one stopped, and training goes on meanwhile. A\n"
        "second one waits until the first has ended.\n"
        "\n"
        "For two servers on this host:\n"
        "    ps-plus -r scheduler -sp file:///run/ps -sn 2\n",
    .table = table,
    .n = ARRAY_LEN(table),
};

/* Whether the values can be had; what they say becomes *run, and the limit of
 * memory that was left out becomes that of this machine. */
static int fill_in(struct options *o, struct schedule_options *run,
                   struct err *e)
{
    uint32_t servers = 1; /* --print-config does without */
    uint64_t memory = (uint64_t)o->memory_mb << MB_BITS;
    int rc = role_check(&o->role, e);

    if (rc == PS_OK && o->server_num != NULL) {
        rc = role_server_count(o->server_num, &servers, e);
    }
    if (rc == PS_OK && strcmp(o->checkpoint_path, "none://") != 0) {
        rc = role_refuse_text(o->checkpoint_path, "--checkpoint_path or -cp",
                              "checkpoints are", "give none://", e);
    }
    if (rc != PS_OK) {
        return rc;
    }
    if (memory == 0) {
        memory = memory_limit_share(memory_limit_cgroup(""),
                                    memory_limit_machine(""), servers);
        o->memory_mb = (int64_t)(memory >> MB_BITS);
    }
    *run = (struct schedule_options){
        .kv_path = o->role.kv_path,
        .servers = servers,
        .limits = {.memory_bytes = memory,
                   .network_bytes = (uint64_t)o->network_mb << MB_BITS,
                   .queries = (uint64_t)o->queries},
        .bind = o->role.bind,
        .advertise = o->role.advertise,
        .port = (uint16_t)o->role.port,
        .wait_s = (uint32_t)o->role.wait_s,
    };
    return PS_OK;
}

int role_scheduler_main(int argc, char **argv)
{
    struct options o;
    struct schedule_options run;
    struct err e;
    int status;

    if (!cli_parse(&page, argc, argv, &o, NULL, &status)) {
        return status;
    }
    if (fill_in(&o, &run, &e) != PS_OK) {
        status = cli_refuse(&e);
    } else if (!cli_shows_config(&page, &o)) {
        log_set_name("scheduler");
        role_warn(&o.role);
        role_raise_files();
        if (schedule_run(&run, &e) != PS_OK) {
            err_wrap(&e, "scheduler");
            status = cli_fail(&e);
        }
    }
    opt_list_free(&o.role.plugins);
    return status;
}
