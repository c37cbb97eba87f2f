#include "live.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <dirent.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "kern/kern.h"
#include "scheduler/schedule.h"
#include "server/serve.h"

struct live live;

static const char *store(void)
{
    static char path[300];

    snprintf(path, sizeof(path), "%s/store", live.dir);
    return path;
}

int live_run(int role, const char *at, unsigned wait_s)
{
    char checkpoints[300];
    const struct schedule_options schedule = {
        .kv_path = at,
        .servers = 1,
        .limits = {.memory_bytes = 64 << 20},
        .checkpoints = checkpoints,
        .keep = 2,
        .bind = "127.0.0.1",
        .wait_s = wait_s};
    const struct serve_options serve = {.kv_path = at,
                                        .n_shards = 1,
                                        .bind = "127.0.0.1",
                                        .wait_s = wait_s,
                                        .kern = &kern_generic};
    struct err e = {0};
    int rc;

    snprintf(checkpoints, sizeof(checkpoints), "file://%s/checkpoints",
             live.dir);
    rc = role == LIVE_SERVER ? serve_run(&serve, &e)
                             : schedule_run(&schedule, &e);
    return rc == PS_OK || e.text[0] != '\0' ? rc : PS_EUNKNOWN;
}

static pid_t start(int role, void (*begin)(int role))
{
    pid_t child = fork();

    assert_true(child >= 0);
    if (child == 0) {
        log_set_level(LOG_NONE);
        if (begin != NULL) {
            begin(role);
        }
        exit(-live_run(role, store(), LIVE_WAIT_S)); /* looks for leaks */
    }
    return child;
}

int live_prepare(void)
{
    const char *root = getenv("TMPDIR");
    char checkpoints[300];

    log_set_level(LOG_NONE);
    snprintf(live.dir, sizeof(live.dir), "%s/test_fault.XXXXXX",
             root == NULL ? "/tmp" : root);
    if (mkdtemp(live.dir) == NULL) {
        return -1;
    }
    snprintf(checkpoints, sizeof(checkpoints), "%s/checkpoints", live.dir);
    return mkdir(checkpoints, 0700);
}

void live_start(void (*begin)(int role))
{
    live.scheduler = start(LIVE_SCHEDULER, begin);
    live.server = start(LIVE_SERVER, begin);
}

static int remove_one(const char *path, const struct stat *st, int type,
                      struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

void live_stop(void)
{
    const pid_t children[] = {live.server, live.scheduler};
    int worst = 0;

    for (size_t i = 0; i < ARRAY_LEN(children); i++) {
        int status = 0;

        kill(children[i], SIGTERM);
        waitpid(children[i], &status, 0);
        worst = status != 0 ? status : worst;
    }
    nftw(live.dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    assert_int_equal(worst, 0);
}

int live_open(ps_client **client)
{
    struct ps_options options;
    struct ps_error error = {0};
    int rc;

    ps_options_init(&options);
    options.scheduler = store();
    options.worker = 0; /* a checkpoint has its position */
    options.timeout_ms = LIVE_WAIT_MS;
    options.quiet = 1;
    *client = NULL;
    rc = ps_open(client, &options, &error);
    assert_true(rc == PS_OK || error.text[0] != '\0');
    return rc;
}

int live_declare(ps_client *client, const char *name, uint32_t dim,
                 ps_variable **variable)
{
    struct ps_declaration what;
    struct ps_error error = {0};
    int rc;

    ps_declaration_init(&what);
    what.name = name;
    what.kind = PS_HASH64;
    what.dim = dim;
    what.updater = (struct ps_updater){.name = "AssignAddUpdater"};
    *variable = NULL;
    rc = ps_declare(client, &what, variable, LIVE_WAIT_MS, &error);
    assert_true(rc == PS_OK || error.text[0] != '\0');
    return rc;
}

size_t live_files(pid_t process)
{
    char path[64];
    size_t n = 0;
    DIR *dir;

    snprintf(path, sizeof(path), "/proc/%d/fd", (int)process);
    dir = opendir(path);
    assert_non_null(dir);
    while (readdir(dir) != NULL) {
        n++;
    }
    closedir(dir);
    return n;
}
