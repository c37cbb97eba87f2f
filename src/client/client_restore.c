/* client_restore.c - the public call on restores. */
#include "client/client_restore.h"

#include "base/limits.h"

static int check(const ps_client *client, const char *name,
                 struct ps_error *error)
{
    if (client == NULL) {
        return client_error(error, PS_EARGUMENT, "a NULL argument");
    }
    if (strlen(name) > LIMIT_NAME_BYTES) {
        return client_error(error, PS_EARGUMENT,
                            "the name of a checkpoint has at most %d bytes",
                            (int)LIMIT_NAME_BYTES);
    }
    return PS_OK;
}

int client_restore(ps_client *client, const char *name,
                   const struct wire_rename *renames, uint32_t n,
                   ps_request **request, struct ps_error *error)
{
    struct client_guard g;
    struct request *r = NULL;
    int rc = check(client, name, error);

    if (rc != PS_OK) {
        return rc;
    }
    client_enter(client, &g);
    rc = client_handle(request);
    if (rc == PS_OK) {
        rc = session_restore(client->session, name, renames, n, &r);
    }
    client_hold(client, rc, r, request);
    client_leave(client, &g);
    return rc == PS_OK
               ? rc
               : client_error(error, rc, "restore: %s", ps_status_text(rc));
}

int ps_restore(ps_client *client, const char *name, int timeout_ms,
               struct ps_error *error)
{
    struct ps_request *handle = NULL;
    struct client_guard g;
    struct request *r = NULL;
    int rc;

    name = name != NULL ? name : "";
    rc = check(client, name, error);
    if (rc != PS_OK) {
        return rc;
    }
    client_enter(client, &g);
    rc = client_handle(&handle);
    if (rc == PS_OK) {
        rc = session_restore(client->session, name, NULL, 0, &r);
    }
    rc = client_finish(client, rc, r, &handle,
                       client_deadline(client, timeout_ms), "restore", error);
    client_let_go(handle);
    client_leave(client, &g);
    return rc;
}
