/* It makes read an inline function, which cannot be defined again. */
#undef _FORTIFY_SOURCE

#include "lib/netfault.h"

#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* <sys/socket.h> is not included: its accept4 and the like are declared with a
 * union of their own that no definition can match. */
enum { LEVEL_SOCKET = 1, OPTION_ERROR = 4, PEOPLE = 4 };

enum { PART = -1 /* of what was asked for is done, and no error */ };

static const int errors[NETFAULT_CALLS][NETFAULT_MANNERS] = {
    [NETFAULT_READ] = {ECONNRESET, PART, EINTR, ETIMEDOUT, EAGAIN,
                       EHOSTUNREACH},
    [NETFAULT_WRITE] = {EPIPE, PART, EINTR, ECONNRESET, ENOBUFS, EAGAIN},
    [NETFAULT_ACCEPT] = {EMFILE, ECONNABORTED, EINTR, ENFILE, ENOBUFS, EAGAIN},
    [NETFAULT_SOCKET] = {EMFILE, ENOBUFS, ENFILE, ENOMEM, EACCES, EMFILE},
    [NETFAULT_CONNECT] = {ENETUNREACH, ECONNREFUSED, EINTR, EADDRNOTAVAIL,
                          ETIMEDOUT, ENOBUFS},
    [NETFAULT_CONNECTED] = {ECONNREFUSED, ETIMEDOUT, EHOSTUNREACH, ECONNRESET,
                            ENETUNREACH, ECONNREFUSED},
    [NETFAULT_NAME] = {ENOTCONN, ENOBUFS, EINVAL, ENOTCONN, ENOBUFS, EINVAL},
    [NETFAULT_OPTION] = {EINVAL, ENOPROTOOPT, ENOBUFS, EINVAL, ENOMEM, EINVAL},
    [NETFAULT_LISTEN] = {EADDRINUSE, ENOBUFS, EACCES, ENOMEM, EADDRNOTAVAIL,
                         EADDRINUSE},
};

/* Shared by the processes; all atomic. */
static struct {
    _Atomic int who;
    _Atomic unsigned manner;
    _Atomic uint64_t left; /* calls until the one that fails; 0: none does */
    _Atomic bool has_failed;
    _Atomic bool is_armed;
    _Atomic unsigned waits;
    _Atomic unsigned seen[PEOPLE][NETFAULT_CALLS];
} * shared;

static int myself; /* set before there are threads */

bool netfault_open(void)
{
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) {
        shared = NULL;
    }
    return shared != NULL;
}

void netfault_i_am(int who)
{
    myself = who;
}

void netfault_arm(int who, unsigned manner, uint64_t n)
{
    shared->has_failed = false;
    shared->who = who;
    shared->manner = manner;
    shared->left = n;
    shared->is_armed = n > 0;
}

bool netfault_disarm(void)
{
    shared->left = 0;
    shared->is_armed = false;
    return shared->has_failed;
}

unsigned netfault_seen(int who, enum netfault_call call)
{
    return shared->seen[who][call];
}

/* The error of a call that is to fail, or PART; 0: it does not. */
static int strike(enum netfault_call call)
{
    uint64_t left;
    unsigned manner;

    if (shared == NULL || shared->who != myself) {
        return 0;
    }
    left = shared->left;
    while (left > 0 &&
           !atomic_compare_exchange_weak(&shared->left, &left, left - 1)) {
    }
    if (left != 1) {
        return 0;
    }
    manner = shared->manner;
    shared->seen[myself][call] |= 1U << manner;
    shared->has_failed = true;
    return errors[call][manner];
}

static int strike_socket(int fd, enum netfault_call call)
{
    struct stat st;

    return fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode) ? strike(call) : 0;
}

/* How many there are is a matter of time, so they are not counted with the
 * others: a signal ends each third. */
static int strike_wait(bool may_sleep)
{
    if (shared == NULL || shared->who != myself || !shared->is_armed ||
        !may_sleep || shared->waits++ % 3 != 0) {
        return 0;
    }
    return EINTR;
}

/* The call of this name that comes after ours. */
static void *next(void *_Atomic *known, const char *name)
{
    void *p = *known;

    if (p == NULL) {
        p = dlsym(RTLD_NEXT, name);
        *known = p;
    }
    return p;
}

/* Defines a call, which fails with `test`, an error or 0, or else does what the
 * system's does. */
#define DEFINE(type, name, parameters, arguments, test)          \
    __attribute__((visibility("default"))) type name parameters; \
    type name parameters                                         \
    {                                                            \
        static void *_Atomic known;                              \
        type(*real) parameters;                                  \
        int rc;                                                  \
                                                                 \
        *(void **)&real = next(&known, #name);                   \
        rc = (test);                                             \
        if (rc > 0) {                                            \
            errno = rc;                                          \
            return -1;                                           \
        }                                                        \
        return real arguments;                                   \
    }

/* PART: half of what was asked for, at least a byte. */
static int halve(int rc, size_t *n)
{
    if (rc == PART) {
        *n = *n > 1 ? *n / 2 : *n;
        return 0;
    }
    return rc;
}

static int halve_vector(int rc, const struct iovec **v, int *n,
                        struct iovec *half)
{
    if (rc == PART && *n > 0) {
        *half = **v;
        *v = half;
        *n = 1;
        return halve(rc, &half->iov_len);
    }
    return rc;
}

/* Of reading half would be what came, mostly: a byte. */
static int take_one(int rc, size_t *n)
{
    if (rc == PART) {
        *n = *n > 1 ? 1 : *n;
        return 0;
    }
    return rc;
}

DEFINE(ssize_t, read, (int fd, void *data, size_t n), (fd, data, n),
       take_one(strike_socket(fd, NETFAULT_READ), &n))
DEFINE(ssize_t, write, (int fd, const void *data, size_t n), (fd, data, n),
       halve(strike_socket(fd, NETFAULT_WRITE), &n))
DEFINE(ssize_t, writev, (int fd, const struct iovec *v, int n), (fd, v, n),
       halve_vector(strike_socket(fd, NETFAULT_WRITE), &v, &n,
                    &(struct iovec){0}))
DEFINE(int, accept4, (int fd, void *name, unsigned *size, int flags),
       (fd, name, size, flags), strike(NETFAULT_ACCEPT))
DEFINE(int, socket, (int domain, int type, int protocol),
       (domain, type, protocol), strike(NETFAULT_SOCKET))
DEFINE(int, connect, (int fd, const void *name, unsigned size),
       (fd, name, size), strike(NETFAULT_CONNECT))
DEFINE(int, getpeername, (int fd, void *name, unsigned *size), (fd, name, size),
       strike(NETFAULT_NAME))
DEFINE(int, getsockname, (int fd, void *name, unsigned *size), (fd, name, size),
       strike(NETFAULT_NAME))
DEFINE(int, setsockopt,
       (int fd, int level, int option, const void *value, unsigned size),
       (fd, level, option, value, size), strike(NETFAULT_OPTION))
DEFINE(int, bind, (int fd, const void *name, unsigned size), (fd, name, size),
       strike(NETFAULT_LISTEN))
DEFINE(int, listen, (int fd, int backlog), (fd, backlog),
       strike(NETFAULT_LISTEN))
DEFINE(int, epoll_wait,
       (int fd, struct epoll_event *events, int n, int timeout),
       (fd, events, n, timeout), strike_wait(timeout != 0))
DEFINE(int, epoll_pwait,
       (int fd, struct epoll_event *events, int n, int timeout,
        const sigset_t *mask),
       (fd, events, n, timeout, mask), strike_wait(timeout != 0))

struct pollfd;

DEFINE(int, ppoll,
       (struct pollfd * fds, size_t n, const struct timespec *timeout,
        const sigset_t *mask),
       (fds, n, timeout, mask), strike_wait(true))

__attribute__((visibility("default"))) int
getsockopt(int fd, int level, int option, void *value, unsigned *size);

/* What became of a connect is asked for so, and is no error of the call. */
int getsockopt(int fd, int level, int option, void *value, unsigned *size)
{
    static void *_Atomic known;
    int (*real)(int, int, int, void *, unsigned *);
    int rc = level == LEVEL_SOCKET && option == OPTION_ERROR
                 ? strike(NETFAULT_CONNECTED)
                 : 0;

    if (rc > 0) {
        *(int *)value = rc;
        return 0;
    }
    *(void **)&real = next(&known, "getsockopt");
    return real(fd, level, option, value, size);
}
