/* probe_errors.c - calls with a deadline while parts of the cluster are gone.
 *
 *     open MS   opens, which is to fail, and says how and when
 *     errors    led by its stdin:
 *               go      a push, its resolve, a pull, a declaration, the status
 *               ask     a step, and what else a scheduler is asked
 *               settle  the push again, with all the time there is
 *               close   another push, and a close that does not wait for it
 */
#include <stdio.h>
#include <string.h>

#include "probe.h"

enum { DEADLINE_MS = 300, KEYS = 16, TEXT = 256 };

static void tell(const char *call, int status, double start, const char *text)
{
    printf("{\"call\":\"%s\",\"status\":\"%s\",\"seconds\":%.3f,\"text\":",
           call, ps_status_name(status), probe_now() - start);
    probe_text(text);
    printf("}\n");
    fflush(stdout);
}

int probe_open_late(int argc, char **argv)
{
    struct ps_options options;
    struct ps_error e = {0};
    ps_client *client = NULL;
    double start = probe_now();
    int rc;

    if (argc != 1) {
        probe_fail("open MS", PS_EARGUMENT, NULL);
    }
    ps_options_init(&options);
    options.timeout_ms = (int)probe_number(argv[0]);
    options.quiet = 1;
    rc = ps_open(&client, &options, &e);
    tell("open", rc, start, e.text);
    return ps_close(client, DEADLINE_MS) == PS_OK ? 0 : 1;
}

struct errors {
    ps_client *client;
    ps_variable *variable;
    ps_request *push;
    uint64_t keys[KEYS];
    float ones[KEYS];
};

static void submit(struct errors *a)
{
    struct ps_op op = {.variable = a->variable,
                       .kind = PS_PUSH,
                       .keys = a->keys,
                       .n_keys = KEYS,
                       .values = a->ones};

    probe_need("submit", ps_submit(a->client, &op, 1, &a->push));
}

static void tell_waiting(const struct errors *a, const char *call, int status,
                         double start)
{
    char text[TEXT];

    ps_client_waits_for(a->client, text, sizeof(text));
    tell(call, status, start, text);
}

static void go(struct errors *a)
{
    struct ps_declaration what;
    struct ps_error e = {0};
    ps_variable *variable = NULL;
    char *json = NULL;
    float rows[KEYS];
    double start = probe_now();
    int rc;

    submit(a);
    rc = ps_wait(a->push, DEADLINE_MS);
    tell_waiting(a, "push", rc, start);
    start = probe_now();
    rc = ps_resolve(a->push, DEADLINE_MS);
    tell_waiting(a, "resolve", rc, start);
    start = probe_now();
    rc = ps_pull(a->variable, a->keys, KEYS, rows, DEADLINE_MS);
    tell_waiting(a, "pull", rc, start);
    ps_declaration_init(&what);
    what.name = "another";
    what.kind = PS_HASH64;
    what.dim = 1;
    what.updater.name = "AssignAddUpdater";
    start = probe_now();
    rc = ps_declare(a->client, &what, &variable, DEADLINE_MS, &e);
    tell("declare", rc, start, e.text);
    e.text[0] = '\0';
    start = probe_now();
    rc = ps_status_json(a->client, &json, DEADLINE_MS, &e);
    tell("status", rc, start, e.text);
    ps_text_free(json);
}

static void ask(struct errors *a)
{
    ps_request *save = NULL;
    struct ps_error e = {0};
    char position[16];
    size_t size = sizeof(position);
    double start = probe_now();
    int rc = ps_step(a->client, "1", 1);

    tell("step", rc, start, "");
    start = probe_now();
    rc = ps_save(a->client, "a", &save, &e);
    rc = rc == PS_OK ? ps_wait(save, DEADLINE_MS) : rc;
    tell_waiting(a, "save", rc, start);
    ps_request_free(save);
    start = probe_now();
    rc = ps_restore(a->client, "a", DEADLINE_MS, &e);
    tell("restore", rc, start, e.text);
    start = probe_now();
    rc = ps_rollback(a->client, position, &size, NULL, DEADLINE_MS, &e);
    tell("rollback", rc, start, e.text);
    start = probe_now();
    rc = ps_drop(a->client, "other", DEADLINE_MS, &e);
    tell("drop", rc, start, e.text);
}

static void settle(struct errors *a)
{
    float rows[KEYS];
    double start = probe_now();
    int rc = ps_resolve(a->push, PROBE_SETTLE_MS);

    tell("resolve", rc, start, "");
    ps_request_free(a->push);
    a->push = NULL;
    probe_need("pull",
               ps_pull(a->variable, a->keys, KEYS, rows, PROBE_SETTLE_MS));
    printf("{\"rows\":[");
    for (size_t i = 0; i < KEYS; i++) {
        printf("%s%g", i == 0 ? "" : ",", (double)rows[i]);
    }
    printf("]}\n");
    fflush(stdout);
}

int probe_errors(void)
{
    struct errors a = {.client = probe_open(-1, NULL, NULL)};
    char line[64];

    a.variable = probe_declare(a.client, "errors", PS_HASH64, 0, 1);
    for (size_t i = 0; i < KEYS; i++) {
        a.keys[i] = i;
        a.ones[i] = 1;
    }
    probe_need("push", ps_push(a.variable, a.keys, KEYS, a.ones, 0));
    probe_ready();
    while (probe_line(line, sizeof(line), -1) > 0) {
        double start;

        if (strcmp(line, "go") == 0) {
            go(&a);
            continue;
        }
        if (strcmp(line, "ask") == 0) {
            ask(&a);
            continue;
        }
        if (strcmp(line, "settle") == 0) {
            settle(&a);
            continue;
        }
        if (strcmp(line, "close") != 0) {
            probe_fail("an order", PS_EARGUMENT, line);
        }
        submit(&a);
        start = probe_now();
        tell("close", ps_close(a.client, DEADLINE_MS), start, "");
        return 0;
    }
    ps_request_free(a.push);
    return ps_close(a.client, PROBE_SETTLE_MS) == PS_OK ? 0 : 1;
}
