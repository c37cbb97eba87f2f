/* What clients ask of the scheduler: HELLO, DECLARE, DROP, STATUS. A DECLARE
 * or DROP waits in line until the plan that has it is written, or until it is
 * refused. It may be asked again at any time: what is done already is
 * answered as done. */
#include <stdio.h>

#include "base/mem.h"
#include "base/probe.h"
#include "kern/init.h"
#include "scheduler/move.h"
#include "scheduler/readers.h"
#include "scheduler/restore.h"
#include "scheduler/save.h"
#include "udf/udf.h"

void declare_answer_body(struct scheduler *s, uint64_t connection,
                         const struct frame_header *h, int status,
                         const struct buf *b)
{
    const struct scheduler_connection *c = map_get(&s->connections, connection);
    struct frame_header a = *h;
    size_t size = b == NULL || b->failed ? 0 : b->size;
    struct frame *f = frame_new(size);

    if (f == NULL) {
        return;
    }
    a.flags = FRAME_ANSWER;
    a.status = status;
    a.plan = s->plan != NULL ? s->plan->w.plan : 0;
    if (size > 0) {
        memcpy(frame_body(f), b->data, size);
    }
    a.body_checksum = c != NULL && c->checksums ? frame_checksum(f) : 0;
    frame_seal(f, &a);
    s->net->send(s->net, connection, f);
    frame_put(f);
}

void declare_answer_text(struct scheduler *s, uint64_t connection,
                         const struct frame_header *h, int status,
                         const char *text)
{
    struct wire_text m = {.text = text};
    struct buf b;

    buf_init(&b);
    wire_text_encode(&m, &b);
    declare_answer_body(s, connection, h, status, &b);
    buf_fini(&b);
}

static void refuse_connection(struct scheduler *s, uint64_t connection,
                              const char *why)
{
    log_limited(&s->bad_log, scheduler_now(s), LOG_WARNING,
                "the connection from %s ends: %s", net_peer(s->net, connection),
                why);
    scheduler_on_close(s, connection);
    s->net->close(s->net, connection);
}

static void on_hello(struct scheduler *s, uint64_t connection,
                     const struct frame_header *h, struct frame *frame)
{
    struct scheduler_connection *c = map_get(&s->connections, connection);
    struct wire_hello_answer a = {.version = WIRE_VERSION};
    struct wire_hello m;
    struct buf b;

    if (wire_hello_decode(frame_body(frame), frame->body_bytes, &s->arena,
                          &m) != PS_OK) {
        refuse_connection(s, connection, "a HELLO that cannot be read");
        return;
    }
    if (m.version != WIRE_VERSION) {
        declare_answer_text(s, connection, h, PS_EVERSION,
                            "this scheduler speaks version 1 of the protocol");
        refuse_connection(s, connection, "another protocol version");
        return;
    }
    c->said_hello = true;
    a.features = m.features & WIRE_FEATURE_CHECKSUM;
    c->checksums = a.features != 0;
    buf_init(&b);
    wire_hello_answer_encode(&a, &b);
    declare_answer_body(s, connection, h, PS_OK, &b);
    buf_fini(&b);
}

static void forget(struct scheduler *s, struct pending *p)
{
    struct pending **at = &s->first;

    while (*at != p) {
        at = &(*at)->next;
    }
    *at = p->next;
    frame_put(p->frame);
    mem_free(p);
}

void declare_drop_all(struct scheduler *s)
{
    while (s->first != NULL) {
        struct pending *p = s->first;

        /* What may be done already gets no answer: the client asks again. */
        if (p->connection != 0 && !p->in_update && !p->was_tried) {
            declare_answer_text(s, p->connection, &p->header, PS_ENOTREADY,
                                "this scheduler stops or stands by");
        }
        forget(s, p);
    }
}

static void enqueue(struct scheduler *s, uint64_t connection,
                    const struct frame_header *h, struct frame *frame)
{
    struct pending *p;
    struct pending **at = &s->first;
    size_t n = 0;

    while (*at != NULL) {
        at = &(*at)->next;
        n++;
    }
    if (frame->body_bytes > LIMIT_DECLARE_BYTES) {
        refuse_connection(s, connection, "a DECLARE or DROP that is too long");
        return;
    }
    if (n >= LIMIT_DECLARES) {
        declare_answer_text(s, connection, h, PS_ENOTREADY,
                            "as many requests wait for the plan as may");
        return;
    }
    p = mem_try_zero(sizeof(*p));
    if (p == NULL) {
        declare_answer_text(s, connection, h, PS_ENOMEM, "out of memory");
        return;
    }
    p->connection = connection;
    p->header = *h;
    p->frame = frame_get(frame);
    *at = p;
    plan_owner_update(s);
}

static void on_status(struct scheduler *s, uint64_t connection,
                      const struct frame_header *h)
{
    char text[256];

    snprintf(text, sizeof(text), "%s; %u of %u servers are there", s->says,
             member_count(s), s->options.servers);
    declare_answer_text(s, connection, h, PS_OK, text);
}

void declare_on_frame(struct scheduler *s, uint64_t connection,
                      const struct frame_header *h, struct frame *frame)
{
    struct scheduler_connection *c = map_get(&s->connections, connection);
    const char *why;
    int rc;

    if ((h->flags & FRAME_ANSWER) != 0 ||
        (!c->said_hello && h->type != WIRE_HELLO)) {
        refuse_connection(s, connection, "the first frame is no HELLO");
        return;
    }
    /* The arena may hold an update under way only inside plan_owner_update. */
    arena_reset(&s->arena);
    switch (h->type) {
    case WIRE_HELLO:
        on_hello(s, connection, h, frame);
        break;
    case WIRE_DECLARE:
    case WIRE_DROP:
    case WIRE_MOVE:
        if (s->state != SCHEDULER_RUN) {
            declare_answer_text(s, connection, h, PS_ENOTREADY, s->says);
        } else if (restore_is_under_way(s) != NULL) {
            declare_answer_text(s, connection, h, PS_ENOTREADY,
                                restore_is_under_way(s));
        } else {
            enqueue(s, connection, h, frame);
        }
        break;
    case WIRE_STATUS:
        on_status(s, connection, h);
        break;
    case WIRE_READERS:
        rc = readers_are_told(s, &why);
        declare_answer_text(s, connection, h, rc, why);
        break;
    case WIRE_SAVE:
    case WIRE_CANCEL:
    case WIRE_RESTORE:
        if (s->state != SCHEDULER_RUN) {
            declare_answer_text(s, connection, h, PS_ENOTREADY, s->says);
        } else if (h->type == WIRE_SAVE) {
            save_on_request(s, connection, h, frame);
        } else if (h->type == WIRE_RESTORE) {
            restore_on_request(s, connection, h, frame);
        } else {
            save_on_cancel(s, connection, h, frame);
        }
        break;
    default:
        refuse_connection(s, connection, "a frame that is not for it");
        break;
    }
}

/* ---- what a declaration must be ---- */

static void params_of(const struct wire_variable *v,
                      double params[PS_PARAMS_MAX])
{
    const double p[PS_PARAMS_MAX] = {v->param0, v->param1, v->param2,
                                     v->param3, v->param4, v->param5,
                                     v->param6, v->param7};

    memcpy(params, p, sizeof(p));
}

static const char *durability_text(uint32_t durability)
{
    return durability == PS_MEMORY ? ""
           : durability == PS_LOG  ? ", durability log"
                                   : ", durability fsync";
}

/* `kind rows dim, initializer, updater(parameters)`, for a conflict's text. */
static void describe(const struct wire_variable *v, char *text, size_t size)
{
    static const char *const inits[] = {"constant", "uniform", "normal",
                                        "truncated normal"};
    double params[PS_PARAMS_MAX];
    int n = snprintf(
        text, size, "%s rows %llu dim %u, %s(%g, %g) seed %llu, %s(",
        v->kind == PS_DENSE ? "dense" : "hash64",
        (unsigned long long)(v->kind == PS_DENSE ? v->rows : 0), v->dim,
        v->init_kind < 4 ? inits[v->init_kind] : "?", v->init_a, v->init_b,
        (unsigned long long)v->init_seed, v->updater);

    params_of(v, params);
    for (uint32_t i = 0; i < v->n_params && i < PS_PARAMS_MAX; i++) {
        if (n > 0 && (size_t)n < size) {
            n += snprintf(text + n, size - (size_t)n, "%s%g", i > 0 ? ", " : "",
                          params[i]);
        }
    }
    if (n > 0 && (size_t)n < size) {
        snprintf(text + n, size - (size_t)n, ")%s%s",
                 durability_text(v->durability),
                 v->no_save != 0 ? ", not saved" : "");
    }
}

uint32_t declare_slots_of(const struct wire_variable *v)
{
    const struct udf *udf = udf_find(v->updater);
    double params[PS_PARAMS_MAX];

    params_of(v, params);
    return udf != NULL ? udf_slots(udf, params) : 0;
}

int declare_check(const struct wire_variable *v, struct err *e)
{
    struct init_spec init = {v->init_kind, (float)v->init_a, (float)v->init_b,
                             v->init_seed, v->init_key};
    double params[PS_PARAMS_MAX];
    const struct udf *udf;
    const char *wrong;
    int rc;

    if (strlen(v->name) == 0 || strlen(v->name) > LIMIT_NAME_BYTES) {
        return err_set(e, PS_EARGUMENT, "a name has 1 to %d bytes",
                       LIMIT_NAME_BYTES);
    }
    if (v->kind != PS_DENSE && v->kind != PS_HASH64) {
        return err_set(e, PS_ENOTIMPL,
                       "kind %u is not built yet: dense and "
                       "hash64 are",
                       v->kind);
    }
    if (v->dim == 0 || v->dim > LIMIT_DIM) {
        return err_set(e, PS_EARGUMENT, "dim is 1 to %d, not %u", LIMIT_DIM,
                       v->dim);
    }
    if (v->kind == PS_DENSE && (v->rows == 0 || v->rows > UINT32_MAX / 2)) {
        return err_set(e, PS_EARGUMENT,
                       "a dense variable has 1 to %u rows, not %llu",
                       UINT32_MAX / 2, (unsigned long long)v->rows);
    }
    wrong = init_check(&init);
    if (wrong != NULL) {
        return err_set(e, PS_EARGUMENT, "initializer: %s", wrong);
    }
    params_of(v, params);
    if (v->n_params > PS_PARAMS_MAX) {
        return err_set(e, PS_EARGUMENT,
                       "an updater has at most %d parameters, not %u",
                       PS_PARAMS_MAX, v->n_params);
    }
    if (v->durability > PS_FSYNC) {
        return err_set(e, PS_EARGUMENT,
                       "durability %u is not known: 0 is memory, 1 log, 2 "
                       "fsync",
                       v->durability);
    }
    if (v->no_save > 1 || (v->no_save != 0 && v->durability != PS_MEMORY)) {
        return err_set(e, PS_EARGUMENT,
                       "what checkpoints leave out has durability memory: a "
                       "log would begin where nothing is");
    }
    rc = udf_updater(v->updater, params, v->n_params, &udf, e);
    return rc == PS_ENOUDF
               ? err_set(e, rc,
                         "there is no updater named %.120s: the scheduler and "
                         "all servers load a plugin's with --plugin",
                         v->updater)
               : rc;
}

/* The same layout and initial values? The other parameters of the updater,
 * such as its learning rate, come with each push and may differ. */
static bool same_layout(const struct wire_variable *a,
                        const struct wire_variable *b)
{
    const struct udf *udf = udf_find(a->updater);
    double pa[PS_PARAMS_MAX], pb[PS_PARAMS_MAX];

    if (a->kind != b->kind || a->dim != b->dim ||
        (a->kind == PS_DENSE && a->rows != b->rows) ||
        a->init_kind != b->init_kind || a->init_a != b->init_a ||
        a->init_b != b->init_b || a->init_seed != b->init_seed ||
        a->durability != b->durability || a->no_save != b->no_save ||
        strcmp(a->updater, b->updater) != 0) {
        return false;
    }
    params_of(a, pa);
    params_of(b, pb);
    if (udf != NULL && udf_slots(udf, pa) != udf_slots(udf, pb)) {
        return false;
    }
    for (uint32_t i = 0; udf != NULL && i < udf->n_slots; i++) {
        int k = udf->slots[i].init_param;

        if (k >= 0 && pa[k] != pb[k]) {
            return false;
        }
    }
    return true;
}

const struct wire_variable *declare_find(const struct wire_plan *w,
                                         const char *name)
{
    for (uint32_t i = 0; i < w->n_variables; i++) {
        if (strcmp(w->variables[i].name, name) == 0) {
            return &w->variables[i];
        }
    }
    return NULL;
}

void declare_answer_end(struct scheduler *s, struct pending *p, int status,
                        const char *text)
{
    if (p->connection != 0) {
        declare_answer_text(s, p->connection, &p->header, status, text);
    }
    forget(s, p);
}

/* A promise that a server cannot keep is refused. */
static int check_logs(const struct scheduler *s, const struct wire_variable *v,
                      struct err *e)
{
    for (uint32_t i = 0; i < s->options.servers; i++) {
        const struct member *m = &s->members[i];

        if (v->durability != PS_MEMORY && m->has_lanes &&
            m->record.has_log == 0) {
            PROBE(log_not_there_at_declare);
            return err_set(e, PS_EARGUMENT,
                           "variable \"%.120s\": %s wants a log on each "
                           "server, and server %u has none: give it --log_path",
                           v->name, durability_text(v->durability) + 2,
                           (unsigned)i);
        }
    }
    return PS_OK;
}

/* Adds v and its parts to w; both arrays stay in order, as v's id is new. */
static int add(struct scheduler *s, struct wire_plan *w,
               const struct wire_variable *v, struct err *e)
{
    struct wire_variable *variables = arena_take(
        &s->arena, ((size_t)w->n_variables + 1) * sizeof(*variables));
    struct wire_part *placed, *parts;
    uint32_t n = 0;
    int rc = check_logs(s, v, e);

    if (rc != PS_OK) {
        return rc;
    }
    rc = place_variable(w, v, &s->options.limits, declare_slots_of, &s->arena,
                        &placed, &n, e);

    if (rc != PS_OK) {
        return rc;
    }
    parts =
        arena_take(&s->arena, ((size_t)w->n_parts + n + 1) * sizeof(*parts));
    if (variables == NULL || parts == NULL) {
        return err_set(e, PS_ENOMEM, "out of memory");
    }
    if (w->n_variables > 0) {
        memcpy(variables, w->variables, w->n_variables * sizeof(*variables));
    }
    if (w->n_parts > 0) {
        memcpy(parts, w->parts, w->n_parts * sizeof(*parts));
    }
    variables[w->n_variables] = *v;
    for (uint32_t i = 0; i < n; i++) {
        parts[w->n_parts + i] = placed[i];
        parts[w->n_parts + i].variable = v->id;
        parts[w->n_parts + i].since = s->plan->w.plan + 1;
    }
    w->variables = variables;
    w->n_variables++;
    w->parts = parts;
    w->n_parts += n;
    w->next_variable = v->id + 1;
    return PS_OK;
}

static bool apply_declare(struct scheduler *s, struct pending *p,
                          struct wire_plan *w)
{
    struct wire_declare m;
    struct wire_variable v;
    const struct wire_variable *old;
    struct err e;
    char text[1024], here[256], asked[256];
    int rc;

    if (wire_declare_decode(frame_body(p->frame), p->frame->body_bytes,
                            &s->arena, &m) != PS_OK ||
        m.n_variables != 1) {
        declare_answer_end(s, p, PS_EPROTOCOL, "a DECLARE of one variable");
        return false;
    }
    v = m.variables[0];
    rc = declare_check(&v, &e);
    if (rc != PS_OK) {
        snprintf(text, sizeof(text), "variable \"%.255s\": %s", v.name, e.text);
        declare_answer_end(s, p, rc, text);
        return false;
    }
    old = declare_find(w, v.name);
    if (old != NULL && !same_layout(old, &v)) {
        PROBE(declare_conflict);
        describe(old, here, sizeof(here));
        describe(&v, asked, sizeof(asked));
        snprintf(text, sizeof(text),
                 "variable \"%s\" is there as %s; asked for %s: drop that "
                 "one first, or take another name",
                 v.name, here, asked);
        declare_answer_end(s, p, PS_ECONFLICT, text);
        return false;
    }
    if (old != NULL) {
        p->id = old->id;
        if (declare_find(&s->plan->w, v.name) == NULL) {
            p->in_update = true; /* another request of this update adds it */
            return false;
        }
        declare_answer_done(s, p);
        return false;
    }
    if (!member_all_there(s)) {
        snprintf(text, sizeof(text),
                 "variable \"%s\" waits for servers: %u of %u are there",
                 v.name, member_count(s), s->options.servers);
        declare_answer_end(s, p, PS_ENOTREADY, text);
        return false;
    }
    if (w->n_variables >= LIMIT_VARIABLES) {
        snprintf(text, sizeof(text),
                 "variable \"%s\": there are %d, as many as may be; drop one "
                 "first",
                 v.name, LIMIT_VARIABLES);
        declare_answer_end(s, p, PS_ELIMIT, text);
        return false;
    }
    v.id = w->next_variable;
    v.born = w->plan + 1;
    rc = add(s, w, &v, &e);
    if (rc != PS_OK) {
        declare_answer_end(s, p, rc, e.text);
        return false;
    }
    p->id = v.id;
    p->in_update = true;
    return true;
}

static bool apply_drop(struct scheduler *s, struct pending *p,
                       struct wire_plan *w)
{
    struct wire_drop m;
    const struct wire_variable *old;
    struct wire_variable *variables;
    struct wire_part *parts;
    uint32_t n_variables = 0, n_parts = 0;
    char text[320];

    if (wire_drop_decode(frame_body(p->frame), p->frame->body_bytes, &s->arena,
                         &m) != PS_OK) {
        declare_answer_end(s, p, PS_EPROTOCOL, "a DROP that cannot be read");
        return false;
    }
    old = declare_find(w, m.name);
    if (old == NULL) {
        snprintf(text, sizeof(text),
                 "no variable is named \"%.200s\"; ps-plus status lists them",
                 m.name);
        declare_answer_end(s, p, p->was_tried ? PS_OK : PS_ENOTFOUND, text);
        return false;
    }
    variables = arena_take(&s->arena, w->n_variables * sizeof(*variables));
    parts = arena_take(&s->arena, ((size_t)w->n_parts + 1) * sizeof(*parts));
    if (variables == NULL || parts == NULL) {
        declare_answer_end(s, p, PS_ENOMEM, "out of memory");
        return false;
    }
    for (uint32_t i = 0; i < w->n_parts; i++) {
        if (w->parts[i].variable != old->id) {
            parts[n_parts++] = w->parts[i];
        }
    }
    for (uint32_t i = 0; i < w->n_variables; i++) {
        if (&w->variables[i] != old) {
            variables[n_variables++] = w->variables[i];
        }
    }
    w->variables = variables;
    w->n_variables = n_variables;
    w->parts = parts;
    w->n_parts = n_parts;
    p->in_update = true;
    return true;
}

bool declare_apply(struct scheduler *s, struct pending *p, struct wire_plan *w)
{
    if (p->header.type == WIRE_DROP) {
        return apply_drop(s, p, w);
    }
    if (p->header.type == WIRE_MOVE) {
        return move_apply(s, p, w);
    }
    return apply_declare(s, p, w);
}

void declare_while_held(struct scheduler *s)
{
    struct pending *next;

    for (struct pending *p = s->first; p != NULL; p = next) {
        struct wire_plan w = s->plan->w;

        next = p->next;
        if (declare_apply(s, p, &w)) {
            PROBE(declare_waits_for_save);
            declare_answer_end(
                s, p, PS_ENOTREADY,
                "a checkpoint is being saved: variables come and "
                "go after it");
        }
    }
}

static void refuse_declare(struct scheduler *s, struct pending *p, int status,
                           const char *why)
{
    char text[640];
    struct wire_declare m;

    snprintf(text, sizeof(text), "%s", why);
    if (wire_declare_decode(frame_body(p->frame), p->frame->body_bytes,
                            &s->arena, &m) == PS_OK) {
        snprintf(text, sizeof(text), "variable \"%s\": %s", m.variables[0].name,
                 why);
    }
    declare_answer_end(s, p, status, text);
}

bool declare_refuse_update(struct scheduler *s, int status, const char *text)
{
    bool had_any = false;
    struct pending *next;

    for (struct pending *p = s->first; p != NULL; p = next) {
        next = p->next;
        if (p->in_update && p->header.type == WIRE_DECLARE) {
            refuse_declare(s, p, status, text);
            had_any = true;
        }
    }
    return had_any;
}

void declare_answer_done(struct scheduler *s, struct pending *p)
{
    struct wire_declare_answer a = {
        .id = p->id,
        .plan = s->plan->w.plan + (p->in_update ? 1 : 0),
    };
    struct buf b;

    if (p->connection != 0) {
        buf_init(&b);
        wire_declare_answer_encode(&a, &b);
        declare_answer_body(s, p->connection, &p->header, PS_OK, &b);
        buf_fini(&b);
    }
    forget(s, p);
}
