/* original_cursor.c - a file that nobody vouches for, from front to end. */
#include "ckpt/original_impl.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/mem.h"
#include "wire/wire.h"

int original_cursor_open(struct original_cursor *c, struct fs *fs,
                         const char *path, struct arena *arena, struct err *e)
{
    int rc;

    *c = (struct original_cursor){.fs = fs, .path = path, .arena = arena};
    c->e = e;
    rc = fs->ops->open(fs, path, FS_READ, &c->file, e);
    if (rc != PS_OK) {
        c->file = NULL;
        return rc;
    }
    rc = fs->ops->file_size(fs, c->file, &c->size, e);
    if (rc != PS_OK) {
        original_cursor_close(c);
    }
    return rc;
}

void original_cursor_close(struct original_cursor *c)
{
    if (c->file != NULL) {
        (void)c->fs->ops->close(c->fs, c->file, NULL); /* it was only read */
        c->file = NULL;
    }
    buf_fini(&c->window);
}

int original_cursor_fail(struct original_cursor *c, int status,
                         const char *format, ...)
{
    char text[160];
    va_list args;

    if (c->status != PS_OK) {
        return c->status;
    }
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    base_one_line(text);
    c->status = err_set(c->e, status, "%.60s: at byte %" PRIu64 ": %s", c->path,
                        c->at, text);
    return c->status;
}

uint64_t original_cursor_left(const struct original_cursor *c)
{
    return c->at < c->size ? c->size - c->at : 0;
}

/* Has the window hold at least `size` bytes from c->at on. */
static bool fill(struct original_cursor *c, size_t size)
{
    uint64_t begin = c->window_at;
    size_t want = (size_t)base_min_u64(base_max_u64(size, ORIGINAL_WINDOW),
                                       original_cursor_left(c));
    size_t got = 0;
    void *data;
    int rc;

    if (c->at >= begin && c->at - begin <= c->window.size &&
        c->window.size - (c->at - begin) >= size) {
        return true;
    }
    if (size > original_cursor_left(c)) {
        (void)original_cursor_fail(c, PS_EDATALOSS,
                                   "it ends in the middle of something");
        return false;
    }
    buf_clear(&c->window);
    data = buf_extend(&c->window, want);
    if (data == NULL) {
        (void)original_cursor_fail(c, PS_ENOMEM, "out of memory");
        return false;
    }
    rc = c->fs->ops->read_at(c->fs, c->file, c->at, data, want, &got, c->e);
    if (rc != PS_OK) {
        c->status = rc;
        return false;
    }
    if (got != want) {
        (void)original_cursor_fail(c, PS_EDATALOSS,
                                   "it became shorter while it was read");
        return false;
    }
    c->window_at = c->at;
    return true;
}

bool original_cursor_bytes(struct original_cursor *c, void *out, size_t size)
{
    memset(out, 0, size);
    if (c->status != PS_OK || !fill(c, size)) {
        return false;
    }
    memcpy(out, c->window.data + (c->at - c->window_at), size);
    c->at += size;
    return true;
}

uint32_t original_cursor_u32(struct original_cursor *c)
{
    uint32_t n;

    (void)original_cursor_bytes(c, &n, sizeof(n)); /* 0 where it failed */
    return n;
}

uint64_t original_cursor_u64(struct original_cursor *c)
{
    uint64_t n;

    (void)original_cursor_bytes(c, &n, sizeof(n));
    return n;
}

double original_cursor_f32(struct original_cursor *c)
{
    float x;

    (void)original_cursor_bytes(c, &x, sizeof(x));
    return (double)x;
}

double original_cursor_f64(struct original_cursor *c)
{
    double x;

    (void)original_cursor_bytes(c, &x, sizeof(x));
    return x;
}

uint64_t original_cursor_count(struct original_cursor *c, size_t bytes,
                               const char *what)
{
    uint64_t n = original_cursor_u64(c);

    if (c->status == PS_OK && n > original_cursor_left(c) / bytes) {
        c->at -= sizeof(n);
        (void)original_cursor_fail(c, PS_EDATALOSS,
                                   "%" PRIu64 " %s do not fit into the rest of "
                                   "the file",
                                   n, what);
    }
    return c->status == PS_OK ? n : 0;
}

void *original_cursor_take(struct original_cursor *c, uint64_t n, size_t size)
{
    void *p = arena_take(c->arena, mem_array((size_t)n, size));

    if (p == NULL) {
        (void)original_cursor_fail(c, PS_ENOMEM, "out of memory");
    }
    return p;
}

const char *original_cursor_text(struct original_cursor *c, bool is_name,
                                 const char *what)
{
    uint64_t start = c->at;
    uint64_t n = original_cursor_count(c, 1, what);
    char *text = c->status == PS_OK ? original_cursor_take(c, n + 1, 1) : NULL;

    if (text == NULL || !original_cursor_bytes(c, text, (size_t)n)) {
        return "";
    }
    text[n] = '\0';
    if (is_name && (n == 0 || !wire_is_text(text, (size_t)n))) {
        c->at = start;
        (void)original_cursor_fail(c, PS_EDATALOSS,
                                   "%s that is empty, no UTF-8, has control "
                                   "characters or more than %d bytes",
                                   what, WIRE_TEXT_MAX);
    }
    return text;
}

void original_cursor_skip(struct original_cursor *c, uint64_t bytes,
                          const char *what)
{
    if (c->status == PS_OK && bytes > original_cursor_left(c)) {
        (void)original_cursor_fail(c, PS_EDATALOSS,
                                   "%" PRIu64 " bytes of %s, and only %" PRIu64
                                   " are left",
                                   bytes, what, original_cursor_left(c));
    }
    c->at += c->status == PS_OK ? bytes : 0;
}
