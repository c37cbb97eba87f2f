/* status.h - the state of a cluster, as `ps-plus status` shows it.
 *
 * Gathered from the plan and from every shard in it. A shard that does not
 * answer within 2 s is shown as silent: a status that can be had only while
 * all is well would be of no use.
 *
 *     {"term", "plan", "servers_wanted", "checkpoints",
 *      "save": {"state", "ticket", "cut", "name", "folder", "rows",
 *               "rows_done", "why"},
 *      "servers": [{"id", "state", "emptied", "waiting", "from",
 *          "shards": [{"shard", "lane", "address", "state", "sessions", "plan",
 *                      "unserved", "why", "rows", "bytes",
 *                      "counters": {...}}]}],
 *      "variables": [{"name", "kind", "dim", "rows", "bytes", "parts"}],
 *      "totals": {"pulls", "pushes_applied", "repeats_suppressed", "rows",
 *                 "bytes"}}
 *
 * States of a server: "serving", "degraded" (some shards are silent or without
 * a lease), "silent", "missing" (expected, and not in the plan). from: the
 * checkpoint that its rows came back from, "" where none did. waiting: parts
 * that it had and nobody has got yet; unserved: parts that a shard does not
 * serve (yet), or takes no pushes to, and why, if that is not just under way.
 * checkpoints is their URL, "" where there is none; states of the save that is
 * under way, or was last: client_save_word, or "unknown".
 */
#ifndef STATUS_H
#define STATUS_H

#include "base/buf.h"

struct status;

/* Thread: any. PS_ENOMEM, PS_EARGUMENT. */
int status_gather(ps_client *client, int timeout_ms, struct status **status,
                  struct ps_error *e) MUST_USE;
void status_free(struct status *s);
/* Appends the text, with a line end, without a NUL. Failure: out->failed. */
void status_json(const struct status *s, struct buf *out);
/* The same for people. */
void status_table(const struct status *s, struct buf *out);

#endif
