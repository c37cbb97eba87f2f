/* client_save.h - what ps-plus asks of saves beside the public calls. */
#ifndef CLIENT_SAVE_H
#define CLIENT_SAVE_H

#include "client/client_impl.h"

/* ps_save; whole: no increment, whatever the cluster is used to. */
int client_save_begin(ps_client *client, const char *name, bool whole,
                      ps_request **request, struct ps_error *error) MUST_USE;
/* A state of enum ps_save_phase as a word: "none", "writing", "finishing",
 * "done", "failed", "canceled". */
const char *client_save_word(int state);
/* As ps_save_get, and waits until the store has said something of it: PS_OK or
 * PS_ETIMEOUT. Within client_enter. */
int client_save_state(ps_client *c, uint64_t deadline,
                      struct ps_save_state *state) MUST_USE;

#endif
