/* What a caller holds of an operation under way. */
#include "base/mem.h"
#include "client/session_impl.h"

struct request *request_new(struct session *s, enum request_kind kind)
{
    struct request *r = mem_try_zero(sizeof(*r));

    if (r == NULL) {
        return NULL;
    }
    r->kind = kind;
    r->session = s;
    r->retry_us = UINT64_MAX;
    arena_init(&r->arena);
    r->prev = s->last;
    if (s->last != NULL) {
        s->last->next = r;
    } else {
        s->first = r;
    }
    s->last = r;
    return r;
}

static void unlink_request(struct request *r)
{
    struct session *s = r->session;

    if (r->prev != NULL) {
        r->prev->next = r->next;
    } else {
        s->first = r->next;
    }
    if (r->next != NULL) {
        r->next->prev = r->prev;
    } else {
        s->last = r->prev;
    }
    r->next = NULL;
    r->prev = NULL;
}

void request_settle(struct request *r)
{
    struct session *s = r->session;

    ASSERT(!r->has_settled);
    for (uint32_t i = 0; i < r->n_ops && !r->is_abandoned; i++) {
        struct request_op *op = &r->ops[i];

        if (op->out != NULL && r->status == PS_OK) {
            dedup_spread(&op->dedup, op->n_keys, op->out, op->variable.dim);
        }
    }
    unlink_request(r);
    step_report(s);
    r->has_settled = true;
    if (r->is_abandoned) {
        request_free(r);
    } else {
        s->owner->settled(s->owner, r);
    }
}

void request_free(struct request *r)
{
    if (r == NULL) {
        return;
    }
    ASSERT(r->has_settled);
    arena_fini(&r->arena);
    frame_put(r->frame);
    mem_free(r->outcomes);
    mem_free(r->answer);
    mem_free(r);
}

int request_status(const struct request *r)
{
    return r->status;
}

bool request_has_settled(const struct request *r)
{
    return r->has_settled;
}

const char *request_text(const struct request *r)
{
    return r->text;
}

uint64_t request_ticket(const struct request *r)
{
    return r->ticket;
}

const struct session_variable *request_declared(const struct request *r)
{
    return &r->declared;
}

const uint8_t *request_answer(const struct request *r, size_t *size)
{
    *size = r->answer_size;
    return r->answer;
}

size_t request_frames(const struct request *r)
{
    return r->n_outcomes;
}

const struct ps_frame_outcome *request_frame(const struct request *r, size_t i)
{
    return i < r->n_outcomes ? &r->outcomes[i] : NULL;
}

void request_set_owner(struct request *r, void *owner)
{
    r->owner = owner;
}

void *request_owner(const struct request *r)
{
    return r->owner;
}
