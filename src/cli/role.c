#include "cli/role.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "fs/fs.h"
#include "net/address.h"
#include "udf/udf_plugin.h"

/* The value of the first option of that name from word *at on, and in *at the
 * word behind it; "" where it has no value, NULL where it is not there. For
 * what has to be known before the table of options is. */
static const char *find_option(int argc, char **argv, const char *name,
                               const char *brief, int *at)
{
    for (int i = *at; i < argc && strcmp(argv[i], "--") != 0; i++) {
        const char *word = argv[i];
        size_t size;

        if (word[0] != '-') {
            continue;
        }
        word += word[1] == '-' ? 2 : 1;
        size = strcspn(word, "=");
        if (!(size == strlen(name) && memcmp(word, name, size) == 0) &&
            !(size == strlen(brief) && memcmp(word, brief, size) == 0)) {
            continue;
        }
        *at = i + 1;
        if (word[size] == '=') {
            return word + size + 1;
        }
        *at = i + 2;
        return i + 1 < argc ? argv[i + 1] : "";
    }
    return NULL;
}

/* Before any other option is read, as in ps-plus. */
static int load_plugins(int argc, char **argv, struct err *e)
{
    const char *path;
    int at = 0;
    int rc = PS_OK;

    while (rc == PS_OK &&
           (path = find_option(argc, argv, "plugin", "plugin", &at)) != NULL) {
        if (path[0] != '\0') {
            rc = udf_plugin_load(path, e);
        }
    }
    return rc == PS_OK ? rc : err_wrap(e, "option --plugin");
}

int role_main(int argc, char **argv)
{
    int at = 0;
    const char *role = find_option(argc, argv, "role", "r", &at);
    struct err e;

    mem_keep_little();
    if (load_plugins(argc, argv, &e) != PS_OK) {
        return cli_refuse(&e);
    }
    if (role == NULL) {
        err_set(&e, PS_EARGUMENT,
                "option --role or -r is missing: -r scheduler, -r server, or "
                "a subcommand; ps-plus --help lists them");
        return cli_refuse(&e);
    }
    if (strcmp(role, "scheduler") == 0) {
        return role_scheduler_main(argc, argv);
    }
    if (strcmp(role, "server") == 0) {
        return role_server_main(argc, argv);
    }
    err_set(&e, PS_EARGUMENT,
            "option --role or -r wants scheduler or server, not \"%.64s\"",
            role);
    return cli_refuse(&e);
}

int role_refuse_text(const char *text, const char *option, const char *feature,
                     const char *right, struct err *e)
{
    if (cli_is_empty(text)) {
        return PS_OK;
    }
    return err_set(e, PS_EARGUMENT,
                   "option %s: %s not built yet; %s, not \"%.64s\"", option,
                   feature, right, text);
}

static int check_streams(const struct role_options *o, struct err *e)
{
    const struct {
        const char *value;
        const char *option;
    } streams[] = {
        {o->dense, "--streaming_model_dense or -smdense"},
        {o->sparse, "--streaming_model_sparse or -smsparse"},
        {o->hash, "--streaming_model_hash or -smhash"},
    };

    for (size_t i = 0; i < ARRAY_LEN(streams); i++) {
        int rc = role_refuse_text(streams[i].value, streams[i].option,
                                  "streaming models are",
                                  "leave it out or give \"\"", e);

        if (rc != PS_OK) {
            return rc;
        }
    }
    return PS_OK;
}

/* 0.0.0.0 and :: bind everywhere and reach nobody. */
static bool is_any(const char *host)
{
    struct in_addr four;
    struct in6_addr six;

    return (inet_pton(AF_INET, host, &four) == 1 &&
            four.s_addr == htonl(INADDR_ANY)) ||
           (inet_pton(AF_INET6, host, &six) == 1 &&
            IN6_IS_ADDR_UNSPECIFIED(&six));
}

static int check_addresses(const struct role_options *o, struct err *e)
{
    struct in6_addr six;

    if (cli_is_empty(o->bind) || strlen(o->bind) > ADDRESS_HOST_MAX) {
        return err_set(e, PS_EARGUMENT,
                       "option --bind wants an address of this host, such as "
                       "127.0.0.1, not \"%.64s\"",
                       o->bind);
    }
    if (o->advertise == NULL) {
        return PS_OK;
    }
    if (o->advertise[0] == '\0' || is_any(o->advertise) ||
        strlen(o->advertise) > ADDRESS_HOST_MAX) {
        return err_set(e, PS_EARGUMENT,
                       "option --advertise wants a host that others can "
                       "reach, not \"%.64s\"",
                       o->advertise);
    }
    if (strchr(o->advertise, ':') != NULL &&
        inet_pton(AF_INET6, o->advertise, &six) != 1) {
        return err_set(e, PS_EARGUMENT,
                       "option --advertise wants a host without a port, not "
                       "\"%.64s\"; the port is that of -p",
                       o->advertise);
    }
    return PS_OK;
}

int role_check(const struct role_options *o, struct err *e)
{
    char folder[CLI_FOLDER_BYTES];
    int rc = cli_check_kv(o->kv_path, folder, e);

    if (rc == PS_OK) {
        rc = check_streams(o, e);
    }
    return rc == PS_OK ? check_addresses(o, e) : rc;
}

bool role_is_exposed(const char *host)
{
    struct in_addr four;
    struct in6_addr six;

    if (inet_pton(AF_INET, host, &four) == 1) {
        return ntohl(four.s_addr) >> 24 != 127;
    }
    if (inet_pton(AF_INET6, host, &six) == 1) {
        return !IN6_IS_ADDR_LOOPBACK(&six);
    }
    return strcmp(host, "localhost") != 0;
}

/* 0, or errno: whether a socket of this host may have the address. */
static int try_bind(const struct addrinfo *a)
{
    int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int error = 0;

    if (fd < 0) {
        return errno;
    }
    if (bind(fd, a->ai_addr, a->ai_addrlen) != 0) {
        error = errno;
    }
    close(fd);
    return error;
}

/* Tried on any free port: what may be wrong with that of -p is told later. */
static int check_bind(const char *host, struct err *e)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    int rc = getaddrinfo(host, "0", &hints, &found);
    const char *why = rc != 0 ? gai_strerror(rc) : NULL;

    if (rc == 0) {
        rc = try_bind(found);
        why = strerror(rc);
        freeaddrinfo(found);
    }
    return rc == 0 ? PS_OK
                   : err_set(e, PS_EARGUMENT,
                             "option --bind wants an address of this host, "
                             "such as 127.0.0.1, not \"%.64s\": %s",
                             host, why);
}

int role_begin(const struct role_options *o, struct err *e)
{
    struct rlimit files;
    int rc = check_bind(o->bind, e);

    if (rc != PS_OK) {
        return rc;
    }
    if (role_is_exposed(o->bind)) {
        log_write(LOG_WARNING,
                  "listens on %s: whoever reaches that address can read and "
                  "change the model, for there is no token and no TLS yet",
                  o->bind);
    }
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files); /* then there are fewer */
    }
    return PS_OK;
}

/* The number that begins at text, up to the comma or the end; -1 if there is
 * none, INT64_MAX if it is too large. */
static int64_t parse_count(const char *text, const char **end)
{
    intmax_t n;
    char *stop;

    if (!isdigit((unsigned char)*text)) {
        return -1;
    }
    n = strtoimax(text, &stop, 10);
    *end = stop;
    return *stop == ',' || *stop == '\0' ? n : -1;
}

int role_server_count(const char *text, uint32_t *servers, struct err *e)
{
    const char *end = text;
    int64_t n = parse_count(text, &end);
    int64_t models = 0;

    while (n >= 0 && models >= 0 && *end == ',') {
        int64_t more = parse_count(end + 1, &end);

        models = more < 0 ? -1 : (models == 0 ? more : models);
    }
    if (n < 1 || n > LIMIT_SERVERS || models < 0) {
        return err_set(e, PS_EARGUMENT,
                       "option --server_num or -sn wants a number from 1 to "
                       "%d, not \"%.64s\"",
                       LIMIT_SERVERS, text);
    }
    if (models > 0) {
        return err_set(e, PS_EARGUMENT,
                       "option --server_num or -sn: model servers, which the "
                       "list \"%.64s\" asks for behind the comma, are not "
                       "built yet; give %" PRId64,
                       text, n);
    }
    *servers = (uint32_t)n;
    return PS_OK;
}

static int find_place(const char *url, char *place, struct err *e)
{
    char here[ROLE_PLACE_BYTES / 2] = "";
    const char *path = url;
    struct fs *fs;
    int rc;

    place[0] = '\0';
    if (fs_url_is_none(url)) {
        return PS_OK;
    }
    rc = fs_url_open(&fs, url, e);
    if (rc != PS_OK) {
        return err_wrap(e, "option --checkpoint_path or -cp");
    }
    fs_url_close(fs);
    if (strncmp(path, "memory://", 9) == 0) {
        return err_set(e, PS_EARGUMENT,
                       "option --checkpoint_path or -cp: memory:// is for "
                       "tests within one process: give file://DIR");
    }
    if (strncmp(path, "file://", 7) == 0) {
        path += 7;
    }
    if (path[0] != '/' && getcwd(here, sizeof(here) - 1) == NULL) {
        return err_set(e, PS_EIO, "the working folder: %s", strerror(errno));
    }
    if (snprintf(place, ROLE_PLACE_BYTES, "file://%s%s%s", here,
                 here[0] != '\0' ? "/" : "", path) >= ROLE_PLACE_BYTES) {
        return err_set(e, PS_EARGUMENT,
                       "option --checkpoint_path or -cp: it is too long");
    }
    return PS_OK;
}

int role_saves_check(const struct role_saves *s, char *place, struct err *e)
{
    bool is_consistent = strcmp(s->on_failure, "consistent") == 0;
    int rc = find_place(s->path, place, e);

    if (rc != PS_OK) {
        return rc;
    }
    if (!is_consistent && strcmp(s->on_failure, "accept") != 0) {
        return err_set(e, PS_EARGUMENT,
                       "option --on-failure: \"%.80s\" is neither accept nor "
                       "consistent",
                       s->on_failure);
    }
    if (is_consistent && place[0] == '\0') {
        return err_set(e, PS_EARGUMENT,
                       "option --on-failure: consistent goes back to a "
                       "checkpoint: say where they are with -cp URL");
    }
    return PS_OK;
}

int role_log_check(const char *path, struct err *e)
{
    if (path != NULL &&
        (path[0] == '\0' ||
         (strstr(path, "://") != NULL && strncmp(path, "file://", 7) != 0))) {
        return err_set(e, PS_EARGUMENT,
                       "option --log_path: logs are for a folder on a disk, "
                       "file://DIR or DIR");
    }
    return PS_OK;
}
