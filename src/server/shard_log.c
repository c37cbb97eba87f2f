/* Writing the log of a lane. See shard_log.h.
 *
 * Nothing that comes after a group may be on the disk before the group is, so
 * one group is at work at a time. The claim in each record, how far the segment
 * is good, is what tells damage from a write that was under way. */
#include "server/shard_log.h"

#include <stdio.h>

#include "base/mem.h"
#include "base/probe.h"
#include "server/shard_save.h"

PLANT_DECLARE(log_acked_before_written);
PLANT_DECLARE(log_acked_before_synced);
PLANT_DECLARE(log_error_ignored);
PLANT_DECLARE(log_repeat_acked_early);

enum {
    AGAIN_US = 1000000,
    QUIET_US = 1000000,
    /* Records that wait for the disk; more than that, and frames wait. */
    PENDING_BYTES = 64 << 20
};

enum step {
    STEP_REMOVE = 1,
    STEP_CREATE,
    STEP_WRITE,
    STEP_SYNC,
    STEP_SYNC_OLD,
    STEP_FOLDER,
    STEP_CLOSE
};

static void submit(struct shard_log *l, enum step step, struct disk_request *r)
{
    struct disk *d = l->shard->options.log;

    r->tag = shard_log_tag(LOG_TAG_WRITER, l->serial, step);
    l->n_busy++;
    d->submit(d, r);
}

static uint64_t file_number(const struct shard_log *l)
{
    return l->serial << 1 | (l->n_files & 1);
}

static void path_of(const struct shard_log *l, uint64_t segment, char *out)
{
    const struct wire_plan *w = &l->shard->plan->w;
    const struct logfile_name name = {l->shard->lane, segment};

    logfile_path(w->cluster_high, w->cluster_low, &name, out);
}

static void free_group(struct log_group *g)
{
    buf_fini(&g->bytes);
    mem_free(g);
}

static void drop_waiters(struct shard_log *l)
{
    while (l->waiters != NULL) {
        struct log_waiter *w = l->waiters;

        l->waiters = w->next;
        frame_put(w->frame);
        mem_free(w);
    }
    l->tail = &l->waiters;
}

static void free_log(struct shard_log *l)
{
    drop_waiters(l);
    while (l->first != NULL) {
        struct log_group *g = l->first;

        l->first = g->next;
        free_group(g);
    }
    mem_free(l->spare);
    map_fini(&l->chains);
    mem_free(l);
}

bool shard_log_has_failed(const struct shard *s)
{
    return s->log != NULL && s->log->phase >= SHARD_LOG_ENDING;
}

const char *shard_log_trouble(const struct shard *s)
{
    return s->log != NULL && s->log->why[0] != '\0' ? s->log->why : NULL;
}

/* ---- groups ------------------------------------------------------------- */

static struct log_group *add_group(struct shard_log *l, uint64_t segment,
                                   uint64_t offset, bool begins)
{
    struct log_group *g = mem_try_zero(sizeof(*g));

    if (g == NULL) {
        return NULL;
    }
    g->number = ++l->n_groups;
    g->segment = segment;
    g->offset = offset;
    g->begins = begins;
    g->syncs = begins || l->syncs;
    buf_init(&g->bytes);
    if (l->first == NULL) {
        l->first = g;
    } else {
        l->last->next = g;
    }
    l->last = g;
    return g;
}

/* The group that takes the next record; NULL: no memory. */
static struct log_group *open_group(struct shard_log *l)
{
    if (l->first == NULL || (l->is_busy && l->first == l->last)) {
        return add_group(l, l->segment, l->end, false);
    }
    return l->last;
}

/* A record at the end of the log; r has type, body and what the type has. */
static int append(struct shard_log *l, struct log_group *g,
                  struct logfile_record *r)
{
    int rc;

    r->lane = l->shard->lane;
    r->segment = l->segment;
    r->offset = l->end;
    r->settled = l->good_segment == l->segment ? l->good_end : 0;
    rc = logfile_append(&g->bytes, r);
    if (rc == PS_OK) {
        l->end += logfile_bytes(r->body_bytes);
        l->pending_bytes += logfile_bytes(r->body_bytes);
        g->syncs = g->syncs || l->syncs;
        l->last_number = g->number;
    } else {
        g->bytes.failed = false;
    }
    return rc;
}

/* A segment's first group, with its first record. */
static int begin_segment(struct shard_log *l, uint64_t segment, uint64_t before,
                         uint64_t end_before)
{
    struct logfile_record r = {.type = LOGFILE_BEGIN,
                               .seq = shard_plan_number(l->shard),
                               .stamp = before,
                               .plan = end_before};
    uint64_t old = l->segment;
    uint64_t old_end = l->end;
    struct log_group *last = l->last;
    struct log_group *g = add_group(l, segment, 0, true);

    if (g == NULL) {
        return PS_ENOMEM;
    }
    l->segment = segment;
    l->end = 0;
    if (append(l, g, &r) != PS_OK) {
        l->segment = old;
        l->end = old_end;
        l->last = last;
        if (l->first == g) {
            l->first = NULL;
        } else {
            last->next = NULL;
        }
        l->n_groups--;
        free_group(g);
        return PS_ENOMEM;
    }
    map_fini(&l->chains);
    map_init(&l->chains);
    return PS_OK;
}

/* The file of a segment, and all that makes its name durable. */
static void open_file(struct shard_log *l, const struct log_group *g)
{
    struct disk_request sync = {.op = DISK_SYNC, .file = file_number(l)};
    struct disk_request close = {.op = DISK_CLOSE, .file = file_number(l)};
    struct disk_request remove = {.op = DISK_REMOVE};
    struct disk_request create = {.op = DISK_CREATE};

    if (l->has_file && l->phase != SHARD_LOG_CREATING) {
        submit(l, STEP_SYNC_OLD, &sync);
    }
    if (l->has_file) {
        submit(l, STEP_CLOSE, &close);
    }
    path_of(l, g->segment, create.path);
    if (l->phase == SHARD_LOG_CREATING) {
        /* What an earlier try has left; nothing in it counts. */
        memcpy(remove.path, create.path, sizeof(remove.path));
        submit(l, STEP_REMOVE, &remove);
    }
    l->n_files++;
    l->has_file = true;
    create.file = file_number(l);
    submit(l, STEP_CREATE, &create);
}

static void sync_names(struct shard_log *l)
{
    struct disk_request folder = {.op = DISK_SYNC_DIR};
    struct disk_request root = {.op = DISK_SYNC_DIR};

    logfile_folder(l->shard->plan->w.cluster_high,
                   l->shard->plan->w.cluster_low, folder.path);
    submit(l, STEP_FOLDER, &folder);
    submit(l, STEP_FOLDER, &root);
}

static void start(struct shard_log *l)
{
    struct log_group *g = l->first;
    struct disk_request write = {.op = DISK_WRITE};
    struct disk_request sync = {.op = DISK_SYNC};

    if (g == NULL || l->is_busy || l->n_busy > 0 || l->phase > SHARD_LOG_OPEN ||
        l->shard->plan == NULL) {
        return;
    }
    l->is_busy = true;
    if (g->begins) {
        open_file(l, g);
    }
    write.file = file_number(l);
    write.offset = g->offset;
    write.data = g->bytes.data;
    write.size = g->bytes.size;
    submit(l, STEP_WRITE, &write);
    if (g->syncs && !PLANT(log_acked_before_synced)) {
        sync.file = file_number(l);
        submit(l, STEP_SYNC, &sync);
    }
    if (g->begins) {
        sync_names(l);
    }
}

/* ---- answers that wait -------------------------------------------------- */

static bool is_committed(const struct shard_log *l, const struct log_waiter *w)
{
    return l->written >= w->written;
}

static void release(struct shard_log *l)
{
    struct log_waiter **at = &l->waiters;

    while (*at != NULL) {
        struct log_waiter *w = *at;

        if (!is_committed(l, w)) {
            at = &w->next;
            continue;
        }
        *at = w->next;
        if (l->tail == &w->next) {
            l->tail = at;
        }
        /* Who has no lease any more does not acknowledge (protocol 5.6). */
        if (shard_has_lease(l->shard)) {
            shard_send(l->shard, w->connection, &w->header, w->frame);
        }
        frame_put(w->frame);
        mem_free(w);
    }
}

void shard_log_answer(struct shard *s, uint64_t connection,
                      const struct frame_header *a, struct frame *frame,
                      uint32_t durability)
{
    struct shard_log *l = s->log;
    struct frame_header header = *a;
    struct log_waiter *w;

    if (l == NULL || durability == PS_MEMORY || l->phase < SHARD_LOG_OPEN) {
        shard_send(s, connection, &header, frame);
        return;
    }
    w = l->spare != NULL ? l->spare : mem_try(sizeof(*w));
    l->spare = NULL;
    if (w == NULL || l->phase != SHARD_LOG_OPEN) {
        mem_free(w);
        return;
    }
    *w = (struct log_waiter){
        .written = l->last_number,
        .connection = connection,
        .header = header,
        .frame = frame_get(frame),
    };
    if (PLANT(log_acked_before_written) ||
        ((a->flags & FRAME_REPEAT) != 0 && PLANT(log_repeat_acked_early))) {
        w->written = 0;
    }
    *l->tail = w;
    l->tail = &w->next;
    if (is_committed(l, w)) {
        release(l);
    } else {
        start(l);
    }
}

/* ---- records of frames -------------------------------------------------- */

static int append_chains(struct shard *s, const struct run_op *ops, uint32_t n)
{
    struct shard_log *l = s->log;

    for (uint32_t i = 0; i < n; i++) {
        struct chain *c = map_get(&s->chains, ops[i].chain);
        struct logfile_record r = {.type = LOGFILE_CHAIN};
        struct log_group *g;

        if (c == NULL || map_get(&l->chains, ops[i].chain) != NULL) {
            continue;
        }
        g = open_group(l);
        r.body = (const uint8_t *)c->definition;
        r.body_bytes = strlen(c->definition);
        if (g == NULL || append(l, g, &r) != PS_OK ||
            map_put(&l->chains, c->id, l) != PS_OK) {
            return PS_EBUSY;
        }
    }
    return PS_OK;
}

int shard_log_reserve(struct shard *s, const struct frame *frame,
                      const struct run_op *ops, uint32_t n)
{
    struct shard_log *l = s->log;
    struct log_group *g;
    size_t size;

    if (l == NULL || l->phase != SHARD_LOG_OPEN ||
        l->pending_bytes > PENDING_BYTES) {
        PROBE(shard_log_puts_off);
        return PS_EBUSY;
    }
    if (append_chains(s, ops, n) != PS_OK) {
        return PS_EBUSY;
    }
    if (l->spare == NULL) {
        l->spare = mem_try(sizeof(*l->spare));
    }
    g = open_group(l);
    if (l->spare == NULL || g == NULL) {
        return PS_EBUSY;
    }
    size = g->bytes.size;
    if (buf_extend(&g->bytes, (size_t)logfile_bytes(frame->body_bytes)) ==
        NULL) {
        g->bytes.failed = false;
        return PS_EBUSY;
    }
    g->bytes.size = size;
    return PS_OK;
}

void shard_log_append(struct shard *s, const struct frame_header *h,
                      struct frame *frame)
{
    struct shard_log *l = s->log;
    struct logfile_record r = {
        .type = LOGFILE_FRAME,
        .body_bytes = frame->body_bytes,
        .session = h->session,
        .seq = h->seq,
        .first = h->first,
        .stamp = h->cut,
        .plan = h->plan,
        .body = frame_body(frame),
    };
    int rc = append(l, l->last, &r);

    ASSERT(rc == PS_OK); /* shard_log_reserve made the room */
    PROBE(shard_log_appends);
    start(l);
}

bool shard_log_may_cut(const struct shard *s)
{
    return s->log == NULL || s->log->phase >= SHARD_LOG_OPEN;
}

int shard_log_cut(struct shard *s, uint64_t cut)
{
    struct shard_log *l = s->log;
    int rc;

    if (l == NULL || l->phase >= SHARD_LOG_ENDING) {
        return PS_OK;
    }
    if (l->phase != SHARD_LOG_OPEN) {
        return PS_ENOTREADY; /* see shard_log_may_cut */
    }
    rc = begin_segment(l, cut, l->segment, l->end);
    if (rc == PS_OK) {
        PROBE(shard_log_next_segment);
        start(l);
    }
    return rc;
}

bool shard_log_has_cut(const struct shard *s, uint64_t cut)
{
    return s->log == NULL || s->log->good_segment >= cut;
}

/* ---- a life ------------------------------------------------------------- */

static void ask_store(struct shard_log *l, enum shard_log_state state)
{
    struct shard *s = l->shard;
    const struct shard_log_record r = {.lane = s->lane,
                                       .state = (uint32_t)state,
                                       .segment = l->good_segment,
                                       .end = l->good_end};

    if (s->owner->log_record != NULL) {
        s->owner->log_record(s->owner, s->options.shard, &r);
    }
    l->again_us = s->net->now_us(s->net) + AGAIN_US;
}

static void create(struct shard_log *l)
{
    l->phase = SHARD_LOG_CREATING;
    l->again_us = UINT64_MAX;
    l->end = 0;
    l->pending_bytes = 0;
    /* The same one however often it is tried: what a try has left is removed
     * by the next. */
    if (begin_segment(l, l->first_segment, 0, 0) == PS_OK) {
        start(l);
    } else {
        l->again_us = l->shard->net->now_us(l->shard->net) + AGAIN_US;
    }
}

static bool is_wanted(const struct shard *s, bool *syncs)
{
    bool wants = false;

    *syncs = false;
    for (size_t i = 0; i < s->n_parts; i++) {
        wants = wants || s->parts[i].durability != PS_MEMORY;
        *syncs = *syncs || s->parts[i].durability == PS_FSYNC;
    }
    return wants && s->options.log != NULL;
}

void shard_log_on_plan(struct shard *s)
{
    struct shard_log *l = s->log;
    bool syncs;

    if (!is_wanted(s, &syncs) && l == NULL) {
        return;
    }
    if (l == NULL) {
        l = mem_try_zero(sizeof(*l));
        if (l == NULL) {
            return; /* with the next plan; frames are put off until then */
        }
        l->shard = s;
        l->serial = ++s->n_logs;
        l->first_segment = s->cut;
        l->tail = &l->waiters;
        map_init(&l->chains);
        s->log = l;
        create(l);
    }
    l->syncs = syncs;
}

void shard_log_end(struct shard *s)
{
    struct shard_log *l = s->log;
    struct disk_request close = {.op = DISK_CLOSE};

    shard_log_read_abandon(s);
    s->log_oldest = 0;
    if (l == NULL) {
        return;
    }
    s->log = NULL;
    drop_waiters(l);
    if (l->has_file) {
        close.file = file_number(l);
        l->has_file = false;
        submit(l, STEP_CLOSE, &close);
    }
    if (l->n_busy > 0) {
        l->next = s->log_remainders;
        s->log_remainders = l;
    } else {
        free_log(l);
    }
}

void shard_log_fini(struct shard *s)
{
    while (s->log_remainders != NULL) {
        struct shard_log *l = s->log_remainders;

        s->log_remainders = l->next;
        free_log(l);
    }
}

/* Of a try the first error is told, others follow from it; of tries those that
 * end in another way than the one before. */
static void cannot_begin(struct shard_log *l, const char *why)
{
    struct shard *s = l->shard;

    if (l->again_us != UINT64_MAX) {
        return;
    }
    l->again_us = s->net->now_us(s->net) + AGAIN_US;
    if (strncmp(l->why, why, sizeof(l->why) - 1) != 0) {
        snprintf(l->why, sizeof(l->why), "%s", why);
        log_write(LOG_ERROR,
                  "shard %u cannot begin its log, and takes no pushes that are "
                  "to be logged until it can: %s",
                  s->options.shard, why);
    }
}

/* What was applied and cannot be logged must not be acknowledged, nor anything
 * after it: the life is over, and says where its log ends. */
static void fail(struct shard_log *l, const char *why)
{
    struct shard *s = l->shard;

    if (l->phase >= SHARD_LOG_ENDING) {
        return;
    }
    if (l->phase != SHARD_LOG_OPEN) {
        cannot_begin(l, why);
        return;
    }
    PROBE(shard_log_fails);
    log_write(LOG_ERROR,
              "shard %u cannot write its log: %s; it acknowledges nothing "
              "more, and its lane ends",
              s->options.shard, why);
    l->phase = SHARD_LOG_ENDING;
    drop_waiters(l);
    ask_store(l, SHARD_LOG_ENDED);
}

static void group_done(struct shard_log *l)
{
    struct log_group *g = l->first;

    l->is_busy = false;
    if (l->phase == SHARD_LOG_CREATING && l->again_us != UINT64_MAX) {
        l->first = g->next; /* it is tried again, from the start */
        free_group(g);
        return;
    }
    if (l->phase >= SHARD_LOG_ENDING) {
        return;
    }
    l->pending_bytes -= g->bytes.size;
    l->good_segment = g->segment;
    l->good_end = g->offset + g->bytes.size;
    l->written = g->number;
    l->first = g->next;
    free_group(g);
    if (l->phase == SHARD_LOG_CREATING) {
        l->phase = SHARD_LOG_NAMING;
        ask_store(l, SHARD_LOG_BEGUN);
    } else if (l->phase == SHARD_LOG_OPEN) {
        l->again_us = l->shard->net->now_us(l->shard->net) + QUIET_US;
    }
    if (l->shard->saving != NULL) {
        shard_saving_go_on(l->shard->saving); /* it may wait for the segment */
    }
    start(l);
}

static void on_answer(struct shard_log *l, const struct disk_result *r)
{
    enum step step = (enum step)(r->tag & 0xff);

    l->n_busy--;
    if (r->status != PS_OK && step != STEP_CLOSE && !PLANT(log_error_ignored)) {
        if (step == STEP_CREATE) {
            l->has_file = false;
        }
        fail(l, r->why);
    }
    if (l->n_busy == 0 && l->is_busy) {
        group_done(l);
    }
    if (l->phase == SHARD_LOG_OPEN) {
        release(l);
    }
}

static void on_writer(struct shard *s, const struct disk_result *r)
{
    uint64_t serial = (r->tag & ~(UINT64_C(0xff) << 56)) >> 8;
    struct shard_log **at = &s->log_remainders;

    if (s->log != NULL && s->log->serial == serial) {
        on_answer(s->log, r);
        return;
    }
    while (*at != NULL && (*at)->serial != serial) {
        at = &(*at)->next;
    }
    if (*at != NULL) {
        struct shard_log *l = *at;

        l->n_busy--;
        if (l->n_busy == 0) {
            *at = l->next;
            free_log(l);
        }
    }
}

void shard_on_log(struct shard *s, const struct disk_result *r)
{
    switch (r->tag >> 56) {
    case LOG_TAG_WRITER:
        on_writer(s, r);
        break;
    case LOG_TAG_READER:
        shard_log_read_on_disk(s, r);
        break;
    default:
        shard_log_trim_on_disk(s, r);
        break;
    }
}

static void want_life(struct shard_log *l)
{
    struct shard *s = l->shard;

    l->phase = SHARD_LOG_FAILED;
    l->again_us = s->net->now_us(s->net) + AGAIN_US;
    s->owner->want(s->owner, s->options.shard, SHARD_WANT_LIFE, s->lane);
}

void shard_on_log_record(struct shard *s, const struct shard_log_record *r)
{
    struct shard_log *l = s->log;

    if (l == NULL || r->lane != s->lane) {
        shard_log_read_on_record(s, r);
        return;
    }
    if (r->status != PS_OK) {
        return; /* asked again when again_us has come */
    }
    if (l->phase == SHARD_LOG_NAMING) {
        l->again_us = UINT64_MAX;
        if (r->state == SHARD_LOG_BEGUN) {
            l->phase = SHARD_LOG_OPEN;
            l->why[0] = '\0';
            log_write(LOG_INFO, "shard %u logs lane %llu", s->options.shard,
                      (unsigned long long)s->lane);
            shard_save_on_plan(s);
        } else {
            want_life(l); /* somebody has read this log: it is over */
        }
    } else if (l->phase == SHARD_LOG_ENDING) {
        want_life(l);
    }
}

/* What was acknowledged last has no record behind it that says so. */
static void say_quiet(struct shard_log *l)
{
    struct logfile_record r = {.type = LOGFILE_QUIET};
    struct log_group *g;

    if (l->first != NULL || l->quiet_end == l->end) {
        return;
    }
    g = open_group(l);
    if (g != NULL && append(l, g, &r) == PS_OK) {
        l->quiet_end = l->end;
        start(l);
    }
}

void shard_log_tick(struct shard *s)
{
    struct shard_log *l = s->log;

    shard_log_read_work(s);
    if (l == NULL || s->net->now_us(s->net) < l->again_us) {
        return;
    }
    switch (l->phase) {
    case SHARD_LOG_CREATING:
        if (l->n_busy == 0) {
            create(l);
        }
        break;
    case SHARD_LOG_NAMING:
        ask_store(l, SHARD_LOG_BEGUN);
        break;
    case SHARD_LOG_OPEN:
        l->again_us = UINT64_MAX;
        say_quiet(l);
        break;
    case SHARD_LOG_ENDING:
        /* The store does not answer: what was not acknowledged may then be
         * found again, which is no harm. */
        ask_store(l, SHARD_LOG_ENDED);
        break;
    case SHARD_LOG_FAILED:
        want_life(l);
        break;
    }
}

uint64_t shard_log_next(const struct shard *s)
{
    uint64_t next = shard_log_read_next(s);

    return s->log != NULL ? base_min_u64(next, s->log->again_us) : next;
}
