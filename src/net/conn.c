/* conn.c - connections: they come and go, each closed once.
 *
 * conn_read.c reads, conn_write.c writes, conn_room.c says who may hold how
 * much and for how long.
 *
 * Closing. A connection is in the map while its owner may hear of it. Taking
 * it out, and nothing else, decides who said the last word.
 */
#include "net/conn_impl.h"

#include "base/mem.h"
#include "net/address.h"
#include "net/workers.h"

enum { KEEPALIVE_S = 30 /* of silence, before the kernel asks for the peer */ };

/* Frees once neither the socket nor the look-up of its name needs it. */
static void free_if_quiet(struct conn *c)
{
    if (!c->is_closed || c->is_resolving) {
        return;
    }
    conn_free_queue(c);
    frame_reader_fini(&c->reader);
    mem_free(c);
}

static void on_closed(uv_handle_t *handle)
{
    struct conn *c = handle->data;

    c->is_closed = true;
    free_if_quiet(c);
}

/* A new connection, in the map; NULL when out of memory. */
static struct conn *new_conn(struct loop *l)
{
    struct conn *c = mem_try_zero(sizeof(*c));

    if (c == NULL) {
        return NULL;
    }
    c->loop = l;
    c->number = l->serial + 1;
    frame_reader_init(&c->reader);
    if (map_put(&l->conns, c->number, c) != PS_OK) {
        mem_free(c);
        return NULL;
    }
    if (uv_tcp_init(&l->uv, &c->tcp) != 0) {
        map_take(&l->conns, c->number);
        mem_free(c);
        return NULL;
    }
    l->serial++;
    c->tcp.data = c;
    c->connect.data = c;
    c->resolve.data = c;
    c->write.data = c;
    return c;
}

/* Takes it out of the map; from now on nothing is said of it. */
void conn_retire(struct conn *c)
{
    struct loop *l = c->loop;

    ASSERT(c->state != CLOSING);
    map_take(&l->conns, c->number);
    conn_uncount(c);
    if (c->state == BROKEN) {
        struct conn **p = &l->broken;

        while (*p != c) {
            p = &(*p)->next_broken;
        }
        *p = c->next_broken;
    }
    c->state = CLOSING;
    l->is_dirty = true;
    if (c->is_resolving && workers_enter()) {
        uv_cancel((uv_req_t *)&c->resolve);
        workers_leave();
    }
    uv_close((uv_handle_t *)&c->tcp, on_closed);
}

/* Ends it from within an event: the owner may be told at once. */
void conn_end(struct conn *c)
{
    struct loop *l = c->loop;
    uint64_t number = c->number;

    conn_retire(c);
    if (l->handler->on_close != NULL) {
        l->handler->on_close(l->context, number);
    }
}

/* Marks it from within a call of struct net: conn_settle does the rest. */
void conn_break_off(struct conn *c)
{
    ASSERT(c->state != BROKEN && c->state != CLOSING);
    c->state = BROKEN;
    c->next_broken = c->loop->broken;
    c->loop->broken = c;
    c->loop->is_dirty = true;
}

void conn_settle(struct loop *l)
{
    /* What breaks meanwhile waits for the next batch, so that an owner that
     * connects anew at each on_close does not keep us here. */
    uint64_t last = l->serial;
    struct conn *c = l->broken;

    while (c != NULL) {
        if (c->number <= last) {
            conn_end(c);
            c = l->broken; /* the owner may have closed any of the others */
        } else {
            c = c->next_broken;
        }
    }
    conn_let_in(l);
    if (l->is_behind) {
        conn_accept(l);
    }
    if (l->is_listening) {
        conn_look_back(l);
    }
}

void conn_set_up_socket(struct conn *c)
{
    uv_tcp_nodelay(&c->tcp, 1);
    uv_tcp_keepalive(&c->tcp, 1, KEEPALIVE_S);
}

static void become_open(struct conn *c)
{
    struct loop *l = c->loop;

    c->state = OPEN;
    if (!c->is_accepted || l->patience_ms == 0) {
        conn_set_up_socket(c);
    }
    conn_set_reading(c);
    if (c->state == OPEN && c->n_queued > 0) {
        conn_start_write(c);
    }
    if (l->handler->on_open != NULL) {
        l->handler->on_open(l->context, c->number);
    }
}

static void on_connected(uv_connect_t *req, int status)
{
    struct conn *c = req->data;

    if (c->state != CONNECTING) {
        return;
    }
    if (status < 0) {
        conn_end(c);
        return;
    }
    become_open(c);
}

static void start_connect(struct conn *c, const struct sockaddr *to)
{
    c->state = CONNECTING;
    c->loop->is_dirty = true;
    if (uv_tcp_connect(&c->connect, &c->tcp, to, on_connected) != 0) {
        conn_break_off(c);
    }
}

/* A name's first IPv4 address, or its first of any kind: a server that was
 * given no address listens on IPv4. */
static void on_resolved(uv_getaddrinfo_t *req, int status,
                        struct addrinfo *found)
{
    struct conn *c = req->data;
    struct addrinfo *best = found;

    c->is_resolving = false;
    if (c->state != RESOLVING) {
        uv_freeaddrinfo(found);
        free_if_quiet(c);
        return;
    }
    if (status < 0 || found == NULL) {
        uv_freeaddrinfo(found);
        conn_end(c);
        return;
    }
    for (struct addrinfo *a = found; a != NULL; a = a->ai_next) {
        if (a->ai_family == AF_INET) {
            best = a;
            break;
        }
    }
    start_connect(c, best->ai_addr);
    uv_freeaddrinfo(found);
}

static void start_resolve(struct conn *c, const char *host, uint16_t port)
{
    struct addrinfo hints = {
        .ai_family = AF_UNSPEC,
        .ai_socktype = SOCK_STREAM,
        .ai_flags = AI_NUMERICSERV,
    };
    char service[8];

    snprintf(service, sizeof(service), "%u", (unsigned)port);
    c->state = RESOLVING;
    if (workers_enter()) {
        c->is_resolving = uv_getaddrinfo(&c->loop->uv, &c->resolve, on_resolved,
                                         host, service, &hints) == 0;
        workers_leave();
    }
    if (!c->is_resolving) {
        conn_break_off(c);
    }
}

uint64_t conn_connect(struct net *net, const char *address)
{
    struct loop *l = conn_loop(net);
    char host[ADDRESS_HOST_MAX + 1];
    uint16_t port;
    struct sockaddr_storage to;
    struct conn *c;

    if (l->is_stopped || l->conns.n >= LIMIT_CONNECTIONS ||
        address_parse(address, host, &port) != PS_OK) {
        return 0;
    }
    c = new_conn(l);
    if (c == NULL) {
        return 0;
    }
    memset(&to, 0, sizeof(to));
    if (uv_ip4_addr(host, port, (struct sockaddr_in *)&to) == 0 ||
        uv_ip6_addr(host, port, (struct sockaddr_in6 *)&to) == 0) {
        start_connect(c, (struct sockaddr *)&to);
    } else {
        start_resolve(c, host, port);
    }
    return c->number;
}

void conn_close(struct net *net, uint64_t connection)
{
    struct loop *l = conn_loop(net);
    struct conn *c = map_get(&l->conns, connection);

    if (c != NULL) {
        conn_retire(c);
    }
}

/* "?" of a name that could not be had. */
static const char *text_of(struct loop *l, const union conn_name *name)
{
    char host[INET6_ADDRSTRLEN] = "";
    int rc = -1;

    if (name->any.sa_family == AF_INET) {
        rc = uv_ip4_name(&name->v4, host, sizeof(host));
    } else if (name->any.sa_family == AF_INET6) {
        rc = uv_ip6_name(&name->v6, host, sizeof(host));
    }
    if (rc != 0) {
        return "?";
    }
    /* The port is at the same place in both. */
    address_format(host, ntohs(name->v4.sin_port), l->from);
    return l->from;
}

const char *conn_from(const struct conn *c)
{
    return text_of(c->loop, &c->peer);
}

const char *conn_peer(struct net *net, uint64_t connection)
{
    struct loop *l = conn_loop(net);
    const struct conn *c = map_get(&l->conns, connection);

    return c != NULL ? conn_from(c) : "?";
}

/* Remembered from the start: a socket that was reset has no peer. */
static union conn_name name_of(const uv_tcp_t *tcp)
{
    union conn_name name = {.v6 = {0}};
    int size = sizeof(name);

    if (uv_tcp_getpeername(tcp, &name.any, &size) != 0) {
        name.any.sa_family = AF_UNSPEC;
    }
    return name;
}

static void on_refused(uv_handle_t *handle)
{
    mem_free(handle);
}

/* Takes a connection only to end it: left alone it would wait for ever, and
 * all that come after it. */
static void refuse(struct loop *l)
{
    uv_tcp_t *tcp = mem_try_zero(sizeof(*tcp));
    union conn_name name = {.any = {.sa_family = AF_UNSPEC}};

    if (tcp != NULL && uv_tcp_init(&l->uv, tcp) == 0) {
        if (uv_accept((uv_stream_t *)&l->listener, (uv_stream_t *)tcp) == 0) {
            name = name_of(tcp);
        }
        uv_close((uv_handle_t *)tcp, on_refused);
    } else {
        mem_free(tcp);
        l->is_behind = true; /* conn_settle tries again */
    }
    log_limited(&l->refused, loop_now(), LOG_WARNING,
                "a connection is refused, from %s: %u are open, the limit is "
                "%u",
                text_of(l, &name), l->n_accepted, l->accepted_max);
}

void conn_accept(struct loop *l)
{
    struct conn *c = l->n_accepted < l->accepted_max ? new_conn(l) : NULL;

    l->is_behind = false;
    if (c == NULL) {
        refuse(l);
        return;
    }
    c->is_accepted = true;
    c->moved_ms = uv_now(&l->uv);
    l->n_accepted++;
    l->n_strangers++;
    conn_start_sweep(l);
    c->state = CONNECTING;
    if (uv_accept((uv_stream_t *)&l->listener, conn_stream(c)) != 0) {
        conn_retire(c); /* gone already: nobody has heard of it */
        return;
    }
    c->peer = name_of(&c->tcp);
    become_open(c);
}

void conn_close_all(struct loop *l)
{
    size_t i = 0;
    struct conn *c = map_next(&l->conns, &i);

    while (c != NULL) {
        conn_retire(c);
        i = 0; /* retiring changes the map */
        c = map_next(&l->conns, &i);
    }
    map_fini(&l->conns);
}
