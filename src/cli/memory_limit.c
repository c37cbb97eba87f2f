#include "cli/memory_limit.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Enough for the file of groups of a process; what is cut off are the groups of
 * the last hierarchies. */
enum { FILE_BYTES = 8192, PATH_BYTES = 4096 };

static uint64_t least(uint64_t a, uint64_t b)
{
    return a == 0 || (b != 0 && b < a) ? b : a;
}

uint64_t memory_limit_share(uint64_t cgroup_bytes, uint64_t machine_bytes,
                            uint32_t servers)
{
    uint64_t bytes = least(cgroup_bytes, machine_bytes);

    /* bytes * 4 / 5 without the overflow */
    return (bytes / 5 * 4 + bytes % 5 * 4 / 5) / (servers == 0 ? 1 : servers);
}

/* The text of a small file, NUL-terminated; false where there is none. */
static bool read_text(const char *path, char *text, size_t room)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t size = 0;
    ssize_t n = 1;

    if (fd < 0) {
        return false;
    }
    while (n > 0 && size < room - 1) {
        n = read(fd, text + size, room - 1 - size);
        if (n < 0 && errno == EINTR) {
            n = 1;
        } else if (n > 0) {
            size += (size_t)n;
        }
    }
    close(fd);
    text[size] = '\0';
    return n >= 0;
}

/* The number at the start of text; 0 for "max" and other words. */
static uint64_t parse_number(const char *text)
{
    while (*text == ' ') {
        text++;
    }
    return isdigit((unsigned char)*text) ? strtoumax(text, NULL, 10) : 0;
}

/* The least limit of a group and of those above it, up to the mount. A group
 * that is not there is one outside of our namespace: those above it count. */
static uint64_t least_of_groups(const char *mount, const char *group,
                                const char *file)
{
    size_t size = strlen(group);
    uint64_t limit = 0;

    for (;;) {
        char path[PATH_BYTES];
        char text[64];
        int n;

        while (size > 0 && group[size - 1] == '/') {
            size--;
        }
        n = snprintf(path, sizeof(path), "%s%.*s/%s", mount, (int)size, group,
                     file);
        if (n > 0 && (size_t)n < sizeof(path) &&
            read_text(path, text, sizeof(text))) {
            limit = least(limit, parse_number(text));
        }
        if (size == 0) {
            return limit;
        }
        while (size > 0 && group[size - 1] != '/') {
            size--;
        }
    }
}

static bool has_word(const char *list, const char *word)
{
    size_t size = strlen(word);

    for (;;) {
        size_t n = strcspn(list, ",");

        if (n == size && memcmp(list, word, n) == 0) {
            return true;
        }
        if (list[n] == '\0') {
            return false;
        }
        list += n + 1;
    }
}

/* One line of /proc/self/cgroup: number:controllers:group. */
static uint64_t limit_of_line(const char *root, char *line)
{
    char *controllers = strchr(line, ':');
    char *group = controllers == NULL ? NULL : strchr(controllers + 1, ':');
    char mount[PATH_BYTES];
    bool is_two;

    if (group == NULL) {
        return 0;
    }
    *group = '\0';
    controllers++;
    group++;
    is_two = controllers[0] == '\0';
    if (!is_two && !has_word(controllers, "memory")) {
        return 0;
    }
    snprintf(mount, sizeof(mount), "%s/sys/fs/cgroup%s", root,
             is_two ? "" : "/memory");
    return least_of_groups(mount, group,
                           is_two ? "memory.max" : "memory.limit_in_bytes");
}

uint64_t memory_limit_cgroup(const char *root)
{
    char path[PATH_BYTES];
    char text[FILE_BYTES];
    char *line = text;
    uint64_t limit = 0;

    snprintf(path, sizeof(path), "%s/proc/self/cgroup", root);
    if (!read_text(path, text, sizeof(text))) {
        return 0;
    }
    while (line != NULL) {
        char *next = strchr(line, '\n');

        if (next != NULL) {
            *next = '\0';
            next++;
        }
        limit = least(limit, limit_of_line(root, line));
        line = next;
    }
    return limit;
}

uint64_t memory_limit_machine(const char *root)
{
    static const char name[] = "MemTotal:";
    char path[PATH_BYTES];
    char text[FILE_BYTES];
    const char *at;

    snprintf(path, sizeof(path), "%s/proc/meminfo", root);
    if (!read_text(path, text, sizeof(text))) {
        return 0;
    }
    at = strstr(text, name);
    return at == NULL ? 0 : parse_number(at + sizeof(name) - 1) * 1024;
}
