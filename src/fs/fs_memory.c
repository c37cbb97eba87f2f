/* fs_memory.c - a file system that is a sorted array of names.
 *
 *     names, by path         nodes
 *     "."          --------> folder
 *     "/"          --------> folder
 *     "/d"         --------> folder
 *     "/d/tmp"     --------> folder
 *     "/d/v.1"     --------> file, 2 names, "bytes"
 *     "/d/v.2"     --------^
 *
 * The order of the array is the order of listing, so a run is the same every
 * time. It keeps the rules of Linux that callers may come to rely on, the
 * unloved ones too: a name's folder must be there, a folder that has names
 * cannot be removed, rename replaces a file but never a folder that has names,
 * and renaming one name of a file to another name of it does nothing. The
 * function of `list` must not change the file system here (asserted).
 */
#include "fs/fs.h"

#include <stdlib.h>

#include "base/mem.h"

struct node {
    uint32_t names; /* links; a folder has one */
    uint32_t opens; /* handles */
    bool is_folder;
    size_t size;
    size_t room;
    uint8_t *data;
};

struct fs_open_file {
    struct node *node;
    bool may_write;
};

struct name {
    char *path;
    struct node *node;
};

struct memory {
    struct fs fs;
    struct name *names; /* by strcmp of path */
    size_t n;
    size_t room;
    bool is_listing;
};

static struct memory *memory_of(struct fs *fs)
{
    return CONTAINER_OF(fs, struct memory, fs);
}

static int fail(struct err *e, int status, const char *what, const char *path,
                const char *why)
{
    return err_set(e, status, "%s %s: %s", what, path, why);
}

/* Where path is, or would have to be inserted. */
static size_t find_place(const struct memory *m, const char *path)
{
    size_t low = 0;
    size_t high = m->n;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (strcmp(m->names[middle].path, path) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static struct name *find(const struct memory *m, const char *path)
{
    size_t i = find_place(m, path);

    return i < m->n && strcmp(m->names[i].path, path) == 0 ? &m->names[i]
                                                           : NULL;
}

/* True if path is inside of the folder; *rest is then its part behind it. */
static bool is_inside(const char *path, const char *folder, const char **rest)
{
    size_t n = strcmp(folder, "/") == 0 ? 0 : strlen(folder);

    if (strcmp(folder, ".") == 0) {
        *rest = path;
        return path[0] != '/' && strcmp(path, ".") != 0;
    }
    if (strncmp(path, folder, n) != 0 || path[n] != '/' ||
        path[n + 1] == '\0') {
        return false;
    }
    *rest = path + n + 1;
    return true;
}

/* PS_OK if the folder that path is to be in is there. */
static int check_parent(const struct memory *m, const char *what,
                        const char *path, struct err *e)
{
    const char *slash = strrchr(path, '/');
    const struct name *parent = NULL;
    char *copy;
    size_t n;

    if (slash == NULL || slash == path) {
        return PS_OK; /* "." and "/" are always there */
    }
    n = (size_t)(slash - path);
    copy = mem_try(n + 1);
    if (copy == NULL) {
        return fail(e, PS_ENOMEM, what, path, "out of memory");
    }
    memcpy(copy, path, n);
    copy[n] = '\0';
    parent = find(m, copy);
    mem_free(copy);
    if (parent == NULL) {
        return fail(e, PS_ENOTFOUND, what, path, "no such folder");
    }
    if (!parent->node->is_folder) {
        return fail(e, PS_EIO, what, path, "not a folder");
    }
    return PS_OK;
}

/* Finds a name; without it, says whether its folder is what is wrong. */
static int look_up(const struct memory *m, const char *what, const char *path,
                   struct name **name, struct err *e)
{
    int rc;

    *name = find(m, path);
    if (*name != NULL) {
        return PS_OK;
    }
    rc = check_parent(m, what, path, e);
    if (rc == PS_OK) {
        (void)fail(e, PS_ENOTFOUND, what, path, "no such file or folder");
        rc = PS_ENOTFOUND;
    }
    return rc;
}

static void free_node(struct node *node)
{
    if (node != NULL) {
        mem_free(node->data);
        mem_free(node);
    }
}

static struct node *node_new(bool is_folder, const void *data, size_t size)
{
    struct node *node = mem_try_zero(sizeof(*node));

    if (node == NULL) {
        return NULL;
    }
    node->is_folder = is_folder;
    if (size > 0) {
        node->data = mem_try(size);
        if (node->data == NULL) {
            mem_free(node);
            return NULL;
        }
        memcpy(node->data, data, size);
        node->size = size;
        node->room = size;
    }
    return node;
}

/* Frees what has neither a name nor a handle, as Linux does. */
static void drop_node(struct node *node)
{
    if (node->names == 0 && node->opens == 0) {
        free_node(node);
    }
}

/* Gives a node a name that is not there yet; false: out of memory. */
static bool insert(struct memory *m, const char *path, struct node *node)
{
    size_t bytes = strlen(path) + 1;
    size_t i = find_place(m, path);
    char *copy = mem_try(bytes);

    ASSERT(!m->is_listing);
    if (copy == NULL) {
        return false;
    }
    if (m->n == m->room) {
        size_t room = m->room == 0 ? 16 : 2 * m->room;
        struct name *names =
            mem_try_resize(m->names, mem_array(room, sizeof(*names)));

        if (names == NULL) {
            mem_free(copy);
            return false;
        }
        m->names = names;
        m->room = room;
    }
    memcpy(copy, path, bytes);
    memmove(&m->names[i + 1], &m->names[i], (m->n - i) * sizeof(*m->names));
    m->names[i] = (struct name){.path = copy, .node = node};
    m->n++;
    node->names++;
    return true;
}

static void take_out(struct memory *m, struct name *name)
{
    size_t i = (size_t)(name - m->names);

    ASSERT(!m->is_listing);
    ASSERT(name->node->names > 0);
    name->node->names--;
    drop_node(name->node);
    mem_free(name->path);
    m->n--;
    memmove(&m->names[i], &m->names[i + 1], (m->n - i) * sizeof(*m->names));
}

static bool has_names(const struct memory *m, const char *folder)
{
    const char *rest;

    for (size_t i = 0; i < m->n; i++) {
        if (is_inside(m->names[i].path, folder, &rest)) {
            return true;
        }
    }
    return false;
}

static int write_new(struct fs *fs, const char *path, const void *data,
                     size_t size, bool sync, struct err *e)
{
    struct memory *m = memory_of(fs);
    struct node *node;
    int rc;

    (void)sync;
    if (find(m, path) != NULL) {
        return fail(e, PS_EEXIST, "create", path, "it is there already");
    }
    rc = check_parent(m, "create", path, e);
    if (rc != PS_OK) {
        return rc;
    }
    node = node_new(false, data, size);
    if (node == NULL || !insert(m, path, node)) {
        free_node(node);
        return fail(e, PS_ENOMEM, "create", path, "out of memory");
    }
    return PS_OK;
}

static int read_file(struct fs *fs, const char *path, size_t limit,
                     struct buf *out, struct err *e)
{
    struct name *name;
    int rc = look_up(memory_of(fs), "open", path, &name, e);

    if (rc != PS_OK) {
        return rc;
    }
    if (name->node->is_folder) {
        return fail(e, PS_EIO, "read", path, "it is a folder");
    }
    if (name->node->size > limit) {
        return err_set(e, PS_EIO, "read %s: it has more than %zu bytes", path,
                       limit);
    }
    rc = buf_append(out, name->node->data, name->node->size);
    return rc == PS_OK ? rc : fail(e, rc, "read", path, "out of memory");
}

static int link_file(struct fs *fs, const char *from, const char *to,
                     struct err *e)
{
    struct memory *m = memory_of(fs);
    struct name *name;
    int rc = look_up(m, "link", from, &name, e);

    if (rc == PS_OK) {
        rc = check_parent(m, "link to", to, e);
    }
    if (rc != PS_OK) {
        return rc;
    }
    if (find(m, to) != NULL) {
        return fail(e, PS_EEXIST, "link to", to, "it is there already");
    }
    if (name->node->is_folder) {
        return fail(e, PS_EIO, "link", from, "it is a folder");
    }
    if (!insert(m, to, name->node)) {
        return fail(e, PS_ENOMEM, "link to", to, "out of memory");
    }
    return PS_OK;
}

static int compare_names(const void *a, const void *b)
{
    const struct name *x = a;
    const struct name *y = b;

    return strcmp(x->path, y->path);
}

/* Gives `from`, and what is in it, names under `to`; PS_ENOMEM: none. */
static int move_names(struct memory *m, const char *from, const char *to)
{
    size_t to_bytes = strlen(to);
    size_t from_bytes = strlen(from);
    char **paths = mem_try_zero(mem_array(m->n, sizeof(*paths)));
    int rc = paths == NULL ? PS_ENOMEM : PS_OK;

    for (size_t i = 0; i < m->n && rc == PS_OK; i++) {
        const char *path = m->names[i].path;
        const char *rest;

        if (strcmp(path, from) == 0 || is_inside(path, from, &rest)) {
            size_t bytes = strlen(path) - from_bytes + 1;

            paths[i] = mem_try(to_bytes + bytes);
            if (paths[i] == NULL) {
                rc = PS_ENOMEM;
                break;
            }
            memcpy(paths[i], to, to_bytes);
            memcpy(paths[i] + to_bytes, path + from_bytes, bytes);
        }
    }
    for (size_t i = 0; i < m->n && paths != NULL; i++) {
        if (rc != PS_OK) {
            mem_free(paths[i]);
        } else if (paths[i] != NULL) {
            mem_free(m->names[i].path);
            m->names[i].path = paths[i];
        }
    }
    mem_free(paths);
    if (rc == PS_OK) {
        qsort(m->names, m->n, sizeof(*m->names), compare_names);
    }
    return rc;
}

/* Why `to` may not be replaced by `from`; PS_OK if it may. */
static int check_replace(const struct memory *m, const struct name *from,
                         const struct name *to, struct err *e)
{
    if (to->node->is_folder && !from->node->is_folder) {
        return fail(e, PS_EIO, "rename to", to->path, "it is a folder");
    }
    if (!to->node->is_folder && from->node->is_folder) {
        return fail(e, PS_EIO, "rename to", to->path, "it is not a folder");
    }
    if (has_names(m, to->path)) {
        return fail(e, PS_EEXIST, "rename to", to->path,
                    "the folder is not empty");
    }
    return PS_OK;
}

static int rename_file(struct fs *fs, const char *from, const char *to,
                       struct err *e)
{
    struct memory *m = memory_of(fs);
    const struct node *node;
    struct name *name;
    struct name *old;
    const char *rest;
    int rc = look_up(m, "rename", from, &name, e);

    if (rc == PS_OK) {
        rc = check_parent(m, "rename to", to, e);
    }
    if (rc != PS_OK) {
        return rc;
    }
    if (is_inside(to, from, &rest)) {
        return fail(e, PS_EIO, "rename to", to, "it is inside of itself");
    }
    node = name->node;
    old = find(m, to);
    if (old != NULL && old->node == node) {
        return PS_OK;
    }
    if (old != NULL) {
        rc = check_replace(m, name, old, e);
        if (rc != PS_OK) {
            return rc;
        }
    }
    ASSERT(!m->is_listing);
    rc = move_names(m, from, to);
    if (rc != PS_OK) {
        return fail(e, rc, "rename", from, "out of memory");
    }
    if (old != NULL) {
        /* Two entries have this path now, in either order. */
        size_t i = find_place(m, to);

        take_out(m, &m->names[m->names[i].node == node ? i + 1 : i]);
    }
    return PS_OK;
}

static int unlink_file(struct fs *fs, const char *path, struct err *e)
{
    struct memory *m = memory_of(fs);
    struct name *name;
    int rc = look_up(m, "remove", path, &name, e);

    if (rc != PS_OK) {
        return rc;
    }
    if (name->node->is_folder) {
        return fail(e, PS_EIO, "remove", path, "it is a folder");
    }
    take_out(m, name);
    return PS_OK;
}

static int make_folder(struct memory *m, const char *path, struct err *e)
{
    const struct name *name = find(m, path);
    struct node *node;

    if (name != NULL) {
        return name->node->is_folder ? PS_OK
                                     : fail(e, PS_EIO, "create folder", path,
                                            "a file has that name");
    }
    node = node_new(true, NULL, 0);
    if (node == NULL || !insert(m, path, node)) {
        free_node(node);
        return fail(e, PS_ENOMEM, "create folder", path, "out of memory");
    }
    return PS_OK;
}

static int make_folders(struct fs *fs, const char *path, struct err *e)
{
    struct memory *m = memory_of(fs);
    size_t size = strlen(path);
    char *part = mem_try(size + 1);
    int rc = PS_OK;

    if (part == NULL) {
        return fail(e, PS_ENOMEM, "create folder", path, "out of memory");
    }
    memcpy(part, path, size + 1);
    for (size_t i = 1; i <= size && rc == PS_OK; i++) {
        if (part[i] == '/' || part[i] == '\0') {
            part[i] = '\0';
            rc = make_folder(m, part, e);
            part[i] = path[i];
        }
    }
    mem_free(part);
    return rc;
}

/* Finds a name that must be a folder. */
static int look_up_folder(const struct memory *m, const char *what,
                          const char *path, struct name **name, struct err *e)
{
    int rc = look_up(m, what, path, name, e);

    if (rc == PS_OK && !(*name)->node->is_folder) {
        rc = fail(e, PS_EIO, what, path, "not a folder");
    }
    return rc;
}

static int remove_folder(struct fs *fs, const char *path, struct err *e)
{
    struct memory *m = memory_of(fs);
    struct name *name;
    int rc = look_up_folder(m, "remove folder", path, &name, e);

    if (rc != PS_OK) {
        return rc;
    }
    if (has_names(m, path)) {
        return fail(e, PS_EEXIST, "remove folder", path, "it is not empty");
    }
    take_out(m, name);
    return PS_OK;
}

static int sync_folder(struct fs *fs, const char *path, struct err *e)
{
    struct name *name;

    return look_up_folder(memory_of(fs), "open folder", path, &name, e);
}

static int list_folder(struct fs *fs, const char *path,
                       bool (*fn)(void *context, const char *name),
                       void *context, struct err *e)
{
    struct memory *m = memory_of(fs);
    struct name *folder;
    int rc = look_up_folder(m, "open folder", path, &folder, e);

    if (rc != PS_OK) {
        return rc;
    }
    ASSERT(!m->is_listing);
    m->is_listing = true;
    for (size_t i = 0; i < m->n; i++) {
        const char *rest;

        if (is_inside(m->names[i].path, path, &rest) &&
            strchr(rest, '/') == NULL && !fn(context, rest)) {
            break;
        }
    }
    m->is_listing = false;
    return PS_OK;
}

static int check_local(struct fs *fs, const char *path, struct err *e)
{
    struct name *name;

    return look_up(memory_of(fs), "look at", path, &name, e);
}

static int open_file(struct fs *fs, const char *path, enum fs_open_how how,
                     struct fs_open_file **out, struct err *e)
{
    struct memory *m = memory_of(fs);
    struct fs_open_file *file = mem_try(sizeof(*file));
    struct name *name = NULL;
    int rc;

    if (file == NULL) {
        return fail(e, PS_ENOMEM, "open", path, "out of memory");
    }
    rc = how == FS_CREATE ? write_new(fs, path, NULL, 0, false, e) : PS_OK;
    if (rc == PS_OK) {
        rc = look_up(m, "open", path, &name, e);
    }
    if (rc == PS_OK && name->node->is_folder) {
        rc = fail(e, PS_EIO, "open", path, "it is not a file");
    }
    if (rc != PS_OK) {
        mem_free(file);
        return rc;
    }
    *file = (struct fs_open_file){
        .node = name->node,
        .may_write = how == FS_CREATE,
    };
    name->node->opens++;
    *out = file;
    return PS_OK;
}

/* Makes the file at least that large, the new bytes zeros; false: no memory. */
static bool grow(struct node *node, size_t size)
{
    if (size > node->room) {
        size_t room = node->room;
        uint8_t *data;

        room = room > SIZE_MAX / 2 || 2 * room < size ? size : 2 * room;
        data = mem_try_resize(node->data, room);
        if (data == NULL) {
            return false;
        }
        node->data = data;
        node->room = room;
    }
    if (size > node->size) {
        memset(node->data + node->size, 0, size - node->size);
        node->size = size;
    }
    return true;
}

static int write_at(struct fs *fs, struct fs_open_file *file, uint64_t offset,
                    const void *data, size_t size, struct err *e)
{
    (void)fs;
    if (!file->may_write) {
        return err_set(e, PS_EIO, "write: the file is open for reading");
    }
    if (size == 0) {
        return PS_OK;
    }
    if (offset > SIZE_MAX - size || !grow(file->node, offset + size)) {
        return err_set(e, PS_ENOMEM, "write: out of memory");
    }
    memcpy(file->node->data + offset, data, size);
    return PS_OK;
}

static int read_at(struct fs *fs, struct fs_open_file *file, uint64_t offset,
                   void *data, size_t size, size_t *got, struct err *e)
{
    const struct node *node = file->node;
    size_t n = offset < node->size
                   ? (size_t)base_min_u64(size, node->size - offset)
                   : 0;

    (void)fs;
    (void)e;
    if (n > 0) {
        memcpy(data, node->data + offset, n);
    }
    *got = n;
    return PS_OK;
}

static int file_size(struct fs *fs, struct fs_open_file *file, uint64_t *size,
                     struct err *e)
{
    (void)fs;
    (void)e;
    *size = file->node->size;
    return PS_OK;
}

static int sync_file(struct fs *fs, struct fs_open_file *file, struct err *e)
{
    (void)fs;
    (void)file;
    (void)e;
    return PS_OK;
}

static int close_file(struct fs *fs, struct fs_open_file *file, struct err *e)
{
    (void)fs;
    (void)e;
    file->node->opens--;
    drop_node(file->node);
    mem_free(file);
    return PS_OK;
}

struct fs *fs_memory_new(void)
{
    static const struct fs_ops ops = {
        .write_new = write_new,
        .read = read_file,
        .link = link_file,
        .rename = rename_file,
        .unlink = unlink_file,
        .mkdir = make_folders,
        .rmdir = remove_folder,
        .sync_dir = sync_folder,
        .list = list_folder,
        .is_local = check_local,
        .open = open_file,
        .write_at = write_at,
        .read_at = read_at,
        .file_size = file_size,
        .sync = sync_file,
        .close = close_file,
    };
    struct memory *m = mem_new(sizeof(*m));

    *m = (struct memory){.fs = {.ops = &ops}};
    if (make_folder(m, "/", NULL) != PS_OK ||
        make_folder(m, ".", NULL) != PS_OK) {
        fs_memory_free(&m->fs);
        return NULL;
    }
    return &m->fs;
}

void fs_memory_free(struct fs *fs)
{
    struct memory *m;

    if (fs == NULL) {
        return;
    }
    m = memory_of(fs);
    while (m->n > 0) {
        take_out(m, &m->names[m->n - 1]);
    }
    mem_free(m->names);
    mem_free(m);
}
