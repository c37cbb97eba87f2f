/* A scheduler that was given another folder than its servers, or that lost its
 * mount, would write a manifest beside no files at all, and call it saved. So
 * each lane's index is read here and must be the one that its server says it
 * wrote; and the files that it names must be there, with their headers and to
 * their ends. Their blocks were read back by those who wrote them. */
#include <stdio.h>

#include "base/hash.h"
#include "base/mem.h"
#include "scheduler/save.h"

void save_check_end(struct scheduler *s)
{
    struct save_check *k = &s->save->check;

    mem_free(k->lanes);
    k->lanes = NULL;
    k->n = 0;
    arena_reset(&k->arena);
}

static void submit(struct scheduler *s, enum save_file_step step,
                   struct disk_request *r)
{
    r->tag = s->save->disk_tag << 8 | (uint64_t)step;
    /* Above the numbers of those that look at other checkpoints. */
    r->file = (uint64_t)1 << 63 | s->save->disk_tag;
    s->disk->submit(s->disk, r);
}

static void path_of(const struct scheduler *s, const char *file,
                    char out[DISK_PATH_MAX + 1])
{
    char folder[CKPT_NAME_MAX + 1];

    save_files_folder(s, folder);
    snprintf(out, DISK_PATH_MAX + 1, "%s/%s", folder, file);
}

static void read_index(struct scheduler *s)
{
    const struct save_check *k = &s->save->check;
    struct disk_request r = {.op = DISK_READ_WHOLE};
    char name[CKPT_NAME_MAX + 1];

    if (k->at == k->n) {
        save_check_end(s);
        save_files_put(s);
        return;
    }
    ckpt_file_name(k->lanes[k->at].lane, CKPT_FILE_INDEX, name);
    path_of(s, name, r.path);
    r.size = (size_t)k->lanes[k->at].index_bytes + 1;
    submit(s, SAVE_FILE_INDEX, &r);
}

int save_check_begin(struct scheduler *s, const struct ckpt_lane *lanes,
                     uint32_t n)
{
    struct save_check *k = &s->save->check;

    save_check_end(s);
    k->lanes = mem_try(((size_t)n + 1) * sizeof(*lanes));
    if (k->lanes == NULL) {
        return PS_ENOMEM;
    }
    if (n > 0) {
        memcpy(k->lanes, lanes, n * sizeof(*lanes));
    }
    k->n = n;
    k->at = 0;
    read_index(s);
    return PS_OK;
}

/* Together, so that it is closed whatever becomes of the save meanwhile. */
static void look_at_file(struct scheduler *s)
{
    struct save_check *k = &s->save->check;
    const struct ckpt_file *f = &k->index.files[k->file];
    struct disk_request open = {.op = DISK_OPEN};
    struct disk_request header = {.op = DISK_READ};
    struct disk_request tail = {.op = DISK_READ, .size = 2};
    struct disk_request close = {.op = DISK_CLOSE};

    if (k->file == k->index.n_files) {
        k->at++;
        read_index(s);
        return;
    }
    path_of(s, f->name, open.path);
    header.size = (size_t)f->header_bytes;
    tail.offset = f->size - 1;
    submit(s, SAVE_FILE_OPEN, &open);
    submit(s, SAVE_FILE_HEADER, &header);
    submit(s, SAVE_FILE_TAIL, &tail);
    submit(s, SAVE_FILE_CLOSE, &close);
}

static int on_index(struct save_check *k, const struct disk_result *r,
                    struct err *e)
{
    const struct ckpt_lane *l = &k->lanes[k->at];

    if (r->size != l->index_bytes ||
        hash_bytes(r->data, r->size) != l->index_sum) {
        return err_set(e, PS_EDATALOSS,
                       "its index, as seen from the scheduler, is not the one "
                       "that its server has written");
    }
    arena_reset(&k->arena);
    k->file = 0;
    return ckpt_index_decode(r->data, r->size, &k->arena, &k->index, e);
}

static int on_header(const struct save_check *k, const struct disk_result *r,
                     struct err *e)
{
    const struct ckpt_file *f = &k->index.files[k->file];

    if (r->size != f->header_bytes) {
        return err_set(e, PS_EDATALOSS, "%s is short", f->name);
    }
    return ckpt_header_check(f, r->data, e);
}

static void refuse(struct scheduler *s, int status, const char *text)
{
    unsigned long long lane =
        (unsigned long long)s->save->check.lanes[s->save->check.at].lane;
    char why[256];

    if (status == PS_ENOTFOUND) {
        snprintf(why, sizeof(why),
                 "lane %llu's files are not in this folder as seen from the "
                 "scheduler: -cp must name one folder that all servers and the "
                 "scheduler share",
                 lane);
    } else {
        snprintf(why, sizeof(why), "lane %llu: %.200s", lane, text);
    }
    save_files_done(s, status, why);
}

void save_check_on_disk(struct scheduler *s, const struct disk_result *r)
{
    struct save_check *k = &s->save->check;
    uint64_t step = r->tag & 0xff;
    struct err e = {0};
    int rc = PS_OK;

    if (k->lanes == NULL || k->at >= k->n) {
        return;
    }
    if (step == SAVE_FILE_CLOSE) {
        k->file++;
        look_at_file(s);
        return;
    }
    if (r->status != PS_OK) {
        refuse(s, r->status, r->why);
        return;
    }
    if (step == SAVE_FILE_INDEX) {
        rc = on_index(k, r, &e);
    } else if (step == SAVE_FILE_HEADER) {
        rc = on_header(k, r, &e);
    } else if (step == SAVE_FILE_TAIL && r->size != 1) {
        rc = err_set(&e, PS_EDATALOSS, "%s does not end where it should",
                     k->index.files[k->file].name);
    }
    if (rc != PS_OK) {
        refuse(s, rc, e.text);
    } else if (step == SAVE_FILE_INDEX) {
        look_at_file(s);
    }
}
