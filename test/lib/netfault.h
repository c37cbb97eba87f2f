/* netfault.h - the nth call that a process makes for its network fails.
 *
 * netfault.c defines the calls themselves (read, writev, accept4, socket ...),
 * so whatever libuv asks the system for goes through it: what is armed for
 * another process, or is about files, is passed on. The state is shared with
 * the children that are forked after netfault_open(), each of which says who it
 * is. Links into programs of its own only.
 *
 * libuv aborts where epoll_ctl() or an eventfd fails, so these do not here.
 */
#ifndef TEST_NETFAULT_H
#define TEST_NETFAULT_H

#include <stdbool.h>
#include <stdint.h>

enum netfault_call {
    NETFAULT_READ,
    NETFAULT_WRITE, /* and writev */
    NETFAULT_ACCEPT,
    NETFAULT_SOCKET,
    NETFAULT_CONNECT,
    NETFAULT_CONNECTED, /* what became of a connect */
    NETFAULT_NAME,      /* getpeername, getsockname */
    NETFAULT_OPTION,
    NETFAULT_LISTEN, /* and bind */
    NETFAULT_CALLS
};

/* In which way it fails: the errors of each call by turns. */
enum { NETFAULT_MANNERS = 6 };

/* Anew, before the processes are forked. False: no memory. */
bool netfault_open(void);
void netfault_i_am(int who);
/* The nth call of `who` from now on, and until it is disarmed EINTR for each
 * third that waits; 0: none. */
void netfault_arm(int who, unsigned manner, uint64_t n);
/* Has it failed since it was armed? None does any more. */
bool netfault_disarm(void);
/* A bit for each manner in which such a call of `who` has failed. */
unsigned netfault_seen(int who, enum netfault_call call);

#endif
