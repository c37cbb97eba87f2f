/* What ended lanes of this server have logged, over the rows of a checkpoint.
 *
 *     LISTING --> for each lane: ASKING --> OPENING --> READING --> SCANNING
 *                                  ^       (each segment from the cut on)  |
 *                                  |                                       v
 *                                RECORDING <-- SYNCING <-- the log's end --+
 *
 * Records are applied in their order through the same chains as the frames
 * were; their numbers go into the parts' frozen copies. The log ends at the
 * first record that is not whole, unless one behind it says that it had been
 * acknowledged: that is damage, and nothing is served. Where it ended is in the
 * store before anything is served, and no later reading goes beyond: a write of
 * the dead process may still come. Any failure leaves the parts unserved, said
 * in the log and in the server's record, and is tried again after a while. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/probe.h"
#include "server/shard_load.h"
#include "server/shard_log.h"
#include "server/shard_log_windows.h"

PLANT_DECLARE(log_read_past_end);
PLANT_DECLARE(log_end_not_recorded);
PLANT_DECLARE(log_damage_is_end);
PLANT_DECLARE(log_start_not_checked);

enum {
    READ_BYTES = 1 << 20,
    STEP_BYTES = 128 << 10, /* of records in one idle moment */
    AGAIN_US = 200000,
    FAILED_US = 5000000 /* then all is tried from the start */
};

enum reading_phase {
    LISTING,
    ASKING,
    OPENING,
    READING,  /* a part of the segment is on its way */
    APPLYING, /* it is here */
    SCANNING, /* behind what is not whole */
    SYNCING,
    RECORDING,
    READ_FAILED
};

struct log_reading {
    struct shard *shard;
    uint64_t serial;
    enum reading_phase phase;
    char why[200];
    uint64_t again_us;
    uint64_t *lanes; /* rising */
    size_t n_lanes;
    size_t lane;      /* which is read */
    struct buf names; /* of the folder */
    struct shard_log_record record;
    uint64_t *segments; /* of the lane, rising, from the first that is needed */
    size_t n_segments;
    size_t segment;
    uint64_t former_end; /* where the segment before ended */
    bool is_open;
    uint64_t n_files;
    struct buf window; /* bytes of the segment from `base` on */
    uint64_t base;
    uint64_t at;       /* the next record */
    uint64_t from;     /* SCANNING: what is read next */
    size_t asked;      /* bytes by the last read */
    bool is_all;       /* it came to the file's end */
    struct map chains; /* struct chain by id, of this segment */
    uint64_t n_frames;
};

static void submit(struct log_reading *v, struct disk_request *r)
{
    struct disk *d = v->shard->options.log;

    r->tag = shard_log_tag(LOG_TAG_READER, v->serial, (uint32_t)r->op);
    r->file = UINT64_C(1) << 63 | v->serial << 1 | (v->n_files & 1);
    d->submit(d, r);
}

static void close_file(struct log_reading *v)
{
    struct disk_request r = {.op = DISK_CLOSE};

    if (v->is_open) {
        v->is_open = false;
        submit(v, &r);
    }
}

static void forget_chains(struct log_reading *v)
{
    void *c;
    size_t i = 0;

    while ((c = map_next(&v->chains, &i)) != NULL) {
        mem_free(c);
    }
    map_fini(&v->chains);
    map_init(&v->chains);
}

void shard_log_read_abandon(struct shard *s)
{
    struct log_reading *v = s->log_reading;

    if (v == NULL) {
        return;
    }
    close_file(v);
    forget_chains(v);
    buf_fini(&v->names);
    buf_fini(&v->window);
    mem_free(v->lanes);
    mem_free(v->segments);
    mem_free(v);
    s->log_reading = NULL;
}

static uint64_t lane_of(const struct log_reading *v)
{
    return v->lanes[v->lane];
}

static void fail(struct log_reading *v, const char *why)
{
    struct shard *s = v->shard;

    close_file(v);
    v->phase = READ_FAILED;
    v->again_us = s->net->now_us(s->net) + FAILED_US;
    if (v->lane < v->n_lanes) {
        snprintf(v->why, sizeof(v->why), "the log of lane %" PRIu64 ": %.140s",
                 lane_of(v), why);
    } else {
        snprintf(v->why, sizeof(v->why), "logs: %.150s", why);
    }
    base_one_line(v->why);
    log_write(LOG_ERROR, "shard %u cannot replay %s", s->options.shard, v->why);
    s->owner->saved(s->owner, s->options.shard);
}

/* ---- which logs --------------------------------------------------------- */

static int compare_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

static struct shard_log_need *need_of(const struct shard_part *p, uint64_t lane)
{
    for (uint32_t i = 0; p->awaits_log && i < p->n_needs; i++) {
        if (p->needs[i].lane == lane) {
            return &p->needs[i];
        }
    }
    return NULL;
}

static int collect_lanes(struct log_reading *v)
{
    const struct shard *s = v->shard;
    const struct wire_plan *w = &s->plan->w;

    v->lanes = mem_try(mem_array((size_t)w->n_ended + 1, sizeof(*v->lanes)));
    if (v->lanes == NULL) {
        return PS_ENOMEM;
    }
    for (uint32_t i = 0; i < w->n_ended; i++) {
        bool is_needed = false;

        for (size_t k = 0; k < s->n_parts; k++) {
            is_needed =
                is_needed || need_of(&s->parts[k], w->ended[i].lane) != NULL;
        }
        if (is_needed) {
            v->lanes[v->n_lanes++] = w->ended[i].lane;
        }
    }
    qsort(v->lanes, v->n_lanes, sizeof(*v->lanes), compare_u64);
    return PS_OK;
}

void shard_log_read(struct shard *s)
{
    struct disk_request list = {.op = DISK_LIST};
    struct log_reading *v;
    bool any = false;

    for (size_t i = 0; i < s->n_parts; i++) {
        if (s->parts[i].is_loading && !s->parts[i].awaits_log) {
            return;
        }
        any = any || s->parts[i].awaits_log;
    }
    if (!any || s->log_reading != NULL || s->options.log == NULL) {
        return;
    }
    v = mem_try_zero(sizeof(*v));
    if (v == NULL) {
        s->load_again_us = s->net->now_us(s->net) + AGAIN_US;
        return;
    }
    v->shard = s;
    v->serial = ++s->n_logs;
    v->again_us = UINT64_MAX;
    buf_init(&v->names);
    buf_init(&v->window);
    map_init(&v->chains);
    s->log_reading = v;
    if (collect_lanes(v) != PS_OK) {
        shard_log_read_abandon(s);
        s->load_again_us = s->net->now_us(s->net) + AGAIN_US;
        return;
    }
    logfile_folder(s->plan->w.cluster_high, s->plan->w.cluster_low, list.path);
    submit(v, &list);
}

/* ---- one lane after another --------------------------------------------- */

static void ask_store(struct log_reading *v, enum reading_phase phase)
{
    struct shard *s = v->shard;
    struct shard_log_record r = {.lane = lane_of(v)};

    v->phase = phase;
    v->again_us = s->net->now_us(s->net) + AGAIN_US;
    if (phase == RECORDING) {
        r.state = SHARD_LOG_ENDED;
        r.segment = v->segments[v->segment];
        r.end = v->at;
    }
    if (s->owner->log_record != NULL) {
        s->owner->log_record(s->owner, s->options.shard, &r);
    }
}

static void finish(struct log_reading *v)
{
    struct shard *s = v->shard;

    for (size_t i = 0; i < s->n_parts; i++) {
        if (s->parts[i].awaits_log) {
            s->parts[i].awaits_log = false;
            s->parts[i].is_loading = false;
        }
    }
    PROBE(shard_log_is_replayed);
    log_write(LOG_INFO, "shard %u has replayed %" PRIu64 " frames of %zu logs",
              s->options.shard, v->n_frames, v->n_lanes);
    shard_log_read_abandon(s);
    s->owner->saved(s->owner, s->options.shard);
}

static void next_lane(struct log_reading *v)
{
    if (v->lane == v->n_lanes) {
        finish(v);
    } else {
        ask_store(v, ASKING);
    }
}

static bool has_segment(const struct log_reading *v, uint64_t segment)
{
    for (size_t i = 0; i < v->n_segments; i++) {
        if (v->segments[i] == segment) {
            return true;
        }
    }
    return false;
}

/* All segments of the lane that count. */
static int list_segments(struct log_reading *v)
{
    const char *names = (const char *)v->names.data;
    size_t n = 0;

    for (size_t at = 0; at < v->names.size; at += strlen(names + at) + 1) {
        n++;
    }
    mem_free(v->segments);
    v->segments = mem_try(mem_array(n + 1, sizeof(*v->segments)));
    v->n_segments = 0;
    if (v->segments == NULL) {
        return PS_ENOMEM;
    }
    for (size_t at = 0; at < v->names.size; at += strlen(names + at) + 1) {
        struct logfile_name name;

        if (logfile_parse(names + at, &name) && name.lane == lane_of(v) &&
            (v->record.state != SHARD_LOG_ENDED ||
             name.segment <= v->record.segment)) {
            v->segments[v->n_segments++] = name.segment;
        }
    }
    qsort(v->segments, v->n_segments, sizeof(*v->segments), compare_u64);
    return PS_OK;
}

/* From which segment on; PS_EDATALOSS: it is not there. A log that began after
 * the cut has no segment of it: then it must be there from its beginning. */
static int choose_start(struct log_reading *v, char why[100])
{
    struct shard *s = v->shard;
    uint64_t start = UINT64_MAX;
    size_t skip = 0;

    for (size_t i = 0; i < s->n_parts; i++) {
        struct shard_log_need *need = need_of(&s->parts[i], lane_of(v));
        uint64_t from;

        if (need == NULL) {
            continue;
        }
        if (v->n_segments > 0 && v->segments[0] > need->from) {
            need->from = LOG_NEED_FIRST;
        }
        from = need->from;
        start = base_min_u64(start, from);
        if (from != LOG_NEED_FIRST && !has_segment(v, from) &&
            !PLANT(log_start_not_checked)) {
            PROBE(shard_log_does_not_start_at_cut);
            snprintf(why, 100, "it does not start at cut %" PRIu64, from);
            return PS_EDATALOSS;
        }
    }
    while (skip < v->n_segments && v->segments[skip] < start) {
        skip++;
    }
    v->n_segments -= skip;
    memmove(v->segments, v->segments + skip,
            v->n_segments * sizeof(*v->segments));
    if (v->n_segments == 0 || (v->record.state == SHARD_LOG_ENDED &&
                               !has_segment(v, v->record.segment))) {
        snprintf(why, 100, "it is not there");
        return PS_EDATALOSS;
    }
    return PS_OK;
}

static void open_segment(struct log_reading *v)
{
    const struct wire_plan *w = &v->shard->plan->w;
    const struct logfile_name name = {lane_of(v), v->segments[v->segment]};
    struct disk_request r = {.op = DISK_OPEN};

    close_file(v);
    v->n_files++;
    v->is_open = true;
    v->phase = OPENING;
    v->at = 0;
    v->base = 0;
    v->is_all = false;
    buf_clear(&v->window);
    logfile_path(w->cluster_high, w->cluster_low, &name, r.path);
    submit(v, &r);
}

static void begin_lane(struct log_reading *v)
{
    struct shard *s = v->shard;
    char why[100] = "out of memory";
    int rc = list_segments(v);

    if (rc == PS_OK) {
        rc = choose_start(v, why);
    }
    for (size_t i = 0; i < s->n_parts && rc == PS_OK; i++) {
        if (need_of(&s->parts[i], lane_of(v)) != NULL) {
            rc = shard_log_windows_begin(&s->parts[i], lane_of(v));
        }
    }
    if (rc != PS_OK) {
        fail(v, why);
        return;
    }
    v->segment = 0;
    v->former_end = 0;
    open_segment(v);
}

static void end_lane(struct log_reading *v)
{
    struct shard *s = v->shard;

    for (size_t i = 0; i < s->n_parts; i++) {
        if (need_of(&s->parts[i], lane_of(v)) != NULL &&
            shard_log_windows_end(s, &s->parts[i], lane_of(v)) != PS_OK) {
            fail(v, "out of memory");
            return;
        }
    }
    close_file(v);
    v->lane++;
    next_lane(v);
}

void shard_log_read_on_record(struct shard *s, const struct shard_log_record *r)
{
    struct log_reading *v = s->log_reading;

    if (v == NULL || v->lane == v->n_lanes || r->lane != lane_of(v) ||
        r->status != PS_OK || (v->phase != ASKING && v->phase != RECORDING)) {
        return; /* again_us asks again */
    }
    v->again_us = UINT64_MAX;
    if (v->phase == ASKING) {
        v->record = *r;
        if (PLANT(log_read_past_end)) {
            v->record.state = base_min_u64(r->state, SHARD_LOG_BEGUN) != 0;
        }
        if (r->state == SHARD_LOG_NONE) {
            v->lane++; /* it never took a frame that is logged */
            next_lane(v);
        } else {
            begin_lane(v);
        }
    } else if (r->state == SHARD_LOG_ENDED &&
               r->segment == v->segments[v->segment] && r->end == v->at) {
        end_lane(v);
    } else {
        fail(v, "it ended elsewhere when it was read before");
    }
}

/* ---- a segment ---------------------------------------------------------- */

static void read_more(struct log_reading *v, enum reading_phase phase,
                      uint64_t offset, uint64_t bytes)
{
    struct disk_request r = {.op = DISK_READ, .offset = offset};

    v->phase = phase;
    r.size = (size_t)base_max_u64(bytes, READ_BYTES);
    v->asked = r.size;
    submit(v, &r);
}

/* The lane's log ends at v->at of this segment. */
static void log_ends(struct log_reading *v)
{
    struct disk_request r = {.op = DISK_SYNC};

    if (PLANT(log_end_not_recorded)) {
        end_lane(v);
        return;
    }
    v->phase = SYNCING;
    submit(v, &r);
}

/* v->at is where the records of this segment end. */
static void segment_ends(struct log_reading *v)
{
    bool is_last = v->segment + 1 == v->n_segments;

    if (v->record.state == SHARD_LOG_ENDED && is_last &&
        v->at != v->record.end) {
        fail(v, "it is shorter than when it was read before");
        return;
    }
    if (v->at == 0) {
        /* Its first record is not there. The segment was being made. */
        if (v->segment == 0 || !is_last) {
            fail(v, "a segment does not begin");
            return;
        }
        v->segment--;
        v->at = v->former_end;
        log_ends(v);
    } else if (is_last) {
        log_ends(v);
    } else {
        v->former_end = v->at;
        v->segment++;
        open_segment(v);
    }
}

static bool is_behind_end(const struct log_reading *v)
{
    return v->record.state == SHARD_LOG_ENDED &&
           v->segment + 1 == v->n_segments && v->at >= v->record.end;
}

static bool replay_in_part(struct log_reading *v, struct shard_part *p,
                           const struct logfile_record *r,
                           const struct run_op *ops, uint32_t n)
{
    struct shard *s = v->shard;
    const struct wire_variable *w = plan_variable(s->plan, p->variable);
    uint64_t limit = s->budget.limit;
    int rc = shard_log_windows_settle(p, r->session, r->seq);

    /* It was acknowledged: other variables, which are pushed to meanwhile, must
     * not take its place. */
    s->budget.limit = 0;

    for (uint32_t i = 0; i < n && rc == PS_OK; i++) {
        const struct chain *c = map_get(&v->chains, ops[i].chain);

        if (ops[i].variable != p->variable || ops[i].begin >= p->end ||
            ops[i].end <= p->begin) {
            continue;
        }
        rc = c == NULL ? PS_EDATALOSS : PS_OK;
        if (rc == PS_OK && (c->flags & UDF_WRITES) != 0) {
            rc = shard_replay_op(s, c, &ops[i], w, p);
        }
    }
    s->budget.limit = limit;
    if (rc != PS_OK) {
        fail(v, ps_status_text(rc));
    }
    return rc == PS_OK;
}

static bool apply_frame(struct log_reading *v, const struct logfile_record *r)
{
    struct shard *s = v->shard;
    struct run_op *ops;
    uint32_t n;

    arena_reset(&s->arena);
    if (run_decode(r->body, r->body_bytes, &s->arena, &ops, &n) != PS_OK) {
        fail(v, "a frame in it cannot be read");
        return false;
    }
    for (size_t i = 0; i < s->n_parts; i++) {
        const struct shard_log_need *need = need_of(&s->parts[i], lane_of(v));

        if (need != NULL && v->segments[v->segment] >= need->from &&
            !replay_in_part(v, &s->parts[i], r, ops, n)) {
            return false;
        }
    }
    v->n_frames++;
    return true;
}

static bool apply_chain(struct log_reading *v, const struct logfile_record *r)
{
    char definition[sizeof(((struct chain *)0)->definition)];
    struct chain *c;
    int rc;

    if (r->body_bytes >= sizeof(definition)) {
        fail(v, "a chain in it cannot be read");
        return false;
    }
    memcpy(definition, r->body, (size_t)r->body_bytes);
    definition[r->body_bytes] = '\0';
    c = mem_try_zero(sizeof(*c));
    rc = c != NULL ? chain_parse(definition, c, NULL) : PS_ENOMEM;
    if (rc == PS_OK && map_get(&v->chains, c->id) == NULL) {
        rc = map_put(&v->chains, c->id, c);
        if (rc == PS_OK) {
            return true;
        }
    }
    mem_free(c);
    if (rc != PS_OK) {
        fail(v, ps_status_text(rc));
    }
    return rc == PS_OK;
}

static bool apply_begin(struct log_reading *v, const struct logfile_record *r)
{
    const struct shard *s = v->shard;

    forget_chains(v);
    if (r->offset != 0) {
        fail(v, "a segment begins twice");
        return false;
    }
    if (v->segment > 0 &&
        (r->stamp != v->segments[v->segment - 1] || r->plan != v->former_end)) {
        PROBE(shard_log_segment_is_short);
        fail(v, "a segment is shorter than the next one says, or one is not "
                "there");
        return false;
    }
    for (size_t i = 0; i < s->n_parts && v->segment == 0; i++) {
        const struct shard_log_need *need = need_of(&s->parts[i], lane_of(v));

        if (need != NULL && need->from == LOG_NEED_FIRST && r->stamp != 0 &&
            r->seq >= plan_variable(s->plan, s->parts[i].variable)->born &&
            !PLANT(log_start_not_checked)) {
            fail(v, "its beginning is not there any more");
            return false;
        }
    }
    return true;
}

static bool apply(struct log_reading *v, const struct logfile_record *r)
{
    if ((r->offset == 0) != (r->type == LOGFILE_BEGIN)) {
        fail(v, "a segment has no beginning, or two");
        return false;
    }
    switch (r->type) {
    case LOGFILE_BEGIN:
        return apply_begin(v, r);
    case LOGFILE_CHAIN:
        return apply_chain(v, r);
    case LOGFILE_FRAME:
        return apply_frame(v, r);
    case LOGFILE_QUIET:
        return true;
    default:
        fail(v, "a record of a kind that this program does not know");
        return false;
    }
}

static bool is_settled(const struct log_reading *v, uint64_t from)
{
    return from - v->base < v->window.size &&
           logfile_settles(v->window.data + (from - v->base),
                           v->window.size - (from - v->base), lane_of(v),
                           v->segments[v->segment], from, v->at) &&
           !PLANT(log_damage_is_end);
}

/* Behind a record that is not whole: is there one that says that it was? */
static void scan(struct log_reading *v)
{
    uint64_t end = v->base + v->window.size;

    if (is_settled(v, v->from)) {
        char why[80];

        PROBE(shard_log_damage);
        snprintf(why, sizeof(why),
                 "cut %" PRIu64 " is damaged at byte %" PRIu64,
                 v->segments[v->segment], v->at);
        fail(v, why);
    } else if (v->is_all) {
        if (end > v->at) {
            PROBE(shard_log_torn_tail);
            log_write(LOG_WARNING,
                      "shard %u: the log of lane %" PRIu64
                      " ends in a record that was being written",
                      v->shard->options.shard, lane_of(v));
        }
        segment_ends(v);
    } else {
        v->from = end > v->from + LOGFILE_HEADER_BYTES
                      ? (end - LOGFILE_HEADER_BYTES) & ~UINT64_C(7)
                      : v->from + 8;
        read_more(v, SCANNING, v->from, 0);
    }
}

static void apply_some(struct log_reading *v)
{
    uint64_t until = v->at + STEP_BYTES;

    while (v->phase == APPLYING && v->at < until) {
        uint64_t in = v->at - v->base;
        struct logfile_record r;
        int rc;

        if (is_behind_end(v)) {
            segment_ends(v);
            return;
        }
        rc = logfile_read(v->window.data + in, v->window.size - in, lane_of(v),
                          v->segments[v->segment], v->at, &r);
        if (rc == PS_EBUSY && !v->is_all) {
            read_more(v, READING, v->at, logfile_bytes(r.body_bytes));
            return;
        }
        if (rc != PS_OK) {
            v->from = v->at + 8;
            scan(v);
            return;
        }
        if (apply(v, &r)) {
            v->at += logfile_bytes(r.body_bytes);
        }
    }
}

/* ---- what the disk says ------------------------------------------------- */

static void on_read(struct log_reading *v, const struct disk_result *r)
{
    v->base = v->phase == SCANNING ? v->from : v->at;
    v->is_all = r->size < v->asked;
    buf_clear(&v->window);
    if (buf_append(&v->window, r->data, r->size) != PS_OK) {
        fail(v, "out of memory");
    } else if (v->phase == SCANNING) {
        scan(v);
    } else {
        v->phase = APPLYING; /* shard_log_read_work goes on */
    }
}

static void on_list(struct log_reading *v, const struct disk_result *r)
{
    if (r->status == PS_OK && r->size > 0 &&
        buf_append(&v->names, r->data, r->size) != PS_OK) {
        fail(v, "out of memory");
        return;
    }
    next_lane(v);
}

void shard_log_read_on_disk(struct shard *s, const struct disk_result *r)
{
    struct log_reading *v = s->log_reading;
    uint64_t serial = (r->tag & ~(UINT64_C(0xff) << 56)) >> 8;

    if (v == NULL || v->serial != serial || v->phase == READ_FAILED ||
        r->op == DISK_CLOSE) {
        return;
    }
    if (r->op == DISK_LIST &&
        (r->status == PS_OK || r->status == PS_ENOTFOUND)) {
        on_list(v, r);
    } else if (r->status != PS_OK) {
        fail(v, r->why);
    } else if (r->op == DISK_OPEN) {
        read_more(v, READING, 0, 0);
    } else if (r->op == DISK_READ) {
        on_read(v, r);
    } else {
        ask_store(v, RECORDING);
    }
}

uint64_t shard_log_read_next(const struct shard *s)
{
    const struct log_reading *v = s->log_reading;

    return v == NULL ? UINT64_MAX : v->phase == APPLYING ? 0 : v->again_us;
}

void shard_log_read_work(struct shard *s)
{
    struct log_reading *v = s->log_reading;

    if (v != NULL && v->phase == APPLYING) {
        apply_some(v);
    } else if (v != NULL && s->net->now_us(s->net) >= v->again_us &&
               v->phase == READ_FAILED) {
        /* With the same plan once more, and so with new tables. */
        v->again_us = s->net->now_us(s->net) + FAILED_US;
        s->reads_again = true;
        s->owner->want(s->owner, s->options.shard, SHARD_WANT_PLAN,
                       s->plan->w.plan);
    } else if (v != NULL && s->net->now_us(s->net) >= v->again_us) {
        ask_store(v, v->phase);
    }
}

void shard_log_report(const struct shard *s, struct shard_report *r)
{
    const struct log_reading *v = s->log_reading;

    if (v != NULL && v->phase == READ_FAILED) {
        r->load_failed = true;
        snprintf(r->why, sizeof(r->why), "%s", v->why);
    } else if (s->options.log == NULL) {
        for (size_t i = 0; i < s->n_parts; i++) {
            if (s->parts[i].durability != PS_MEMORY) {
                r->load_failed = true;
                snprintf(r->why, sizeof(r->why),
                         "a variable is to be logged, and this server was "
                         "started without --log_path");
            }
        }
    }
}
