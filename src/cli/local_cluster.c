/* local_cluster.c - starts the children, watches them, ends them.
 *
 *     start roles -> wait until they serve -> start workers -> wait -> stop
 *
 * Nothing is started again: a role that ends unasked ends everything, since
 * what it held in memory is gone.
 */
#include "cli/local_cluster.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "cli/local_ready.h"
#include "net/loop.h"

enum {
    /* How long a worker may take to end when it is told to, and a role, which
     * gives up an orderly end after 10 s. */
    STOP_WORKERS_MS = 5000,
    STOP_ROLES_MS = 12000,
    KILL_MS = 5000,
    READY_LOOK_MS = 50,
    ARGUMENTS_MAX = 48 + 2 * LOCAL_PLUGINS_MAX,
    NUMBER_BYTES = 24,
    TEXT_BYTES = 512
};

void local_cluster_say(const struct local_cluster *c, const char *step,
                       const char *format, ...)
{
    FILE *f = c->options->command == NULL ? stdout : stderr;
    char text[LOCAL_URL_BYTES + TEXT_BYTES];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (c->options->is_json) {
        json_t *line =
            json_pack("{s:s, s:s, s:s, s:i, s:i}", "step", step, "text", text,
                      "store", c->store, "servers", (int)c->options->servers,
                      "shards", (int)c->options->shards);

        if (line != NULL) {
            json_dumpf(line, f, JSON_COMPACT);
            fputc('\n', f);
        }
        json_decref(line);
    } else {
        fprintf(f, "%s\n", text);
    }
    fflush(f);
}

static void take_signals(struct local_cluster *c)
{
    static const int numbers[] = {SIGCHLD, SIGTERM, SIGINT, SIGHUP};
    struct sigaction now;

    sigemptyset(&c->wanted);
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        /* nohup means it */
        if (numbers[i] != SIGHUP || sigaction(SIGHUP, NULL, &now) != 0 ||
            now.sa_handler != SIG_IGN) {
            sigaddset(&c->wanted, numbers[i]);
        }
    }
    signal(SIGCHLD, SIG_DFL);
    signal(SIGPIPE, SIG_IGN);
    sigprocmask(SIG_BLOCK, &c->wanted, &c->mask);
}

int local_cluster_init(struct local_cluster *c,
                       const struct local_options *options, const char *store,
                       const char *folder, struct err *e)
{
    size_t n_roles = (size_t)options->servers + 1;
    size_t n_workers = options->workers;

    *c = (struct local_cluster){
        .options = options, .store = store, .guard.pipe = -1};
    take_signals(c);
    c->roles = mem_new(mem_array(n_roles + n_workers, sizeof(*c->roles)));
    memset(c->roles, 0, mem_array(n_roles + n_workers, sizeof(*c->roles)));
    c->workers = c->roles + n_roles;
    return local_guard_start(&c->guard, folder, n_roles + n_workers, e);
}

static void note_end(struct local_cluster *c, const struct local_child *child,
                     bool is_worker)
{
    char how[64];

    local_child_describe(child, how, sizeof(how));
    if (!is_worker) {
        if (!c->is_stopping && c->dead == NULL) {
            c->dead = child;
            local_cluster_say(c, "died", "%s %s, unasked", child->name, how);
        }
        return;
    }
    if (child->status != 0 && c->worker_status == 0) {
        c->worker_status = child->status;
        if (!c->is_told_to_end) {
            local_cluster_say(c, "failed", "%s %s", child->name, how);
        }
    }
}

static void collect(struct local_cluster *c)
{
    for (size_t i = 0; i < c->n_workers; i++) {
        if (local_child_collect(&c->workers[i], &c->guard)) {
            note_end(c, &c->workers[i], true);
        }
    }
    for (size_t i = 0; i < c->n_roles; i++) {
        if (local_child_collect(&c->roles[i], &c->guard)) {
            note_end(c, &c->roles[i], false);
        }
    }
}

void local_cluster_look(struct local_cluster *c, int timeout_ms)
{
    struct timespec timeout = {.tv_sec = timeout_ms / 1000,
                               .tv_nsec = timeout_ms % 1000 * 1000000};
    int number = timeout_ms < 0 ? sigwaitinfo(&c->wanted, NULL)
                                : sigtimedwait(&c->wanted, NULL, &timeout);

    if (number == SIGCHLD) {
        collect(c);
    } else if (number > 0) {
        c->signal = number;
    }
}

size_t local_cluster_running(const struct local_child *children, size_t n)
{
    size_t running = 0;

    for (size_t i = 0; i < n; i++) {
        running += children[i].pid != 0 ? 1 : 0;
    }
    return running;
}

static void signal_all(const struct local_child *children, size_t n, int number)
{
    for (size_t i = 0; i < n; i++) {
        local_child_signal(&children[i], number);
    }
}

/* True when none of them runs any more. */
static bool wait_for_end(struct local_cluster *c,
                         const struct local_child *children, size_t n,
                         int timeout_ms)
{
    uint64_t until = loop_now() + (uint64_t)timeout_ms * 1000;
    int signal_before = c->signal;

    while (local_cluster_running(children, n) > 0) {
        uint64_t now = loop_now();

        if (now >= until) {
            return false;
        }
        c->signal = 0;
        local_cluster_look(c, (int)((until - now) / 1000) + 1);
        if (c->signal != 0) {
            return false; /* asked again: no more patience */
        }
        c->signal = signal_before;
    }
    return true;
}

static void stop(struct local_cluster *c, const struct local_child *children,
                 size_t n, int timeout_ms)
{
    int signal_before = c->signal;

    signal_all(children, n, SIGTERM);
    if (!wait_for_end(c, children, n, timeout_ms)) {
        signal_all(children, n, SIGKILL);
        if (!wait_for_end(c, children, n, KILL_MS)) {
            log_write(LOG_WARNING, "a killed process has not ended yet");
        }
    }
    c->signal = c->signal == 0 ? signal_before : c->signal;
}

void local_cluster_stop_workers(struct local_cluster *c)
{
    c->is_told_to_end = true;
    stop(c, c->workers, c->n_workers, STOP_WORKERS_MS);
}

void local_cluster_fini(struct local_cluster *c)
{
    local_cluster_stop_workers(c);
    c->is_stopping = true;
    stop(c, c->roles, c->n_roles, STOP_ROLES_MS);
    local_guard_stop(&c->guard);
    mem_free(c->roles);
    c->roles = NULL;
    c->workers = NULL;
    sigprocmask(SIG_SETMASK, &c->mask, NULL);
}

/* The words of a role's command line, NULL at the end. */
struct words {
    const char *word[ARGUMENTS_MAX];
    size_t n;
    char number[ARGUMENTS_MAX][NUMBER_BYTES];
};

static void add_word(struct words *w, const char *word)
{
    ASSERT(w->n + 1 < ARGUMENTS_MAX);
    w->word[w->n] = word;
    w->n++;
    w->word[w->n] = NULL;
}

static void add_number(struct words *w, const char *option, int64_t value)
{
    add_word(w, option);
    snprintf(w->number[w->n], NUMBER_BYTES, "%" PRId64, value);
    add_word(w, w->number[w->n]);
}

static int start_role(struct local_cluster *c, const struct words *w,
                      struct err *e)
{
    struct local_spawn how = {.file = "/proc/self/exe",
                              .argv = w->word,
                              .envp = (const char *const *)environ,
                              .mask = &c->mask,
                              .has_group = true};
    int rc = local_child_start(&c->roles[c->n_roles], &how, &c->guard, e);

    c->n_roles += rc == PS_OK ? 1 : 0;
    return rc;
}

static void begin_words(struct words *w, const struct local_cluster *c,
                        const char *role)
{
    w->n = 0;
    add_word(w, "ps-plus");
    add_word(w, "-r");
    add_word(w, role);
    add_word(w, "-sp");
    add_word(w, c->store);
    add_word(w, "--log-level");
    add_word(w, c->options->log_level);
    add_number(w, "--wait", c->options->wait_s);
    if (c->options->binds_cores) {
        add_word(w, "--bind_cores=true");
    }
    for (size_t i = 0; i < c->options->n_plugins; i++) {
        add_word(w, "--plugin");
        add_word(w, c->options->plugins[i]);
    }
}

static void add_saves(struct words *w, const struct role_saves *s)
{
    add_word(w, "-cp");
    add_word(w, s->path);
    add_number(w, "--keep", s->keep);
    add_number(w, "--full_every", s->full_every);
    add_number(w, "--save_wait", s->wait_s);
    add_number(w, "--give-up-after", s->give_up_s);
    add_word(w, "--on-failure");
    add_word(w, s->on_failure);
    if (s->accepts_empty) {
        add_word(w, "--accept-empty");
    }
}

static int start_scheduler(struct local_cluster *c, struct err *e)
{
    const struct local_options *o = c->options;
    struct words w;

    begin_words(&w, c, "scheduler");
    add_number(&w, "-sn", o->servers);
    if (o->limits.memory_mb != 0) {
        add_number(&w, "-smem", o->limits.memory_mb);
    }
    if (o->limits.network_mb != 0) {
        add_number(&w, "-snet", o->limits.network_mb);
    }
    if (o->limits.queries != 0) {
        add_number(&w, "-sqps", o->limits.queries);
    }
    if (o->saves != NULL) {
        add_saves(&w, o->saves);
    }
    snprintf(c->roles[0].name, sizeof(c->roles[0].name), "scheduler");
    return start_role(c, &w, e);
}

static int start_server(struct local_cluster *c, uint32_t i, struct err *e)
{
    struct local_child *server = &c->roles[c->n_roles];
    char logs[LOCAL_FOLDER_BYTES];
    struct words w;

    snprintf(server->name, sizeof(server->name), "server %u", (unsigned)i);
    begin_words(&w, c, "server");
    add_number(&w, "-si", i);
    add_number(&w, "--shards", c->options->shards);
    if (c->options->log_path != NULL) {
        int n = snprintf(logs, sizeof(logs), "%s/server-%u",
                         c->options->log_path, (unsigned)i);

        if (n < 0 || n >= (int)sizeof(logs)) {
            return err_set(e, PS_EARGUMENT,
                           "option --log_path: it is too long");
        }
        add_word(&w, "--log_path");
        add_word(&w, logs);
    }
    return start_role(c, &w, e);
}

int local_cluster_start_roles(struct local_cluster *c, struct err *e)
{
    int rc = start_scheduler(c, e);

    for (uint32_t i = 0; i < c->options->servers && rc == PS_OK; i++) {
        rc = start_server(c, i, e);
    }
    return rc;
}

int local_cluster_wait_ready(struct local_cluster *c, struct err *e)
{
    uint64_t until =
        loop_now() + (c->options->wait_s == 0
                          ? UINT64_MAX / 2
                          : (uint64_t)c->options->wait_s * 1000000);
    struct local_ready ready = {.store = c->store,
                                .servers = c->options->servers,
                                .shards = c->options->shards};
    int rc = PS_EBUSY;

    while (rc == PS_EBUSY) {
        local_cluster_look(c, READY_LOOK_MS);
        if (c->dead != NULL) {
            rc = err_set(e, PS_EUNKNOWN, "%s ended before the cluster served",
                         c->dead->name);
        } else if (c->signal != 0) {
            rc = err_set(e, PS_ECANCELED, "ended by signal %d", c->signal);
        } else if (local_ready_look(&ready)) {
            rc = PS_OK;
        } else if (loop_now() >= until) {
            rc = err_set(e, PS_ETIMEOUT,
                         "the cluster does not serve after %u s: %s",
                         (unsigned)c->options->wait_s, ready.waits_for);
        }
    }
    local_ready_end(&ready);
    return rc;
}

static bool is_set_anew(const char *variable)
{
    return strncmp(variable, "PS_SCHEDULER_KV_PATH=", 21) == 0 ||
           strncmp(variable, "PS_WORKER_ID=", 13) == 0 ||
           strncmp(variable, "PS_WORKER_NUM=", 14) == 0;
}

int local_cluster_start_workers(struct local_cluster *c, struct err *e)
{
    const struct local_options *o = c->options;
    char kv_path[LOCAL_URL_BYTES + 32];
    char id[32];
    char num[32];
    const char *own[] = {kv_path, id, num};
    const char **envp;
    size_t n = 0;
    int rc = PS_OK;

    while (environ[n] != NULL) {
        n++;
    }
    envp = mem_new(mem_array(n + ARRAY_LEN(own) + 1, sizeof(*envp)));
    n = 0;
    for (size_t i = 0; environ[i] != NULL; i++) {
        if (!is_set_anew(environ[i])) {
            envp[n] = environ[i];
            n++;
        }
    }
    memcpy(envp + n, own, sizeof(own));
    envp[n + ARRAY_LEN(own)] = NULL;
    snprintf(kv_path, sizeof(kv_path), "PS_SCHEDULER_KV_PATH=%s", c->store);
    snprintf(num, sizeof(num), "PS_WORKER_NUM=%u", (unsigned)o->workers);
    for (uint32_t i = 0; i < o->workers && rc == PS_OK; i++) {
        struct local_child *worker = &c->workers[i];
        bool is_one = o->workers == 1;
        struct local_spawn how = {
            .file = o->command[0],
            .argv = o->command,
            .envp = envp,
            .mask = &c->mask,
            .keeps_stdin = is_one,
            .keeps_stdout = true,
            /* Only our own group may read from the terminal. */
            .has_group = !is_one || !isatty(STDIN_FILENO),
        };

        snprintf(worker->name, sizeof(worker->name), "worker %u", (unsigned)i);
        snprintf(id, sizeof(id), "PS_WORKER_ID=%u", (unsigned)i);
        rc = local_child_start(worker, &how, &c->guard, e);
        c->n_workers += rc == PS_OK ? 1 : 0;
    }
    mem_free(envp);
    return rc;
}
