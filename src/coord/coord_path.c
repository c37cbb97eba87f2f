/* coord_path.c - from a kv path to the folder of the store. */
#include "coord/coord.h"

static const char file_scheme[] = "file://";
static const char zfs_scheme[] = "zfs://";

/* True if the text begins with a scheme such as "hdfs://"; *n is its length. */
static bool has_scheme(const char *text, size_t *n)
{
    const char *colon = strstr(text, "://");

    *n = colon == NULL ? 0 : (size_t)(colon - text) + 3;
    return colon != NULL && memchr(text, '/', (size_t)(colon - text)) == NULL;
}

int coord_path_parse(const char *kv_path, char *dir, size_t size, struct err *e)
{
    const char *path = kv_path == NULL ? "" : kv_path;
    size_t n;

    if (path[0] == '\0') {
        return err_set(e, PS_EARGUMENT,
                       "no path of the store given: it has the form "
                       "file:///run/ps");
    }
    if (strncmp(path, zfs_scheme, sizeof(zfs_scheme) - 1) == 0) {
        return err_set(e, PS_EARGUMENT,
                       "%s: this version has no ZooKeeper store yet; on one "
                       "host use file:///run/ps",
                       path);
    }
    if (strncmp(path, file_scheme, sizeof(file_scheme) - 1) == 0) {
        path += sizeof(file_scheme) - 1;
    } else if (has_scheme(path, &n)) {
        return err_set(e, PS_EARGUMENT,
                       "%s: %.*s is not a store; use file:///run/ps", path,
                       n > 32 ? 32 : (int)n, path);
    }
    if (path[0] != '/') {
        return err_set(e, PS_EARGUMENT,
                       "%s: the folder must begin with a slash, as in "
                       "file:///run/ps",
                       kv_path);
    }
    n = strlen(path);
    while (n > 1 && path[n - 1] == '/') {
        n--;
    }
    if (n == 1) {
        return err_set(e, PS_EARGUMENT,
                       "%s: the store needs a folder of its own, as in "
                       "file:///run/ps",
                       kv_path);
    }
    if (n >= size) {
        return err_set(e, PS_EARGUMENT,
                       "%.64s...: the folder's name has %zu bytes, at most "
                       "%zu fit",
                       path, n, size - 1);
    }
    memcpy(dir, path, n);
    dir[n] = '\0';
    return PS_OK;
}
