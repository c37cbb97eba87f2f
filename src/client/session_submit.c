/* Requests come in here: checked, duplicates summed, cut, sent. */
#include <stdio.h>

#include "base/hash.h"
#include "base/mem.h"
#include "client/session_impl.h"

/* The index of a chain by its definition, made if it is new. */
static int find_chain(struct session *s, const char *definition,
                      uint32_t *index)
{
    size_t size = strlen(definition);
    struct chain_entry *e;

    for (uint32_t i = 0; i < s->n_chains; i++) {
        if (strcmp(s->chains[i].definition, definition) == 0) {
            *index = i;
            return PS_OK;
        }
    }
    if (size >= sizeof(e->definition) || s->n_chains >= LIMIT_CHAINS) {
        return PS_EARGUMENT;
    }
    if (s->n_chains == s->chains_room) {
        uint32_t room = s->chains_room == 0 ? 8 : s->chains_room * 2;

        e = mem_try_resize(s->chains, mem_array(room, sizeof(*e)));
        if (e == NULL) {
            return PS_ENOMEM;
        }
        s->chains = e;
        s->chains_room = room;
    }
    e = &s->chains[s->n_chains];
    memset(e, 0, sizeof(*e));
    e->id = hash_bytes(definition, size);
    memcpy(e->definition, definition, size + 1);
    *index = s->n_chains++;
    return PS_OK;
}

static int choose_chains(struct session *s, struct request_op *op)
{
    bool dense = op->variable.kind == PS_DENSE;
    char text[128];
    int rc = PS_OK;

    op->pull_chain = UINT32_MAX;
    op->write_chain = UINT32_MAX;
    if (op->kind != PS_PUSH) {
        rc = find_chain(s,
                        dense ? "BuildDenseSlice>TransSlice"
                              : "BuildHashSlice>TransSlice",
                        &op->pull_chain);
    }
    if (rc == PS_OK && op->kind == PS_PULL_CREATE && !dense) {
        rc = find_chain(s, "BuildHashSlice(insert)>TransSlice",
                        &op->write_chain);
    }
    if (rc == PS_OK && op->kind == PS_PUSH) {
        int n = snprintf(text, sizeof(text), "%s>%s",
                         dense ? "BuildDenseSlice" : "BuildHashSlice(insert)",
                         op->updater.name);

        if (n < 0 || (size_t)n >= sizeof(text)) {
            return PS_EARGUMENT;
        }
        rc = find_chain(s, text, &op->write_chain);
    }
    return rc;
}

static int check(const struct session_op *op)
{
    bool dense = op->variable.kind == PS_DENSE;

    if ((op->kind == PS_PUSH ? op->values == NULL : op->out == NULL) &&
        (dense || op->n_keys > 0)) {
        return PS_EARGUMENT;
    }
    if (dense ? op->n_keys != 0 : op->n_keys > 0 && op->keys == NULL) {
        return PS_EARGUMENT;
    }
    if (op->kind < PS_PULL || op->kind > PS_PUSH) {
        return PS_EARGUMENT;
    }
    if (op->kind == PS_PUSH &&
        (op->updater.name == NULL || op->updater.n_params < 0 ||
         op->updater.n_params > PS_PARAMS_MAX)) {
        return PS_EARGUMENT;
    }
    return PS_OK;
}

/* The whole op as one slice, duplicates summed. */
static int prepare(struct session *s, struct request *r, uint32_t i,
                   const struct session_op *from, struct slice *slice)
{
    struct request_op *op = &r->ops[i];
    int rc = check(from);

    if (rc != PS_OK) {
        return rc;
    }
    op->variable = from->variable;
    op->kind = from->kind;
    op->out = from->out;
    op->n_keys = from->n_keys;
    op->updater = from->updater;
    *slice = (struct slice){.op = i, .variable = from->variable.id};
    rc = choose_chains(s, op);
    if (rc != PS_OK) {
        return rc;
    }
    if (from->variable.kind == PS_DENSE) {
        slice->n = (size_t)from->variable.rows;
        slice->values = from->kind == PS_PUSH ? from->values : NULL;
        return PS_OK;
    }
    rc = dedup_keys(&r->arena, from->keys, from->n_keys, &op->dedup);
    if (rc != PS_OK) {
        return rc;
    }
    slice->keys = op->dedup.keys;
    slice->n = op->dedup.n;
    slice->place = op->dedup.first;
    if (from->kind == PS_PUSH) {
        rc = dedup_values(&r->arena, &op->dedup, from->n_keys, from->values,
                          from->variable.dim,
                          strcmp(from->updater.name, "AssignUpdater") == 0,
                          s->kern, &slice->values);
    }
    return rc;
}

static void withdraw(struct request *r)
{
    r->is_abandoned = true;
    request_settle(r);
}

static void pump_links(struct session *s)
{
    struct link *l;
    size_t i = 0;

    while ((l = map_next(&s->links, &i)) != NULL) {
        link_pump(l);
    }
}

int session_submit(struct session *s, const struct session_op *ops, size_t n,
                   struct request **request)
{
    struct request *r;
    struct slice *slices;
    int rc = PS_OK;

    if (s->is_over) {
        return PS_ECLOSED;
    }
    if (s->rollback.is_on) {
        return PS_EROLLEDBACK;
    }
    if (s->plan == NULL || n > LIMIT_FRAME_OPS) {
        return s->plan == NULL ? PS_ENOTREADY : PS_EARGUMENT;
    }
    r = request_new(s, REQUEST_RUN);
    if (r == NULL) {
        return PS_ENOMEM;
    }
    r->ops = arena_take(&r->arena, (n + 1) * sizeof(*r->ops));
    slices = arena_take(&r->arena, (n + 1) * sizeof(*slices));
    if (r->ops == NULL || slices == NULL) {
        rc = PS_ENOMEM;
        n = 0;
    } else {
        memset(r->ops, 0, (n + 1) * sizeof(*r->ops));
    }
    for (uint32_t i = 0; i < n && rc == PS_OK; i++) {
        rc = prepare(s, r, i, &ops[i], &slices[i]);
        r->n_ops = i + 1;
    }
    r->restore = s->plan->w.restore;
    step_on_submit(s, r);
    /* Counts as a flight, so that nothing settles before all are cut. */
    r->n_flights = 1;
    if (rc == PS_OK) {
        rc = cut_slices(s, r, slices, (uint32_t)n, s->next_order++);
    }
    if (rc != PS_OK) {
        r->n_ops = 0;
        withdraw(r);
        return rc;
    }
    *request = r;
    step_on_taken(s, r);
    r->n_flights--;
    if (r->n_flights == 0) {
        request_settle(r);
    } else {
        pump_links(s);
    }
    return PS_OK;
}

static int submit_control(struct session *s, enum request_kind kind,
                          const struct buf *body, uint16_t type,
                          struct request **request)
{
    struct frame_header h = {.type = type};
    struct request *r;

    if (body->failed) {
        return PS_ENOMEM;
    }
    if (s->is_over) {
        return PS_ECLOSED;
    }
    r = request_new(s, kind);
    if (r == NULL) {
        return PS_ENOMEM;
    }
    r->frame = frame_new(body->size);
    if (kind == REQUEST_SAVE) {
        r->save = arena_take(&r->arena, sizeof(*r->save));
    }
    if (r->frame == NULL || (kind == REQUEST_SAVE && r->save == NULL)) {
        withdraw(r);
        return PS_ENOMEM;
    }
    if (body->size > 0) {
        memcpy(frame_body(r->frame), body->data, body->size);
    }
    r->id = s->next_id++;
    h.request = r->id;
    session_seal(s, r->frame, &h);
    r->retry_us = 0;
    *request = r;
    control_tick(s);
    return PS_OK;
}

int session_declare(struct session *s, const struct wire_variable *v,
                    struct request **request)
{
    struct wire_declare m = {.variables = v, .n_variables = 1};
    struct buf b;
    int rc;

    buf_init(&b);
    wire_declare_encode(&m, &b);
    rc = submit_control(s, REQUEST_DECLARE, &b, WIRE_DECLARE, request);
    buf_fini(&b);
    if (rc == PS_OK) {
        (*request)->declared = (struct session_variable){
            .kind = v->kind, .dim = v->dim, .rows = v->rows};
    }
    return rc;
}

int session_drop(struct session *s, const char *name, struct request **request)
{
    struct wire_drop m = {.name = name};
    struct buf b;
    int rc;

    buf_init(&b);
    wire_drop_encode(&m, &b);
    rc = submit_control(s, REQUEST_DROP, &b, WIRE_DROP, request);
    buf_fini(&b);
    return rc;
}

int session_move(struct session *s, const char *name, uint32_t bucket,
                 uint32_t server, uint32_t shard, struct request **request)
{
    struct wire_move m = {
        .name = name, .bucket = bucket, .server = server, .shard = shard};
    struct buf b;
    int rc;

    buf_init(&b);
    wire_move_encode(&m, &b);
    rc = submit_control(s, REQUEST_MOVE, &b, WIRE_MOVE, request);
    buf_fini(&b);
    return rc;
}

static int save(struct session *s, const char *name, bool whole,
                struct request **request)
{
    struct wire_save_request m = {.nonce = s->net->random(s->net),
                                  .name = name,
                                  .whole = whole,
                                  .cut = step_gone_on(s)};
    struct buf b;
    int rc;

    buf_init(&b);
    wire_save_request_encode(&m, &b);
    rc = submit_control(s, REQUEST_SAVE, &b, WIRE_SAVE, request);
    buf_fini(&b);
    if (rc == PS_OK) {
        s->step.is_clean = true; /* a boundary, like step_boundary */
        *(*request)->save = (struct ps_save_state){.ticket = 0};
        snprintf((*request)->save->name, sizeof((*request)->save->name), "%s",
                 name);
    }
    return rc;
}

int session_save(struct session *s, const char *name, struct request **request)
{
    return save(s, name, false, request);
}

int session_save_whole(struct session *s, const char *name,
                       struct request **request)
{
    return save(s, name, true, request);
}

int session_restore(struct session *s, const char *name,
                    const struct wire_rename *renames, uint32_t n,
                    struct request **request)
{
    struct wire_restore_request m = {.nonce = s->net->random(s->net),
                                     .name = name,
                                     .renames = renames,
                                     .n_renames = n};
    struct buf b;
    int rc;

    buf_init(&b);
    wire_restore_request_encode(&m, &b);
    rc = submit_control(s, REQUEST_RESTORE, &b, WIRE_RESTORE, request);
    buf_fini(&b);
    return rc;
}

int session_cancel_save(struct session *s, uint64_t ticket,
                        struct request **request)
{
    struct wire_ticket m = {.ticket = ticket};
    struct buf b;
    int rc;

    buf_init(&b);
    wire_ticket_encode(&m, &b);
    rc = submit_control(s, REQUEST_CANCEL, &b, WIRE_CANCEL, request);
    buf_fini(&b);
    return rc;
}

int session_readers(struct session *s, struct request **request)
{
    const struct buf none = {.data = NULL};

    return submit_control(s, REQUEST_READERS, &none, WIRE_READERS, request);
}

int session_status(struct session *s, uint64_t lane, struct request **request)
{
    struct request *r;
    struct flight *f;
    struct link *l;

    if (s->plan == NULL || s->is_over) {
        return s->plan == NULL ? PS_ENOTREADY : PS_ECLOSED;
    }
    l = link_for(s, lane);
    if (l == NULL) {
        return plan_lane(s->plan, lane) == NULL ? PS_ELANE : PS_ENOMEM;
    }
    r = request_new(s, REQUEST_STATUS);
    f = mem_try_zero(sizeof(*f));
    if (r == NULL || f == NULL || (f->frame = frame_new(0)) == NULL) {
        mem_free(f);
        if (r != NULL) {
            withdraw(r);
        }
        return PS_ENOMEM;
    }
    f->kind = FLIGHT_STATUS;
    f->request = r;
    f->order = s->next_order++;
    f->id = s->next_id++;
    f->lane = lane;
    f->plan = s->plan->w.plan;
    r->n_flights = 1;
    *request = r;
    link_add(l, f);
    link_pump(l);
    return PS_OK;
}

/* Settles what of r is in a list; true when something was done. */
static bool resolve_in(struct session *s, struct flight_list *list,
                       struct request *r)
{
    for (struct flight *f = list->first; f != NULL; f = f->next) {
        if (f->request != r || f->by_user || f->kind != FLIGHT_RUN) {
            continue;
        }
        if (f->seq == 0) {
            flight_settle(s, f, PS_ECANCELED);
        } else {
            f->by_user = true;
            flight_resolve(s, f);
        }
        return true;
    }
    return false;
}

static bool resolve_one(struct session *s, struct request *r)
{
    struct link *l;
    size_t i = 0;

    if (resolve_in(s, &s->parked, r)) {
        return true;
    }
    while ((l = map_next(&s->links, &i)) != NULL) {
        if (resolve_in(s, &l->writes, r) || resolve_in(s, &l->reads, r)) {
            return true;
        }
    }
    return false;
}

void session_resolve(struct session *s, struct request *r)
{
    if (r->has_settled || r->kind != REQUEST_RUN) {
        return;
    }
    /* One at a time: the last one settles, and may free, the request. Held
     * open meanwhile. */
    r->n_flights++;
    while (resolve_one(s, r)) {
    }
    r->n_flights--;
    if (r->n_flights == 0) {
        request_settle(r);
    }
    pump_links(s);
}

void session_abandon(struct request *r)
{
    if (r->has_settled) {
        request_free(r);
        return;
    }
    r->is_abandoned = true;
    if (r->kind != REQUEST_RUN && r->kind != REQUEST_STATUS) {
        request_settle(r);
    }
}
