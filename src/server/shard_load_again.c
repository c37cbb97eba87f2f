/* Loads that cannot be done, or not as they were begun: which trouble is
 * damage, what is tried again, and what a new plan does to a load. */
#include "server/history.h"
#include "server/shard_load.h"

#include <stdio.h>

#include "base/hash.h"
#include "base/probe.h"

/* Pauses of what is tried again double up to this. */
enum { PAUSE_US = 60 * LOADING_AGAIN_US };

/* What it says is in the server's record; that is written when it changes. */
static void say(struct shard *s, uint32_t failed, const char *why)
{
    if (s->load_failed != failed || strcmp(s->load_why, why) != 0) {
        s->load_failed = failed;
        snprintf(s->load_why, sizeof(s->load_why), "%s", why);
        s->owner->saved(s->owner, s->options.shard);
    }
}

/* A disk that is away for a moment fails with everything. One that is there,
 * the manifest was read, and has failed with one thing for so long has lost it,
 * which is damage; whether a manifest is lost or the disk the scheduler looks
 * itself. */
static int judge_disk(const struct loading *v, const char *why)
{
    struct shard *s = v->shard;
    uint64_t now = s->net->now_us(s->net);
    uint64_t sum = hash_bytes(why, strlen(why)) | 1;

    if (s->load_bad_sum != sum) {
        s->load_bad_sum = sum;
        s->load_bad_us = now;
    }
    if (now - s->load_bad_us < (uint64_t)LIMIT_DISK_MS * 1000) {
        return PS_EIO;
    }
    return v->links[0].ckpt != NULL ? PS_EDATALOSS : PS_ENOTFOUND;
}

/* Damage is for the scheduler to find another checkpoint, and want of room to
 * find another server. Whatever else it was, the disk, memory, a mount, a
 * plugin, says nothing of the checkpoint: taken for damage it would cost
 * rows. */
void shard_loading_fail(struct loading *v, int status, const char *what)
{
    struct shard *s = v->shard;
    uint64_t now = s->net->now_us(s->net);
    char why[sizeof(s->load_why)];

    shard_loading_close(v);
    v->is_ready = false;
    /* The folder of the load is in front: the scheduler looks for that. */
    if (v->link > 0 && v->link < v->n_links) {
        snprintf(why, sizeof(why), "%s: its base %s: %.50s", v->folder,
                 v->links[v->link].folder, what);
    } else {
        snprintf(why, sizeof(why), "%s: %.130s", v->folder, what);
    }
    base_one_line(why);
    if (status == PS_EIO) {
        status = judge_disk(v, why);
    }
    if (status == PS_EDATALOSS) {
        v->phase = LOADING_FAILED;
        log_write(LOG_ERROR, "shard %u cannot load %s", s->options.shard, why);
        say(s, LOAD_DAMAGED, why);
        return;
    }
    v->phase = LOADING_WAITING;
    s->load_pause_us = base_min_u64(
        base_max_u64(2 * s->load_pause_us, LOADING_AGAIN_US), PAUSE_US);
    s->load_again_us = now + s->load_pause_us;
    log_limited(&s->load_log, now, LOG_ERROR,
                "shard %u cannot load %s; it is tried again", s->options.shard,
                why);
    say(s,
        status == PS_ENOTFOUND ? LOAD_MISSING
        : status == PS_ELIMIT  ? LOAD_NO_ROOM
                               : LOAD_GOES_ON,
        why);
}

static bool is_same_load(const struct wire_load *a, const struct wire_load *b)
{
    return a != NULL && b != NULL && strcmp(a->folder, b->folder) == 0 &&
           strcmp(a->name, b->name) == 0 &&
           a->brings_lanes == b->brings_lanes && a->log_from == b->log_from;
}

/* How many parts of the plan come from the folder that is being loaded; those
 * of them that are being loaded already are counted in *same. */
static size_t count_wanted(const struct shard *s, const struct plan *plan,
                           size_t *same)
{
    size_t n = 0;

    *same = 0;
    for (uint32_t i = 0; i < plan->w.n_parts; i++) {
        const struct wire_part *w = &plan->w.parts[i];
        const struct wire_load *l = plan_load(plan, w);
        const struct shard_part *p;

        if (w->lane != s->lane || l == NULL ||
            strcmp(l->folder, s->loading->folder) != 0) {
            continue;
        }
        p = shard_part(s, w->variable, w->begin);
        if (p != NULL && p->begin == w->begin && p->end == w->end &&
            p->since == w->since && !p->is_loading) {
            continue; /* it is here */
        }
        n++;
        *same += p != NULL && p->begin == w->begin && p->end == w->end &&
                 p->since == w->since && p->table != NULL &&
                 shard_loading_is_of(s->loading, p) &&
                 is_same_load(shard_loading_load_of(s, p), l);
    }
    return n;
}

/* The scheduler has given up a load that was tried again here meanwhile, and
 * done: the server's record, of before, was late. What was pushed since would
 * go without a word, as nobody asks a lane that lives what it has lost. */
bool shard_load_is_given_up(struct shard *s, const struct plan *plan)
{
    bool is_served = false;

    for (size_t i = 0; i < s->n_parts && !is_served; i++) {
        const struct shard_part *p = &s->parts[i];
        const struct wire_part *w = plan_part(plan, p->variable, p->begin);

        is_served = w != NULL && w->lane == s->lane && w->since != p->since &&
                    p->table != NULL && !p->is_loading;
    }
    if (!is_served) {
        return false;
    }
    if (!s->is_over) {
        log_write(LOG_ERROR,
                  "shard %u has loaded and served what the scheduler gave up "
                  "meanwhile: it acknowledges nothing more, and its lane ends",
                  s->options.shard);
    }
    s->is_over = true;
    s->owner->want(s->owner, s->options.shard, SHARD_WANT_LIFE, s->lane);
    return true;
}

void shard_load_before_plan(struct shard *s, const struct plan *plan)
{
    const struct loading *v = s->loading;
    size_t same, n = 0;

    if (v == NULL) {
        return;
    }
    for (size_t i = 0; i < s->n_parts; i++) {
        n += shard_loading_is_of(v, &s->parts[i]);
    }
    if (v->phase == LOADING_FAILED || v->phase == LOADING_WAITING ||
        count_wanted(s, plan, &same) != n || same != n) {
        PROBE(shard_load_begins_again);
        shard_load_abandon(s);
        s->load_again_us = 0; /* its parts get new tables first */
        s->load_pause_us = 0;
        say(s, LOAD_GOES_ON, "");
    }
}

bool shard_load_keeps(const struct shard *s, const struct shard_part *p)
{
    return s->loading != NULL && shard_loading_is_of(s->loading, p);
}

/* All of it again: parts begin with new tables, because what a late frame has
 * added must not be there when it is added again. */
bool shard_loading_renew(struct shard *s)
{
    const struct loading *v = s->loading;
    uint64_t limit = s->budget.limit;
    int rc = PS_OK;

    s->budget.limit = 0;
    for (size_t i = 0; i < s->n_parts && rc == PS_OK; i++) {
        struct shard_part *p = &s->parts[i];
        struct table *t;

        if (!shard_loading_is_of(v, p) || p->table == NULL) {
            continue;
        }
        rc = table_new(&t, table_spec(p->table));
        if (rc == PS_OK) {
            table_free(p->table);
            p->table = t;
            history_free(p->histories);
            p->histories = NULL;
        }
    }
    s->budget.limit = limit;
    return rc == PS_OK;
}
