/* fs_remove.c - a folder with all that is in it, removed.
 *
 * Down to a folder that is empty, remove it, and up again; the path is the
 * stack. What each name is, is found out by removing it as a file: that never
 * follows a symbolic link, as looking first would. Two that remove the same
 * tree help each other.
 */
#include "fs/fs.h"

enum { PATH_BYTES = 4096 };

struct first {
    char *path; /* of the folder; the name is put behind it */
    size_t size;
    bool is_found;
    bool is_too_long;
};

static bool take(void *context, const char *name)
{
    struct first *f = context;
    size_t bytes = strlen(name) + 1;

    f->is_found = true;
    if (bytes >= PATH_BYTES - f->size) {
        f->is_too_long = true;
        return false;
    }
    f->path[f->size] = '/';
    memcpy(f->path + f->size + 1, name, bytes);
    return false;
}

static bool stop(void *context, const char *name)
{
    (void)context;
    (void)name;
    return false;
}

static bool is_gone(int rc)
{
    return rc == PS_OK || rc == PS_ENOTFOUND;
}

/* Removes path as a file. PS_OK, also if there is none; *is_folder if it is
 * one, and then nothing is done. */
static int remove_file(struct fs *fs, const char *path, bool *is_folder,
                       struct err *e)
{
    int rc = fs->ops->unlink(fs, path, e);

    *is_folder = false;
    if (is_gone(rc)) {
        return PS_OK;
    }
    /* The reason why it is not to be removed is the first call's. */
    if (fs->ops->list(fs, path, stop, NULL, NULL) != PS_OK) {
        return rc;
    }
    *is_folder = true;
    return PS_OK;
}

/* One name out of the folder at path, or the folder itself: path is then where
 * to go on, shorter, longer or the same. */
static int take_one(struct fs *fs, char *path, struct err *e)
{
    struct first f = {.path = path, .size = strlen(path)};
    bool is_folder = false;
    int rc = fs->ops->list(fs, path, take, &f, e);

    if (f.is_too_long) {
        return err_set(e, PS_EIO, "remove %s: a path in it is too long", path);
    }
    if (rc == PS_OK && f.is_found) {
        rc = remove_file(fs, path, &is_folder, e);
        if (!is_folder) {
            path[f.size] = '\0';
        }
        return rc;
    }
    if (rc == PS_OK) {
        rc = fs->ops->rmdir(fs, path, e);
        if (rc == PS_EEXIST) {
            return PS_OK; /* somebody has put something there just now */
        }
    }
    if (is_gone(rc)) {
        char *slash = strrchr(path, '/');

        rc = PS_OK;
        path[slash == NULL ? 0 : slash - path] = '\0';
    }
    return rc;
}

int fs_remove_tree(struct fs *fs, const char *path, struct err *e)
{
    char at[PATH_BYTES];
    size_t size = strlen(path);
    bool is_folder;
    int rc;

    if (size == 0 || size >= sizeof(at)) {
        return err_set(e, PS_EARGUMENT, "remove %s: no such name", path);
    }
    memcpy(at, path, size + 1);
    rc = remove_file(fs, at, &is_folder, e);
    if (rc != PS_OK || !is_folder) {
        return rc;
    }
    while (rc == PS_OK && strlen(at) >= size) {
        rc = take_one(fs, at, e);
    }
    return rc;
}
