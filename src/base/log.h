/* log.h - one line on stderr: time, level, role, text.
 *
 * Form: 2026-01-31T12:00:00.123456Z I server 0: text. The level is set once,
 * at start. Threads: any. Lines over 1 KiB are cut. log_limited prints at most
 * one line a second for each call site and says how many it left out.
 */
#ifndef LOG_H
#define LOG_H

#include "base.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARNING, LOG_ERROR, LOG_NONE };

void log_set_level(enum log_level level);
/* "debug", "info", "warning", "error", "none"; -1 for other words. */
int log_level_parse(const char *word);
/* Who speaks, such as "server 0"; cut to 31 bytes. Before threads start. */
void log_set_name(const char *name);
/* Sends each text, without time, level and name, to fn instead of stderr
 * (tests, simulator); NULL undoes it. No clock is read then. */
void log_set_sink(void (*fn)(enum log_level level, const char *text));
void log_write(enum log_level level, const char *format, ...) PRINTF_LIKE(2, 3);

/* `now_us` is the caller's clock, so that logic stays deterministic. A limit
 * belongs to one thread. */
struct log_limit {
    uint64_t next_us;
    uint64_t left_out;
};
void log_limited(struct log_limit *limit, uint64_t now_us, enum log_level level,
                 const char *format, ...) PRINTF_LIKE(4, 5);

#endif
