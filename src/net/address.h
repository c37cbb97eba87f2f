/* address.h - "host:port" taken apart and put together.
 *
 * An IPv6 host is written in brackets: "[::1]:7000". No name is looked up here.
 */
#ifndef ADDRESS_H
#define ADDRESS_H

#include "base/err.h"

enum { ADDRESS_HOST_MAX = 255, ADDRESS_MAX = ADDRESS_HOST_MAX + 9 };

/* PS_EARGUMENT: no port, a port that is not 1 to 65,535, an empty or an overly
 * long host. */
int address_parse(const char *address, char host[ADDRESS_HOST_MAX + 1],
                  uint16_t *port) MUST_USE;
void address_format(const char *host, uint16_t port, char out[ADDRESS_MAX + 1]);
/* The host that others are to use: `advertise`, or where it is NULL `bind`, or
 * where that is everywhere (0.0.0.0 or ::) this host's name. PS_EIO. */
int address_host(const char *bind, const char *advertise,
                 char host[ADDRESS_HOST_MAX + 1], struct err *e) MUST_USE;

#endif
