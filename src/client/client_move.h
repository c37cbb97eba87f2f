/* client_move.h - what ps-plus asks of moves. */
#ifndef CLIENT_MOVE_H
#define CLIENT_MOVE_H

#include "client/client_impl.h"

/* The part of the variable that has this bucket goes to another shard. Returns
 * at once; ps_wait waits until it has been given away. */
int client_move(ps_client *client, const char *name, uint32_t bucket,
                uint32_t server, uint32_t shard, ps_request **request,
                struct ps_error *error) MUST_USE;

#endif
