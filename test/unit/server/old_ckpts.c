#include "old_ckpts.h"

/* Under the name of an unfinished one first, as the scheduler does it. */
static int remove_one(struct fs *fs, const struct ckpt_entry *x, struct err *e)
{
    char name[CKPT_NAME_MAX + 1];
    int rc;

    if (x->is_new) {
        return fs_remove_tree(fs, x->folder, e);
    }
    ckpt_folder_name(x->cut, x->term, true, name);
    rc = fs_remove_tree(fs, name, e);
    if (rc == PS_OK) {
        rc = fs->ops->rename(fs, x->folder, name, e);
    }
    if (rc == PS_OK) {
        rc = fs->ops->sync_dir(fs, ".", e);
    }
    return rc == PS_OK ? fs_remove_tree(fs, name, e) : rc;
}

int old_ckpts_remove(struct fs *fs, uint32_t keep, uint32_t *n_removed,
                     struct err *e)
{
    struct ckpt_list list;
    uint64_t newest = 0;
    uint64_t kept = 0;
    uint32_t n_kept = 0;
    int rc = ckpt_list(fs, &list, e);

    *n_removed = 0;
    for (uint32_t i = 0; rc == PS_OK && i < list.n; i++) {
        const struct ckpt_entry *x = &list.entries[i];
        bool is_over = x->is_new && x->cut < newest;

        if (x->is_whole && x->cut == kept) {
            is_over = true;
        } else if (x->is_whole) {
            newest = base_max_u64(newest, x->cut);
            kept = x->cut;
            is_over = n_kept >= keep;
            n_kept += x->base == 0;
        }
        if (is_over) {
            rc = remove_one(fs, x, e);
            *n_removed += rc == PS_OK && !x->is_new;
        }
    }
    ckpt_list_free(&list);
    return rc;
}
