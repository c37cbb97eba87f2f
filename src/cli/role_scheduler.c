/* role_scheduler.c - ps-plus -r scheduler. */
#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "cli/cores.h"
#include "cli/memory_limit.h"
#include "cli/role.h"
#include "scheduler/schedule.h"

enum { MB_BITS = 20 };

struct options {
    struct role_options role;
    const char *server_num;
    struct role_limits limits;
    struct role_saves saves;
    char place[ROLE_PLACE_BYTES];
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
    ROLE_LIMITS(AT(limits)),
    ROLE_SAVES(AT(saves)),
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
    uint64_t memory = (uint64_t)o->limits.memory_mb << MB_BITS;
    int rc = role_check(&o->role, e);

    if (rc == PS_OK && o->server_num != NULL) {
        rc = role_server_count(o->server_num, &servers, e);
    }
    if (rc == PS_OK) {
        rc = role_saves_check(&o->saves, o->place, e);
    }
    if (rc != PS_OK) {
        return rc;
    }
    if (memory == 0) {
        memory = memory_limit_share(memory_limit_cgroup(""),
                                    memory_limit_machine(""), servers);
        o->limits.memory_mb = (int64_t)(memory >> MB_BITS);
    }
    *run = (struct schedule_options){
        .kv_path = o->role.kv_path,
        .servers = servers,
        .limits = {.memory_bytes = memory,
                   .network_bytes = (uint64_t)o->limits.network_mb << MB_BITS,
                   .queries = (uint64_t)o->limits.queries},
        .checkpoints = o->place[0] != '\0' ? o->place : NULL,
        .keep = (uint32_t)o->saves.keep,
        .full_every = (uint32_t)o->saves.full_every,
        .save_wait_s = (uint32_t)o->saves.wait_s,
        .accept_empty = o->saves.accepts_empty,
        .give_up_s = (uint32_t)o->saves.give_up_s,
        .consistent = strcmp(o->saves.on_failure, "consistent") == 0,
        .bind = o->role.bind,
        .advertise = o->role.advertise,
        .port = (uint16_t)o->role.port,
        .wait_s = (uint32_t)o->role.wait_s,
    };
    return PS_OK;
}

/* Binds where that is asked for, and schedules. */
static int schedule(const struct options *o, const struct schedule_options *run,
                    struct err *e)
{
    if (o->role.binds_cores && cores_bind_scheduler(e) != PS_OK) {
        return err_wrap(e, "option --bind_cores or -bc");
    }
    return schedule_run(run, e);
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
        if (role_begin(&o.role, &e) != PS_OK) {
            status = cli_refuse(&e);
        } else if (schedule(&o, &run, &e) != PS_OK) {
            err_wrap(&e, "scheduler");
            status = cli_fail(&e);
        }
    }
    opt_list_free(&o.role.plugins);
    return status;
}
