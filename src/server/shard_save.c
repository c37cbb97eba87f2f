/* The cut of a shard, and rows on their way to the disk. See shard_save.h. */
#include "server/shard_save.h"
#include "server/shard_load.h"
#include "server/shard_log.h"

#include <stdio.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/probe.h"

PLANT_DECLARE(late_not_noted);
PLANT_DECLARE(cut_ignores_stamp);

enum {
    /* Bytes of rows that are copied at once, and how often: 128 MB/s, for a
     * tenth to a fifth of the thread. Without a pause a busy shard, whose loop
     * turns more often, would save faster than an idle one. */
    STEP_BYTES = 64 << 10,
    STEP_US = 500,
    /* What an erased key of these costs about, in such bytes. */
    STEP_KEY_BYTES = 32,
    /* Late frames of one save; more than that and it fails. */
    LATE_BYTES = 64 << 20,
    /* Training does not wait longer than this for the disk; whoever has not
     * come again within the second has given up. */
    ROOM_WAIT_US = 2000000,
    ROOM_AGAIN_US = 1000000
};

static bool is_writing(const struct shard *s)
{
    return s->saving != NULL && s->saving->phase < SAVING_DONE;
}

static void free_saving(struct saving *v)
{
    shard_saving_drop_tables(v, false);
    for (uint32_t i = 0; v->writers != NULL && i < v->index.n_parts; i++) {
        ckpt_rows_free(v->writers[i]);
    }
    for (uint32_t i = 0; i < v->n_lates; i++) {
        frame_put(v->lates[i].frame);
    }
    mem_free(v->lates);
    buf_fini(&v->header);
    buf_fini(&v->state);
    buf_fini(&v->text);
    arena_fini(&v->arena);
    mem_free(v);
}

/* It is over; its memory goes when the disk has given it back. */
static void let_go(struct shard *s)
{
    struct saving *v = s->saving;

    if (v == NULL) {
        return;
    }
    s->saving = NULL;
    shard_saving_drop_tables(v, false);
    shard_saving_close(v);
    if (v->n_busy > 0) {
        PROBE(shard_save_remainder);
        v->phase = SAVING_FAILED;
        v->next = s->remainders;
        s->remainders = v;
    } else {
        free_saving(v);
    }
}

void shard_save_abandon(struct shard *s)
{
    let_go(s);
    s->cut = SHARD_FIRST_CUT;
}

void shard_save_fini(struct shard *s)
{
    let_go(s);
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

static void cut(struct shard *s)
{
    struct saving *v;
    int rc = PS_ENOMEM;

    let_go(s);
    s->cut = s->save_order.cut;
    v = mem_try_zero(sizeof(*v));
    if (v != NULL) {
        v->shard = s;
        v->serial = ++s->n_savings;
        v->cut = s->cut;
        v->base = s->save_order.base;
        memcpy(v->folder, s->save_order.folder, sizeof(v->folder));
        arena_init(&v->arena);
        buf_init(&v->header);
        buf_init(&v->state);
        buf_init(&v->text);
        v->index.cut = v->cut;
        v->index.term = s->save_order.term;
        v->index.lane = s->lane;
        s->saving = v;
        rc = s->disk != NULL ? shard_log_cut(s, s->cut) : PS_ENOTREADY;
        rc = rc == PS_OK && s->no_place[0] != '\0' ? PS_EIO : rc;
        rc = rc == PS_OK ? shard_saving_take_cut(v) : rc;
    }
    if (rc == PS_OK) {
        PROBE(shard_cuts);
        shard_saving_open_rows(v);
    } else if (v != NULL) {
        shard_saving_fail(v, s->no_place[0] != '\0' ? s->no_place
                             : v->needs_whole
                                 ? "it has no changes since the base"
                                 : ps_status_text(rc));
    }
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
}

/* Cuts if the record asks for it and the shard is ready. */
static void cut_if_due(struct shard *s)
{
    const struct save_order *o = &s->save_order;

    if (s->lane == 0 || o->cut <= s->cut) {
        return;
    }
    if (o->state != SAVE_OPEN && o->state != SAVE_CLOSED) {
        s->cut = o->cut; /* over before it reached us */
        return;
    }
    if (s->plan == NULL || s->plan->w.plan < o->plan) {
        s->owner->want(s->owner, s->options.shard, SHARD_WANT_PLAN, o->plan);
        return;
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
    ckpt_folder_name(c, o->term, true, o->folder);
    if (s->saving != NULL &&
        (s->saving->cut != o->cut || o->state >= SAVE_DONE)) {
        let_go(s);
    }
    cut_if_due(s);
    if (s->saving != NULL) {
        shard_saving_go_on(s->saving);
    }
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

/* A push finds no room: PS_EBUSY, or PS_OK where the save has failed for it. */
static int put_off(struct saving *v)
{
    uint64_t now = v->shard->net->now_us(v->shard->net);

    PROBE(shard_save_puts_off);
    if (v->wait_us == 0 || now >= v->waited_us + ROOM_AGAIN_US) {
        v->wait_us = now;
    }
    v->waited_us = now;
    if (now < v->wait_us + ROOM_WAIT_US) {
        return PS_EBUSY;
    }
    PROBE(shard_save_disk_too_slow);
    shard_saving_fail(v, "the disk of the checkpoints does not keep up");
    return PS_OK;
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
    if (ckpt_rows_room(p->rows) < n &&
        (!has_free_block(s->saving) ||
         ckpt_rows_reserve(p->rows, n) != PS_OK)) {
        return put_off(s->saving);
    }
    s->saving->wait_us = 0;
    return PS_OK;
}

static bool is_late(const struct shard *s, const struct frame_header *h)
{
    return s->saving != NULL && s->saving->phase == SAVING_ROWS &&
           h->cut < s->saving->cut && !PLANT(late_not_noted);
}

int shard_save_reserve_late(struct shard *s, const struct frame_header *h,
                            const struct frame *frame)
{
    struct saving *v = s->saving;
    struct saving_late *more;
    uint32_t room;

    if (!is_late(s, h)) {
        return PS_OK;
    }
    if (v->late_bytes + frame->body_bytes > LATE_BYTES) {
        shard_saving_fail(
            v, "more frames of before the cut came late than are kept");
        return PS_OK;
    }
    if (v->n_lates < v->lates_room) {
        return PS_OK;
    }
    room = v->lates_room == 0 ? 64 : v->lates_room * 2;
    more = mem_try_resize(v->lates, mem_array(room, sizeof(*more)));
    if (more == NULL) {
        return PS_EBUSY;
    }
    v->lates = more;
    v->lates_room = room;
    return PS_OK;
}

void shard_save_applied(struct shard *s, const struct frame_header *h,
                        struct frame *frame)
{
    struct saving *v = s->saving;

    if (is_late(s, h)) {
        PROBE(shard_save_late_frame);
        v->lates[v->n_lates++] =
            (struct saving_late){frame_get(frame), h->session, h->seq, h->cut};
        v->late_bytes += frame->body_bytes;
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
            if (k == SAVING_BLOCKS || (b = ckpt_rows_take(rows)) == NULL) {
                break;
            }
            v->blocks[k] = (struct saving_block){b, b->n_pieces};
            for (uint32_t p = 0; p < b->n_pieces; p++) {
                struct disk_request r = {
                    .op = DISK_WRITE,
                    .tag = v->serial << 16 | k,
                    .file = v->serial << 1,
                    .offset = b->pieces[p].offset,
                    .data = b->pieces[p].data,
                    .size = b->pieces[p].size,
                };

                v->n_busy++;
                v->shard->disk->submit(v->shard->disk, &r);
            }
        }
    }
}

bool shard_save_has_work(const struct shard *s)
{
    const struct saving *v = s->saving;

    return v != NULL && v->phase == SAVING_ROWS && v->at < v->n_tables &&
           has_free_block(v);
}

/* False: the keys that were erased are all out. */
static bool send_erased(struct saving_table *t, uint64_t n)
{
    while (n > 0 && t->erased_from != NULL && t->erased_from->n > 0) {
        const struct erased_block *b = t->erased_from;
        uint64_t end = t->erased_at + base_min_u64(n, b->n - t->erased_at);

        n -= end - t->erased_at;
        while (t->erased_at < end) {
            ckpt_rows_add(t->erased, b->keys[t->erased_at++], NULL);
        }
        if (end == b->n) {
            t->erased_from = b->next;
            t->erased_at = 0;
        }
    }
    return t->erased_from != NULL && t->erased_from->n > 0;
}

uint64_t shard_save_next(const struct shard *s)
{
    return shard_save_has_work(s) ? s->saving->work_us : UINT64_MAX;
}

void shard_save_work(struct shard *s)
{
    struct saving *v = s->saving;
    struct saving_table *t;
    struct ckpt_rows *rows;
    uint64_t bytes;
    uint64_t n;

    if (s->net->now_us(s->net) < shard_save_next(s)) {
        return;
    }
    v->work_us = s->net->now_us(s->net) + STEP_US;
    t = &v->tables[v->at];
    bytes = s->options.save_bytes != 0 ? s->options.save_bytes : STEP_BYTES;
    rows = t->erased_from != NULL ? t->erased : t->rows;
    n = bytes / (rows == t->erased ? STEP_KEY_BYTES : table_stride(t->table)) +
        1;
    if (ckpt_rows_room(rows) < n && ckpt_rows_reserve(rows, n) != PS_OK) {
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

/* ---- what the disk says ------------------------------------------------- */

/* A piece of a block of rows is written. */
static void block_written(struct saving *v, uint32_t k)
{
    struct saving_block *b = &v->blocks[k];

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
    uint32_t k = (uint32_t)(r->tag & 0xffff);

    v->n_busy--;
    if (r->status != PS_OK) {
        shard_saving_fail(v, r->why);
    }
    if (k < SAVING_BLOCKS) {
        block_written(v, k);
    } else if (v->phase < SAVING_DONE) {
        shard_saving_on_disk(v, r);
    }
}

void shard_on_disk(struct shard *s, const struct disk_result *r)
{
    struct saving **at = &s->remainders;
    uint64_t serial = r->tag >> 16;

    if (shard_load_on_disk(s, r)) {
        return;
    }

    if (s->saving != NULL && s->saving->serial == serial) {
        on_answer(s->saving, r);
        return;
    }
    while (*at != NULL && (*at)->serial != serial) {
        at = &(*at)->next;
    }
    if (*at != NULL) {
        struct saving *v = *at;

        on_answer(v, r);
        if (v->n_busy == 0) {
            *at = v->next;
            free_saving(v);
        }
    }
}

void shard_report(const struct shard *s, struct shard_report *r)
{
    const struct saving *v = s->saving;

    *r = (struct shard_report){.cut = s->cut};
    shard_load_report(s, r);
    if (v == NULL) {
        return;
    }
    r->saved = v->phase == SAVING_DONE     ? SAVED_DONE
               : v->phase != SAVING_FAILED ? SAVED_WRITING
               : v->needs_whole            ? SAVED_NEEDS_WHOLE
                                           : SAVED_FAILED;
    r->rows = v->rows;
    for (uint32_t i = 0; i < v->n_tables; i++) {
        if (v->tables[i].rows != NULL) {
            r->rows_done += ckpt_rows_added(v->tables[i].rows);
        }
    }
    if (v->phase == SAVING_DONE) {
        r->index_bytes = v->text.size;
        r->index_checksum = hash_bytes(v->text.data, v->text.size);
    }
    /* The scheduler looks for the folder that a load's reason names. */
    if (v->why[0] != '\0' && !r->load_failed) {
        snprintf(r->why, sizeof(r->why), "%s", v->why);
    }
}
