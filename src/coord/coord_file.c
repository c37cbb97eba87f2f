/* coord_file.c - the store in a folder: compare-and-swap by link(2).
 *
 *     DIR/FORMAT               "ps-plus coordination store, format 1"
 *     DIR/tmp/<nonce>-<count>  being written, or being removed
 *     DIR/plan/v.6             the value before, kept for who is reading it
 *     DIR/plan/v.7             the value
 *     DIR/server,3/v.41        a slash of the key is a comma here, so that a
 *                              key never lies in the folder of another
 *
 * A compare-and-swap from version n writes a temporary file whole and gives it
 * the name v.<n+1>. link(2) fails if that name is there, so of all who try one
 * wins, and a file has all of its bytes from the moment it has a name. No lock
 * is held at any time: a process that is stopped between any two steps blocks
 * nobody, and one that dies leaves at worst a temporary file. The next open
 * removes those of everybody: whoever loses one before its link writes another.
 *
 * The value is the file of the highest number. That number never falls while
 * the key exists, for collection removes only what is lower. It keeps n, too:
 * a reader lists the names and then reads, and two swaps would have to come in
 * between before its file is gone (it lists again then). A listing is taken
 * for one moment's: so few names come with one getdents(2), which the kernel
 * does under the folder's lock. Files are removed in rising order.
 *
 * THE LINK INTO THE PAST. A process holding version m is stopped just before
 * its link. The others go on to m+1, m+2, m+3; v.<m+1> is collected. It wakes
 * and its link succeeds, though it must not. Hence everybody lists again after
 * the link:
 *   - highest is m+1 or m+2: a right success, perhaps overtaken once. v.<m+1>
 *     is collected only by one who has made m+3, so it cannot have been there
 *     before;
 *   - highest is m+3 or more: either a right success overtaken twice, or a
 *     link into the past. Nobody can tell; the answer is PS_EUNSURE and the
 *     caller looks for its nonce in what it reads. The stray file is below the
 *     highest number, so it is never the value; the next collection removes it.
 * To swap from a number above the highest is refused before anything is
 * written, so there is no link into the future.
 *
 * POWER LOSS. A durable swap syncs the file before the link and the folders
 * after it. A renewal syncs nothing: its file may then be there without its
 * bytes (short, or zeros) or with a wrong checksum: torn. The value is then the
 * highest whole file's, but under the number of the highest file, torn or not:
 * that is the number from which a swap has a free name to link, once. If no
 * file is whole the key counts as absent, and the swap from 0 makes the number
 * above the torn ones rather than 1. So that no power loss takes a key away,
 * collection after a renewal leaves durable files (the header says so) to the
 * next durable swap. Names of one folder are taken to reach the disk in order,
 * as journals do. A file that was synced and has a wrong checksum is not torn
 * but damaged: PS_EIO, and nobody goes on from an older value. A file linked
 * into the past may come back as the value this way, where all that had
 * overtaken it is lost: then it is as if it had not been overtaken.
 *
 * REMOVAL renames the key's folder into tmp, which removes all versions in one
 * step, and then deletes it there. A stopped process finds no folder to link
 * into: a conflict. Only one stopped while it *creates* the key could make it
 * again; as a key is created by one process, once, and not reused, that is its
 * creation coming late, and not a second one.
 */
#include "coord/coord.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/log.h"
#include "coord/coord_record.h"
#include "coord/coord_store.h"

/* The number in v.<n>; 0: another name. */
static uint64_t parse_version(const char *name)
{
    uint64_t v = 0;

    if (strncmp(name, "v.", 2) != 0 || name[2] < '1' || name[2] > '9') {
        return 0;
    }
    for (const char *p = name + 2; *p != '\0'; p++) {
        if (*p < '0' || *p > '9' || __builtin_mul_overflow(v, 10, &v) ||
            __builtin_add_overflow(v, (uint64_t)(*p - '0'), &v)) {
            return 0;
        }
    }
    return v < UINT64_MAX ? v : 0;
}

static bool add_version(void *context, const char *name)
{
    uint64_t v = parse_version(name);

    return v == 0 || buf_append(context, &v, sizeof(v)) == PS_OK;
}

static const uint64_t *versions(const struct coord_file *c, size_t *n)
{
    *n = c->versions.size / sizeof(uint64_t);
    return (const uint64_t *)(const void *)c->versions.data;
}

static int compare_versions(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

/* Lists the versions of a key into c->versions; *highest is 0 if there are
 * none. */
static int list_versions(struct coord_file *c, const char *key,
                         uint64_t *highest, struct err *e)
{
    char path[COORD_PATH_BYTES];
    size_t n;
    int rc;

    buf_clear(&c->versions);
    *highest = 0;
    coord_store_path(c, key, 0, path);
    rc = c->fs->ops->list(c->fs, path, add_version, &c->versions, e);
    if (rc == PS_ENOTFOUND) {
        buf_clear(&c->versions);
        return PS_OK;
    }
    if (rc == PS_OK && c->versions.failed) {
        rc = err_set(e, PS_ENOMEM, "list folder %s: out of memory", path);
    }
    if (rc != PS_OK) {
        return rc;
    }
    n = c->versions.size / sizeof(uint64_t);
    if (n > 0) {
        qsort(c->versions.data, n, sizeof(uint64_t), compare_versions);
        *highest = versions(c, &n)[n - 1];
    }
    return PS_OK;
}

/* Reads one version, header and all; PS_EIO where it is damaged. */
static int read_version(struct coord_file *c, const char *key, uint64_t version,
                        struct buf *out, enum coord_content *content,
                        struct err *e)
{
    char path[COORD_PATH_BYTES];
    int rc;

    buf_clear(out);
    coord_store_path(c, key, version, path);
    rc = c->fs->ops->read(c->fs, path, COORD_HEADER_BYTES + COORD_VALUE_MAX,
                          out, e);
    if (rc != PS_OK) {
        return rc;
    }
    if (coord_record_judge(out->data, out->size, version, content) != PS_OK) {
        return err_set(e, PS_EIO,
                       "%s is damaged: restore it from a copy, or stop the "
                       "cluster and start it with an empty store",
                       path);
    }
    return PS_OK;
}

/* Finds the last whole file among those listed. *number is its version, or 0 if
 * all are torn. PS_ENOTFOUND: one was collected meanwhile, list again. */
static int read_last_whole(struct coord_file *c, const char *key,
                           struct buf *out, uint64_t *number, struct err *e)
{
    size_t n;
    const uint64_t *all = versions(c, &n);
    uint64_t highest = n == 0 ? 0 : all[n - 1];

    *number = 0;
    for (size_t i = n; i-- > 0;) {
        enum coord_content content;
        int rc = read_version(c, key, all[i], out, &content, e);

        if (rc != PS_OK) {
            return rc;
        }
        if (content != COORD_CONTENT_TORN) {
            *number = all[i];
            break;
        }
    }
    if (*number != highest && highest != c->torn) {
        c->torn = highest;
        log_write(LOG_WARNING,
                  "%s: version %" PRIu64 " of %s is torn, as a power loss "
                  "leaves it; going on from version %" PRIu64,
                  c->dir, highest, key, *number);
    }
    return PS_OK;
}

static int get(struct coord_file *c, const char *key, struct buf *value,
               uint64_t *version, struct err *e)
{
    for (size_t i = 0; i < COORD_TRIES; i++) {
        uint64_t highest;
        uint64_t number;
        int rc = list_versions(c, key, &highest, e);

        *version = 0;
        if (rc != PS_OK) {
            return rc;
        }
        if (highest == 0) {
            return PS_ENOTFOUND;
        }
        rc = read_last_whole(c, key, value, &number, e);
        if (rc == PS_OK) {
            *version = number == 0 ? 0 : highest;
            return number == 0 ? PS_ENOTFOUND : PS_OK;
        }
        if (rc != PS_ENOTFOUND) {
            return rc;
        }
    }
    return err_set(e, PS_EIO, "%s: %s changes too quickly to be read", c->dir,
                   key);
}

static int watch(struct coord_file *c, const struct coord_request *request,
                 struct buf *value, uint64_t *version, struct err *e)
{
    uint64_t highest;
    int rc = list_versions(c, request->key, &highest, e);

    if (rc == PS_OK && highest != request->version) {
        rc = get(c, request->key, value, &highest, e);
    }
    if (rc != PS_OK && rc != PS_ENOTFOUND) {
        return rc;
    }
    *version = highest;
    return highest == request->version ? PS_EBUSY : rc;
}

/* The number that a swap from request->version builds on: that version itself,
 * or with 0 the highest torn one. PS_ECONFLICT if the key has moved on. */
static int find_base(struct coord_file *c, const struct coord_request *request,
                     uint64_t *base, struct err *e)
{
    struct buf file;
    uint64_t number;
    int rc = list_versions(c, request->key, base, e);

    if (rc != PS_OK || *base == request->version) {
        return rc;
    }
    if (request->version != 0) {
        return PS_ECONFLICT;
    }
    buf_init(&file);
    rc = read_last_whole(c, request->key, &file, &number, e);
    buf_fini(&file);
    if (rc == PS_ENOTFOUND || (rc == PS_OK && number != 0)) {
        return PS_ECONFLICT;
    }
    return rc;
}

/* One try to make v.<base+1>. PS_ENOTFOUND: the temporary or the key's folder
 * was removed before the link; nothing has happened. */
static int try_swap(struct coord_file *c, const struct coord_request *request,
                    uint64_t base, struct err *e)
{
    const struct fs_ops *ops = c->fs->ops;
    bool is_durable = (request->flags & COORD_DURABLE) != 0;
    char folder[COORD_PATH_BYTES];
    char temporary[COORD_PATH_BYTES];
    char path[COORD_PATH_BYTES];
    struct buf file;
    int rc = PS_OK;

    coord_store_path(c, request->key, 0, folder);
    coord_store_path(c, request->key, base + 1, path);
    buf_init(&file);
    if (base == 0) {
        rc = ops->mkdir(c->fs, folder, e);
    }
    if (rc == PS_OK) {
        rc = coord_record_encode(&file, base + 1, is_durable, request->data,
                                 request->size);
    }
    if (rc == PS_OK) {
        rc = coord_store_write(c, &file, is_durable, temporary, e);
    } else {
        rc = PS_EIO; /* whatever it was, PS_ENOTFOUND is link's to say */
    }
    buf_fini(&file);
    if (rc != PS_OK) {
        return rc;
    }
    rc = ops->link(c->fs, temporary, path, e);
    if (rc == PS_OK && is_durable) {
        /* The store's folder as well: whoever made the key may have died
         * before it had synced that. */
        rc = ops->sync_dir(c->fs, folder, e);
        if (rc == PS_OK) {
            rc = ops->sync_dir(c->fs, c->dir, e);
        }
        rc = rc == PS_OK ? PS_OK : PS_EIO;
    }
    (void)ops->unlink(c->fs, temporary, NULL);
    return rc == PS_EEXIST ? PS_ECONFLICT : rc;
}

/* True if no power loss can make the value of that file needed again. */
static bool is_needless(struct coord_file *c, const char *key, uint64_t version)
{
    enum coord_content content;
    struct buf file;
    int rc;

    buf_init(&file);
    rc = read_version(c, key, version, &file, &content, NULL);
    buf_fini(&file);
    return rc == PS_OK && content != COORD_CONTENT_DURABLE;
}

/* After a success: removes what is below version - 1 of the files listed. What
 * fails here is removed by the next. */
static void collect(struct coord_file *c, const char *key, uint64_t version,
                    bool is_durable)
{
    char path[COORD_PATH_BYTES];
    size_t n;
    const uint64_t *all = versions(c, &n);

    for (size_t i = 0; i < n && all[i] + 1 < version; i++) {
        if (is_durable || is_needless(c, key, all[i])) {
            coord_store_path(c, key, all[i], path);
            (void)c->fs->ops->unlink(c->fs, path, NULL);
        }
    }
}

static int swap(struct coord_file *c, const struct coord_request *request,
                uint64_t *version, struct err *e)
{
    uint64_t base = 0;
    uint64_t highest;
    int rc = PS_ENOTFOUND;

    for (size_t i = 0; i < COORD_TRIES && rc == PS_ENOTFOUND; i++) {
        rc = find_base(c, request, &base, e);
        if (rc != PS_OK) {
            return rc;
        }
        rc = try_swap(c, request, base, e);
    }
    if (rc != PS_OK) {
        return rc == PS_ECONFLICT ? rc : PS_EIO;
    }
    rc = list_versions(c, request->key, &highest, e);
    if (rc != PS_OK) {
        return PS_EIO;
    }
    /* 0: removed meanwhile. The top of this file explains the 2. */
    if (highest < base + 1 || highest > base + 2) {
        return PS_EUNSURE;
    }
    collect(c, request->key, base + 1, (request->flags & COORD_DURABLE) != 0);
    *version = base + 1;
    return PS_OK;
}

/* Removes a key; one that is not there is PS_OK. */
static int del(struct coord_file *c, const struct coord_request *request,
               struct err *e)
{
    const struct fs_ops *ops = c->fs->ops;
    char folder[COORD_PATH_BYTES];
    char temporary[COORD_PATH_BYTES];
    char path[COORD_PATH_BYTES];
    int rc = PS_EEXIST;

    coord_store_path(c, request->key, 0, folder);
    coord_store_path(c, "tmp", 0, path);
    for (size_t i = 0; i < COORD_TRIES && rc == PS_EEXIST; i++) {
        coord_store_temporary(c, temporary);
        rc = ops->rename(c->fs, folder, temporary, e);
    }
    if (rc == PS_ENOTFOUND) {
        uint64_t highest;

        /* Either the key is not there, or tmp is not. */
        rc = list_versions(c, request->key, &highest, e);
        return rc == PS_OK && highest == 0 ? PS_OK : PS_EIO;
    }
    if (rc == PS_OK && (request->flags & COORD_DURABLE) != 0) {
        rc = ops->sync_dir(c->fs, c->dir, e);
        if (rc == PS_OK) {
            rc = ops->sync_dir(c->fs, path, e);
        }
    }
    if (rc == PS_OK) {
        coord_store_discard(c, temporary);
    }
    return rc == PS_OK ? PS_OK : PS_EIO;
}

static bool is_key(const char *key)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyz"
                                  "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                  "0123456789-_./";
    size_t n = strnlen(key, COORD_KEY_MAX + 1);
    char before = '/';

    if (n == 0 || n > COORD_KEY_MAX || strspn(key, allowed) != n ||
        key[n - 1] == '/' || strcmp(key, "tmp") == 0 ||
        strcmp(key, "FORMAT") == 0) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        if (before == '/' && (key[i] == '/' || key[i] == '.')) {
            return false;
        }
        before = key[i];
    }
    return true;
}

static int check_request(const struct coord_request *request, struct err *e)
{
    if (!is_key(request->key)) {
        return err_set(e, PS_EARGUMENT,
                       "%.*s is not a key: 1 to %d letters, digits and -_./, "
                       "but not tmp or FORMAT, and no part is empty or begins "
                       "with a dot",
                       COORD_KEY_MAX, request->key, COORD_KEY_MAX);
    }
    if (request->op == COORD_CAS && request->size > COORD_VALUE_MAX) {
        return err_set(e, PS_EARGUMENT, "%s: %zu bytes, at most %d are stored",
                       request->key, request->size, COORD_VALUE_MAX);
    }
    return PS_OK;
}

/* Tells the log of the 1st, 2nd, 4th, 8th ... failure in a row: a broken disk
 * is heard of, and does not fill the log. A full one can be read, so reading
 * and writing are counted apart. */
static void tell(struct coord_file *c, enum coord_op op, int status,
                 const struct err *e)
{
    bool writes = op == COORD_CAS || op == COORD_DEL;
    uint64_t *n = &c->failures[writes];

    if (status == PS_EIO || status == PS_EARGUMENT) {
        *n += 1;
        if ((*n & (*n - 1)) == 0) {
            log_write(LOG_WARNING,
                      "store %s: %s (failure %" PRIu64 " in a row)", c->dir,
                      e->text, *n);
        }
    } else if (!writes || status == PS_OK) {
        *n = 0;
    }
}

void coord_file_do(struct coord_file *c, const struct coord_request *request,
                   struct buf *value, struct coord_result *result)
{
    struct err e = {.status = PS_OK, .text = "out of memory"};
    uint64_t version = 0;
    int rc;

    buf_clear(value);
    rc = check_request(request, &e);
    if (rc == PS_OK) {
        switch (request->op) {
        case COORD_GET:
            rc = get(c, request->key, value, &version, &e);
            break;
        case COORD_CAS:
            rc = swap(c, request, &version, &e);
            break;
        case COORD_DEL:
            rc = del(c, request, &e);
            break;
        case COORD_WATCH:
            rc = watch(c, request, value, &version, &e);
            break;
        default:
            rc = err_set(&e, PS_EARGUMENT, "no such operation");
            break;
        }
    }
    rc = rc == PS_ENOMEM ? PS_EIO : rc;
    tell(c, request->op, rc, &e);
    *result = (struct coord_result){
        .op = request->op,
        .tag = request->tag,
        .key = request->key,
        .status = rc,
        .version = version,
    };
    if (rc == PS_OK && value->size >= COORD_HEADER_BYTES) {
        result->data = value->data + COORD_HEADER_BYTES;
        result->size = value->size - COORD_HEADER_BYTES;
    }
}
