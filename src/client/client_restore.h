/* client_restore.h - what ps-plus asks of restores beside the public call. */
#ifndef CLIENT_RESTORE_H
#define CLIENT_RESTORE_H

#include "client/client_impl.h"

/* As ps_restore, but returns at once; ps_wait waits for its end. With renames
 * only these variables come from the checkpoint. */
int client_restore(ps_client *client, const char *name,
                   const struct wire_rename *renames, uint32_t n,
                   ps_request **request, struct ps_error *error) MUST_USE;

#endif
