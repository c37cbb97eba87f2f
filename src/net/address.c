/* address.c - "host:port" taken apart and put together. */
#include "net/address.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

static bool parse_port(const char *text, uint16_t *port)
{
    uint32_t value = 0;
    size_t n = 0;

    for (; text[n] >= '0' && text[n] <= '9' && n < 6; n++) {
        value = value * 10 + (uint32_t)(text[n] - '0');
    }
    if (n == 0 || text[n] != '\0' || value == 0 || value > UINT16_MAX) {
        return false;
    }
    *port = (uint16_t)value;
    return true;
}

int address_parse(const char *address, char host[ADDRESS_HOST_MAX + 1],
                  uint16_t *port)
{
    const char *colon = strrchr(address, ':');
    size_t n;

    if (colon == NULL || !parse_port(colon + 1, port)) {
        return PS_EARGUMENT;
    }
    n = (size_t)(colon - address);
    if (n >= 2 && address[0] == '[' && address[n - 1] == ']') {
        address++;
        n -= 2;
    } else if (memchr(address, ':', n) != NULL) {
        return PS_EARGUMENT; /* which colon begins the port? */
    }
    if (n == 0 || n > ADDRESS_HOST_MAX) {
        return PS_EARGUMENT;
    }
    memcpy(host, address, n);
    host[n] = '\0';
    return PS_OK;
}

void address_format(const char *host, uint16_t port, char out[ADDRESS_MAX + 1])
{
    bool is_v6 = strchr(host, ':') != NULL;

    snprintf(out, ADDRESS_MAX + 1, is_v6 ? "[%.255s]:%u" : "%.255s:%u", host,
             (unsigned)port);
}

static bool is_everywhere(const char *host)
{
    return strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0;
}

int address_host(const char *bind, const char *advertise,
                 char host[ADDRESS_HOST_MAX + 1], struct err *e)
{
    if (advertise == NULL && is_everywhere(bind)) {
        if (gethostname(host, ADDRESS_HOST_MAX) != 0) {
            return err_set(e, PS_EIO, "no host name to advertise: %s",
                           strerror(errno));
        }
        host[ADDRESS_HOST_MAX] = '\0';
        return PS_OK;
    }
    if (advertise == NULL) {
        advertise = bind;
    }
    if (advertise[0] == '\0' || strlen(advertise) > ADDRESS_HOST_MAX) {
        return err_set(e, PS_EARGUMENT,
                       "the host to advertise is empty or "
                       "longer than %d bytes",
                       (int)ADDRESS_HOST_MAX);
    }
    memcpy(host, advertise, strlen(advertise) + 1);
    return PS_OK;
}
