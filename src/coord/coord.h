/* coord.h - the coordination store: get, compare-and-swap, delete, watch.
 *
 * The store holds what must outlive every process: scheduler's address, term,
 * leases, sessions, lanes, plan. A key is a short path such as `plan` or
 * `server/3` (letters, digits, - _ . and /). Its value has a version: 0 means
 * absent, the first write makes 1, each further write adds 1.
 *
 * Logic sees only the asynchronous form below: it calls submit and is handed
 * the result later, by its owner's loop, through its own x_on_coord function.
 * The runtime (src/local, the simulator) decides where the work is done.
 *
 * A compare-and-swap has three answers: PS_OK; PS_ECONFLICT (certainly not
 * done); PS_EIO or PS_EUNSURE (it may have taken effect, now or even later:
 * read again and look for your own nonce).
 */
#ifndef COORD_H
#define COORD_H

#include "base/buf.h"
#include "base/err.h"

enum { COORD_KEY_MAX = 63, COORD_VALUE_MAX = 16 << 20 };

enum coord_op {
    COORD_GET,  /* value and version; PS_ENOTFOUND and version 0 if absent */
    COORD_CAS,  /* writes data if the version is `version`; answers the new */
    COORD_DEL,  /* removes a key, whatever its version; never to be reused */
    COORD_WATCH /* a get that answers only when the version differs */
};

enum coord_flags {
    COORD_DURABLE = 1 /* fsynced; renewals of leases go without */
};

struct coord_request {
    enum coord_op op;
    uint32_t flags;
    uint64_t tag; /* the caller's, comes back in the result */
    char key[COORD_KEY_MAX + 1];
    uint64_t version;
    const void *data; /* borrowed for the call of submit */
    size_t size;
};

struct coord_result {
    enum coord_op op;
    uint64_t tag;
    const char *key;
    int status;
    uint64_t version;
    const void *data; /* of get and watch; valid during x_on_coord only */
    size_t size;
};

/* The seam that logic holds. submit copies what it needs and never calls back
 * before it has returned; the answer always comes, with PS_EIO if need be. */
struct coord {
    void (*submit)(struct coord *c, const struct coord_request *request);
};

/* ---- file://DIR: the store in a folder of one host --------------------- */

struct fs;
struct coord_file;

/* Opens (and creates) the folder. Refuses a network file system, and a folder
 * of another format version. `nonce` must differ between processes; it names
 * temporary files. */
int coord_file_open(struct coord_file **c, struct fs *fs, const char *dir,
                    uint64_t nonce, struct err *e) MUST_USE;
/* Likewise, but makes nothing: PS_ENOTFOUND where there is no store. For those
 * who use a cluster: a folder of a mistyped name must not become one. */
int coord_file_join(struct coord_file **c, struct fs *fs, const char *dir,
                    uint64_t nonce, struct err *e) MUST_USE;
void coord_file_close(struct coord_file *c);

/* Does one request now; blocks for the file system. Fills result, whose data
 * is in `value` (cleared first). COORD_WATCH is answered as: PS_OK when the
 * version differs from request->version, PS_EBUSY when it does not. Threads:
 * one at a time for each coord_file. */
void coord_file_do(struct coord_file *c, const struct coord_request *request,
                   struct buf *value, struct coord_result *result);

/* Splits a kv path: "file:///run/ps" or "/run/ps" gives the folder;
 * "zfs://..." and other schemes are refused with a clear line. */
int coord_path_parse(const char *kv_path, char *dir, size_t size,
                     struct err *e) MUST_USE;

#endif
