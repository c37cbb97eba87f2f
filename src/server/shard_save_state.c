/* What a lane knew beside its rows: its windows as they were at the cut, frozen
 * copies of former lanes, and the frames of an older cut that come later.
 *
 * There may be very many of these, as a worker takes the cut at its next step
 * only: they go to the disk as they come, so the file begins with their bodies.
 * What they may not do is wait for each other: a frame that finds the disk
 * behind is put off, a save that cannot go on is given up, and the worker's
 * step comes to its end either way. The rest of the file is made when the cut
 * is closed, in pieces. */
#include "base/mem.h"
#include "base/probe.h"
#include "server/shard_load.h"
#include "server/history.h"
#include "server/shard_save.h"

PLANT_DECLARE(dedup_outside_checkpoint);
PLANT_DECLARE(late_not_noted);
PLANT_DECLARE(windows_of_after_cut);

enum {
    /* Blocks of late frames on their way. */
    LATE_BLOCKS = 16,
    /* Of one save, as whoever loads it reads them whole. */
    LATE_BYTES = 1 << 30,
    /* Rows of columns that are made at once: some 50 us. */
    STATE_ROWS = 2000
};

static void copy_window(const struct window *from, struct ckpt_window *to)
{
    to->session = from->session;
    to->next = from->next;
    to->floor = from->floor;
    to->refuse_below = from->refuse_below;
    to->has_ended = from->has_ended;
    memcpy(to->fate, from->fate, sizeof(to->fate));
    memcpy(to->canceled, from->canceled, sizeof(to->canceled));
}

int shard_saving_copy_windows(struct saving *v)
{
    const struct windows *ws = &v->shard->windows;
    struct ckpt_window *windows =
        arena_take(&v->arena, (ws->map.n + 1) * sizeof(*windows));
    struct ckpt_history *h = arena_take(&v->arena, sizeof(*h));
    const struct window *w;
    uint64_t n = 0;
    size_t i = 0;

    if (windows == NULL || h == NULL) {
        return PS_ENOMEM;
    }
    while ((w = map_next(&ws->map, &i)) != NULL &&
           !PLANT(dedup_outside_checkpoint)) {
        copy_window(w, &windows[n++]);
    }
    *h = (struct ckpt_history){
        .lane = v->index.lane,
        .end = LIMIT_BUCKETS,
        .forgotten = ws->forgotten,
        .n_windows = n,
        .windows = windows,
    };
    v->histories = h;
    return PS_OK;
}

/* What it knows now: sessions may be dropped from the copy while the state is
 * made. */
static int freeze(struct arena *arena, const struct history_copy *c,
                  struct ckpt_history *h)
{
    struct ckpt_window *windows =
        arena_take(arena, (c->n + 1) * sizeof(*windows));
    struct ckpt_numbers *gaps =
        arena_take(arena, (c->n_gaps + 1) * sizeof(*gaps));

    if (windows == NULL || gaps == NULL) {
        return PS_ENOMEM;
    }
    if (c->n > 0) {
        memcpy(windows, c->windows, c->n * sizeof(*windows));
    }
    if (c->n_gaps > 0) {
        memcpy(gaps, c->gaps, c->n_gaps * sizeof(*gaps));
    }
    h->lane = c->lane;
    h->forgotten = c->forgotten;
    h->windows = windows;
    h->n_windows = c->n;
    h->gaps = gaps;
    h->n_gaps = c->n_gaps;
    return PS_OK;
}

/* Of former lanes: a copy that parts share comes once, the others point to it.
 * `copies` has whose histories are there already. */
static int add_history(struct saving *v, const struct shard_part *p,
                       const struct history *from,
                       const struct history_copy **copies)
{
    struct ckpt_history *h = &v->all_histories[v->made.n_histories];
    uint32_t first = 1;
    int rc = PS_OK;

    copies[v->made.n_histories] = from->copy;
    while (copies[first] != from->copy) {
        first++;
    }
    if (first < v->made.n_histories) {
        *h = v->all_histories[first];
        h->same = first + 1;
    } else {
        *h = (struct ckpt_history){.same = 0};
        rc = freeze(&v->arena, from->copy, h);
    }
    h->variable = p->variable;
    h->begin = from->begin;
    h->end = from->end;
    v->made.n_histories++;
    return rc;
}

/* The lane's windows, and those of former lanes that its parts carry: parts
 * stay while a cut is open. */
static int list_histories(struct saving *v)
{
    const struct shard *s = v->shard;
    const struct history_copy **copies;
    size_t n = 1;
    int rc = PS_OK;

    for (size_t i = 0; i < s->n_parts; i++) {
        const struct history *h = s->parts[i].histories;

        for (; h != NULL; h = h->next) {
            n++;
        }
    }
    copies = arena_take(&v->arena, n * sizeof(struct history_copy *));
    v->all_histories = arena_take(&v->arena, n * sizeof(*v->all_histories));
    if (copies == NULL || v->all_histories == NULL || n > UINT32_MAX) {
        return PS_ENOMEM;
    }
    v->all_histories[0] = *v->histories;
    v->made.histories = v->all_histories;
    v->made.n_histories = 1;
    for (size_t i = 0; i < s->n_parts; i++) {
        const struct history *h = s->parts[i].histories;

        if (!shard_saving_has(v, &s->parts[i])) {
            continue;
        }
        for (; h != NULL && rc == PS_OK; h = h->next) {
            rc = add_history(v, &s->parts[i], h, copies);
        }
    }
    return rc;
}

/* All chains that have run here: late frames name some of them, and these stay
 * for as long as the shard. */
static int list_chains(struct saving *v, struct ckpt_state *state)
{
    const struct map *m = &v->shard->chains;
    struct ckpt_chain *chains =
        arena_take(&v->arena, (m->n + 1) * sizeof(*chains));
    const struct chain *c;
    size_t i = 0;

    if (chains == NULL) {
        return PS_ENOMEM;
    }
    while (v->n_lates > 0 && (c = map_next(m, &i)) != NULL) {
        if (c->has_run) {
            chains[state->n_chains++] =
                (struct ckpt_chain){c->id, c->definition};
        }
    }
    state->chains = chains;
    return PS_OK;
}

bool shard_saving_is_late(const struct saving *v, const struct frame_header *h)
{
    return v != NULL && v->phase == SAVING_ROWS && h->cut < v->cut &&
           !PLANT(late_not_noted);
}

static int add_block(struct saving *v)
{
    struct saving_late **end = &v->late_filling;
    struct saving_late *b = mem_try(sizeof(*b));

    if (b == NULL) {
        return PS_ENOMEM;
    }
    b->next = NULL;
    b->used = 0;
    while (*end != NULL) {
        end = &(*end)->next;
    }
    *end = b;
    v->n_late_blocks++;
    return PS_OK;
}

/* Room for so many bytes of bodies, and for the sums of their blocks. */
static int reserve_bytes(struct saving *v, size_t bytes)
{
    size_t sums = v->late_sums.size;
    size_t room = 0;

    for (const struct saving_late *b = v->late_filling; b != NULL;
         b = b->next) {
        room += sizeof(b->data) - b->used;
    }
    while (room < bytes) {
        if (v->n_late_blocks >= LATE_BLOCKS && v->n_busy > 0) {
            return PS_EBUSY;
        }
        if (add_block(v) != PS_OK) {
            return PS_ENOMEM;
        }
        room += sizeof(v->late_filling->data);
    }
    if (buf_extend(&v->late_sums, v->n_late_blocks * sizeof(uint64_t)) ==
        NULL) {
        v->late_sums.failed = false;
        return PS_ENOMEM;
    }
    v->late_sums.size = sums;
    return PS_OK;
}

int shard_save_reserve_late(struct shard *s, const struct frame_header *h,
                            const struct frame *frame)
{
    struct saving *v = s->saving;
    struct ckpt_late *more;
    uint32_t room;

    if (!shard_saving_is_late(v, h)) {
        return PS_OK;
    }
    if (v->late_bytes + frame->body_bytes > LATE_BYTES) {
        shard_saving_fail(v, "more than 1 GiB of frames of before the cut came "
                             "late: workers call ps_step too seldom");
        return PS_OK;
    }
    if (reserve_bytes(v, frame->body_bytes) != PS_OK) {
        return shard_saving_put_off(v, &v->late_wait);
    }
    v->late_wait.since_us = 0;
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

/* Hands the first block to the disk. */
static void send_late(struct saving *v)
{
    struct saving_late **end = &v->late_out;
    struct saving_late *b = v->late_filling;
    uint64_t number = (v->late_bytes - 1) / sizeof(b->data);

    v->late_filling = b->next;
    b->next = NULL;
    while (*end != NULL) {
        end = &(*end)->next;
    }
    *end = b;
    shard_saving_write(v, SAVING_STEP_LATE, SAVING_FILE_STATE,
                       CKPT_STATE_BODIES + number * sizeof(b->data), b->data,
                       b->used);
}

void shard_saving_add_late(struct saving *v, const struct frame_header *h,
                           struct frame *frame)
{
    const uint8_t *body = frame_body(frame);
    size_t left = frame->body_bytes;

    PROBE(shard_save_late_frame);
    v->lates[v->n_lates++] = (struct ckpt_late){
        .session = h->session, .seq = h->seq, .cut = h->cut, .n_body = left};
    while (left > 0) {
        struct saving_late *b = v->late_filling;
        size_t some = base_min_u64(left, sizeof(b->data) - b->used);

        memcpy(b->data + b->used, body, some);
        b->used += some;
        v->late_bytes += some;
        body += some;
        left -= some;
        if (b->used == sizeof(b->data)) {
            send_late(v);
        }
    }
}

void shard_saving_on_late(struct saving *v, const struct disk_result *r)
{
    struct saving_late *b = v->late_out;
    struct disk_sum sum;

    memcpy(&sum, r->data, sizeof(sum));
    (void)buf_append(&v->late_sums, &sum.sum, sizeof(sum.sum));
    ASSERT(!v->late_sums.failed);
    v->late_out = b->next;
    v->n_late_blocks--;
    mem_free(b);
}

bool shard_saving_drop_late(struct saving *v)
{
    struct saving_late **list =
        v->late_filling != NULL ? &v->late_filling : &v->late_out;
    struct saving_late *b = *list;

    if (b != NULL) {
        *list = b->next;
        mem_free(b);
    }
    return b != NULL;
}

static int begin_state(struct saving *v)
{
    char *name = arena_take(&v->arena, CKPT_NAME_MAX + 1);
    int rc = PLANT(windows_of_after_cut) ? shard_saving_copy_windows(v) : PS_OK;

    if (name == NULL) {
        return PS_ENOMEM;
    }
    ckpt_file_name(v->index.lane, CKPT_FILE_STATE, name);
    v->made = (struct ckpt_state){.n_lates = v->n_lates, .lates = v->lates};
    if (rc == PS_OK) {
        rc = list_chains(v, &v->made);
    }
    if (rc == PS_OK) {
        rc = list_histories(v);
    }
    if (rc == PS_OK) {
        rc = ckpt_state_begin(&v->encoder, &v->made, name, &v->arena,
                              &v->index.files[1], &v->state);
    }
    return rc;
}

void shard_saving_begin_state(struct saving *v)
{
    int rc;

    if (v->late_filling != NULL && v->late_filling->used > 0) {
        send_late(v);
    }
    v->phase = SAVING_STATE;
    rc = begin_state(v);
    if (rc != PS_OK) {
        shard_saving_fail(v, ps_status_text(rc));
    }
}

bool shard_saving_makes_state(const struct saving *v)
{
    return v->phase == SAVING_STATE && !v->state_is_made;
}

/* The next block whose sum is not known; false: there is none. Those of bodies
 * are known by themselves. */
static bool next_sum(struct saving *v)
{
    const struct ckpt_file *file = &v->index.files[1];

    while (v->sum_tensor < file->n_tensors &&
           v->sum_block == file->tensors[v->sum_tensor].n_sums) {
        v->sum_tensor++;
        v->sum_block = 0;
    }
    return v->sum_tensor < file->n_tensors;
}

/* All that is behind the bodies, and what is before them. */
static void write_state(struct saving *v)
{
    const struct ckpt_file *file = &v->index.files[1];

    shard_saving_write(v, SAVING_STEP_HEADER, SAVING_FILE_STATE, 0,
                       v->state.data, CKPT_STATE_BODIES);
    for (uint32_t i = 1; i < file->n_tensors; i++) {
        for (uint32_t k = 0; k < file->tensors[i].n_sums; k++) {
            struct ckpt_block b = ckpt_block(&file->tensors[i], k);

            shard_saving_write(
                v, SAVING_STEP_STATE, SAVING_FILE_STATE, b.offset,
                v->state.data + (b.offset - v->late_bytes), b.bytes);
        }
    }
    v->sum_tensor = 1;
    v->state_is_made = true;
}

void shard_saving_make_state(struct saving *v)
{
    if (ckpt_state_more(&v->encoder, STATE_ROWS)) {
        return;
    }
    if (v->state.failed) {
        shard_saving_fail(v, ps_status_text(PS_ENOMEM));
        return;
    }
    write_state(v);
}

void shard_saving_on_state(struct saving *v, const struct disk_result *r)
{
    struct ckpt_tensor *tensors = v->index.files[1].tensors;
    struct disk_sum sum;

    ASSERT(next_sum(v));
    memcpy(&sum, r->data, sizeof(sum));
    tensors[v->sum_tensor].sums[v->sum_block++] = sum.sum;
    if (!next_sum(v) && v->late_bytes > 0) {
        ASSERT(v->late_sums.size == tensors[0].n_sums * sizeof(uint64_t));
        memcpy(tensors[0].sums, v->late_sums.data, v->late_sums.size);
    }
}
