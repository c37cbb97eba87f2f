/* original_meta.c - which variables a checkpoint of the original has.
 *
 * All texts and counts of __meta__ are in one blob whose length stands before
 * it; both must end where the file does.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "ckpt/ckpt_json.h"
#include "ckpt/original_impl.h"

#define META_TYPE UINT64_C(0x67a23f8bc8de4854)
enum {
    VARIABLE_BYTES_MIN = 40, /* of one with empty texts and lists */
    PART_BYTES = 16,
    DIM_BYTES = 8,
    TEXT_BYTES_MIN = 8,
    STEP_BYTES_MAX = 16 << 20
};

static const struct {
    size_t bytes;
    const char *name;
} dtypes[] = {
    [ORIGINAL_I8] = {1, "I8"},   [ORIGINAL_I16] = {2, "I16"},
    [ORIGINAL_I32] = {4, "I32"}, [ORIGINAL_I64] = {8, "I64"},
    [ORIGINAL_F32] = {4, "F32"}, [ORIGINAL_F64] = {8, "F64"},
};

size_t original_dtype_bytes(uint32_t dtype)
{
    return dtypes[dtype].bytes;
}

const char *original_dtype_name(uint32_t dtype)
{
    return dtypes[dtype].name;
}

const char *original_kind_name(uint32_t kind)
{
    static const char *const names[] = {"index", "hash128", "hash64"};

    return names[kind];
}

int original_path(const struct original *o, const char *file, char *out,
                  struct err *e)
{
    int n = snprintf(out, ORIGINAL_PATH_BYTES, "%s%s%s", o->folder,
                     o->folder[0] == '\0' ? "" : "/", file);

    return n > 0 && n < ORIGINAL_PATH_BYTES
               ? PS_OK
               : err_set(e, PS_EARGUMENT, "%.80s: a name that is too long",
                         file);
}

int original_part_path(const struct original *o,
                       const struct original_variable *v, uint32_t part,
                       char *out, struct err *e)
{
    char file[ORIGINAL_PATH_BYTES];

    snprintf(file, sizeof(file), "%s^%" PRIu32, v->name, part);
    for (char *p = file; *p != '\0'; p++) {
        *p = (char)(*p == '/' ? '$' : *p);
    }
    return original_path(o, file, out, e);
}

/* A list of parts; they must hold all rows or buckets. */
static void read_parts(struct original_cursor *c, struct original_variable *v)
{
    uint64_t n = original_cursor_count(c, PART_BYTES, "parts");

    v->n_parts = (uint32_t)n;
    if (c->status == PS_OK && (n == 0 || n > UINT32_MAX)) {
        (void)original_cursor_fail(c, PS_EDATALOSS, "\"%.80s\" has no parts",
                                   v->name);
        return;
    }
    v->sizes = original_cursor_take(c, n, sizeof(*v->sizes));
    for (uint64_t i = 0; i < n && c->status == PS_OK; i++) {
        (void)original_cursor_u64(c); /* the server */
        v->sizes[i] = original_cursor_u64(c);
    }
}

static void read_dims(struct original_cursor *c, struct original_variable *v)
{
    uint64_t n = original_cursor_count(c, DIM_BYTES, "dimensions");
    uint64_t all;

    if (n > ORIGINAL_DIMS_MAX) {
        (void)original_cursor_fail(c, PS_ENOTIMPL,
                                   "\"%.80s\" has %" PRIu64
                                   " dimensions; read are up to %d",
                                   v->name, n, ORIGINAL_DIMS_MAX);
        return;
    }
    v->n_dims = (uint32_t)n;
    v->row_elements = 1;
    for (uint64_t i = 0; i < n; i++) {
        v->dims[i] = original_cursor_u64(c);
        if ((i > 0 || v->kind == ORIGINAL_INDEX) &&
            (v->dims[i] > INT64_MAX ||
             (i > 0 && __builtin_mul_overflow(v->row_elements, v->dims[i],
                                              &v->row_elements)))) {
            (void)original_cursor_fail(
                c, PS_EDATALOSS, "the shape of \"%.80s\" cannot be", v->name);
        }
    }
    if (v->kind == ORIGINAL_INDEX && n > 0 &&
        __builtin_mul_overflow(v->row_elements, v->dims[0], &all)) {
        (void)original_cursor_fail(c, PS_EDATALOSS,
                                   "the shape of \"%.80s\" cannot be", v->name);
    }
    if (v->kind != ORIGINAL_INDEX && n == 0) {
        (void)original_cursor_fail(c, PS_EDATALOSS,
                                   "\"%.80s\" is a hash variable without shape",
                                   v->name);
    }
}

static void check_sizes(struct original_cursor *c,
                        const struct original_variable *v)
{
    uint64_t want = ORIGINAL_BUCKETS;
    uint64_t sum = 0;

    if (c->status != PS_OK) {
        return;
    }
    if (v->kind == ORIGINAL_INDEX && v->n_dims == 0) {
        if (v->n_parts != 1) {
            (void)original_cursor_fail(
                c, PS_EDATALOSS, "\"%.80s\" is one number in %" PRIu32 " parts",
                v->name, v->n_parts);
        }
        return;
    }
    want = v->kind == ORIGINAL_INDEX ? v->dims[0] : want;
    for (uint32_t i = 0; i < v->n_parts; i++) {
        if (__builtin_add_overflow(sum, v->sizes[i], &sum)) {
            sum = UINT64_MAX;
            break;
        }
    }
    if (sum != want) {
        (void)original_cursor_fail(
            c, PS_EDATALOSS,
            "the parts of \"%.60s\" hold %" PRIu64 " %s instead of %" PRIu64,
            v->name, sum, v->kind == ORIGINAL_INDEX ? "rows" : "buckets", want);
    }
}

/* A decimal number, 0 where it is none. */
static uint64_t number_of(const char *text)
{
    uint64_t n = 0;

    for (const char *p = text; *p != '\0'; p++) {
        if (*p < '0' || *p > '9' || n > UINT64_MAX / 16) {
            return 0;
        }
        n = n * 10 + (uint64_t)(*p - '0');
    }
    return n;
}

static void read_args(struct original_cursor *c, struct original_variable *v)
{
    uint64_t n =
        original_cursor_count(c, 2 * (size_t)TEXT_BYTES_MIN, "arguments");

    for (uint64_t i = 0; i < n && c->status == PS_OK; i++) {
        const char *key = original_cursor_text(c, false, "argument");
        const char *value = original_cursor_text(c, false, "argument");

        if (strcmp(key, "save") == 0) {
            v->is_not_saved = strcmp(value, "false") == 0;
        } else if (strcmp(key, "batch_read") == 0) {
            v->batch_read = number_of(value);
        }
    }
}

static void read_variable(struct original_cursor *c,
                          struct original_variable *v)
{
    *v = (struct original_variable){.kind = original_cursor_u32(c)};
    if (v->kind > ORIGINAL_HASH64) {
        c->at -= sizeof(uint32_t);
        (void)original_cursor_fail(
            c, PS_ENOTIMPL,
            "a variable of kind %" PRIu32 "; known are 0, 1 and 2", v->kind);
        return;
    }
    v->name = original_cursor_text(c, true, "the name of a variable");
    read_parts(c, v);
    read_dims(c, v);
    check_sizes(c, v);
    v->dtype = original_cursor_u32(c);
    if (v->dtype > ORIGINAL_F64) {
        c->at -= sizeof(uint32_t);
        (void)original_cursor_fail(c, PS_ENOTIMPL,
                                   "\"%.60s\" has data type %" PRIu32
                                   "; known are 0 to 5",
                                   v->name, v->dtype);
        return;
    }
    read_args(c, v);
}

/* As names of files: `/` is `$` there. */
static int compare_names(const void *a, const void *b)
{
    const char *x = *(const char *const *)a;
    const char *y = *(const char *const *)b;

    while (*x != '\0' && (*x == '/' ? '$' : *x) == (*y == '/' ? '$' : *y)) {
        x++;
        y++;
    }
    return (uint8_t)(*x == '/' ? '$' : *x) - (uint8_t)(*y == '/' ? '$' : *y);
}

/* Two variables must not share a file. */
static void check_names(struct original_cursor *c, const struct original *o)
{
    const char **names =
        original_cursor_take(c, o->n_variables, sizeof(*names));

    if (names == NULL || o->n_variables == 0) {
        return;
    }
    for (uint32_t i = 0; i < o->n_variables; i++) {
        names[i] = o->variables[i].name;
    }
    qsort(names, o->n_variables, sizeof(*names), compare_names);
    for (uint32_t i = 1; i < o->n_variables; i++) {
        if (compare_names(&names[i - 1], &names[i]) == 0) {
            (void)original_cursor_fail(c, PS_EDATALOSS,
                                       "\"%.60s\" and \"%.60s\" have one file",
                                       names[i - 1], names[i]);
            return;
        }
    }
}

static int read_meta(struct original *o, struct fs *fs, struct err *e)
{
    char path[ORIGINAL_PATH_BYTES];
    struct original_cursor c;
    uint64_t n;
    int rc = original_path(o, "__meta__", path, e);

    if (rc == PS_OK) {
        rc = original_cursor_open(&c, fs, path, &o->arena, e);
    }
    if (rc == PS_ENOTFOUND) {
        return err_set(e, rc,
                       "%.100s: there is no such file, so this is no "
                       "checkpoint of the original",
                       path);
    }
    if (rc != PS_OK) {
        return rc;
    }
    (void)original_cursor_u64(&c); /* how many servers there were */
    n = original_cursor_u64(&c);
    if (c.status == PS_OK && n != META_TYPE) {
        c.at -= sizeof(n);
        (void)original_cursor_fail(&c, PS_ENOTIMPL,
                                   "the type %016" PRIx64 " is not known", n);
    }
    n = original_cursor_u64(&c);
    if (c.status == PS_OK && n != original_cursor_left(&c)) {
        (void)original_cursor_fail(
            &c, PS_EDATALOSS, "%" PRIu64 " bytes should follow, %" PRIu64 " do",
            n, original_cursor_left(&c));
    }
    n = original_cursor_count(&c, VARIABLE_BYTES_MIN, "variables");
    o->n_variables = (uint32_t)base_min_u64(n, UINT32_MAX);
    o->variables = original_cursor_take(&c, n, sizeof(*o->variables));
    for (uint32_t i = 0; i < o->n_variables && c.status == PS_OK; i++) {
        read_variable(&c, &o->variables[i]);
    }
    if (c.status == PS_OK && original_cursor_left(&c) > 0) {
        (void)original_cursor_fail(&c, PS_EDATALOSS,
                                   "%" PRIu64 " bytes are left over",
                                   original_cursor_left(&c));
    }
    if (c.status == PS_OK) {
        check_names(&c, o);
    }
    rc = c.status;
    original_cursor_close(&c);
    return rc;
}

/* The newest name of `checkpoints`; no such file is PS_OK. */
static int read_list(struct original *o, struct fs *fs, struct err *e)
{
    struct original_cursor c;
    const char *name = "";
    uint64_t n;
    int rc = original_cursor_open(&c, fs, "checkpoints", &o->arena, e);

    if (rc != PS_OK) {
        return rc == PS_ENOTFOUND ? PS_OK : rc;
    }
    n = original_cursor_count(&c, TEXT_BYTES_MIN, "names");
    if (c.status == PS_OK && n == 0) {
        (void)original_cursor_fail(&c, PS_ENOTFOUND, "it lists no checkpoint");
    }
    for (uint64_t i = 0; i < n && c.status == PS_OK; i++) {
        name = original_cursor_text(&c, true, "the name of a checkpoint");
    }
    if (c.status == PS_OK && original_cursor_left(&c) > 0) {
        (void)original_cursor_fail(&c, PS_EDATALOSS,
                                   "%" PRIu64 " bytes are left over",
                                   original_cursor_left(&c));
    }
    if (c.status == PS_OK &&
        (strchr(name, '/') != NULL || strcmp(name, "..") == 0 ||
         strcmp(name, ".") == 0 || strlen(name) >= sizeof(o->folder))) {
        (void)original_cursor_fail(&c, PS_EDATALOSS,
                                   "\"%.60s\" is no name of a folder", name);
    }
    if (c.status == PS_OK) {
        snprintf(o->folder, sizeof(o->folder), "%s", name);
    }
    rc = c.status;
    original_cursor_close(&c);
    return rc;
}

/* What XDL adds. It is looked at only to tell of it: a text that is no JSON of
 * ours has no step. */
static int read_step(struct original *o, struct fs *fs, struct err *e)
{
    static const struct ckpt_json_field fields[] = {
        {.name = "xdl_global_step", .type = JSON_U64, .is_required = true}};
    static const struct ckpt_json_record record = {
        .fields = fields, .n = ARRAY_LEN(fields), .size = sizeof(uint64_t)};
    char path[ORIGINAL_PATH_BYTES];
    struct buf text = {0};
    struct ckpt_json j;
    int rc = original_path(o, ".meta", path, e);

    if (rc == PS_OK) {
        rc = fs->ops->read(fs, path, STEP_BYTES_MAX, &text, NULL);
    }
    if (rc == PS_OK) {
        ckpt_json_start(&j, text.data, text.size, &o->arena);
        o->has_step = ckpt_json_read(&j, &record, &o->step) &&
                      ckpt_json_end(&j, NULL) == PS_OK;
    }
    buf_fini(&text);
    return rc == PS_ENOMEM ? err_set(e, rc, "out of memory") : PS_OK;
}

static int read_queues(struct original *o, struct fs *fs, struct err *e)
{
    char path[ORIGINAL_PATH_BYTES];
    struct original_cursor c;
    uint64_t n;
    int rc = original_path(o, "global_queue_meta", path, e);

    if (rc == PS_OK) {
        rc = original_cursor_open(&c, fs, path, &o->arena, e);
    }
    if (rc != PS_OK) {
        return rc == PS_ENOTFOUND ? PS_OK : rc;
    }
    n = original_cursor_u64(&c);
    if (c.status == PS_OK && n != original_cursor_left(&c)) {
        (void)original_cursor_fail(
            &c, PS_EDATALOSS, "%" PRIu64 " bytes should follow, %" PRIu64 " do",
            n, original_cursor_left(&c));
    }
    n = original_cursor_count(&c, 2 * (size_t)TEXT_BYTES_MIN, "queues");
    o->queues = original_cursor_take(&c, n, sizeof(char *));
    for (uint64_t i = 0; i < n && c.status == PS_OK; i++) {
        o->queues[i] = original_cursor_text(&c, true, "the name of a queue");
        original_cursor_skip(&c, original_cursor_u64(&c), "a queue's state");
        o->n_queues++;
    }
    rc = c.status;
    original_cursor_close(&c);
    return rc;
}

int original_open(struct original **original, struct fs *fs, struct err *e)
{
    struct original *o = mem_try_zero(sizeof(*o));
    int rc;

    *original = o;
    if (o == NULL) {
        return err_set(e, PS_ENOMEM, "out of memory");
    }
    arena_init(&o->arena);
    rc = read_list(o, fs, e);
    if (rc == PS_OK) {
        rc = read_meta(o, fs, e);
    }
    if (rc == PS_OK) {
        rc = read_step(o, fs, e);
    }
    if (rc == PS_OK) {
        rc = read_queues(o, fs, e);
    }
    if (rc != PS_OK) {
        original_free(o);
        *original = NULL;
    }
    return rc;
}

void original_free(struct original *o)
{
    if (o != NULL) {
        arena_fini(&o->arena);
        mem_free(o);
    }
}
