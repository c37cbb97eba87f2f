/* stage.c - what the tests of the file:// store share. */
#include "stage.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"

static struct fault_fs *fault_of(struct fs *fs)
{
    return CONTAINER_OF(fs, struct fault_fs, fs);
}

/* Counts a call; true if it fails. */
static bool fails(struct fault_fs *f)
{
    f->calls++;
    return f->fail_from != 0 && f->calls >= f->fail_from &&
           f->calls - f->fail_from < f->fail_count;
}

/* Defines a call of the fault file system. */
#define FAULT(f, e, call)                                          \
    do {                                                           \
        bool fails_now = fails(f);                                 \
        int rc_now = fails_now && !(f)->has_effect ? PS_OK : call; \
        return fails_now ? err_set(e, PS_EIO, "planted") : rc_now; \
    } while (0)

static int fault_write_new(struct fs *fs, const char *path, const void *data,
                           size_t size, bool sync, struct err *e)
{
    struct fault_fs *f = fault_of(fs);

    f->writes++;
    f->syncs += sync;
    FAULT(f, e, f->real->ops->write_new(f->real, path, data, size, sync, e));
}

static int fault_read(struct fs *fs, const char *path, size_t limit,
                      struct buf *out, struct err *e)
{
    struct fault_fs *f = fault_of(fs);

    f->reads++;
    FAULT(f, e, f->real->ops->read(f->real, path, limit, out, e));
}

static int fault_link(struct fs *fs, const char *from, const char *to,
                      struct err *e)
{
    struct fault_fs *f = fault_of(fs);
    void (*before)(void *) = f->before_link;
    void (*after)(void *) = f->after_link;
    bool fails_now = fails(f);
    int rc = PS_OK;

    f->before_link = NULL;
    f->after_link = NULL;
    if (before != NULL) {
        before(f->context);
    }
    if (!fails_now || f->has_effect) {
        rc = f->real->ops->link(f->real, from, to, e);
    }
    if (after != NULL) {
        after(f->context);
    }
    return fails_now ? err_set(e, PS_EIO, "planted") : rc;
}

static int fault_rename(struct fs *fs, const char *from, const char *to,
                        struct err *e)
{
    struct fault_fs *f = fault_of(fs);

    FAULT(f, e, f->real->ops->rename(f->real, from, to, e));
}

static int fault_unlink(struct fs *fs, const char *path, struct err *e)
{
    struct fault_fs *f = fault_of(fs);

    FAULT(f, e, f->real->ops->unlink(f->real, path, e));
}

static int fault_mkdir(struct fs *fs, const char *path, struct err *e)
{
    struct fault_fs *f = fault_of(fs);

    FAULT(f, e, f->real->ops->mkdir(f->real, path, e));
}

static int fault_rmdir(struct fs *fs, const char *path, struct err *e)
{
    struct fault_fs *f = fault_of(fs);

    FAULT(f, e, f->real->ops->rmdir(f->real, path, e));
}

static int fault_sync_dir(struct fs *fs, const char *path, struct err *e)
{
    struct fault_fs *f = fault_of(fs);

    f->syncs++;
    FAULT(f, e, f->real->ops->sync_dir(f->real, path, e));
}

static int fault_list(struct fs *fs, const char *path,
                      bool (*fn)(void *context, const char *name),
                      void *context, struct err *e)
{
    struct fault_fs *f = fault_of(fs);

    FAULT(f, e, f->real->ops->list(f->real, path, fn, context, e));
}

static int fault_is_local(struct fs *fs, const char *path, struct err *e)
{
    struct fault_fs *f = fault_of(fs);

    FAULT(f, e, f->real->ops->is_local(f->real, path, e));
}

const struct fs_ops stage_ops = {
    .write_new = fault_write_new,
    .read = fault_read,
    .link = fault_link,
    .rename = fault_rename,
    .unlink = fault_unlink,
    .mkdir = fault_mkdir,
    .rmdir = fault_rmdir,
    .sync_dir = fault_sync_dir,
    .list = fault_list,
    .is_local = fault_is_local,
};

uint32_t stage_lines;
char stage_last_line[512];

static void count_line(enum log_level level, const char *text)
{
    (void)level;
    stage_lines++;
    snprintf(stage_last_line, sizeof(stage_last_line), "%s", text);
}

static int remove_one(const char *path, const struct stat *st, int type,
                      struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

void stage_clear(struct stage *w)
{
    if (w->is_real) {
        nftw(w->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    } else {
        fs_memory_free(w->real);
        w->real = fs_memory_new();
    }
    w->fault = (struct fault_fs){.fs = {.ops = &stage_ops}, .real = w->real};
}

static int set_up(void **state, bool is_real)
{
    struct stage *w = mem_new(sizeof(*w));
    const char *root = getenv("TMPDIR");

    *w = (struct stage){.is_real = is_real, .nonce = 1};
    buf_init(&w->value);
    if (is_real) {
        w->real = fs_file();
        snprintf(w->dir, sizeof(w->dir), "%s/test_coord.XXXXXX",
                 root == NULL ? "/tmp" : root);
        if (mkdtemp(w->dir) == NULL) {
            return -1;
        }
    } else {
        w->real = fs_memory_new();
        snprintf(w->dir, sizeof(w->dir), "/run/ps");
    }
    w->fault = (struct fault_fs){.fs = {.ops = &stage_ops}, .real = w->real};
    stage_lines = 0;
    log_set_sink(count_line);
    *state = w;
    return 0;
}

int stage_set_up_file(void **state)
{
    return set_up(state, true);
}

int stage_set_up_memory(void **state)
{
    return set_up(state, false);
}

int stage_tear_down(void **state)
{
    struct stage *w = *state;

    stage_clear(w);
    if (!w->is_real) {
        fs_memory_free(w->real);
    }
    buf_fini(&w->value);
    mem_free(w);
    return 0;
}

struct coord_file *stage_open_store(struct stage *w)
{
    struct coord_file *c = NULL;
    struct err e = {.text = ""};
    int rc = coord_file_open(&c, &w->fault.fs, w->dir, w->nonce++, &e);

    assert_string_equal(e.text, "");
    assert_int_equal(rc, PS_OK);
    return c;
}

int stage_request(struct stage *w, struct coord_file *c, enum coord_op op,
                  const char *key, uint64_t version, const char *text,
                  uint32_t flags)
{
    struct coord_request r = {
        .op = op,
        .flags = flags,
        .tag = 77,
        .version = version,
        .data = text,
        .size = text == NULL ? 0 : strlen(text),
    };

    snprintf(r.key, sizeof(r.key), "%s", key);
    coord_file_do(c, &r, &w->value, &w->result);
    assert_int_equal(w->result.op, op);
    assert_int_equal(w->result.tag, 77);
    return w->result.status;
}

int stage_cas(struct stage *w, struct coord_file *c, uint64_t version,
              const char *text)
{
    return stage_request(w, c, COORD_CAS, "k", version, text, 0);
}

int stage_cas_durable(struct stage *w, struct coord_file *c, uint64_t version,
                      const char *text)
{
    return stage_request(w, c, COORD_CAS, "k", version, text, COORD_DURABLE);
}

int stage_get(struct stage *w, struct coord_file *c)
{
    return stage_request(w, c, COORD_GET, "k", 0, NULL, 0);
}

bool stage_result_is(const struct stage *w, uint64_t version, const char *text)
{
    return w->result.version == version && w->result.size == strlen(text) &&
           (w->result.size == 0 ||
            memcmp(w->result.data, text, w->result.size) == 0);
}

void stage_expect_stored(struct stage *w, struct coord_file *c,
                         uint64_t version, const char *text)
{
    assert_int_equal(stage_get(w, c), PS_OK);
    assert_true(stage_result_is(w, version, text));
}

void stage_expect_absent(struct stage *w, struct coord_file *c)
{
    assert_int_equal(stage_get(w, c), PS_ENOTFOUND);
    assert_int_equal(w->result.version, 0);
    assert_int_equal(w->result.size, 0);
}

const char *stage_in(const struct stage *w, const char *name)
{
    static char paths[4][512];
    static size_t next;
    char *path = paths[next++ % 4];

    snprintf(path, sizeof(paths[0]), "%s/%s", w->dir, name);
    return path;
}

bool stage_add_to(void *context, const char *name)
{
    char *text = context;
    size_t n = strlen(text);

    snprintf(text + n, 256 - n, "%s ", name);
    return true;
}

static int compare_letters(const void *a, const void *b)
{
    return *(const char *)a - *(const char *)b;
}

void stage_expect_versions(struct stage *w, const char *digits)
{
    char text[256] = "";
    char found[64] = "";
    size_t n = 0;

    assert_int_equal(
        w->real->ops->list(w->real, stage_in(w, "k"), stage_add_to, text, NULL),
        PS_OK);
    for (const char *p = text; *p != '\0'; p++) {
        if (*p >= '0' && *p <= '9') {
            found[n++] = *p;
        }
    }
    qsort(found, n, 1, compare_letters);
    assert_string_equal(found, digits);
}

void stage_expect_no_temporaries(struct stage *w)
{
    char text[256] = "";

    assert_int_equal(w->real->ops->list(w->real, stage_in(w, "tmp"),
                                        stage_add_to, text, NULL),
                     PS_OK);
    assert_string_equal(text, "");
}

void stage_overwrite(struct stage *w, const char *name, const void *data,
                     size_t size)
{
    assert_int_equal(w->real->ops->unlink(w->real, stage_in(w, name), NULL),
                     PS_OK);
    assert_int_equal(w->real->ops->write_new(w->real, stage_in(w, name), data,
                                             size, false, NULL),
                     PS_OK);
}
