/* import_load.c - rows of the original with their slots into a running cluster
 *
 * No push can set a slot. So it becomes a checkpoint beside the cluster's own,
 * which the cluster is then told to take its variables from (restore, with
 * names). That checkpoint is the newest there and has these variables only: a
 * new store would begin with it. So the cluster saves at the end.
 */
#include "cli/import_command.h"

#include <stdio.h>
#include <time.h>

#include "client/client_restore.h"

enum { LOOK_MS = 200, TEXT_BYTES = 768 };

struct bringing {
    ps_client *client;
    struct fs *fs;
    char *folder;
    struct progress progress;
};

static int write_checkpoint(struct bringing *b, const struct import *x,
                            const char *name, struct err *e)
{
    struct ckpt_progress progress = {import_progress_show, &b->progress};

    return import_write(x, b->fs, name, (uint64_t)time(NULL) * 1000, &progress,
                        b->folder, e);
}

/* No longer than it takes, as the order goes on without us. */
static int restore(struct bringing *b, struct err *e)
{
    const struct wire_rename all = {"*", "*"};
    struct ps_error error = {0};
    char text[TEXT_BYTES];
    ps_request *request;
    int rc = client_restore(b->client, b->folder, &all, 1, &request, &error);

    if (rc != PS_OK) {
        return err_set(e, rc, "%s", error.text);
    }
    do {
        rc = ps_wait(request, LOOK_MS);
        if (progress_is_due(&b->progress)) {
            progress_show(&b->progress, "the cluster loads %s", b->folder);
        }
    } while (rc == PS_ETIMEOUT);
    client_text(request, text, sizeof(text));
    ps_request_free(request);
    return rc == PS_OK ? rc
                       : err_set(e, rc, "%s",
                                 text[0] != '\0' ? text : ps_status_text(rc));
}

/* Where the order was refused nobody knows of it. */
static void take_back(struct bringing *b)
{
    char name[CKPT_NAME_MAX + 1];
    uint64_t cut, term;
    bool is_new;
    struct err e;

    /* As an unfinished one first: what is half removed looks damaged. */
    if (ckpt_folder_parse(b->folder, &cut, &term, &is_new)) {
        ckpt_folder_name(cut, term, true, name);
        if (b->fs->ops->rename(b->fs, b->folder, name, &e) == PS_OK &&
            fs_remove_tree(b->fs, name, &e) == PS_OK) {
            b->folder[0] = '\0';
        }
    }
}

static int save(struct bringing *b, const char *name)
{
    ps_request *request;
    struct ps_error error = {0};
    int rc = ps_save(b->client, name, &request, &error);

    if (rc == PS_OK) {
        if (progress_is_due(&b->progress)) {
            progress_show(&b->progress, "the cluster saves");
        }
        rc = ps_wait(request, IMPORT_ANSWER_MS);
        ps_request_free(request);
    }
    return rc;
}

int import_load(const struct import *x, ps_client *client, const char *place,
                const char *name, char *folder, struct err *e)
{
    struct bringing b = {.client = client, .folder = folder};
    int rc = fs_url_open(&b.fs, place, e);

    if (rc != PS_OK) {
        return rc;
    }
    progress_begin(&b.progress, IMPORT_PLAIN_MS);
    rc = write_checkpoint(&b, x, name, e);
    if (rc == PS_OK) {
        rc = restore(&b, e);
        if (rc != PS_OK) {
            take_back(&b);
            err_wrap(e, "%.200s", place);
        }
    }
    if (rc == PS_OK && save(&b, name) != PS_OK) {
        progress_end(&b.progress);
        fprintf(stderr,
                "ps-plus: all is there, but the cluster has not saved it yet: "
                "until it does (ps-plus save), %s is the newest checkpoint, "
                "and has only what was imported\n",
                folder);
    }
    progress_end(&b.progress);
    fs_url_close(b.fs);
    return rc;
}
