/* Segments that no kept checkpoint needs are removed: of this lane those that
 * are followed by one of the oldest kept cut or before it; of former lanes of
 * this server all, if the last of its lanes that ended did so before that cut:
 * what they did is in the rows of all checkpoints that are kept, and all of its
 * parts are in them, too. Nothing else is touched, and a file that stays is no
 * harm. */
#include "base/probe.h"
#include "server/shard_log.h"

PLANT_DECLARE(log_trimmed_too_early);

enum { STEP_LIST = 1, STEP_REMOVE };

static void submit(struct shard *s, uint32_t step, struct disk_request *r)
{
    r->tag = shard_log_tag(LOG_TAG_TRIM, s->lane, step);
    s->options.log->submit(s->options.log, r);
}

void shard_log_trim(struct shard *s, uint64_t oldest)
{
    struct disk_request r = {.op = DISK_LIST};

    if (PLANT(log_trimmed_too_early)) {
        oldest = UINT64_MAX;
    }
    if (s->log == NULL || s->plan == NULL || oldest <= s->log_oldest) {
        return;
    }
    s->log_oldest = oldest;
    logfile_folder(s->plan->w.cluster_high, s->plan->w.cluster_low, r.path);
    submit(s, STEP_LIST, &r);
}

static bool is_former_lane(const struct shard *s, uint64_t lane)
{
    const struct wire_ended *e = plan_ended(s->plan, lane);

    return e != NULL && e->server == s->options.server;
}

/* The other shards of this server begin anew without this one. */
static bool are_all_behind(const struct shard *s)
{
    const struct wire_plan *w = &s->plan->w;
    bool all = true;

    for (uint32_t i = 0; i < w->n_ended; i++) {
        all = all && (w->ended[i].server != s->options.server ||
                      w->ended[i].cut < s->log_oldest);
    }
    return all;
}

/* The newest segment of this lane that is of a cut up to the oldest kept one;
 * 0: none. */
static uint64_t newest_behind(const struct shard *s, const char *names,
                              size_t size)
{
    uint64_t newest = 0;

    for (size_t at = 0; at < size; at += strlen(names + at) + 1) {
        struct logfile_name n;

        if (logfile_parse(names + at, &n) && n.lane == s->lane &&
            n.segment > s->log->first_segment && n.segment <= s->log_oldest) {
            newest = base_max_u64(newest, n.segment);
        }
    }
    return newest;
}

void shard_log_trim_on_disk(struct shard *s, const struct disk_result *r)
{
    const char *names = r->data;
    uint64_t newest;
    bool are_all;

    if ((r->tag & 0xff) != STEP_LIST || r->status != PS_OK || s->log == NULL ||
        r->tag != shard_log_tag(LOG_TAG_TRIM, s->lane, STEP_LIST)) {
        return;
    }
    newest = newest_behind(s, names, r->size);
    are_all = are_all_behind(s);
    for (size_t at = 0; at < r->size && newest > 0;
         at += strlen(names + at) + 1) {
        struct disk_request remove = {.op = DISK_REMOVE};
        struct logfile_name n;

        if (!logfile_parse(names + at, &n) ||
            !((n.lane == s->lane && n.segment < newest) ||
              (are_all && is_former_lane(s, n.lane)))) {
            continue;
        }
        PROBE(shard_log_trims);
        logfile_path(s->plan->w.cluster_high, s->plan->w.cluster_low, &n,
                     remove.path);
        submit(s, STEP_REMOVE, &remove);
    }
}
