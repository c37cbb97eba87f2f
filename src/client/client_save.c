/* client_save.c - the public calls on steps and saves. */
#include "client/client_save.h"

#include "base/limits.h"

int ps_step(ps_client *client, const void *position, size_t size)
{
    struct client_guard g;
    int rc;

    if (client == NULL || (position == NULL && size > 0) ||
        size > LIMIT_POSITION_BYTES) {
        return PS_EARGUMENT;
    }
    client_enter(client, &g);
    rc = step_boundary(client->session, position, size);
    client_leave(client, &g);
    return rc;
}

int client_save_begin(ps_client *client, const char *name, bool whole,
                      ps_request **request, struct ps_error *error)
{
    struct client_guard g;
    struct request *r = NULL;
    int rc;

    if (client == NULL || request == NULL) {
        return client_error(error, PS_EARGUMENT, "a NULL argument");
    }
    name = name != NULL ? name : "";
    if (strlen(name) > LIMIT_NAME_BYTES) {
        return client_error(error, PS_EARGUMENT,
                            "the name of a checkpoint has at most %d bytes",
                            (int)LIMIT_NAME_BYTES);
    }
    client_enter(client, &g);
    rc = client_handle(request);
    if (rc == PS_OK) {
        rc = whole ? session_save_whole(client->session, name, &r)
                   : session_save(client->session, name, &r);
    }
    client_hold(client, rc, r, request);
    client_leave(client, &g);
    return rc == PS_OK
               ? rc
               : client_error(error, rc, "save: %s", ps_status_text(rc));
}

int ps_save(ps_client *client, const char *name, ps_request **request,
            struct ps_error *error)
{
    return client_save_begin(client, name, false, request, error);
}

int ps_save_get(ps_client *client, struct ps_save_state *state)
{
    struct client_guard g;

    if (client == NULL || state == NULL) {
        return PS_EARGUMENT;
    }
    client_enter(client, &g);
    step_save_state(client->session, state);
    client_leave(client, &g);
    return PS_OK;
}

int ps_request_save(const ps_request *request, struct ps_save_state *state)
{
    struct client_guard g;
    int rc;

    if (request == NULL || state == NULL) {
        return PS_EARGUMENT;
    }
    client_enter(request->client, &g);
    rc = step_save_of(request->request, state);
    client_leave(request->client, &g);
    return rc;
}

const char *client_save_word(int state)
{
    static const char *const words[] = {
        [PS_SAVE_NONE] = "none",        [PS_SAVE_OPEN] = "writing",
        [PS_SAVE_CLOSED] = "finishing", [PS_SAVE_DONE] = "done",
        [PS_SAVE_FAILED] = "failed",    [PS_SAVE_CANCELED] = "canceled",
    };

    return state >= 0 && (size_t)state < ARRAY_LEN(words) ? words[state] : "?";
}

static bool is_known(void *context)
{
    return step_save_is_known(context);
}

int client_save_state(ps_client *c, uint64_t deadline,
                      struct ps_save_state *state)
{
    int rc = client_wait(c, is_known, c->session, deadline);

    step_save_state(c->session, state);
    return rc;
}

int ps_save_cancel(ps_client *client, int timeout_ms, struct ps_error *error)
{
    struct ps_request *handle = NULL;
    struct ps_save_state state;
    struct client_guard g;
    struct request *r = NULL;
    uint64_t deadline;
    int rc;

    if (client == NULL) {
        return client_error(error, PS_EARGUMENT, "a NULL argument");
    }
    client_enter(client, &g);
    deadline = client_deadline(client, timeout_ms);
    step_save_look(client->session); /* which one is it? */
    rc = client_save_state(client, deadline, &state);
    if (rc == PS_OK) {
        rc = client_handle(&handle);
    }
    if (rc == PS_OK) {
        /* One that waits for its cut is not in the store yet: 0 is the one
         * that is under way. */
        bool is_known =
            state.state == PS_SAVE_OPEN || state.state == PS_SAVE_CLOSED;

        rc = session_cancel_save(client->session, is_known ? state.ticket : 0,
                                 &r);
    }
    rc = client_finish(client, rc, r, &handle, deadline, "cancel the save",
                       error);
    client_let_go(handle);
    client_leave(client, &g);
    return rc;
}

static bool knows_position(void *context)
{
    return rollback_knows_position(((ps_client *)context)->session);
}

/* Into the caller's room of *size, which becomes what there is. */
static int give_position(const struct buf *b, uint64_t bytes, void *position,
                         size_t *size)
{
    size_t room = *size;

    *size = (size_t)bytes;
    if (b->size < bytes) {
        return PS_ELIMIT;
    }
    if (b->size > room) {
        return PS_EINDEX;
    }
    if (b->size > 0) {
        memcpy(position, b->data, b->size);
    }
    return PS_OK;
}

static int position_error(struct ps_error *error, int rc, size_t size)
{
    if (rc == PS_EINDEX) {
        return client_error(error, rc, "the position has %zu bytes", size);
    }
    if (rc == PS_ELIMIT) {
        return client_error(error, rc,
                            "the position has %zu bytes, and the store has no "
                            "room for those of all workers: it is in the "
                            "checkpoint's manifest",
                            size);
    }
    if (rc == PS_ENOTFOUND) {
        return client_error(error, rc,
                            "no checkpoint that the cluster began with has "
                            "this worker");
    }
    return client_error(error, rc,
                        "the store does not say where the readers stood");
}

static bool has_looked(void *context)
{
    const struct session *s = ((ps_client *)context)->session;
    const struct buf *b;
    uint64_t cut, size;

    return rollback_began(s, &b, &cut, &size) != PS_EBUSY;
}

/* What the record says that the scheduler has seen to. Within client_enter. */
static int look(ps_client *c, uint64_t deadline, struct ps_error *error)
{
    struct ps_request *handle = NULL;
    struct request *r = NULL;
    int rc = client_handle(&handle);

    if (rc == PS_OK) {
        rc = session_readers(c->session, &r);
    }
    rc = client_finish(c, rc, r, &handle, deadline, "restored", error);
    client_let_go(handle);
    if (rc == PS_OK) {
        rollback_look(c->session);
        rc = client_wait(c, has_looked, c, deadline);
        if (rc != PS_OK) {
            rc = position_error(error, rc, 0);
        }
    }
    return rc;
}

int ps_restored(ps_client *client, void *position, size_t *size, uint64_t *cut,
                int timeout_ms, struct ps_error *error)
{
    struct client_guard g;
    const struct buf *b;
    uint64_t number = 0, bytes = 0;
    int rc;

    if (client == NULL || size == NULL || (position == NULL && *size > 0)) {
        return client_error(error, PS_EARGUMENT, "a NULL argument");
    }
    client_enter(client, &g);
    rc = look(client, client_deadline(client, timeout_ms), error);
    if (rc == PS_OK) {
        rc = rollback_began(client->session, &b, &number, &bytes);
        if (rc == PS_OK) {
            rc = give_position(b, bytes, position, size);
        }
        if (rc != PS_OK) {
            rc = position_error(error, rc, *size);
        }
    }
    client_leave(client, &g);
    if (cut != NULL) {
        *cut = number;
    }
    return rc;
}

/* Within client_enter. A position that is nowhere here is taken note of, too:
 * nothing would go on for want of it. */
static int take_note(ps_client *c, void *position, size_t *size, uint64_t *cut)
{
    uint64_t bytes;
    const struct buf *b = rollback_position(c->session, cut, &bytes);
    int rc = give_position(b, bytes, position, size);

    if (rc == PS_OK || rc == PS_ELIMIT) {
        rollback_take_note(c->session);
    }
    return rc;
}

int ps_rollback(ps_client *client, void *position, size_t *size, uint64_t *cut,
                int timeout_ms, struct ps_error *error)
{
    struct client_guard g;
    uint64_t number = 0;
    int rc;

    if (client == NULL || size == NULL || (position == NULL && *size > 0)) {
        return client_error(error, PS_EARGUMENT, "a NULL argument");
    }
    client_enter(client, &g);
    if (!rollback_is_on(client->session)) {
        rc = client_error(error, PS_ENOTFOUND, "nothing was rolled back");
    } else {
        rc = client_wait(client, knows_position, client,
                         client_deadline(client, timeout_ms));
        if (rc == PS_OK) {
            rc = take_note(client, position, size, &number);
        }
        if (rc != PS_OK) {
            rc = position_error(error, rc, *size);
        }
    }
    client_leave(client, &g);
    if (cut != NULL) {
        *cut = number;
    }
    return rc;
}
