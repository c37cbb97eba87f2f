/* The cut of a shard, and rows on their way to the disk. See shard_save.h. */
#include "server/shard_save.h"
#include "server/shard_load.h"
#include "server/shard_log.h"
#include "server/shard_move.h"

#include <stdio.h>

#include "base/mem.h"
#include "base/probe.h"

PLANT_DECLARE(cut_ignores_stamp);

enum {
    /* Bytes of rows that are copied at once: more or fewer, so that it takes
     * some 100 us. The first ones find no page of the snapshot's marks touched,
     * so each row may cost a page fault. */
    STEP_MIN_BYTES = 1 << 10,
    STEP_MAX_BYTES = 64 << 10,
    STEP_SHORT_US = 80,
    STEP_LONG_US = 160,
    /* How long at least from one to the next: where nobody asks, and where a
     * shard is busy. That one gives one part of its time to the save, and so
     * many to those who ask: a save costs what it costs, so a longer one costs
     * less of each second. */
    IDLE_US = 200,
    BUSY_US = 1000,
    BUSY_PARTS = 20,
    /* What an erased key of these costs about, in such bytes. */
    STEP_KEY_BYTES = 32,
    /* Of what has ended at once. */
    TIDY_BYTES = 256 << 10,
    /* Memory of blocks: a part of what the tables have, within these. */
    ROOM_PART = 8,
    ROOM_MIN_BYTES = 16 << 20,
    ROOM_MAX_BYTES = 256 << 20,
    /* Saves that the disk has still not answered; no further one begins. */
    REMAINDERS_MAX = 4,
    /* Training does not wait longer than this for the disk; whoever has not
     * come again within the second has given up. */
    ROOM_WAIT_US = 2000000,
    ROOM_AGAIN_US = 1000000
};

/* Thread time; 0 where it is not known. */
static uint64_t thread_us(const struct shard *s)
{
    return s->net->thread_us != NULL ? s->net->thread_us(s->net) : 0;
}

/* A piece of a save has ended: how long it was. */
static uint64_t note_hold(struct shard *s, uint64_t began)
{
    uint64_t us = thread_us(s) - began;

    s->stats.save_hold_us = base_max_u64(s->stats.save_hold_us, us);
    return us;
}

static bool is_writing(const struct shard *s)
{
    return s->saving != NULL && s->saving->phase < SAVING_DONE;
}

static void free_saving(struct saving *v)
{
    while (shard_saving_drop_late(v)) {
    }
    for (uint32_t i = 0; v->writers != NULL && i < v->index.n_parts; i++) {
        ckpt_rows_free(v->writers[i]);
    }
    mem_free(v->lates);
    buf_fini(&v->header);
    buf_fini(&v->state);
    buf_fini(&v->late_sums);
    arena_fini(&v->arena);
    mem_free(v);
}

void shard_saving_let_go(struct shard *s, struct saving **at)
{
    struct saving *v = *at;

    if (v == NULL) {
        return;
    }
    *at = NULL;
    shard_saving_drop_tables(v, false);
    shard_saving_close(v);
    if (v->n_busy > 0) {
        PROBE(shard_save_remainder);
    }
    v->phase = SAVING_FAILED;
    v->next = s->remainders;
    s->remainders = v;
}

/* Frees a block of it; false: it has gone. */
static bool tidy_remainder(struct saving **at)
{
    struct saving *v = *at;

    if (shard_saving_drop_late(v)) {
        return true;
    }
    for (uint32_t i = 0; v->writers != NULL && i < v->index.n_parts; i++) {
        if (v->writers[i] != NULL && ckpt_rows_drop(v->writers[i])) {
            return true;
        }
    }
    *at = v->next;
    free_saving(v);
    return false;
}

void shard_save_abandon(struct shard *s)
{
    shard_saving_let_go(s, &s->saving);
    shard_saving_let_go(s, &s->moving);
    s->cut = SHARD_FIRST_CUT;
}

void shard_save_fini(struct shard *s)
{
    shard_saving_let_go(s, &s->saving);
    shard_saving_let_go(s, &s->moving);
    while (s->remainders != NULL) {
        struct saving *v = s->remainders;

        s->remainders = v->next;
        free_saving(v);
    }
}

void shard_saving_fail(struct saving *v, const char *why)
{
    if (v->phase >= SAVING_DONE) {
        return;
    }
    v->phase = SAVING_FAILED;
    snprintf(v->why, sizeof(v->why), "%s", why);
    base_one_line(v->why);
    shard_saving_drop_tables(v, false);
    shard_saving_close(v);
    v->shard->owner->saved(v->shard->owner, v->shard->options.shard);
}

/* ---- the cut ------------------------------------------------------------ */

/* Saves that are over for us, but not for the disk. */
static uint32_t unanswered(const struct shard *s)
{
    uint32_t n = 0;

    for (const struct saving *v = s->remainders; v != NULL; v = v->next) {
        n += v->n_busy > 0;
    }
    return n;
}

static int take_cut(struct saving *v)
{
    struct shard *s = v->shard;
    int rc;

    if (s->disk == NULL) {
        return PS_ENOTREADY;
    }
    rc = shard_log_cut(s, s->cut);
    if (rc == PS_OK && s->no_place[0] == '\0' &&
        unanswered(s) >= REMAINDERS_MAX) {
        shard_saving_fail(v, "the disk has not answered the saves before");
        return PS_OK;
    }
    rc = rc == PS_OK && s->no_place[0] != '\0' ? PS_EIO : rc;
    return rc == PS_OK ? shard_saving_take_cut(v) : rc;
}

static uint64_t room_bytes(const struct shard *s)
{
    uint64_t part = base_min_u64(s->budget.used / ROOM_PART, ROOM_MAX_BYTES);

    return s->options.save_room != 0 ? s->options.save_room
                                     : base_max_u64(part, ROOM_MIN_BYTES);
}

struct saving *shard_saving_new(struct shard *s, uint64_t cut,
                                const char *folder)
{
    struct saving *v = mem_try_zero(sizeof(*v));

    if (v == NULL) {
        return NULL;
    }
    v->shard = s;
    v->serial = ++s->n_savings;
    v->cut = cut;
    snprintf(v->folder, sizeof(v->folder), "%s", folder);
    v->room_bytes = room_bytes(s);
    v->step_bytes = STEP_MIN_BYTES;
    arena_init(&v->arena);
    buf_init(&v->header);
    buf_init(&v->state);
    buf_init(&v->late_sums);
    v->index.cut = cut;
    v->index.lane = s->lane;
    return v;
}

bool shard_saving_has(const struct saving *v, const struct shard_part *p)
{
    return v->move.number != 0
               ? p->variable == v->move.variable && p->begin == v->move.begin
               : plan_variable(v->shard->plan, p->variable)->no_save == 0;
}

static void cut(struct shard *s)
{
    char folder[CKPT_NAME_MAX + 1];
    uint64_t began = thread_us(s);
    struct saving *v;
    int rc = PS_ENOMEM;

    s->cut = s->save_order.cut;
    ckpt_saving_name(s->cut, s->save_order.term, s->plan->w.cluster_high,
                     s->plan->w.cluster_low, folder);
    v = shard_saving_new(s, s->cut, folder);
    if (v != NULL) {
        v->base = s->save_order.base;
        v->index.term = s->save_order.term;
        s->saving = v;
        rc = take_cut(v);
    }
    if (rc == PS_OK && v->phase == SAVING_ROWS) {
        PROBE(shard_cuts);
        shard_saving_open_files(v);
    } else if (rc != PS_OK && v != NULL) {
        shard_saving_fail(v, s->no_place[0] != '\0' ? s->no_place
                             : v->needs_whole
                                 ? "it has no changes since the base"
                                 : ps_status_text(rc));
    }
    (void)note_hold(s, began);
    s->owner->saved(s->owner, s->options.shard);
}

void shard_set_no_place(struct shard *s, const char *why)
{
    if (strcmp(s->no_place, why) != 0 && why[0] != '\0') {
        log_write(LOG_ERROR, "shard %u: checkpoints: %s",
                  (unsigned)s->options.shard, why);
    }
    snprintf(s->no_place, sizeof(s->no_place), "%s", why);
    if (s->no_place[0] != '\0' && s->saving != NULL) {
        shard_saving_fail(s->saving, s->no_place);
    }
    if (s->no_place[0] != '\0' && s->moving != NULL) {
        shard_saving_fail(s->moving, s->no_place);
    }
}

/* A lane that came when the others had all cut is not in that checkpoint: had
 * it a segment of that cut, its log would be trimmed to it, and those of the
 * lanes before it as well. */
static bool is_in_save(const struct shard *s)
{
    bool is_in = s->n_parts == 0;

    for (size_t i = 0; i < s->n_parts && !is_in; i++) {
        is_in = s->parts[i].since <= s->save_order.plan;
    }
    return is_in;
}

/* Cuts if the record asks for it and the shard is ready. */
static void cut_if_due(struct shard *s)
{
    const struct save_order *o = &s->save_order;

    if (s->lane == 0 || o->cut <= s->cut) {
        return;
    }
    if (shard_move_is_written(s) &&
        (o->state == SAVE_OPEN || o->state == SAVE_CLOSED)) {
        return; /* the plan has moved on: that save has ended, and says so */
    }
    if (o->state != SAVE_OPEN && o->state != SAVE_CLOSED) {
        s->cut = o->cut; /* over before it reached us */
        return;
    }
    if (s->plan == NULL || s->plan->w.plan < o->plan) {
        s->owner->want(s->owner, s->options.shard, SHARD_WANT_PLAN, o->plan);
        return;
    }
    if (!is_in_save(s)) {
        PROBE(shard_save_is_not_ours);
        s->cut = o->cut;
        return;
    }
    if (!shard_log_may_cut(s)) {
        return; /* shard_save_on_plan is called when it may */
    }
    shard_saving_let_go(s, &s->saving);
    if (s->tidies) {
        PROBE(shard_save_cut_waits);
        return; /* for the snapshots before: shard_save_work comes back */
    }
    cut(s);
}

int shard_save_meet(struct shard *s, uint64_t cut_stamp)
{
    if (cut_stamp <= s->cut || PLANT(cut_ignores_stamp)) {
        return PS_OK;
    }
    if (cut_stamp > s->save_order.cut) {
        PROBE(shard_save_not_known_yet);
        s->owner->want(s->owner, s->options.shard, SHARD_WANT_SAVE, cut_stamp);
        return PS_ENOTYET;
    }
    cut_if_due(s);
    return cut_stamp <= s->cut ? PS_OK : PS_ENOTYET;
}

int shard_set_save(struct shard *s, const void *record, size_t size)
{
    struct save_order *o = &s->save_order;
    struct wire_save w;
    uint64_t began = thread_us(s);
    uint64_t c;
    bool is_new;
    int rc;

    arena_reset(&s->arena);
    rc = wire_save_decode(record, size, &s->arena, &w);
    if (rc != PS_OK) {
        return rc;
    }
    if (w.cut == 0) {
        return PS_OK; /* it has ended before there was a cut */
    }
    if (w.cut < o->cut || (w.cut == o->cut && w.state < o->state)) {
        return PS_OK;
    }
    if (s->saving != NULL && s->saving->phase == SAVING_DONE &&
        (w.cut == s->saving->cut ? w.state == SAVE_DONE
                                 : w.base == s->saving->cut)) {
        shard_saving_keep(s->saving);
    }
    o->cut = w.cut;
    o->state = w.state;
    o->plan = w.plan;
    o->base = w.base;
    if (!ckpt_folder_parse(w.folder, &c, &o->term, &is_new)) {
        return PS_EPROTOCOL;
    }
    if (s->saving != NULL &&
        (s->saving->cut != o->cut || o->state >= SAVE_DONE)) {
        shard_saving_let_go(s, &s->saving);
    }
    cut_if_due(s);
    if (s->saving != NULL) {
        shard_saving_go_on(s->saving);
    }
    (void)note_hold(s, began);
    shard_log_trim(s, w.oldest);
    return PS_OK;
}

void shard_save_before_plan(struct shard *s, const struct shard_part *parts,
                            size_t n)
{
    if (is_writing(s)) {
        PROBE(shard_save_meets_plan);
        shard_saving_fail(s->saving, "the plan has changed");
    } else if (s->saving != NULL) {
        shard_saving_keep_tables(s->saving, parts, n);
    }
}

void shard_save_on_plan(struct shard *s)
{
    cut_if_due(s);
}

/* ---- pushes meanwhile --------------------------------------------------- */

static struct saving_table *table_of(const struct shard *s,
                                     const struct table *t)
{
    for (uint32_t i = 0; i < s->saving->n_tables; i++) {
        if (s->saving->tables[i].table == t) {
            return &s->saving->tables[i];
        }
    }
    return NULL;
}

static void send_blocks(struct saving *v);

static bool has_free_block(const struct saving *v)
{
    for (uint32_t i = 0; i < SAVING_BLOCKS; i++) {
        if (v->blocks[i].block == NULL) {
            return true;
        }
    }
    return false;
}

/* Room for n rows, within these bytes; where the disk owes us nothing, waiting
 * would be in vain. PS_EBUSY, PS_ENOMEM. */
static int reserve_rows(const struct saving *v, struct ckpt_rows *rows,
                        uint64_t n, uint64_t room_bytes)
{
    uint64_t lacks = ckpt_rows_lacks(rows, n);
    uint64_t held = 0;

    if (lacks == 0) {
        return PS_OK;
    }
    for (uint32_t i = 0; i < v->index.n_parts; i++) {
        held += ckpt_rows_bytes(v->writers[i]);
    }
    if (held + lacks > room_bytes &&
        (v->n_busy > 0 || lacks > 2 * (uint64_t)LIMIT_FRAME_BYTES)) {
        return PS_EBUSY;
    }
    return ckpt_rows_reserve(rows, n);
}

int shard_saving_put_off(struct saving *v, struct saving_wait *wait)
{
    uint64_t now = v->shard->net->now_us(v->shard->net);

    PROBE(shard_save_puts_off);
    if (wait->since_us == 0 || now >= wait->last_us + ROOM_AGAIN_US) {
        wait->since_us = now;
    }
    wait->last_us = now;
    if (now < wait->since_us + ROOM_WAIT_US) {
        return PS_EBUSY;
    }
    shard_saving_fail(v, "the disk of the checkpoints does not keep up");
    return PS_OK;
}

void shard_save_reserve_begin(struct shard *s)
{
    for (uint32_t i = 0; i < s->saving->n_tables; i++) {
        s->saving->tables[i].frame_rows = 0;
    }
}

int shard_save_reserve(struct shard *s, const struct table *t, uint64_t n)
{
    struct saving_table *p;

    if (!is_writing(s) || s->saving->phase != SAVING_ROWS) {
        return PS_OK;
    }
    p = table_of(s, t);
    if (p == NULL || p->snapshot == NULL ||
        snapshot_sent(p->snapshot) == snapshot_rows(p->snapshot)) {
        return PS_OK;
    }
    p->frame_rows += n;
    if (reserve_rows(s->saving, p->rows, p->frame_rows,
                     s->saving->room_bytes) != PS_OK) {
        return shard_saving_put_off(s->saving, &s->saving->rows_wait);
    }
    s->saving->rows_wait.since_us = 0;
    return PS_OK;
}

void shard_save_applied(struct shard *s, const struct frame_header *h,
                        struct frame *frame)
{
    struct saving *v = s->saving;

    if (shard_saving_is_late(v, h)) {
        shard_saving_add_late(v, h, frame);
    }
    if (v != NULL && v->phase == SAVING_ROWS) {
        send_blocks(v); /* what the push has copied out */
    }
}

/* ---- idle moments ------------------------------------------------------- */

/* Hands full blocks to the disk, as far as there are places. */
static void send_blocks(struct saving *v)
{
    for (uint32_t i = 0; i < v->index.n_parts; i++) {
        struct ckpt_rows *rows = v->writers[i];
        uint32_t k = 0;

        while (rows != NULL && v->phase == SAVING_ROWS) {
            struct ckpt_filled *b;

            while (k < SAVING_BLOCKS && v->blocks[k].block != NULL) {
                k++;
            }
            if (k == SAVING_BLOCKS ||
                (b = ckpt_rows_take_unsummed(rows)) == NULL) {
                break;
            }
            v->blocks[k] = (struct saving_block){b, b->n_pieces};
            for (uint32_t p = 0; p < b->n_pieces; p++) {
                struct disk_request r = {
                    .op = DISK_WRITE,
                    .tag = v->serial << 16 | (uint64_t)p << 8 | k,
                    .file = v->serial << 1,
                    .offset = b->pieces[p].offset,
                    .data = b->pieces[p].data,
                    .size = b->pieces[p].size,
                    .wants_sum = true,
                };

                v->n_busy++;
                v->shard->disk->submit(v->shard->disk, &r);
            }
        }
    }
}

static bool has_rows(const struct saving *v)
{
    return v->phase == SAVING_ROWS && v->at < v->n_tables && !v->is_full &&
           has_free_block(v);
}

static bool has_rest(const struct shard *s)
{
    for (const struct saving *v = s->remainders; v != NULL; v = v->next) {
        if (v->n_busy == 0) {
            return true;
        }
    }
    return s->tidies;
}

/* A push that waits for room comes again, but seldom: until then what the disk
 * gives back is not taken by the walk, which is there at once. */
static uint64_t walks_from(const struct saving *v)
{
    const struct saving_wait *wait = &v->rows_wait;

    return wait->since_us != 0 ? wait->last_us + ROOM_AGAIN_US : 0;
}

static bool walks(const struct saving *v)
{
    return has_rows(v) && v->shard->net->now_us(v->shard->net) >= walks_from(v);
}

static bool has_work(const struct saving *v)
{
    return v != NULL && (walks(v) || shard_saving_makes_state(v));
}

bool shard_save_has_work(const struct shard *s)
{
    return has_rest(s) || has_work(s->saving) || has_work(s->moving);
}

/* False: the keys that were erased are all out. */
static bool send_erased(struct saving_table *t, uint64_t n)
{
    while (n > 0 && t->erased_from != NULL && t->erased_from->n > 0) {
        const struct erased_block *b = t->erased_from;
        uint64_t end = t->erased_at + base_min_u64(n, b->n - t->erased_at);

        n -= end - t->erased_at;
        ckpt_rows_add(t->erased, &b->keys[t->erased_at], NULL,
                      (size_t)(end - t->erased_at));
        t->erased_at = end;
        if (end == b->n) {
            t->erased_from = b->next;
            t->erased_at = 0;
        }
    }
    return t->erased_from != NULL && t->erased_from->n > 0;
}

uint64_t shard_save_next(const struct shard *s)
{
    if (shard_save_has_work(s)) {
        return s->save_work_us;
    }
    return s->saving != NULL && has_rows(s->saving) ? walks_from(s->saving)
                                                    : UINT64_MAX;
}

/* One piece of what has ended; false: there is none. */
static bool tidy(struct shard *s)
{
    struct saving **at = &s->remainders;

    for (size_t i = 0; s->tidies && i < s->n_parts; i++) {
        if (s->parts[i].table != NULL &&
            snapshot_tidy(s->parts[i].table, TIDY_BYTES)) {
            return true;
        }
    }
    if (s->tidies) {
        s->tidies = false;
        cut_if_due(s);
        return true;
    }
    while (*at != NULL && (*at)->n_busy > 0) {
        at = &(*at)->next;
    }
    return *at != NULL && tidy_remainder(at);
}

static void send_rows(struct saving *v, uint64_t bytes)
{
    struct saving_table *t = &v->tables[v->at];
    struct ckpt_rows *rows = t->erased_from != NULL ? t->erased : t->rows;
    uint64_t n =
        bytes / (rows == t->erased ? STEP_KEY_BYTES : table_stride(t->table)) +
        1;

    /* The rest is for pushes. */
    if (reserve_rows(v, rows, n, v->room_bytes / 4 * 3) != PS_OK) {
        v->is_full = v->n_busy > 0;
        return; /* memory, or the disk, gives room some time */
    }
    if (rows == t->erased) {
        if (!send_erased(t, n)) {
            t->erased_from = NULL;
        }
    } else if (!snapshot_step(t->snapshot, n)) {
        v->at++;
    }
    send_blocks(v);
    if (v->at == v->n_tables) {
        shard_saving_go_on(v);
    }
}

static void adapt_step(struct saving *v, uint64_t us)
{
    if (us > STEP_LONG_US) {
        v->step_bytes = base_max_u64(v->step_bytes / 2, STEP_MIN_BYTES);
    } else if (us < STEP_SHORT_US) {
        v->step_bytes = base_min_u64(v->step_bytes * 2, STEP_MAX_BYTES);
    }
}

/* Memory of tables that are out is for those that are to come. */
static bool trim(const struct saving *v)
{
    for (uint32_t i = 0; i < v->index.n_parts; i++) {
        if (ckpt_rows_trim(v->writers[i])) {
            return true;
        }
    }
    return false;
}

void shard_save_work(struct shard *s)
{
    struct saving *v = has_work(s->moving) ? s->moving : s->saving;
    uint64_t frames = s->stats.pulls + s->stats.pushes_applied;
    bool is_busy = frames != s->save_frames;
    bool is_rows = false;
    uint64_t began = thread_us(s);
    uint64_t us;

    if (s->net->now_us(s->net) < shard_save_next(s)) {
        return;
    }
    s->save_frames = frames;
    if (v != NULL && shard_saving_makes_state(v)) {
        shard_saving_make_state(v);
    } else if (v != NULL && walks(v) && !trim(v)) {
        send_rows(v, s->options.save_bytes != 0 ? s->options.save_bytes
                                                : v->step_bytes);
        is_rows = true;
    } else {
        (void)tidy(s);
    }
    us = note_hold(s, began);
    if (is_rows) {
        adapt_step(v, us);
    }
    s->save_work_us =
        s->net->now_us(s->net) +
        (is_busy ? base_max_u64(BUSY_US, BUSY_PARTS * us) : IDLE_US);
}

/* ---- what the disk says ------------------------------------------------- */

/* A piece of a block of rows is written. */
static void block_written(struct saving *v, uint32_t k,
                          const struct disk_result *r)
{
    struct saving_block *b = &v->blocks[k];
    struct disk_sum sum;

    if (r->status == PS_OK) {
        memcpy(&sum, r->data, sizeof(sum));
        ckpt_rows_sum(b->block, (uint32_t)(r->tag >> 8 & 0xff), sum.sum);
    }
    b->n_left--;
    if (b->n_left == 0) {
        ckpt_rows_give(b->block->of, b->block);
        b->block = NULL;
        if (v->phase == SAVING_ROWS) {
            send_blocks(v);
            shard_saving_go_on(v);
        }
    }
}

static void on_answer(struct saving *v, const struct disk_result *r)
{
    uint32_t k = (uint32_t)(r->tag & 0xff);

    v->n_busy--;
    v->is_full = false;
    v->steps += r->status == PS_OK;
    if (r->status != PS_OK) {
        shard_saving_fail(v, r->why);
    }
    if (k < SAVING_BLOCKS) {
        block_written(v, k, r);
        shard_move_sync(v);
    } else if (v->phase < SAVING_DONE) {
        shard_saving_on_disk(v, r);
    }
}

void shard_on_disk(struct shard *s, const struct disk_result *r)
{
    struct saving *v = s->remainders;
    uint64_t serial = r->tag >> 16;
    uint64_t began = thread_us(s);

    if (shard_load_on_disk(s, r)) {
        return;
    }
    if (s->saving != NULL && s->saving->serial == serial) {
        v = s->saving;
    }
    if (s->moving != NULL && s->moving->serial == serial) {
        v = s->moving;
    }
    while (v != NULL && v->serial != serial) {
        v = v->next;
    }
    if (v != NULL) {
        on_answer(v, r);
        (void)note_hold(s, began);
    }
}

uint64_t shard_saving_rows_done(const struct saving *v)
{
    uint64_t n = 0;

    for (uint32_t i = 0; i < v->n_tables; i++) {
        if (v->tables[i].rows != NULL) {
            n += ckpt_rows_added(v->tables[i].rows);
        }
    }
    return n;
}

void shard_report(const struct shard *s, struct shard_report *r)
{
    const struct saving *v = s->saving;

    *r = (struct shard_report){.cut = s->cut};
    shard_load_report(s, r);
    shard_move_report(s, r);
    if (v == NULL) {
        /* The disk may still be about to make a file of one that is over. */
        r->saved = unanswered(s) > 0 ? SAVED_WRITING : SAVED_NONE;
        return;
    }
    r->saved = v->phase == SAVING_DONE     ? SAVED_DONE
               : v->phase != SAVING_FAILED ? SAVED_WRITING
               : v->needs_whole            ? SAVED_NEEDS_WHOLE
                                           : SAVED_FAILED;
    r->rows = v->rows;
    r->rows_done = shard_saving_rows_done(v);
    if (v->phase == SAVING_DONE) {
        r->index_bytes = v->index_bytes;
        r->index_checksum = v->index_sum;
    }
    /* The scheduler looks for the folder that a load's reason names. */
    if (v->why[0] != '\0' && !r->load_failed) {
        snprintf(r->why, sizeof(r->why), "%s", v->why);
    }
}
