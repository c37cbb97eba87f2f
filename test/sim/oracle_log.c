/* oracle_log.c - what was logged is there, once, and nothing else.
 *
 * While a lane lives each write to its log is looked at: a frame may be
 * acknowledged when its record is written, and synced where a variable of
 * durability `fsync` is in it. When the store is told where the log ends, the
 * segments are read, not by the code of the shard: a record is whole where it
 * has the frame as its client sent it. What is in there up to that end is in
 * the rows of whoever takes the parts (oracle_load.c).
 *
 * A frame that was acknowledged may be missing only where we did it: the power
 * was cut and nothing had been synced, at durability `log`; or its record, or
 * one before it, was damaged and none behind says that it had been
 * acknowledged. And only then may a log be refused. */
#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "lib/crashfs.h"
#include "oracle.h"
#include "server/logfile.h"
#include "server/shard.h"
#include "wire/wire.h"

typedef unsigned long long ull;

#define MAGIC UINT32_C(0x314c5350)

enum { SEGMENTS_MAX = 256 };

/* We damaged a segment from a byte on. */
struct hurt {
    struct hurt *next;
    uint64_t segment;
    uint64_t offset;
    uint64_t at; /* when */
};

/* ---- records ------------------------------------------------------------ */

struct head {
    uint32_t type;
    uint64_t body_bytes;
    uint64_t lane;
    uint64_t segment;
    uint64_t offset;
    uint64_t seq;
    uint64_t settled;
    uint64_t session;
};

static uint64_t take_u64(const uint8_t *p)
{
    uint64_t x = 0;

    for (uint32_t i = 8; i > 0; i--) {
        x = x << 8 | p[i - 1];
    }
    return x;
}

/* As logfile.h has it. */
static bool read_head(const uint8_t *p, uint64_t left, struct head *h)
{
    uint64_t first = left < LOGFILE_HEADER_BYTES ? 0 : take_u64(p);

    if ((uint32_t)first != MAGIC) {
        return false;
    }
    h->type = (uint32_t)(first >> 32);
    h->body_bytes = take_u64(p + 8);
    h->lane = take_u64(p + 16);
    h->segment = take_u64(p + 24);
    h->offset = take_u64(p + 32);
    h->seq = take_u64(p + 40);
    h->settled = take_u64(p + 64);
    h->session = take_u64(p + 80);
    return true;
}

static uint64_t record_bytes(const struct head *h)
{
    return LOGFILE_HEADER_BYTES + ((h->body_bytes + 7) & ~UINT64_C(7));
}

static bool has_frame(const struct numbered *n, const struct head *h,
                      const uint8_t *body)
{
    return n != NULL && n->frame->body_bytes == h->body_bytes &&
           memcmp(frame_body(n->frame), body, (size_t)h->body_bytes) == 0;
}

/* ---- what the disk is told ---------------------------------------------- */

static void hurt(struct sim *s, struct lane *l, uint64_t segment,
                 uint64_t offset)
{
    struct hurt *h = world_take(s, sizeof(*h));

    *h = (struct hurt){l->hurts, segment, offset, s->now};
    l->hurts = h;
}

void oracle_log_on_written(struct sim *s, uint64_t lane,
                           const struct disk_request *r, int64_t by, bool is_ok)
{
    struct lane *l = oracle_lane(s, lane);
    const uint8_t *p = r->data;
    struct head h = {.segment = 0};

    if (l == NULL) {
        world_fail(s, "lane %llu, which is not in the store, has a log",
                   (ull)lane);
        return;
    }
    l->log_written += is_ok;
    for (size_t at = 0; at < r->size && read_head(p + at, r->size - at, &h);
         at += (size_t)record_bytes(&h)) {
        struct numbered *n = h.type == LOGFILE_FRAME
                                 ? oracle_numbered(s, h.session, h.lane, h.seq)
                                 : NULL;

        if (h.lane != lane || h.offset != r->offset + at ||
            (h.type == LOGFILE_FRAME &&
             !has_frame(n, &h, p + at + LOGFILE_HEADER_BYTES))) {
            world_fail(s, "lane %llu logs what cannot be at byte %llu",
                       (ull)lane, (ull)(r->offset + at));
            return;
        }
        if (n != NULL) {
            n->log_segment = h.segment;
            n->log_end = h.offset + record_bytes(&h);
            n->log_write = is_ok ? l->log_written : 0;
        }
    }
    if (by != 0) {
        int64_t place = (int64_t)r->offset + (by < 0 ? by : 0);

        hurt(s, l, h.segment, place < 0 ? 0 : (uint64_t)place);
    }
}

/* These a power cut may cost, or has. */
static void forget_unsynced(struct lane *l)
{
    if (l->log_written > l->log_synced && l->log_lost_from == 0) {
        l->log_lost_from = l->log_synced + 1;
    }
    /* Of one write nothing is behind that could be kept; but that it was there
     * may be in the store. */
    l->log_has_holes =
        l->log_has_holes || l->log_written > l->log_synced + 1 ||
        (l->log_written > l->log_synced && l->log_state == SHARD_LOG_ENDED);
}

/* What a sync that failed was to write is never written. */
void oracle_log_on_synced(struct sim *s, uint64_t lane, bool is_ok)
{
    struct lane *l = oracle_lane(s, lane);

    if (l != NULL && is_ok) {
        l->log_synced = l->log_written;
    } else if (l != NULL && l->log_written > l->log_synced) {
        forget_unsynced(l);
        l->log_has_holes = true;
    }
}

void oracle_log_on_read(struct sim *s, uint64_t lane)
{
    struct lane *l = oracle_lane(s, lane);

    if (l != NULL && l->has_ended && l->log_read_at == 0) {
        l->log_read_at = s->now;
    }
}

/* Of a log that was read as it is now its end is known. */
static bool was_hurt_later(const struct lane *l)
{
    bool is = l->log_read_at == 0 && l->hurts != NULL;

    for (const struct hurt *h = l->hurts; h != NULL; h = h->next) {
        is = is || h->at >= l->log_read_at;
    }
    return is;
}

static struct lane *lane_of_file(struct sim *s, const char *name,
                                 struct logfile_name *out)
{
    return logfile_parse(name, out) ? oracle_lane(s, out->lane) : NULL;
}

void oracle_log_on_damage(struct sim *s, const char *name, uint64_t offset)
{
    struct logfile_name file;
    struct lane *l = lane_of_file(s, name, &file);

    if (l != NULL) {
        hurt(s, l, file.segment, offset);
    }
}

void oracle_log_on_power_cut(struct sim *s, uint32_t server)
{
    size_t i = 0;
    struct lane *l;

    while ((l = map_next(&s->oracle->lanes, &i)) != NULL) {
        if (l->server == server) {
            forget_unsynced(l);
        }
    }
}

/* A segment goes only when the oldest checkpoint that is kept is of a later
 * cut. What a try that failed has left of the first one may go, too. */
void oracle_log_on_removing(struct sim *s, const char *path)
{
    const char *slash = strchr(path, '/');
    struct logfile_name file;
    const struct lane *l =
        slash != NULL ? lane_of_file(s, slash + 1, &file) : NULL;

    if (l != NULL && l->log_state != SHARD_LOG_NONE &&
        l->restore >= s->oracle->plan->w.restore &&
        file.segment >= s->oracle->save_oldest) {
        world_fail(s,
                   "%s goes, and the oldest checkpoint that is kept is that "
                   "of cut %llu",
                   path, (ull)s->oracle->save_oldest);
    }
}

/* ---- what may be lost ---------------------------------------------------- */

uint32_t oracle_log_durability(const struct sim *s, const struct numbered *n)
{
    const struct oracle *o = s->oracle;
    uint32_t durability = PS_MEMORY;
    struct arena arena;
    struct run_op *ops;
    uint32_t n_ops = 0;

    arena_init(&arena);
    if (run_decode(frame_body(n->frame), n->frame->body_bytes, &arena, &ops,
                   &n_ops) != PS_OK) {
        n_ops = 0;
    }
    for (uint32_t i = 0; i < n_ops; i++) {
        const struct wire_variable *v = plan_variable(o->plan, ops[i].variable);

        if (v != NULL && oracle_writes(s, &ops[i]) &&
            v->durability > durability) {
            durability = v->durability;
        }
    }
    arena_fini(&arena);
    return durability;
}

const char *oracle_log_on_acked(const struct sim *s, uint64_t lane,
                                const struct numbered *n)
{
    const struct lane *l = oracle_lane(s, lane);
    uint32_t durability = s->has_logs ? oracle_log_durability(s, n) : PS_MEMORY;

    if (durability != PS_MEMORY && n->log_write == 0) {
        return "acknowledges what is not in its log,";
    }
    return durability == PS_FSYNC && n->log_write > l->log_synced
               ? "acknowledges what is not durable yet,"
               : NULL;
}

static bool is_hurt(const struct lane *l, const struct numbered *n)
{
    for (const struct hurt *h = l->hurts; h != NULL; h = h->next) {
        if (h->segment == n->log_segment && h->offset < n->log_end) {
            return true;
        }
    }
    return false;
}

/* In a segment that another one follows damage is found. */
bool oracle_log_may_lose(const struct sim *s, const struct lane *l,
                         const struct numbered *n)
{
    if (is_hurt(l, n) && n->log_segment >= l->log_segment) {
        return true;
    }
    return l->log_lost_from != 0 && n->log_write >= l->log_lost_from &&
           oracle_log_durability(s, n) != PS_FSYNC;
}

bool oracle_log_may_refuse(const struct sim *s, const char *why)
{
    const struct lane *l =
        oracle_lane(s, strtoull(why + strcspn(why, "0123456789"), NULL, 10));

    for (const struct saved *f = s->oracle->saved; f != NULL; f = f->next) {
        if (f->is_damaged) {
            return true; /* an older one may need what was trimmed */
        }
    }
    return l != NULL && (l->hurts != NULL || l->log_has_holes);
}

/* ---- a log has ended ----------------------------------------------------- */

struct reading {
    struct sim *s;
    struct lane *lane;
    char folder[DISK_PATH_MAX + 1];
    uint64_t segments[SEGMENTS_MAX]; /* that are there */
    size_t n;
};

/* Behind what is not whole something says that it had been acknowledged: the
 * log does not end there. */
static void check_behind(struct reading *v, uint64_t segment,
                         const struct buf *b, uint64_t end)
{
    struct head h;

    for (uint64_t at = end; at < b->size; at += 8) {
        const uint8_t *p = b->data + at;

        if (read_head(p, b->size - at, &h) && h.lane == v->lane->number &&
            h.segment == segment && h.offset == at && h.settled > end &&
            take_u64(p + LOGFILE_HEADER_BYTES - 8) ==
                hash_bytes(p, LOGFILE_HEADER_BYTES - 8)) {
            world_fail(v->s,
                       "the log of lane %llu is said to end at byte %llu of "
                       "segment %llu, where it is damaged",
                       (ull)v->lane->number, (ull)end, (ull)segment);
            return;
        }
    }
}

static void read_segment(struct reading *v, uint64_t segment,
                         const struct buf *b, uint64_t end)
{
    struct lane *l = v->lane;
    struct sim *s = v->s;
    uint64_t at = 0;
    struct head h;

    while (at < end && at < b->size &&
           read_head(b->data + at, b->size - at, &h) && h.lane == l->number &&
           h.segment == segment && h.offset == at &&
           record_bytes(&h) <= b->size - at) {
        struct numbered *n;

        if (h.type == LOGFILE_FRAME) {
            n = oracle_numbered(s, h.session, h.lane, h.seq);
            if (!has_frame(n, &h, b->data + at + LOGFILE_HEADER_BYTES)) {
                break;
            }
            if (!n->is_applied) {
                world_fail(s, "(%llu, %llu, %llu) was logged and not applied",
                           (ull)h.session, (ull)h.lane, (ull)h.seq);
            }
            s->totals.logged += !n->is_logged;
            n->is_logged = true;
        }
        at += record_bytes(&h);
    }
    trace_note(s, "segment %llu of lane %llu is whole up to byte %llu of %zu",
               (ull)segment, (ull)l->number, (ull)at, b->size);
    if (segment == l->log_segment && at != end && !was_hurt_later(l)) {
        world_fail(s,
                   "the log of lane %llu is said to end at byte %llu of "
                   "segment %llu; it does at byte %llu",
                   (ull)l->number, (ull)end, (ull)segment, (ull)at);
    }
    if (segment == l->log_segment) {
        check_behind(v, segment, b, end);
    }
}

static bool take_folder(void *context, const char *name)
{
    struct reading *v = context;

    snprintf(v->folder, sizeof(v->folder), "%s", name);
    return true;
}

static bool take_name(void *context, const char *name)
{
    struct reading *v = context;
    struct logfile_name file;

    if (lane_of_file(v->s, name, &file) == v->lane &&
        file.segment <= v->lane->log_segment && v->n < ARRAY_LEN(v->segments)) {
        v->segments[v->n++] = file.segment;
    }
    return true;
}

static bool is_there(const struct reading *v, uint64_t segment)
{
    for (size_t i = 0; i < v->n; i++) {
        if (v->segments[i] == segment) {
            return true;
        }
    }
    return false;
}

/* Of a segment that is there all must be in it that was acknowledged. */
static void check_acked(struct reading *v)
{
    struct sim *s = v->s;
    const struct lane *l = v->lane;

    for (const struct stream *t = s->oracle->all_streams; t != NULL;
         t = t->next) {
        for (size_t i = 0; t->lane == l->number && i < t->n; i++) {
            const struct numbered *n = &t->numbers[i];

            if (!n->is_acked || n->is_logged || n->log_write == 0 ||
                (n->log_segment <= l->log_segment &&
                 !is_there(v, n->log_segment))) {
                continue;
            }
            s->totals.logged_lost++;
            if (!is_hurt(l, n) && !oracle_log_may_lose(s, l, n)) {
                world_fail(s,
                           "(%llu, %llu, %zu) was logged in segment %llu "
                           "up to byte %llu and acknowledged, and is not there",
                           (ull)t->session, (ull)t->lane, i + 1,
                           (ull)n->log_segment, (ull)n->log_end);
                return;
            }
        }
    }
}

static void read_log(struct sim *s, struct lane *l)
{
    struct fs *fs = crashfs_fs(s->logs[l->server]);
    struct reading v = {.s = s, .lane = l};
    char path[2 * DISK_PATH_MAX + 2];
    struct buf b;

    if (fs->ops->list(fs, ".", take_folder, &v, NULL) != PS_OK ||
        fs->ops->list(fs, v.folder, take_name, &v, NULL) != PS_OK) {
        return;
    }
    for (size_t i = 0; i < v.n && !s->has_failed; i++) {
        uint64_t segment = v.segments[i];

        snprintf(path, sizeof(path), "%s/lane-%llu-%012llu.log", v.folder,
                 (ull)l->number, (ull)segment);
        buf_init(&b);
        if (fs->ops->read(fs, path, SIZE_MAX, &b, NULL) == PS_OK) {
            read_segment(&v, segment, &b,
                         segment == l->log_segment ? l->log_end : UINT64_MAX);
        }
        buf_fini(&b);
    }
    check_acked(&v);
}

void oracle_log_on_stored(struct sim *s, const void *data, size_t size)
{
    struct wire_log w;
    struct lane *l;

    if (wire_log_decode(data, size, &s->oracle->arena, &w) != PS_OK) {
        world_fail(s, "the record of a log cannot be read");
        return;
    }
    l = oracle_lane(s, w.lane);
    if (l == NULL || w.state < l->log_state ||
        (l->log_state == SHARD_LOG_ENDED &&
         (w.segment != l->log_segment || w.end != l->log_end))) {
        world_fail(s, "the record of the log of lane %llu cannot be",
                   (ull)w.lane);
        return;
    }
    if (w.state == l->log_state) {
        return;
    }
    trace_note(s, "the log of lane %llu: state %u, segment %llu, byte %llu",
               (ull)w.lane, w.state, (ull)w.segment, (ull)w.end);
    l->log_state = w.state;
    l->log_segment = w.segment;
    l->log_end = w.end;
    if (w.state == SHARD_LOG_ENDED) {
        read_log(s, l);
    }
}
