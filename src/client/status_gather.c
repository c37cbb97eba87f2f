/* status_gather.c - the state of a cluster, from the plan and every shard.
 *
 * The tree is made from the plan alone first; what each shard answers is then
 * added to its place. So whatever is silent still shows where it belongs.
 */
#include "client/status.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/limits.h"
#include "base/mem.h"
#include "client/client_save.h"

enum { SHARD_WAIT_MS = 2000, LINE_BYTES = 512 };

struct status {
    json_t *root;
};

/* One lane of the plan and what is asked of it. */
struct asked {
    uint64_t lane;
    json_t *shard;              /* borrowed from the tree */
    json_t *server;             /* likewise */
    struct ps_request *request; /* NULL: could not be asked */
};

struct gathering {
    struct asked *asked;
    size_t n;
    json_t **variables; /* borrowed from the tree, in the plan's order */
    uint32_t *ids;
    size_t n_variables;
    json_t *totals;
};

static json_t *number(uint64_t value)
{
    return json_integer((json_int_t)value);
}

static void set(json_t *object, const char *name, json_t *value)
{
    /* A member that memory is missing for is missing: readers take 0. */
    (void)json_object_set_new(object, name, value);
}

static uint64_t get(const json_t *object, const char *name)
{
    return (uint64_t)json_integer_value(json_object_get(object, name));
}

static void add(json_t *object, const char *name, uint64_t more)
{
    set(object, name, number(get(object, name) + more));
}

/* Appends an empty object and returns it, borrowed; NULL without memory. */
static json_t *append_object(json_t *array)
{
    json_t *object = json_object();

    return json_array_append_new(array, object) == 0 ? object : NULL;
}

static json_t *server_of(json_t *servers, uint32_t id)
{
    size_t i;
    json_t *server;

    json_array_foreach(servers, i, server)
    {
        if (get(server, "id") == id) {
            return server;
        }
    }
    server = append_object(servers);
    set(server, "id", number(id));
    set(server, "state", json_string("missing"));
    set(server, "emptied", number(0));
    set(server, "waiting", number(0));
    set(server, "from", json_string(""));
    set(server, "shards", json_array());
    return server;
}

/* Which checkpoint the rows of a server came from: the newest of its parts. */
static void add_sources(json_t *servers, const struct wire_plan *w)
{
    for (uint32_t i = 0; i < w->n_parts; i++) {
        const struct wire_load *from = NULL;

        for (uint32_t k = 0; k < w->n_loads; k++) {
            const struct wire_load *l = &w->loads[k];

            if (l->since == w->parts[i].since &&
                (l->variable == w->parts[i].variable ||
                 (l->variable == 0 && from == NULL))) {
                from = l;
            }
        }
        for (uint32_t k = 0; k < w->n_lanes && from != NULL; k++) {
            if (w->lanes[k].lane == w->parts[i].lane) {
                json_t *server = server_of(servers, w->lanes[k].server);
                const char *old =
                    json_string_value(json_object_get(server, "from"));

                if (old == NULL || strcmp(from->folder, old) > 0) {
                    set(server, "from", json_string(from->folder));
                }
                break; /* one lane has it */
            }
        }
    }
}

static void add_lanes(struct gathering *g, json_t *servers,
                      const struct wire_plan *w)
{
    for (uint32_t i = 0; i < w->servers; i++) {
        server_of(servers, i);
    }
    for (uint32_t i = 0; i < w->n_lanes; i++) {
        const struct wire_lane *lane = &w->lanes[i];
        struct asked *a = &g->asked[i];

        a->lane = lane->lane;
        a->server = server_of(servers, lane->server);
        a->shard = append_object(json_object_get(a->server, "shards"));
        set(a->shard, "shard", number(lane->shard));
        set(a->shard, "lane", number(lane->lane));
        set(a->shard, "address", json_string(lane->address));
        set(a->shard, "state", json_string("silent"));
        set(a->server, "state", json_string("silent"));
    }
}

/* Parts of lanes that have ended, and that nobody has got yet. */
static void add_waiting(json_t *servers, const struct wire_plan *w)
{
    for (uint32_t i = 0; i < w->n_parts; i++) {
        for (uint32_t k = 0; k < w->n_ended; k++) {
            if (w->ended[k].lane == w->parts[i].lane) {
                add(server_of(servers, w->ended[k].server), "waiting", 1);
            }
        }
    }
}

static void add_variables(struct gathering *g, json_t *variables,
                          const struct wire_plan *w)
{
    for (uint32_t i = 0; i < w->n_variables; i++) {
        const struct wire_variable *v = &w->variables[i];
        json_t *object = append_object(variables);
        uint64_t parts = 0;

        for (uint32_t k = 0; k < w->n_parts; k++) {
            parts += w->parts[k].variable == v->id;
        }
        set(object, "name", json_string(v->name));
        set(object, "kind",
            json_string(v->kind == PS_DENSE ? "dense" : "hash64"));
        set(object, "dim", number(v->dim));
        set(object, "rows", number(0));
        set(object, "bytes", number(0));
        set(object, "parts", number(parts));
        g->variables[i] = object;
        g->ids[i] = v->id;
    }
}

/* The tree with everything that the plan says. Within client_enter. */
static json_t *start_tree(struct gathering *g, const struct wire_plan *w)
{
    json_t *root = json_object();
    json_t *servers = json_array();
    json_t *variables = json_array();

    set(root, "term", number(w->term));
    set(root, "plan", number(w->plan));
    set(root, "servers_wanted", number(w->servers));
    set(root, "checkpoints", json_string(w->checkpoints));
    set(root, "servers", servers);
    set(root, "variables", variables);
    g->totals = json_object();
    set(root, "totals", g->totals);
    g->asked =
        mem_try_zero(mem_array(w->n_lanes + (size_t)1, sizeof(*g->asked)));
    g->variables =
        mem_try_zero(mem_array(w->n_variables + (size_t)1, sizeof(json_t *)));
    g->ids =
        mem_try_zero(mem_array(w->n_variables + (size_t)1, sizeof(uint32_t)));
    if (root == NULL || servers == NULL || variables == NULL ||
        g->totals == NULL || g->asked == NULL || g->variables == NULL ||
        g->ids == NULL) {
        json_decref(root);
        return NULL;
    }
    g->n = w->n_lanes;
    g->n_variables = w->n_variables;
    add_lanes(g, servers, w);
    add_sources(servers, w);
    add_waiting(servers, w);
    add_variables(g, variables, w);
    add(g->totals, "pulls", 0);
    add(g->totals, "pushes_applied", 0);
    add(g->totals, "repeats_suppressed", 0);
    add(g->totals, "rows", 0);
    add(g->totals, "bytes", 0);
    return root;
}

static void add_tables(struct gathering *g, json_t *shard,
                       const struct wire_status_answer *w)
{
    uint64_t rows = 0;
    uint64_t bytes = 0;

    for (uint32_t i = 0; i < w->n_tables; i++) {
        rows += w->tables[i].rows;
        bytes += w->tables[i].bytes;
        for (size_t k = 0; k < g->n_variables; k++) {
            if (g->ids[k] == w->tables[i].variable) {
                add(g->variables[k], "rows", w->tables[i].rows);
                add(g->variables[k], "bytes", w->tables[i].bytes);
                break;
            }
        }
    }
    set(shard, "rows", number(rows));
    set(shard, "bytes", number(bytes));
    add(g->totals, "rows", rows);
    add(g->totals, "bytes", bytes);
}

static void add_answer(struct gathering *g, struct asked *a,
                       const struct wire_status_answer *w)
{
    json_t *counters = json_object();

    set(a->shard, "state",
        json_string(w->has_lease ? "serving" : "without a lease"));
    set(a->shard, "sessions", number(w->sessions));
    set(a->shard, "plan", number(w->plan));
    set(a->shard, "unserved", number(w->unserved));
    set(a->shard, "why", json_string(w->why));
    set(a->server, "emptied", number(w->emptied));
    add_tables(g, a->shard, w);
    for (uint32_t i = 0; i < w->n_counters; i++) {
        const struct wire_counter *c = &w->counters[i];

        set(counters, c->name, number(c->value));
        if (json_object_get(g->totals, c->name) != NULL) {
            add(g->totals, c->name, c->value);
        }
    }
    set(a->shard, "counters", counters);
}

/* Within client_enter. */
static void take_answer(struct gathering *g, struct asked *a)
{
    struct wire_status_answer w;
    struct arena arena;
    const uint8_t *body;
    size_t size = 0;

    if (a->request == NULL || !a->request->is_settled ||
        request_status(a->request->request) != PS_OK) {
        return;
    }
    body = request_answer(a->request->request, &size);
    if (body == NULL) {
        return;
    }
    arena_init(&arena);
    if (wire_status_answer_decode(body, size, &arena, &w) == PS_OK) {
        add_answer(g, a, &w);
    }
    arena_fini(&arena);
}

static bool all_have_settled(void *context)
{
    const struct gathering *g = context;

    for (size_t i = 0; i < g->n; i++) {
        if (g->asked[i].request != NULL && !g->asked[i].request->is_settled) {
            return false;
        }
    }
    return true;
}

static void ask_shards(ps_client *c, struct gathering *g, int timeout_ms)
{
    uint64_t deadline = base_min_u64(client_deadline(c, timeout_ms),
                                     client_deadline(c, SHARD_WAIT_MS));

    for (size_t i = 0; i < g->n; i++) {
        struct asked *a = &g->asked[i];
        struct request *r = NULL;
        int rc = client_handle(&a->request);

        if (rc == PS_OK) {
            rc = session_status(c->session, a->lane, &r);
        }
        client_hold(c, rc, r, &a->request); /* NULL: shown as silent */
    }
    if (client_wait(c, all_have_settled, g, deadline) == PS_ENOMEM) {
        return;
    }
    for (size_t i = 0; i < g->n; i++) {
        take_answer(g, &g->asked[i]);
    }
}

/* Within client_enter. */
static void add_save(ps_client *c, json_t *root, int timeout_ms)
{
    json_t *save = json_object();
    struct ps_save_state now;
    uint64_t deadline = base_min_u64(client_deadline(c, timeout_ms),
                                     client_deadline(c, SHARD_WAIT_MS));

    int rc = client_save_state(c, deadline, &now);

    set(save, "state",
        json_string(rc == PS_OK ? client_save_word(now.state) : "unknown"));
    set(save, "ticket", number(now.ticket));
    set(save, "cut", number(now.cut));
    set(save, "name", json_string(now.name));
    set(save, "folder", json_string(now.folder));
    set(save, "rows", number(now.rows));
    set(save, "rows_done", number(now.rows_done));
    set(save, "why", json_string(now.why));
    set(root, "save", save);
}

static void judge_servers(const json_t *root)
{
    json_t *servers = json_object_get(root, "servers");
    size_t i;
    json_t *server;

    json_array_foreach(servers, i, server)
    {
        json_t *shards = json_object_get(server, "shards");
        size_t serving = 0;
        size_t silent = 0;
        size_t k;
        json_t *shard;

        json_array_foreach(shards, k, shard)
        {
            const char *state =
                json_string_value(json_object_get(shard, "state"));

            serving += state != NULL && strcmp(state, "serving") == 0;
            silent += state != NULL && strcmp(state, "silent") == 0;
        }
        if (k > 0 && silent < k) {
            set(server, "state",
                json_string(serving == k ? "serving" : "degraded"));
        }
    }
}

int status_gather(ps_client *client, int timeout_ms, struct status **status,
                  struct ps_error *e)
{
    struct gathering g = {.n = 0};
    struct client_guard guard;
    struct status *s;

    if (client == NULL || status == NULL) {
        return client_error(e, PS_EARGUMENT, "a NULL argument");
    }
    s = mem_try_zero(sizeof(*s));
    if (s == NULL) {
        return client_error(e, PS_ENOMEM, "out of memory");
    }
    client_enter(client, &guard);
    s->root = start_tree(&g, &session_plan(client->session)->w);
    if (s->root != NULL) {
        ask_shards(client, &g, timeout_ms);
        add_save(client, s->root, timeout_ms);
        judge_servers(s->root);
    }
    for (size_t i = 0; i < g.n; i++) {
        client_let_go(g.asked[i].request);
    }
    client_leave(client, &guard);
    mem_free(g.asked);
    mem_free(g.variables);
    mem_free(g.ids);
    if (s->root == NULL) {
        mem_free(s);
        return client_error(e, PS_ENOMEM, "out of memory");
    }
    *status = s;
    return PS_OK;
}

void status_free(struct status *s)
{
    if (s == NULL) {
        return;
    }
    json_decref(s->root);
    mem_free(s);
}

static int dump(const char *text, size_t size, void *context)
{
    return buf_append(context, text, size) == PS_OK ? 0 : -1;
}

void status_json(const struct status *s, struct buf *out)
{
    if (json_dump_callback(s->root, dump, out, JSON_INDENT(2)) != 0) {
        out->failed = true;
    }
    (void)buf_append(out, "\n", 1);
}

static void line(struct buf *out, const char *format, ...) PRINTF_LIKE(2, 3);
static void line(struct buf *out, const char *format, ...)
{
    char text[LINE_BYTES];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    base_one_line(text);
    (void)buf_append(out, text, strlen(text));
    (void)buf_append(out, "\n", 1);
}

static const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));

    return text != NULL ? text : "";
}

static void print_servers(const json_t *servers, struct buf *out)
{
    size_t i;
    json_t *server;

    line(out, "%-6s %-5s %-21s %-8s %8s %12s %12s  %s", "server", "shard",
         "address", "lane", "sessions", "rows", "bytes", "state");
    json_array_foreach(servers, i, server)
    {
        json_t *shards = json_object_get(server, "shards");
        unsigned long long deaths = get(server, "emptied");
        const char *from = text_of(server, "from");
        char back[128] = "";
        size_t k;
        json_t *shard;

        if (deaths > 0) {
            snprintf(back, sizeof(back), " (came back %llu time%s%s%.60s)",
                     deaths, deaths > 1 ? "s" : "",
                     from[0] != '\0' ? ", from " : "", from);
        }
        if (json_array_size(shards) == 0) {
            line(out, "%-6llu %-5s %-21s %-8s %8s %12s %12s  %s",
                 (unsigned long long)get(server, "id"), "-", "-", "-", "-", "-",
                 "-", text_of(server, "state"));
        }
        json_array_foreach(shards, k, shard)
        {
            line(out, "%-6llu %-5llu %-21s %-8llu %8llu %12llu %12llu  %s%s",
                 (unsigned long long)get(server, "id"),
                 (unsigned long long)get(shard, "shard"),
                 text_of(shard, "address"),
                 (unsigned long long)get(shard, "lane"),
                 (unsigned long long)get(shard, "sessions"),
                 (unsigned long long)get(shard, "rows"),
                 (unsigned long long)get(shard, "bytes"),
                 text_of(shard, "state"), back);
        }
    }
}

/* Nothing is silently not served. */
static void print_unserved(const json_t *servers, struct buf *out)
{
    size_t i, k;
    json_t *server, *shard;

    json_array_foreach(servers, i, server)
    {
        unsigned long long id = get(server, "id");
        unsigned long long n = get(server, "waiting");

        if (n > 0) {
            line(out,
                 "%llu parts are not served: they wait for server %llu, or for "
                 "room on another one",
                 n, id);
        }
        json_array_foreach(json_object_get(server, "shards"), k, shard)
        {
            const char *why = text_of(shard, "why");

            n = get(shard, "unserved");
            if (n > 0) {
                line(out,
                     "%llu parts are not served by server %llu shard %llu: %s",
                     n, id, (unsigned long long)get(shard, "shard"),
                     why[0] != '\0' ? why : "they are being loaded");
            }
        }
    }
}

static void print_variables(const json_t *variables, struct buf *out)
{
    size_t i;
    json_t *v;

    line(out, "%-32s %-6s %6s %12s %12s %6s", "variable", "kind", "dim", "rows",
         "bytes", "parts");
    json_array_foreach(variables, i, v)
    {
        line(out, "%-32s %-6s %6llu %12llu %12llu %6llu", text_of(v, "name"),
             text_of(v, "kind"), (unsigned long long)get(v, "dim"),
             (unsigned long long)get(v, "rows"),
             (unsigned long long)get(v, "bytes"),
             (unsigned long long)get(v, "parts"));
    }
}

static void print_save(const json_t *root, struct buf *out)
{
    const json_t *save = json_object_get(root, "save");
    const char *state = text_of(save, "state");
    const char *place = text_of(root, "checkpoints");
    const char *name = text_of(save, "name");
    const char *why = text_of(save, "why");

    line(out, "checkpoints %s", place[0] != '\0' ? place : "nowhere");
    if (get(save, "ticket") == 0) {
        return;
    }
    line(out, "%s save %s%s%s%s: %s, %llu of %llu rows%s%s",
         strcmp(state, "writing") == 0 || strcmp(state, "finishing") == 0
             ? "present"
             : "last",
         text_of(save, "folder"), name[0] != '\0' ? " \"" : "", name,
         name[0] != '\0' ? "\"" : "", state,
         (unsigned long long)get(save, "rows_done"),
         (unsigned long long)get(save, "rows"), why[0] != '\0' ? ": " : "",
         why);
}

void status_table(const struct status *s, struct buf *out)
{
    const json_t *totals = json_object_get(s->root, "totals");

    line(out, "term %llu, plan %llu, %llu servers wanted",
         (unsigned long long)get(s->root, "term"),
         (unsigned long long)get(s->root, "plan"),
         (unsigned long long)get(s->root, "servers_wanted"));
    print_save(s->root, out);
    line(out, "%s", "");
    print_servers(json_object_get(s->root, "servers"), out);
    print_unserved(json_object_get(s->root, "servers"), out);
    line(out, "%s", "");
    print_variables(json_object_get(s->root, "variables"), out);
    line(out, "%s", "");
    line(out,
         "pulls %llu, pushes applied %llu, repeats suppressed %llu, "
         "rows %llu, bytes %llu",
         (unsigned long long)get(totals, "pulls"),
         (unsigned long long)get(totals, "pushes_applied"),
         (unsigned long long)get(totals, "repeats_suppressed"),
         (unsigned long long)get(totals, "rows"),
         (unsigned long long)get(totals, "bytes"));
}

int ps_status_json(ps_client *client, char **json, int timeout_ms,
                   struct ps_error *error)
{
    struct status *s = NULL;
    struct buf out;
    int rc;

    if (json == NULL) {
        return client_error(error, PS_EARGUMENT, "a NULL argument");
    }
    rc = status_gather(client, timeout_ms, &s, error);
    if (rc != PS_OK) {
        return rc;
    }
    ASSERT(s != NULL);
    buf_init(&out);
    status_json(s, &out);
    (void)buf_append(&out, "", 1);
    status_free(s);
    if (out.failed) {
        buf_fini(&out);
        return client_error(error, PS_ENOMEM, "out of memory");
    }
    *json = (char *)out.data; /* the caller's now */
    return PS_OK;
}
