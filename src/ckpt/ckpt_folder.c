/* ckpt_folder.c - which checkpoints are in a file system, and are they whole.
 *
 * The names of the folders are the truth; there is no list beside them. Looking
 * at one reads its manifest and its indexes and the sizes of its files; to look
 * at every byte is ckpt_verify's.
 */
#include "ckpt/ckpt_folder.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/mem.h"
#include "ckpt/ckpt_folder_impl.h"

static int add_indexes(struct fs *fs, const char *folder, struct ckpt *c,
                       struct err *e)
{
    struct buf text;
    int rc = PS_OK;

    buf_init(&text);
    for (uint32_t i = 0; i < c->manifest.n_lanes && rc == PS_OK; i++) {
        char name[CKPT_NAME_MAX + 1];

        buf_clear(&text);
        ckpt_file_name(c->manifest.lanes[i].lane, CKPT_FILE_INDEX, name);
        rc = ckpt_folder_read(fs, folder, name, CKPT_JSON_MAX, &text, e);
        if (rc == PS_OK) {
            rc = ckpt_add_index(c, i, text.data, text.size, e);
        }
    }
    buf_fini(&text);
    return rc;
}

static int open_manifest(struct fs *fs, const char *folder, struct ckpt **c,
                         struct err *e)
{
    struct buf text;
    uint64_t cut;
    uint64_t term;
    bool is_new;
    int rc;

    *c = NULL;
    if (!ckpt_folder_parse(folder, &cut, &term, &is_new)) {
        return err_set(e, PS_ENOTFOUND, "%.80s is no name of a checkpoint",
                       folder);
    }
    buf_init(&text);
    rc = ckpt_folder_read(fs, folder, CKPT_MANIFEST, CKPT_JSON_MAX, &text, e);
    if (rc == PS_OK) {
        rc = ckpt_new(c, text.data, text.size, e);
    }
    buf_fini(&text);
    if (rc == PS_OK &&
        ((*c)->manifest.cut != cut || (*c)->manifest.term != term)) {
        rc = err_set(e, PS_EDATALOSS,
                     CKPT_MANIFEST ": it is of cut %" PRIu64 " of term %" PRIu64
                                   ", not of this folder's",
                     (*c)->manifest.cut, (*c)->manifest.term);
        ckpt_free(*c);
        *c = NULL;
    }
    return rc;
}

int ckpt_open(struct fs *fs, const char *folder, struct ckpt **c, struct err *e)
{
    int rc = open_manifest(fs, folder, c, e);

    if (rc == PS_OK) {
        rc = add_indexes(fs, folder, *c, e);
    }
    if (rc != PS_OK) {
        ckpt_free(*c);
        *c = NULL;
    }
    return rc;
}

/* That each file is there and has its size; counts bytes and rows. */
static int look_at_files(struct fs *fs, struct ckpt_entry *x,
                         const struct ckpt *c, struct err *e)
{
    for (uint32_t i = 0; i < c->manifest.n_lanes; i++) {
        const struct ckpt_index *index = &c->indexes[i];

        x->bytes += c->manifest.lanes[i].index_bytes;
        for (uint32_t k = 0; k < index->n_files; k++) {
            struct ckpt_reader r;
            int rc = ckpt_reader_open(&r, fs, x->folder, &index->files[k], e);

            if (rc != PS_OK) {
                return rc;
            }
            ckpt_reader_close(&r);
            x->bytes += index->files[k].size;
        }
        for (uint32_t k = 0; k < index->n_parts; k++) {
            x->rows += index->parts[k].content == CKPT_CHANGED
                           ? index->parts[k].rows
                           : 0;
        }
    }
    return PS_OK;
}

/* Fills in an entry whose folder is known. PS_ENOMEM; what is wrong with the
 * checkpoint is in the entry, with its name if only the manifest is right. */
static int look_at(struct fs *fs, struct ckpt_entry *x, struct err *e)
{
    struct ckpt *c;
    struct err why = {0};
    int rc = open_manifest(fs, x->folder, &c, &why);
    const char *name = rc == PS_OK ? c->manifest.name : "";
    size_t size = strlen(name) + 1;

    x->name = mem_try(size);
    if (x->name == NULL || rc == PS_ENOMEM) {
        ckpt_free(c);
        return err_set(e, PS_ENOMEM, "out of memory");
    }
    memcpy(x->name, name, size);
    if (rc == PS_OK) {
        x->base = c->manifest.base;
        x->cluster_high = c->manifest.cluster_high;
        x->cluster_low = c->manifest.cluster_low;
        x->restore = c->manifest.restore;
        x->time_ms = c->manifest.time_ms;
        rc = add_indexes(fs, x->folder, c, &why);
    }
    if (rc == PS_OK) {
        rc = look_at_files(fs, x, c, &why);
    }
    ckpt_free(c);
    if (rc == PS_ENOMEM) {
        return err_set(e, PS_ENOMEM, "out of memory");
    }
    x->is_whole = rc == PS_OK && !x->is_new;
    if (x->is_new) {
        (void)err_set(&why, PS_ENOTREADY, "it was not finished");
    }
    memcpy(x->why, why.text, sizeof(x->why));
    return PS_OK;
}

struct listing {
    struct ckpt_entry *entries;
    uint32_t n;
    uint32_t room;
    bool failed;
};

static bool take_name(void *context, const char *name)
{
    struct listing *l = context;
    struct ckpt_entry x = {0};

    if (!ckpt_folder_parse(name, &x.cut, &x.term, &x.is_new)) {
        return true;
    }
    if (l->n == l->room) {
        uint32_t room = l->room == 0 ? 16 : 2 * l->room;
        struct ckpt_entry *entries =
            mem_try_resize(l->entries, mem_array(room, sizeof(*entries)));

        if (entries == NULL) {
            l->failed = true;
            return false;
        }
        l->entries = entries;
        l->room = room;
    }
    memcpy(x.folder, name, strlen(name) + 1); /* it has one spelling */
    l->entries[l->n++] = x;
    return true;
}

/* The newest first; of one cut and term the finished one. */
static int compare_entries(const void *a, const void *b)
{
    const struct ckpt_entry *x = a;
    const struct ckpt_entry *y = b;

    if (x->cut != y->cut) {
        return x->cut > y->cut ? -1 : 1;
    }
    if (x->term != y->term) {
        return x->term > y->term ? -1 : 1;
    }
    return (int)x->is_new - (int)y->is_new;
}

const struct ckpt_entry *ckpt_list_base(const struct ckpt_list *list,
                                        const struct ckpt_entry *x)
{
    for (uint32_t i = 0; i < list->n && x->base != 0; i++) {
        const struct ckpt_entry *b = &list->entries[i];

        if (b->cut == x->base && b->is_whole && b->restore == x->restore &&
            b->cluster_high == x->cluster_high &&
            b->cluster_low == x->cluster_low) {
            return b;
        }
    }
    return NULL;
}

/* An increment is worth nothing without its base: oldest first. */
static void check_bases(struct ckpt_list *list)
{
    for (uint32_t i = list->n; i-- > 0;) {
        struct ckpt_entry *x = &list->entries[i];
        struct err why;

        if (x->is_whole && x->base != 0 &&
            (x->base >= x->cut || ckpt_list_base(list, x) == NULL)) {
            x->is_whole = false;
            (void)err_set(&why, PS_EDATALOSS,
                          "cut %" PRIu64 ", which it builds on, is not there",
                          x->base);
            memcpy(x->why, why.text, sizeof(x->why));
        }
    }
}

int ckpt_list(struct fs *fs, struct ckpt_list *list, struct err *e)
{
    struct listing l = {0};
    int rc = fs->ops->list(fs, ".", take_name, &l, e);

    if (rc == PS_ENOTFOUND) {
        rc = PS_OK;
    } else if (rc == PS_OK && l.failed) {
        rc = err_set(e, PS_ENOMEM, "out of memory");
    }
    *list = (struct ckpt_list){.entries = l.entries, .n = l.n};
    for (uint32_t i = 0; i < l.n && rc == PS_OK; i++) {
        rc = look_at(fs, &l.entries[i], e);
    }
    if (rc != PS_OK) {
        ckpt_list_free(list);
        return rc;
    }
    if (list->n > 0) {
        qsort(list->entries, list->n, sizeof(*list->entries), compare_entries);
    }
    check_bases(list);
    return PS_OK;
}

void ckpt_list_free(struct ckpt_list *list)
{
    for (uint32_t i = 0; i < list->n; i++) {
        mem_free(list->entries[i].name);
    }
    mem_free(list->entries);
    *list = (struct ckpt_list){0};
}

const struct ckpt_entry *ckpt_list_find(const struct ckpt_list *list,
                                        const char *name)
{
    bool is_any = name == NULL || name[0] == '\0';
    const struct ckpt_entry *found = NULL;

    for (int pass = 0; pass < 3 && found == NULL; pass++) {
        for (uint32_t i = 0; i < list->n; i++) {
            const struct ckpt_entry *x = &list->entries[i];
            bool is_it = is_any;

            if (!is_any) {
                is_it = pass == 0   ? strcmp(x->folder, name) == 0
                        : pass == 1 ? ckpt_is_cut(name, x->cut)
                                    : strcmp(x->name, name) == 0;
            }
            if (is_it && (x->is_whole || (found == NULL && !is_any))) {
                found = x;
            }
            if (found != NULL && found->is_whole) {
                break;
            }
        }
    }
    return found;
}
