/* local_cluster.h - a scheduler and its servers as children, and workers.
 *
 * One thread, which waits for signals: the end of a child is one of them.
 */
#ifndef LOCAL_CLUSTER_H
#define LOCAL_CLUSTER_H

#include "cli/local_child.h"
#include "cli/role.h"

enum {
    LOCAL_FOLDER_BYTES = 4096,
    LOCAL_URL_BYTES = LOCAL_FOLDER_BYTES + 8,
    /* The words of a role's command line have a fixed room. */
    LOCAL_PLUGINS_MAX = 16
};

struct local_options {
    uint32_t servers;
    uint32_t shards;
    uint32_t workers;
    uint32_t wait_s; /* 0: for ever */
    /* Passed on to the scheduler. */
    struct role_limits limits;
    const struct role_saves *saves; /* NULL: left out */
    const char *log_path;           /* of all servers; NULL: none */
    /* Passed on to all roles. */
    const char *const *plugins;
    size_t n_plugins;
    const char *log_level;
    const char *const *command; /* NULL at its end; NULL: none */
    bool is_json;
    bool binds_cores; /* passed on to all roles */
};

struct local_cluster {
    const struct local_options *options;
    const char *store; /* file://... */
    struct local_guard guard;
    sigset_t mask; /* what a child begins with */
    sigset_t wanted;
    struct local_child *roles; /* the scheduler, then the servers */
    size_t n_roles;
    struct local_child *workers;
    size_t n_workers;
    /* What has happened. */
    int signal;                     /* SIGTERM and the like; 0: none */
    const struct local_child *dead; /* a role that has ended unasked */
    int worker_status;   /* the first that is not 0; 0: none failed */
    bool is_told_to_end; /* workers are */
    bool is_stopping;    /* roles are */
};

/* Blocks the signals that it waits for, and starts the guard. folder: what to
 * remove at the end, or NULL. local_cluster_fini even after a failure. */
int local_cluster_init(struct local_cluster *c,
                       const struct local_options *options, const char *store,
                       const char *folder, struct err *e) MUST_USE;
/* Stops workers, then roles, and waits for all. */
void local_cluster_fini(struct local_cluster *c);

int local_cluster_start_roles(struct local_cluster *c, struct err *e) MUST_USE;
/* PS_OK when all shards serve; PS_ECANCELED at a signal; PS_ETIMEOUT and
 * PS_EUNKNOWN (a role has ended) with the reason. */
int local_cluster_wait_ready(struct local_cluster *c, struct err *e) MUST_USE;
int local_cluster_start_workers(struct local_cluster *c,
                                struct err *e) MUST_USE;
/* Waits up to timeout_ms (negative: for ever) for something to happen, and
 * takes note of it. */
void local_cluster_look(struct local_cluster *c, int timeout_ms);
/* Tells the workers to end, and sees to it. */
void local_cluster_stop_workers(struct local_cluster *c);
size_t local_cluster_running(const struct local_child *children, size_t n);

/* One line for a person, or one object for a program: on stdout, which belongs
 * to the command where there is one: on stderr then. */
void local_cluster_say(const struct local_cluster *c, const char *step,
                       const char *format, ...) PRINTF_LIKE(3, 4);

#endif
