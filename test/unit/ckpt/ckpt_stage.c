/* ckpt_stage.c - a small checkpoint whose every number can be worked out. */
#include "unit/ckpt/ckpt_stage.h"

#include "base/hash.h"
#include "plan/plan.h"

enum { HALF = LIMIT_BUCKETS / 2 };

float stage_value(uint64_t key, uint32_t tensor, uint32_t i)
{
    return (float)(key % 100000) + (float)tensor * 0.25F + (float)i * 0.125F;
}

static int write_row(struct ckpt_writer *w, uint32_t part, uint64_t key,
                     uint32_t dim, uint32_t tensors, struct err *e)
{
    float row[16];

    for (uint32_t t = 0; t < tensors; t++) {
        for (uint32_t i = 0; i < dim; i++) {
            row[t * dim + i] = stage_value(key, t, i);
        }
    }
    return ckpt_writer_row(w, part, key, row, e);
}

static bool is_users(uint64_t key, const struct ckpt_part *p)
{
    uint32_t bucket = hash_bucket(hash_key(key));

    return bucket >= p->begin && bucket < p->end;
}

/* has_state: two windows and a late frame. */
static int end_lane(struct ckpt_writer *w, uint64_t lane, bool has_state,
                    struct err *e)
{
    struct ckpt_window windows[2] = {
        {.session = 3, .next = 9, .floor = 4, .refuse_below = 2},
        {.session = 5, .next = 1, .floor = 1, .has_ended = 1},
    };
    struct ckpt_history history = {.lane = lane,
                                   .end = LIMIT_BUCKETS,
                                   .forgotten = 2,
                                   .n_windows = 2,
                                   .windows = windows};
    struct ckpt_late late = {.session = 3,
                             .seq = 8,
                             .cut = 11,
                             .body = (const uint8_t *)"late",
                             .n_body = 4};
    struct ckpt_chain chain = {77, "BuildHashSlice(insert)>AdagradUpdater"};
    struct ckpt_state state = {.n_histories = 1,
                               .histories = &history,
                               .n_lates = 1,
                               .lates = &late,
                               .n_chains = 1,
                               .chains = &chain};

    windows[0].fate[7] = PS_ELIMIT;
    windows[0].canceled[1] = 0x8000000000000001u;
    return ckpt_writer_lane_end(w, has_state ? &state : NULL, e);
}

/* Half of the buckets, [begin, begin + HALF). */
static int write_lane(struct ckpt_writer *w, uint64_t lane, uint32_t begin,
                      uint64_t n, uint64_t table, struct err *e)
{
    struct ckpt_part parts[3] = {
        {.variable = STAGE_USER,
         .id = 1,
         .kind = PS_HASH64,
         .dim = 3,
         .begin = begin,
         .end = begin + HALF,
         .has_keys = true,
         .n_slots = 2,
         .slots = {"acc", "m"}},
        {.variable = "table",
         .id = 5,
         .kind = PS_DENSE,
         .dim = 2,
         .begin = begin,
         .end = begin + HALF,
         .has_keys = true},
        {.variable = "bias",
         .id = 2,
         .kind = PS_DENSE,
         .dim = 1,
         .end = LIMIT_BUCKETS,
         .rows = STAGE_BIAS},
    };
    uint64_t end = 0;
    int rc;

    for (uint64_t key = 1; key <= n; key++) {
        parts[0].rows += is_users(key, &parts[0]);
    }
    plan_dense_rows(table, begin, begin + HALF, &parts[1].row_begin, &end);
    parts[1].rows = end - parts[1].row_begin;
    rc = ckpt_writer_lane(w, lane, parts, begin == 0 ? 3 : 2, e);
    for (uint64_t key = 1; key <= n && rc == PS_OK; key++) {
        if (is_users(key, &parts[0])) {
            rc = write_row(w, 0, key, 3, 3, e);
        }
    }
    for (uint64_t i = 0; i < parts[1].rows && rc == PS_OK; i++) {
        rc = write_row(w, 1, end - 1 - i, 2, 1, e);
    }
    for (uint64_t i = 0; i < STAGE_BIAS && begin == 0 && rc == PS_OK; i++) {
        rc = write_row(w, 2, i, 1, 1, e);
    }
    return rc == PS_OK ? end_lane(w, lane, begin == 0, e) : rc;
}

int stage_write(struct fs *fs, uint64_t cut, uint64_t base, const char *name,
                uint64_t n, uint64_t table, char *folder, struct err *e)
{
    struct wire_variable variables[3] = {
        {.id = 1,
         .name = STAGE_USER,
         .kind = PS_HASH64,
         .dim = 3,
         .init_kind = 4,
         .init_a = 0.1,
         .init_seed = UINT64_MAX,
         .init_key = 1ull << 63,
         .updater = "AdagradUpdater",
         .n_params = 2,
         .param0 = 0.05,
         .param1 = 1e-300},
        {.id = 2,
         .name = "bias",
         .kind = PS_DENSE,
         .dim = 1,
         .rows = STAGE_BIAS,
         .updater = ""},
        {.id = 5,
         .name = "table",
         .kind = PS_DENSE,
         .dim = 2,
         .rows = table,
         .updater = ""},
    };
    struct ckpt_session session = {
        .session = 3,
        .worker = 1,
        .position = {.data = (const uint8_t *)"\0\xffp", .size = 3}};
    struct ckpt_manifest m = {.format = CKPT_FORMAT,
                              .cluster_high = 0xfedcba9876543210u,
                              .cluster_low = 1,
                              .cut = cut,
                              .term = 3,
                              .base = base,
                              .plan = 6,
                              .name = name,
                              .time_ms = 1700000000123,
                              .next_session = 6,
                              .next_lane = 10,
                              .next_variable = 6,
                              .n_variables = 3,
                              .variables = variables,
                              .n_sessions = 1,
                              .sessions = &session};
    struct ckpt_writer *w;
    int rc = ckpt_writer_begin(&w, fs, &m, e);

    if (rc != PS_OK) {
        return rc;
    }
    rc = write_lane(w, 7, 0, n, table, e);
    if (rc == PS_OK) {
        rc = write_lane(w, 9, HALF, n, table, e);
    }
    if (rc != PS_OK) {
        ckpt_writer_free(w);
        return rc;
    }
    return ckpt_writer_end(w, folder, e);
}
