/* client_move.c - a part goes to another shard, for ps-plus move. */
#include "client/client_move.h"

int client_move(ps_client *client, const char *name, uint32_t bucket,
                uint32_t server, uint32_t shard, ps_request **request,
                struct ps_error *error)
{
    struct client_guard g;
    struct request *r = NULL;
    int rc;

    client_enter(client, &g);
    rc = client_handle(request);
    if (rc == PS_OK) {
        rc = session_move(client->session, name, bucket, server, shard, &r);
    }
    client_hold(client, rc, r, request);
    client_leave(client, &g);
    return rc == PS_OK
               ? rc
               : client_error(error, rc, "move: %s", ps_status_text(rc));
}
