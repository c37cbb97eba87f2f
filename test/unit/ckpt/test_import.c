/* A checkpoint of the original becomes one of ours. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/limits.h"
#include "base/mem.h"
#include "ckpt/ckpt_other.h"
#include "ckpt/import.h"
#include "import_stage.h"

struct made {
    struct fs *from;
    struct fs *to;
    struct import *x;
    struct ckpt *c;
    char folder[CKPT_NAME_MAX + 1];
};

static void make(struct made *m, struct fs *from)
{
    struct err e = {0};
    int rc;

    *m = (struct made){.from = from, .to = fs_memory_new()};
    rc = import_new(&m->x, from, &e);
    if (rc == PS_OK) {
        rc = import_write(m->x, m->to, "n", 7, NULL, m->folder, &e);
    }
    if (rc == PS_OK) {
        rc = ckpt_open(m->to, m->folder, &m->c, &e);
    }
    if (rc == PS_OK) {
        rc = ckpt_verify(m->to, m->folder, m->c, NULL, &e);
    }
    if (rc != PS_OK) {
        print_error("%s\n", e.text);
    }
    assert_int_equal(rc, PS_OK);
}

static void unmake(struct made *m)
{
    ckpt_free(m->c);
    import_free(m->x);
    fs_memory_free(m->to);
    fs_memory_free(m->from);
}

struct found {
    uint64_t n;
    uint64_t sum;
    uint64_t keys[8];
    float values[8][2];
    float slots[8][2][2];
};

static bool take(void *context, const struct ckpt_batch *b)
{
    struct found *f = context;

    for (uint64_t i = 0; i < b->n; i++, f->n++) {
        assert_true(f->n < 8);
        f->keys[f->n] = b->keys[i];
        memcpy(f->values[f->n], b->values + 2 * i, 2 * sizeof(float));
        for (uint32_t k = 0; k < b->part->n_slots; k++) {
            memcpy(f->slots[f->n][k], b->slots[k] + 2 * i, 2 * sizeof(float));
        }
    }
    return true;
}

static void read_rows(struct made *m, const char *name, struct found *f)
{
    const struct wire_variable *v = ckpt_variable(m->c, name);

    *f = (struct found){.n = 0};
    assert_non_null(v);
    assert_int_equal(ckpt_read_rows(m->to, m->folder, m->c, v->id, 0,
                                    LIMIT_BUCKETS, take, f, NULL),
                     PS_OK);
}

static void what_can_be_served_is_variables_of_ours(void **state)
{
    static const int64_t keys[] = {39999, 5, -65536, -1};
    const struct wire_variable *v;
    struct made m;
    struct found f;

    (void)state;
    make(&m, stage_old_new());
    assert_int_equal(m.c->manifest.n_variables, 2);
    v = ckpt_variable(m.c, "a/b");
    assert_int_equal(v->kind, PS_HASH64);
    assert_string_equal(v->updater, "AdagradUpdater");
    assert_true(v->param1 == 0.5); /* what a new row's slot begins with */
    assert_true(v->init_kind == PS_INIT_CONSTANT && v->init_a == 0.25);
    assert_true(v->init_key == hash_bytes("a/b", 3)); /* as a client's */
    assert_int_equal(v->batch_read, 300);
    read_rows(&m, "a/b", &f);
    assert_int_equal(f.n, 4);
    for (int i = 0; i < 4; i++) {
        float slot = i < 3 ? (float)stage_old(keys[i], 1, 1) : 0.5F;

        assert_int_equal((int64_t)f.keys[i], keys[i]);
        assert_true(f.values[i][1] == (float)stage_old(keys[i], 0, 1));
        assert_true(f.slots[i][0][1] == slot);
    }
    v = ckpt_variable(m.c, "w");
    assert_int_equal(v->kind, PS_DENSE);
    assert_int_equal(v->rows, 3);
    assert_string_equal(v->updater, "FtrlUpdater");
    assert_true(v->param2 == 0.1);
    read_rows(&m, "w", &f);
    assert_int_equal(f.n, 3);
    for (int i = 0; i < 3; i++) {
        assert_true(f.values[i][0] == (float)stage_old(i, 0, 0));
        assert_true(f.slots[i][0][1] == (float)stage_old(i, 1, 1)); /* accum */
        assert_true(f.slots[i][1][1] == (float)stage_old(i, 2, 1)); /* linear */
    }
    unmake(&m);
}

static void check_tensor(struct made *m, const char *name, const char *dtype,
                         uint32_t n_shape, const void *bytes, size_t size)
{
    const struct ckpt_file *file;
    const struct ckpt_tensor *t = ckpt_other_find(m->c, name, &file);
    char path[2 * CKPT_NAME_MAX + 2];
    struct fs_open_file *open;
    uint8_t data[64];
    size_t got;

    assert_non_null(t);
    assert_string_equal(t->dtype, dtype);
    assert_int_equal(t->n_shape, n_shape);
    assert_int_equal(t->bytes, size);
    snprintf(path, sizeof(path), "%s/%s", m->folder, file->name);
    assert_int_equal(m->to->ops->open(m->to, path, FS_READ, &open, NULL),
                     PS_OK);
    assert_int_equal(
        m->to->ops->read_at(m->to, open, t->offset, data, size, &got, NULL),
        PS_OK);
    assert_int_equal(got, size);
    assert_memory_equal(data, bytes, size);
    assert_int_equal(m->to->ops->close(m->to, open, NULL), PS_OK);
}

static void what_cannot_be_served_is_kept_beside_it(void **state)
{
    const uint64_t keys[] = {1, 2, 3, UINT64_MAX};
    const uint64_t ab[] = {39999, 5, (uint64_t)-65536, UINT64_MAX};
    const double values[] = {stage_old(1, 0, 0), stage_old(3, 0, 0)};
    const int16_t marks[] = {2, 4}; /* key + 4 * 0.25 */
    const double beta[] = {0.75, 0.5};
    struct made m;

    (void)state;
    make(&m, stage_old_new());
    assert_int_equal(m.x->variables[1].fate, IMPORT_KEPT);
    assert_string_equal(m.x->variables[1].why, "keys of 128 bits");
    assert_int_equal(m.x->variables[3].fate, IMPORT_ABSENT);
    assert_int_equal(m.c->indexes[0].files[2].n_tensors, 5);
    check_tensor(&m, "p/other/keys", "I64", 2, keys, sizeof(keys));
    check_tensor(&m, "p/other/values", "F64", 2, values, sizeof(values));
    check_tensor(&m, "p/other/slot/mark", "I16", 1, marks, sizeof(marks));
    check_tensor(&m, "a/b/other/keys", "I64", 1, ab, sizeof(ab));
    check_tensor(&m, "a/b/other/any/beta", "F64", 1, beta, sizeof(beta));
    unmake(&m);
}

/* Bits of the third file are as dear as those of the others. */
static void a_flipped_byte_of_what_is_kept_is_found(void **state)
{
    struct made m;
    char path[2 * CKPT_NAME_MAX + 2];
    struct buf b = {0};

    (void)state;
    make(&m, stage_old_new());
    snprintf(path, sizeof(path), "%s/lane-1.other.safetensors", m.folder);
    assert_int_equal(m.to->ops->read(m.to, path, 1 << 20, &b, NULL), PS_OK);
    for (size_t i = 0; i < b.size; i++) {
        struct err e = {0};

        b.data[i] ^= 4;
        assert_int_equal(m.to->ops->unlink(m.to, path, NULL), PS_OK);
        assert_int_equal(
            m.to->ops->write_new(m.to, path, b.data, b.size, false, NULL),
            PS_OK);
        b.data[i] ^= 4;
        assert_int_equal(ckpt_verify(m.to, m.folder, m.c, NULL, &e),
                         PS_EDATALOSS);
        assert_non_null(strstr(e.text, "lane-1.other.safetensors"));
    }
    buf_fini(&b);
    unmake(&m);
}

static void put(struct buf *b, uint64_t n, size_t size)
{
    assert_int_equal(buf_append(b, &n, size), PS_OK);
}

static bool count(void *context, const struct ckpt_batch *b)
{
    struct found *f = context;

    f->n += b->n;
    for (uint64_t i = 0; i < b->n; i++) {
        uint32_t bucket = hash_bucket(hash_key(b->keys[i]));

        assert_true(bucket >= b->part->begin && bucket < b->part->end);
        f->sum += b->keys[i];
        assert_true(b->values[i] == (float)(b->keys[i] % 1000));
    }
    return true;
}

/* hash64 "x" of n rows of one number, key modulo 1,000, in falling order. */
static struct fs *make_large(uint64_t n)
{
    struct fs *fs = fs_memory_new();
    struct buf meta = {0};
    struct buf rows = {0};

    put(&meta, 1, 8);
    put(&meta, 0x67a23f8bc8de4854, 8);
    put(&meta, 8 + 4 + 9 + 24 + 8 + 8 + 4 + 8, 8);
    put(&meta, 1, 8);
    put(&meta, 2, 4);
    put(&meta, 1, 8);
    put(&meta, 'x', 1);
    put(&meta, 1, 8);
    put(&meta, 0, 8);
    put(&meta, 65536, 8);
    put(&meta, 1, 8);
    put(&meta, 7, 8);
    put(&meta, ORIGINAL_F32, 4);
    put(&meta, 0, 8);
    put(&rows, 2, 4);
    put(&rows, n, 8);
    put(&rows, n, 8);
    for (uint64_t i = 0; i < n; i++) {
        put(&rows, i, 8);
        put(&rows, n - 1 - i, 8);
    }
    put(&rows, ORIGINAL_F32, 4);
    put(&rows, 1, 8);
    put(&rows, n, 8);
    put(&rows, 0x034ab8da0d1fbf01, 8);
    put(&rows, 0, 8);
    for (uint64_t i = 0; i < n; i++) {
        float x = (float)((n - 1 - i) % 1000);

        assert_int_equal(buf_append(&rows, &x, sizeof(x)), PS_OK);
    }
    put(&rows, 0, 8);
    assert_int_equal(
        fs->ops->write_new(fs, "__meta__", meta.data, meta.size, false, NULL),
        PS_OK);
    assert_int_equal(
        fs->ops->write_new(fs, "x^0", rows.data, rows.size, false, NULL),
        PS_OK);
    buf_fini(&meta);
    buf_fini(&rows);
    return fs;
}

static void a_large_variable_is_in_parts(void **state)
{
    const uint64_t n = IMPORT_SPLIT_ROWS + 3;
    struct found f = {0};
    struct made m;

    (void)state;
    make(&m, make_large(n));
    assert_int_equal(m.c->manifest.n_parts, IMPORT_PARTS);
    assert_int_equal(m.c->indexes[0].n_files, 2); /* nothing is kept */
    assert_int_equal(ckpt_read_rows(m.to, m.folder, m.c, 1, 0, LIMIT_BUCKETS,
                                    count, &f, NULL),
                     PS_OK);
    assert_int_equal(f.n, n);
    assert_true(f.sum == n * (n - 1) / 2);
    unmake(&m);
}

static bool stop(void *context, uint64_t done, uint64_t total)
{
    (void)context;
    return done * 2 < total;
}

static bool see(void *context, const char *name)
{
    (void)name;
    (*(uint32_t *)context)++;
    return true;
}

/* Memory may end at each of its calls. */
static void an_import_that_fails_leaves_nothing(void **state)
{
    struct fs *from = stage_old_new();
    uint64_t n = 1;
    int rc;

    (void)state;
    do {
        char folder[CKPT_NAME_MAX + 1];
        struct fs *to = fs_memory_new();
        struct import *x = NULL;
        struct err e = {0};
        uint32_t n_names = 0;

        mem_fail_at(n++);
        rc = import_new(&x, from, &e);
        if (rc == PS_OK) {
            rc = import_write(x, to, "", 1, NULL, folder, &e);
        }
        mem_fail_at(0);
        assert_true(rc == PS_OK || rc == PS_ENOMEM);
        import_free(x);
        assert_int_equal(to->ops->list(to, ".", see, &n_names, NULL) == PS_OK
                             ? n_names > 0
                             : false,
                         rc == PS_OK);
        fs_memory_free(to);
    } while (rc != PS_OK);
    assert_true(n > 50);
    fs_memory_free(from);
}

static void an_import_that_is_stopped_leaves_nothing(void **state)
{
    const struct ckpt_progress progress = {stop, NULL};
    char folder[CKPT_NAME_MAX + 1];
    struct fs *from = make_large(20000);
    struct fs *to = fs_memory_new();
    struct import *x;
    uint32_t n_names = 0;

    (void)state;
    assert_int_equal(import_new(&x, from, NULL), PS_OK);
    assert_int_equal(import_write(x, to, "", 1, &progress, folder, NULL),
                     PS_ECANCELED);
    assert_int_equal(to->ops->list(to, ".", see, &n_names, NULL), PS_OK);
    assert_int_equal(n_names, 0);
    import_free(x);
    fs_memory_free(to);
    fs_memory_free(from);
}

/* What becomes of initializers. */
static void initializers_are_ours_where_there_is_one(void **state)
{
    static const struct {
        struct original_init from;
        struct ps_init to;
    } cases[] = {
        {{ORIGINAL_INIT_NONE, 0, 0, 0, false, 0}, {PS_INIT_CONSTANT, 0, 0, 0}},
        {{ORIGINAL_INIT_CONSTANT, 0, 0.5, 0, false, 0},
         {PS_INIT_CONSTANT, 0.5F, 0, 0}},
        {{ORIGINAL_INIT_NORMAL, 5, 1, 2, false, 0}, {PS_INIT_NORMAL, 1, 2, 5}},
        {{ORIGINAL_INIT_TRUNCATED_NORMAL, 5, 1, 2, false, 0},
         {PS_INIT_TRUNCATED_NORMAL, 1, 2, 5}},
        /* sqrt(3 / 12) * 4 */
        {{ORIGINAL_INIT_UNIFORM_UNIT_SCALING, 5, 4, 0, false, 12},
         {PS_INIT_UNIFORM, -2, 2, 5}},
        /* sqrt(3 * 12), sqrt(4) */
        {{ORIGINAL_INIT_VARIANCE_SCALING, 5, 12, 0, false, 0},
         {PS_INIT_UNIFORM, -6, 6, 5}},
        {{ORIGINAL_INIT_VARIANCE_SCALING, 5, 4, 0, true, 0},
         {PS_INIT_TRUNCATED_NORMAL, 0, 2, 5}},
        {{ORIGINAL_INIT_ORTHOGONAL, 0, 1, 0, false, 0},
         {PS_INIT_CONSTANT, 0, 0, 0}},
        {{ORIGINAL_INIT_NORMAL, 5, 0, -1, false, 0},
         {PS_INIT_CONSTANT, 0, 0, 0}},
        {{ORIGINAL_INIT_CONSTANT, 0, 1e300, 0, false, 0},
         {PS_INIT_CONSTANT, 0, 0, 0}},
        {{ORIGINAL_INIT_UNIFORM_UNIT_SCALING, 0, 4, 0, false, 0},
         {PS_INIT_CONSTANT, 0, 0, 0}},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct original_variable o = {.name = "x",
                                      .kind = ORIGINAL_HASH64,
                                      .dtype = ORIGINAL_F32,
                                      .n_dims = 2,
                                      .row_elements = 2};
        struct original_part part = {.data = {.init = cases[i].from}};
        struct import_variable v = {
            .rows = {.variable = &o, .n_parts = 1, .parts = &part}};

        assert_int_equal(import_plan(&v, NULL), PS_OK);
        assert_int_equal(v.init.kind, cases[i].to.kind);
        assert_true(v.init.a == cases[i].to.a && v.init.b == cases[i].to.b);
        assert_int_equal(v.init.seed, cases[i].to.seed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_can_be_served_is_variables_of_ours),
        cmocka_unit_test(what_cannot_be_served_is_kept_beside_it),
        cmocka_unit_test(a_flipped_byte_of_what_is_kept_is_found),
        cmocka_unit_test(a_large_variable_is_in_parts),
        cmocka_unit_test(an_import_that_fails_leaves_nothing),
        cmocka_unit_test(an_import_that_is_stopped_leaves_nothing),
        cmocka_unit_test(initializers_are_ours_where_there_is_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
