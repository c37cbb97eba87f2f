/* log.c - one line on stderr, in one write, from any thread. */
#include "log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "limits.h"

/* How these are kept safe: level is atomic, relaxed; name and sink are set
 * before the threads start. */
static atomic_int level_now = LOG_INFO;
static char name_now[32];
static void (*sink_now)(enum log_level level, const char *text);

static const char *const level_words[] = {"debug", "info", "warning", "error",
                                          "none"};

void log_set_level(enum log_level level)
{
    atomic_store_explicit(&level_now, (int)level, memory_order_relaxed);
}

int log_level_parse(const char *word)
{
    for (size_t i = 0; i < ARRAY_LEN(level_words); i++) {
        if (strcmp(word, level_words[i]) == 0) {
            return (int)i;
        }
    }
    return -1;
}

void log_set_name(const char *name)
{
    snprintf(name_now, sizeof(name_now), "%s", name);
    base_one_line(name_now);
}

void log_set_sink(void (*fn)(enum log_level level, const char *text))
{
    sink_now = fn;
}

static bool is_wanted(enum log_level level)
{
    ASSERT(level < LOG_NONE);
    return (int)level >= atomic_load_explicit(&level_now, memory_order_relaxed);
}

/* Writes "time level name: " and returns its size. */
static size_t write_head(char *line, size_t room, enum log_level level)
{
    static const char letters[] = "DIWE";
    struct timespec now = {0};
    struct tm day;
    size_t n;
    int more;

    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &day);
    n = strftime(line, room, "%Y-%m-%dT%H:%M:%S", &day);
    more = snprintf(line + n, room - n, ".%06dZ %c %s%s",
                    (int)(now.tv_nsec / 1000), letters[level], name_now,
                    name_now[0] == '\0' ? "" : ": ");
    return n + (size_t)more;
}

static void write_text(enum log_level level, const char *text)
{
    char line[LIMIT_LOG_BYTES];
    size_t head;
    size_t n;
    ssize_t written;

    if (sink_now != NULL) {
        sink_now(level, text);
        return;
    }
    head = write_head(line, sizeof(line), level);
    n = base_min_u64(strlen(text), sizeof(line) - head - 1);
    memcpy(line + head, text, n);
    line[head + n] = '\n';
    /* One write, so that lines of several threads do not mix. Where stderr is
     * full or gone there is nobody left to tell. */
    do {
        written = write(STDERR_FILENO, line, head + n + 1);
    } while (written < 0 && errno == EINTR);
}

void log_write(enum log_level level, const char *format, ...)
{
    char text[LIMIT_LOG_BYTES];
    int saved = errno; /* a log line in between must not change it */
    va_list args;

    if (!is_wanted(level)) {
        return;
    }
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    base_one_line(text);
    write_text(level, text);
    errno = saved;
}

void log_limited(struct log_limit *limit, uint64_t now_us, enum log_level level,
                 const char *format, ...)
{
    /* What log_write cuts must not be the number at the end: 128 bytes are for
     * it and for time, level and name. */
    char text[LIMIT_LOG_BYTES - 128];
    char left_out[64] = "";
    va_list args;

    if (!is_wanted(level)) {
        return;
    }
    if (now_us < limit->next_us) {
        limit->left_out++;
        return;
    }
    if (limit->left_out > 0) {
        snprintf(left_out, sizeof(left_out),
                 " (%llu more like this were left out)",
                 (unsigned long long)limit->left_out);
    }
    limit->left_out = 0;
    limit->next_us = now_us + 1000000;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    log_write(level, "%s%s", text, left_out);
}
