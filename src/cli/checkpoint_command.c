/* checkpoint_command.c - ps-plus checkpoints and verify: what there is to go
 * back to, and whether it is right.
 */
#include "cli/checkpoint_command.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

enum { PROGRESS_MS = 500, PROGRESS_PLAIN_MS = 5000, MS = 1000, NS = 1000000 };

static const struct opt list_table[] = {
    CHECKPOINT_OPTIONS,
    CLI_OPTIONS("warning"),
};

static const struct cli_page list_page = {
    .usage = "ps-plus checkpoints URL [OPTION...]",
    .about =
        "Lists the checkpoints, the newest first: each is a folder below URL,\n"
        "with the cut (its number), the name that was given to ps-plus save,\n"
        "and whether it is whole. One that is not says why; it is passed over\n"
        "at a restore. `whole` means that every file is there with its size\n"
        "and the lists of checksums are right; ps-plus verify reads all "
        "bytes.\n"
        "\n"
        "    ps-plus checkpoints file:///srv/model\n"
        "    ps-plus verify file:///srv/model\n"
        "    ps-plus inspect file:///srv/model monday --variable user\n",
    .table = list_table,
    .n = ARRAY_LEN(list_table),
};

static const struct cli_page verify_page = {
    .usage = "ps-plus verify URL [NAME] [OPTION...]",
    .about =
        "Reads a checkpoint whole and compares every byte with its checksum.\n"
        "NAME is a folder, a cut, or the name that was given to ps-plus save\n"
        "(of several the newest); without it, the newest that is whole. What\n"
        "an increment builds on is read too. Ends with status 1, and says\n"
        "which file is damaged and where, unless all is right. Needs no\n"
        "cluster, and may run beside one.\n"
        "\n"
        "    ps-plus verify file:///srv/model\n"
        "    ps-plus verify file:///srv/model ckpt-000000000012-3 --json\n",
    .table = list_table,
    .n = ARRAY_LEN(list_table),
};

void checkpoint_time(uint64_t time_ms, char *out)
{
    time_t seconds = (time_t)(time_ms / MS);
    struct tm utc;

    if (gmtime_r(&seconds, &utc) == NULL ||
        strftime(out, CHECKPOINT_TIME_BYTES, "%Y-%m-%d %H:%M:%S", &utc) == 0) {
        snprintf(out, CHECKPOINT_TIME_BYTES, "?");
    }
}

int checkpoint_print_json(json_t *root, struct err *e)
{
    int rc = PS_OK;

    if (root == NULL || json_dumpf(root, stdout, JSON_INDENT(1)) != 0) {
        rc = err_set(e, PS_EIO, "cannot write the JSON");
    }
    printf("\n");
    json_decref(root);
    return rc;
}

/* A folder that is not there holds no checkpoints, but who asks for its
 * checkpoints wants to know that it is not there. */
static bool stop(void *context, const char *name)
{
    (void)context;
    (void)name;
    return false;
}

static int run(const struct checkpoint_options *o,
               int (*fn)(const struct checkpoint_options *o, struct fs *fs,
                         const struct ckpt_list *list, struct err *e),
               struct err *e)
{
    struct ckpt_list list;
    struct fs *fs;
    int rc = fs_url_open(&fs, o->url, e);

    if (rc != PS_OK) {
        return rc;
    }
    rc = fs->ops->list(fs, ".", stop, NULL, e);
    if (rc == PS_ENOTFOUND) {
        (void)err_set(e, rc, "%.200s: there is no such folder", o->url);
    }
    if (rc == PS_OK) {
        rc = ckpt_list(fs, &list, e);
    }
    if (rc == PS_OK) {
        rc = fn(o, fs, &list, e);
        ckpt_list_free(&list);
    }
    fs_url_close(fs);
    return rc;
}

/* Sorts the words out; PS_EARGUMENT with what is wrong. */
static int take_words(struct checkpoint_options *o, const struct opt_list *rest,
                      size_t n_words, struct err *e)
{
    size_t next = 0;

    if (o->url == NULL && next < rest->n) {
        o->url = rest->items[next++];
    }
    if (n_words > 1 && next < rest->n) {
        o->name = rest->items[next++];
    }
    if (cli_is_empty(o->url)) {
        return err_set(e, PS_EARGUMENT,
                       "which checkpoints? Wanted is their folder, such as "
                       "file:///srv/model");
    }
    if (next < rest->n) {
        return err_set(e, PS_EARGUMENT, "unexpected word \"%.64s\"",
                       rest->items[next]);
    }
    if (fs_url_is_none(o->url)) {
        return err_set(e, PS_EARGUMENT, "none:// keeps no checkpoints");
    }
    return PS_OK;
}

int checkpoint_run(const struct cli_page *page, size_t n_words, int argc,
                   char **argv,
                   int (*fn)(const struct checkpoint_options *o, struct fs *fs,
                             const struct ckpt_list *list, struct err *e))
{
    struct checkpoint_options o = {.rows = 0};
    struct opt_list rest;
    struct err e;
    int status;

    if (!cli_parse(page, argc, argv, &o, &rest, &status)) {
        return status;
    }
    o.name = NULL;
    if (cli_shows_config(page, &o)) {
        opt_list_free(&rest);
        return CLI_OK;
    }
    status =
        take_words(&o, &rest, n_words, &e) == PS_OK ? CLI_OK : cli_refuse(&e);
    opt_list_free(&rest);
    if (status == CLI_OK && run(&o, fn, &e) != PS_OK) {
        status = e.status == PS_EARGUMENT ? cli_refuse(&e) : cli_fail(&e);
    }
    return status;
}

int checkpoint_find(const struct checkpoint_options *o,
                    const struct ckpt_list *list,
                    const struct ckpt_entry **entry, struct err *e)
{
    const struct ckpt_entry *newest = ckpt_list_find(list, NULL);

    *entry = ckpt_list_find(list, o->name);
    if (*entry != NULL) {
        return PS_OK;
    }
    if (list->n == 0) {
        return err_set(e, PS_ENOTFOUND, "there are no checkpoints at %.150s",
                       o->url);
    }
    if (newest == NULL) {
        return err_set(e, PS_ENOTFOUND,
                       "none of the %" PRIu32 " checkpoints is whole; ps-plus "
                       "checkpoints says why",
                       list->n);
    }
    return err_set(e, PS_ENOTFOUND,
                   "no checkpoint is \"%.80s\"; the newest whole one is %s",
                   o->name, newest->folder);
}

static const char *state_of(const struct ckpt_entry *x)
{
    return x->is_whole ? "whole" : (x->is_new ? "unfinished" : "damaged");
}

static int list_json(const struct ckpt_list *list, struct err *e)
{
    json_t *all = json_array();

    for (uint32_t i = 0; i < list->n; i++) {
        const struct ckpt_entry *x = &list->entries[i];

        json_array_append_new(
            all,
            json_pack("{s:s, s:I, s:I, s:I, s:s, s:I, s:I, s:I, s:s, s:s}",
                      "folder", x->folder, "cut", (json_int_t)x->cut, "term",
                      (json_int_t)x->term, "base", (json_int_t)x->base, "name",
                      x->name, "time_ms", (json_int_t)x->time_ms, "rows",
                      (json_int_t)x->rows, "bytes", (json_int_t)x->bytes,
                      "state", state_of(x), "why", x->why));
    }
    return checkpoint_print_json(json_pack("{s:o}", "checkpoints", all), e);
}

static int show_list(const struct checkpoint_options *o, struct fs *fs,
                     const struct ckpt_list *list, struct err *e)
{
    (void)fs;
    if (o->is_json) {
        return list_json(list, e);
    }
    if (list->n == 0) {
        printf("no checkpoints at %s\n", o->url);
        return PS_OK;
    }
    printf("%-24s %8s %-16s %-19s %12s %14s  %s\n", "checkpoint", "cut", "name",
           "time (UTC)", "rows", "bytes", "state");
    for (uint32_t i = 0; i < list->n; i++) {
        const struct ckpt_entry *x = &list->entries[i];
        char time[CHECKPOINT_TIME_BYTES] = "-";
        char why[sizeof(x->why)];

        if (x->time_ms > 0) {
            checkpoint_time(x->time_ms, time);
        }
        memcpy(why, x->why, sizeof(why));
        base_one_line(why);
        printf("%-24s %8" PRIu64 " %-16s %-19s %12" PRIu64 " %14" PRIu64
               "  %s%s%s",
               x->folder, x->cut, x->name, time, x->rows, x->bytes, state_of(x),
               why[0] == '\0' ? "" : ": ", why);
        if (x->base != 0) {
            printf(" (on cut %" PRIu64 ")", x->base);
        }
        printf("\n");
    }
    return PS_OK;
}

int checkpoint_main(int argc, char **argv)
{
    return checkpoint_run(&list_page, 1, argc, argv, show_list);
}

static uint64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * MS + (uint64_t)t.tv_nsec / NS;
}

/* A line that is written over on a terminal, one now and then elsewhere. */
struct progress {
    const char *folder;
    uint64_t last_ms;
    bool is_terminal;
    bool is_shown;
};

static bool show_progress(void *context, uint64_t done, uint64_t total)
{
    struct progress *p = context;
    uint64_t now = now_ms();

    if (now - p->last_ms >=
        (p->is_terminal ? PROGRESS_MS : PROGRESS_PLAIN_MS)) {
        p->last_ms = now;
        p->is_shown = true;
        fprintf(stderr, "%s%s: %" PRIu64 " of %" PRIu64 " MB%s",
                p->is_terminal ? "\r" : "", p->folder, done >> 20, total >> 20,
                p->is_terminal ? "" : "\n");
    }
    return true;
}

static int verify_one(struct fs *fs, const struct ckpt_entry *x, struct err *e)
{
    struct progress p = {.folder = x->folder,
                         .last_ms = now_ms(),
                         .is_terminal = isatty(STDERR_FILENO) == 1};
    struct ckpt_progress progress = {.fn = show_progress, .context = &p};
    struct ckpt *c;
    int rc = ckpt_open(fs, x->folder, &c, e);

    if (rc == PS_OK) {
        rc = ckpt_verify(fs, x->folder, c, &progress, e);
        ckpt_free(c);
    }
    if (p.is_terminal && p.is_shown) {
        fprintf(stderr, "\n");
    }
    if (rc != PS_OK) {
        err_wrap(e, "%s", x->folder);
    }
    return rc;
}

static int verify(const struct checkpoint_options *o, struct fs *fs,
                  const struct ckpt_list *list, struct err *e)
{
    const struct ckpt_entry *x;
    const struct ckpt_entry *top;
    uint64_t start = now_ms();
    uint64_t bytes = 0;
    int rc = checkpoint_find(o, list, &x, e);

    if (rc != PS_OK) {
        return rc;
    }
    top = x;
    while (rc == PS_OK) {
        char base[CKPT_NAME_MAX + 1];

        if (!x->is_whole && x->why[0] != '\0') {
            rc = err_set(e, PS_EDATALOSS, "%s: %s", x->folder, x->why);
            break;
        }
        rc = verify_one(fs, x, e);
        bytes += x->bytes;
        if (rc != PS_OK || x->base == 0) {
            break;
        }
        snprintf(base, sizeof(base), "%" PRIu64, x->base);
        x = ckpt_list_find(list, base);
        ASSERT(x != NULL); /* else the increment were not whole */
    }
    if (o->is_json) {
        struct err ignored;
        int done = checkpoint_print_json(
            json_pack("{s:s, s:b, s:I, s:s}", "folder", top->folder, "good",
                      rc == PS_OK, "bytes", (json_int_t)bytes, "why",
                      rc == PS_OK ? "" : e->text),
            &ignored);

        return rc == PS_OK && done != PS_OK
                   ? err_set(e, done, "%s", ignored.text)
                   : rc;
    }
    if (rc == PS_OK) {
        printf("%s is good: %" PRIu64 " rows, %" PRIu64
               " bytes, every one checked in %.1f s\n",
               top->folder, top->rows, bytes,
               (double)(now_ms() - start) / (double)MS);
    }
    return rc;
}

int checkpoint_verify_main(int argc, char **argv)
{
    return checkpoint_run(&verify_page, 2, argc, argv, verify);
}
