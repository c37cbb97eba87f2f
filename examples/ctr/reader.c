#include "reader.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "trouble.h"

int reader_open(struct reader *r, const char *path, struct ps_error *e)
{
    memset(r, 0, sizeof(*r));
    r->path = path;
    r->file = fopen(path, "re");
    if (r->file == NULL) {
        return trouble_set(e, PS_EIO, "open %s: %s", path, strerror(errno));
    }
    return PS_OK;
}

void reader_close(struct reader *r)
{
    if (r->file != NULL) {
        (void)fclose(r->file);
    }
    free(r->line);
    memset(r, 0, sizeof(*r));
}

int reader_line(struct reader *r, struct ps_error *e)
{
    errno = 0;

    ssize_t n = getline(&r->line, &r->line_room, r->file);

    if (n < 0) {
        if (feof(r->file)) {
            return 0;
        }
        return trouble_set(e, PS_EIO, "read %s: %s", r->path, strerror(errno));
    }
    r->line_number++;
    if (strlen(r->line) != (size_t)n) {
        return reader_complain(r, e, "a zero byte: this is not a text file");
    }
    while (n > 0 && (r->line[n - 1] == '\n' || r->line[n - 1] == '\r')) {
        r->line[--n] = '\0';
    }
    return 1;
}

int reader_complain(const struct reader *r, struct ps_error *e,
                    const char *format, ...)
{
    char what[160];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(what, sizeof(what), format, args);
    va_end(args);
    return trouble_set(e, PS_EARGUMENT, "%s:%llu: %s", r->path,
                       (unsigned long long)r->line_number, what);
}

int reader_label(const char *text)
{
    if (strcmp(text, "1") == 0 || strcmp(text, "+1") == 0) {
        return 1;
    }
    if (strcmp(text, "0") == 0 || strcmp(text, "-1") == 0) {
        return 0;
    }
    return -1;
}

static int ends_in(const char *text, const char *end)
{
    size_t n = strlen(text);
    size_t m = strlen(end);

    return n >= m && strcmp(text + n - m, end) == 0;
}

int reader_load(const char *path, const char *formula,
                struct reader_share share, struct dataset *d,
                struct ps_error *e)
{
    struct reader r;
    int rc = reader_open(&r, path, e);

    if (rc == PS_OK && ends_in(path, ".csv")) {
        rc = reader_csv(&r, formula, share, d, e);
    } else if (rc == PS_OK) {
        rc = reader_libfm(&r, share, d, e);
    }
    reader_close(&r);
    return rc;
}
