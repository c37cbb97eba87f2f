/* import_stage.c - a small checkpoint of the original, written byte by byte. */
#include "import_stage.h"

#include <stdlib.h>

const char *const stage_files[STAGE_FILES] = {
    "checkpoints", "c1/__meta__", "c1/a$b^0",
    "c1/a$b^1",    "c1/p^0",      "c1/w^0",
    "c1/w^1",      "c1/.meta",    "c1/global_queue_meta"};

enum { I16 = 1, F32 = 4, F64 = 5, ROW = 0, ANY = 1 };

static void must(bool is_good)
{
    if (!is_good) {
        abort();
    }
}

static void put(struct buf *b, const void *data, size_t size)
{
    must(buf_append(b, data, size) == PS_OK);
}

static void put_u64(struct buf *b, uint64_t n)
{
    put(b, &n, sizeof(n));
}

static void put_u32(struct buf *b, uint32_t n)
{
    put(b, &n, sizeof(n));
}

static void put_text(struct buf *b, const char *text)
{
    put_u64(b, strlen(text));
    put(b, text, strlen(text));
}

static void put_number(struct buf *b, uint32_t dtype, double x)
{
    float f = (float)x;
    int16_t n = (int16_t)x;

    if (dtype == F64) {
        put(b, &x, sizeof(x));
    } else if (dtype == F32) {
        put(b, &f, sizeof(f));
    } else {
        put(b, &n, sizeof(n));
    }
}

static void put_none(struct buf *b)
{
    put_u64(b, 0x034ab8da0d1fbf01);
    put_u64(b, 0);
}

static void put_constant(struct buf *b, double x)
{
    put_u64(b, 0x1705801f037331d8);
    put_u64(b, sizeof(x));
    put(b, &x, sizeof(x));
}

double stage_old(int64_t key, int tensor, int i)
{
    return (double)(key % 1000) + tensor * 0.25 + i * 0.125;
}

/* dtype and dims; 0 ends them. */
static void put_shape(struct buf *b, uint32_t dtype, uint64_t d0, uint64_t d1)
{
    put_u32(b, dtype);
    put_u64(b, d1 > 0 ? 2 : 1);
    put_u64(b, d0);
    if (d1 > 0) {
        put_u64(b, d1);
    }
}

/* Rows of keys in their order; INT64_MIN is a free row. */
static void put_rows(struct buf *b, uint32_t dtype, int tensor, int width,
                     const int64_t *keys, int n)
{
    for (int k = 0; k < n; k++) {
        for (int i = 0; i < width; i++) {
            put_number(b, dtype,
                       keys[k] == INT64_MIN ? -7
                                            : stage_old(keys[k], tensor, i));
        }
    }
}

static void put_variable(struct buf *b, uint32_t kind, const char *name,
                         uint64_t part0, uint64_t part1, uint32_t dtype,
                         uint64_t d0, uint64_t d1)
{
    put_u32(b, kind);
    put_text(b, name);
    put_u64(b, part1 > 0 ? 2 : 1);
    put_u64(b, 0); /* server */
    put_u64(b, part0);
    if (part1 > 0) {
        put_u64(b, 1);
        put_u64(b, part1);
    }
    put_u64(b, 2); /* rank */
    put_u64(b, d0);
    put_u64(b, d1);
    put_u32(b, dtype);
}

static void put_meta(struct buf *out)
{
    struct buf b = {0};

    put_u64(&b, 4);
    put_variable(&b, 2, "a/b", 40000, 25536, F32, 9, 2);
    put_u64(&b, 2);
    put_text(&b, "hash64");
    put_text(&b, "true");
    put_text(&b, "batch_read");
    put_text(&b, "300");
    put_variable(&b, 1, "p", 65536, 0, F64, 9, 1);
    put_u64(&b, 0);
    put_variable(&b, 0, "w", 1, 2, F32, 3, 2);
    put_u64(&b, 0);
    put_variable(&b, 2, "gone", 65536, 0, F32, 9, 2);
    put_u64(&b, 1);
    put_text(&b, "save");
    put_text(&b, "false");
    put_u64(out, 2); /* servers */
    put_u64(out, 0x67a23f8bc8de4854);
    put_u64(out, b.size);
    put(out, b.data, b.size);
    buf_fini(&b);
}

static void put_beta(struct buf *b)
{
    put_text(b, "beta");
    put_u32(b, ANY);
    put_shape(b, F64, 2, 0);
    put_none(b);
    put_number(b, F64, 0.75);
    put_number(b, F64, 0.5);
}

static void put_ab(struct buf *b, int part)
{
    static const int64_t rows[2][4] = {{39999, 5, INT64_MIN, -65536},
                                       {-1, INT64_MIN}};
    static const struct {
        int64_t key;
        uint64_t id;
    } items[2][3] = {{{5, 1}, {39999, 0}, {-65536, 3}}, {{-1, 0}}};
    int n = part == 0 ? 3 : 1;
    int capacity = part == 0 ? 4 : 2;

    put_u32(b, 2);
    put_u64(b, (uint64_t)capacity);
    put_u64(b, (uint64_t)n);
    for (int i = 0; i < n; i++) {
        put_u64(b, (uint64_t)items[part][i].key);
        put_u64(b, items[part][i].id);
    }
    put_shape(b, F32, (uint64_t)capacity, 2);
    put_constant(b, 0.25);
    put_rows(b, F32, 0, 2, rows[part], capacity);
    put_u64(b, part == 0 ? 2 : 1);
    put_beta(b);
    if (part == 0) {
        put_text(b, "adagrad_accumulation");
        put_u32(b, ROW);
        put_shape(b, F32, 5, 2); /* one row more than the values */
        put_constant(b, 0.5);
        put_rows(b, F32, 1, 2, rows[0], 4);
        put_number(b, F32, 9);
        put_number(b, F32, 9);
    }
}

static void put_p(struct buf *b)
{
    static const int64_t rows[] = {1, 3};

    put_u32(b, 1);
    put_u64(b, 2);
    put_u64(b, 2);
    put_u64(b, 3); /* (3, -1) is row 1 */
    put_u64(b, UINT64_MAX);
    put_u64(b, 1);
    put_u64(b, 1); /* (1, 2) is row 0 */
    put_u64(b, 2);
    put_u64(b, 0);
    put_shape(b, F64, 2, 1);
    put_none(b);
    put_rows(b, F64, 0, 1, rows, 2);
    put_u64(b, 1);
    put_text(b, "mark");
    put_u32(b, ROW);
    put_shape(b, I16, 2, 0);
    put_none(b);
    put_rows(b, I16, 4, 1, rows, 2);
}

static void put_w(struct buf *b, int part)
{
    static const int64_t rows[] = {0, 1, 2};
    int n = part == 0 ? 1 : 2;

    put_u32(b, 0);
    put_u64(b, (uint64_t)part); /* first row */
    put_shape(b, F32, (uint64_t)n, 2);
    put_constant(b, 0);
    put_rows(b, F32, 0, 2, rows + part, n);
    put_u64(b, 2);
    put_text(b, "linear");
    put_u32(b, ROW);
    put_shape(b, F32, (uint64_t)n, 2);
    put_constant(b, 0);
    put_rows(b, F32, 2, 2, rows + part, n);
    put_text(b, "accum");
    put_u32(b, ROW);
    put_shape(b, F32, (uint64_t)n, 2);
    put_constant(b, 0.1);
    put_rows(b, F32, 1, 2, rows + part, n);
}

static void put_queues(struct buf *out)
{
    struct buf b = {0};

    put_u64(&b, 1);
    put_text(&b, "files");
    put_text(&b, "state");
    put_u64(out, b.size);
    put(out, b.data, b.size);
    buf_fini(&b);
}

void stage_old_file(int i, struct buf *out)
{
    static const char step[] = "{\"a\": [-1.5, {}], \"xdl_global_step\": 77}";

    switch (i) {
    case 0:
        put_u64(out, 2);
        put_text(out, "older");
        put_text(out, "c1");
        break;
    case 1:
        put_meta(out);
        break;
    case 2:
    case 3:
        put_ab(out, i - 2);
        break;
    case 4:
        put_p(out);
        break;
    case 5:
    case 6:
        put_w(out, i - 5);
        break;
    case 7:
        put(out, step, sizeof(step) - 1);
        break;
    default:
        put_queues(out);
        break;
    }
}

void stage_old_put(struct fs *fs, int i, const void *data, size_t size)
{
    int rc = fs->ops->unlink(fs, stage_files[i], NULL);

    must(rc == PS_OK || rc == PS_ENOTFOUND);
    must(fs->ops->write_new(fs, stage_files[i], data, size, false, NULL) ==
         PS_OK);
}

struct fs *stage_old_new(void)
{
    struct fs *fs = fs_memory_new();

    must(fs->ops->mkdir(fs, "c1", NULL) == PS_OK);
    for (int i = 0; i < STAGE_FILES; i++) {
        struct buf b = {0};

        stage_old_file(i, &b);
        stage_old_put(fs, i, b.data, b.size);
        buf_fini(&b);
    }
    return fs;
}
