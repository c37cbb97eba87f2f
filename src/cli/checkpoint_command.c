/* checkpoint_command.c - ps-plus checkpoints and verify: what there is to go
 * back to, and whether it is right.
 */
#include "cli/checkpoint_command.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "cli/progress.h"

enum { PLAIN_MS = 5000 };

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
        "(of several the newest); without it, the newest that is whole, and\n"
        "damaged ones that are newer are named. What an increment builds on\n"
        "is read too. Ends with status 1, and says which file is damaged and\n"
        "where, unless all is right. Needs no cluster, and may run beside "
        "one.\n"
        "\n"
        "    ps-plus verify file:///srv/model\n"
        "    ps-plus verify file:///srv/model ckpt-000000000012-3 --json\n",
    .table = list_table,
    .n = ARRAY_LEN(list_table),
};

void checkpoint_time(uint64_t time_ms, char *out)
{
    time_t seconds = (time_t)(time_ms / 1000);
    struct tm utc;

    if (gmtime_r(&seconds, &utc) == NULL ||
        strftime(out, CHECKPOINT_TIME_BYTES, "%Y-%m-%d %H:%M:%S", &utc) == 0) {
        snprintf(out, CHECKPOINT_TIME_BYTES, "?");
    }
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
    return o->name == NULL ? PS_OK : cli_check_name(o->name, e);
}

int checkpoint_run(const struct cli_page *page, size_t n_words, int argc,
                   char **argv, struct checkpoint_options *o,
                   int (*fn)(const struct checkpoint_options *o, struct fs *fs,
                             const struct ckpt_list *list, struct err *e))
{
    struct opt_list rest;
    struct err e;
    int status;

    if (!cli_parse(page, argc, argv, o, &rest, &status)) {
        return status;
    }
    o->name = NULL;
    if (cli_shows_config(page, o)) {
        opt_list_free(&rest);
        return CLI_OK;
    }
    status =
        take_words(o, &rest, n_words, &e) == PS_OK ? CLI_OK : cli_refuse(&e);
    opt_list_free(&rest);
    if (status == CLI_OK && run(o, fn, &e) != PS_OK) {
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
    return cli_print_json(json_pack("{s:o}", "checkpoints", all), e);
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
    struct checkpoint_options o;

    return checkpoint_run(&list_page, 1, argc, argv, &o, show_list);
}

struct verifying {
    const char *folder;
    struct progress progress;
};

static bool show_progress(void *context, uint64_t done, uint64_t total)
{
    struct verifying *v = context;

    if (progress_is_due(&v->progress)) {
        progress_show(&v->progress, "%s: %" PRIu64 " of %" PRIu64 " MB",
                      v->folder, done >> 20, total >> 20);
    }
    return true;
}

static int verify_one(struct verifying *v, struct fs *fs,
                      const struct ckpt_entry *x, struct err *e)
{
    struct ckpt_progress progress = {.fn = show_progress, .context = v};
    struct ckpt *c;
    int rc = ckpt_open(fs, x->folder, &c, e);

    v->folder = x->folder;
    if (rc == PS_OK) {
        rc = ckpt_verify(fs, x->folder, c, &progress, e);
        ckpt_free(c);
    }
    progress_end(&v->progress);
    if (rc != PS_OK) {
        err_wrap(e, "%s", x->folder);
    }
    return rc;
}

/* Reads x and what it builds on. bytes: of all that was read. */
static int verify_chain(struct verifying *v, struct fs *fs,
                        const struct ckpt_list *list,
                        const struct ckpt_entry *x, uint64_t *bytes,
                        struct err *e)
{
    int rc = PS_OK;

    *bytes = 0;
    while (rc == PS_OK) {
        if (!x->is_whole && x->why[0] != '\0') {
            rc = err_set(e, PS_EDATALOSS, "%s: %s", x->folder, x->why);
            break;
        }
        rc = verify_one(v, fs, x, e);
        *bytes += x->bytes;
        if (rc != PS_OK || x->base == 0) {
            break;
        }
        x = ckpt_list_base(list, x);
        ASSERT(x != NULL); /* else the increment were not whole */
    }
    return rc;
}

/* A nightly check that takes the newest whole one has to hear of the damaged
 * ones above it. Their folders. */
static json_t *name_passed_over(const struct ckpt_list *list,
                                const struct ckpt_entry *top)
{
    json_t *folders = json_array();

    for (const struct ckpt_entry *x = list->entries; x < top; x++) {
        char why[sizeof(x->why)];

        if (x->is_new) {
            continue;
        }
        memcpy(why, x->why, sizeof(why));
        base_one_line(why);
        fprintf(stderr, "ps-plus: %s is damaged: %s\n", x->folder, why);
        json_array_append_new(folders, json_string(x->folder));
    }
    return folders;
}

static int verify(const struct checkpoint_options *o, struct fs *fs,
                  const struct ckpt_list *list, struct err *e)
{
    const struct ckpt_entry *x;
    struct verifying v;
    json_t *passed_over;
    struct err ignored;
    uint64_t bytes;
    size_t n;
    int done;
    int rc = checkpoint_find(o, list, &x, e);

    if (rc != PS_OK) {
        return rc;
    }
    progress_begin(&v.progress, PLAIN_MS);
    rc = verify_chain(&v, fs, list, x, &bytes, e);
    passed_over = name_passed_over(list, o->name == NULL ? x : list->entries);
    n = json_array_size(passed_over);
    if (rc == PS_OK && !o->is_json) {
        printf("%s is good: %" PRIu64 " rows, %" PRIu64
               " bytes, every one checked in %.1f s\n",
               x->folder, x->rows, bytes,
               (double)progress_ms(&v.progress) / 1000);
    }
    if (rc == PS_OK && n > 0) {
        rc = err_set(e, PS_EDATALOSS,
                     "damaged checkpoints that are newer than %s: %zu",
                     x->folder, n);
    }
    if (!o->is_json) {
        json_decref(passed_over);
        return rc;
    }
    done = cli_print_json(
        json_pack("{s:s, s:b, s:I, s:s, s:o}", "folder", x->folder, "good",
                  rc == PS_OK, "bytes", (json_int_t)bytes, "why",
                  rc == PS_OK ? "" : e->text, "passed_over", passed_over),
        &ignored);
    return rc == PS_OK && done != PS_OK ? err_set(e, done, "%s", ignored.text)
                                        : rc;
}

int checkpoint_verify_main(int argc, char **argv)
{
    struct checkpoint_options o;

    return checkpoint_run(&verify_page, 2, argc, argv, &o, verify);
}
