/* serve.h - the server process: its main loop and a thread for each shard.
 *
 * The main loop runs the control part (server.h) over the coordination store.
 * Each shard has a thread, a loop and a listening socket of its own; orders go
 * to it and answers come back as mail.
 */
#ifndef SERVE_H
#define SERVE_H

#include "base/err.h"
#include "kern/kern.h"

struct serve_options {
    const char *kv_path;
    uint32_t id;
    uint32_t n_shards;     /* 0: one for each CPU of the process */
    const char *bind;      /* NULL: 127.0.0.1 */
    const char *advertise; /* host that clients use; NULL: where it binds, or
                                the host's name where that is everywhere */
    uint16_t port;         /* shard i listens on port + i; 0: any free one */
    const char *log_path;  /* a folder or its URL, for logs; NULL: none */
    uint32_t wait_s;       /* gives up if it does not serve by then; 0: never */
    const struct kern *kern; /* NULL: the best */
    const uint32_t *cpus; /* what each shard's thread is bound to; NULL: to none
                             of its own */
};

/* Serves until SIGTERM or SIGINT, then PS_OK. PS_ETIMEOUT: gave up waiting, e
 * says for what. PS_EARGUMENT, PS_EIO, PS_ENOMEM. Changes this process' log
 * name and its handling of SIGPIPE. */
int serve_run(const struct serve_options *options, struct err *e) MUST_USE;

#endif
