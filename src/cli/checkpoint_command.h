/* checkpoint_command.h - what the commands share that look at checkpoints. */
#ifndef CHECKPOINT_COMMAND_H
#define CHECKPOINT_COMMAND_H

#include "ckpt/ckpt_folder.h"
#include "cli/cli.h"

struct checkpoint_options {
    struct cli_options cli;
    const char *url;
    const char *variable; /* inspect; export: several */
    int64_t rows;         /* inspect */
    bool is_json;
    const char *name; /* of the checkpoint; NULL: the newest */
};
_Static_assert(offsetof(struct checkpoint_options, cli) == 0, "rows of cli.h");

/* clang-format off */
#define CHECKPOINT_OPTIONS                                                    \
    {.name = "checkpoint_path", .brief = "cp", .type = OPT_TEXT,              \
     .offset = offsetof(struct checkpoint_options, url), .value = "URL",      \
     .help = "Where the checkpoints are, instead of the first word."},        \
    {.name = "json", .type = OPT_FLAG,                                        \
     .offset = offsetof(struct checkpoint_options, is_json),                  \
     .help = "One object of JSON, for programs."}
/* clang-format on */

/* The command: its options, which begin with o, the checkpoints, then fn.
 * n_words: with NAME 2. */
int checkpoint_run(const struct cli_page *page, size_t n_words, int argc,
                   char **argv, struct checkpoint_options *o,
                   int (*fn)(const struct checkpoint_options *o, struct fs *fs,
                             const struct ckpt_list *list, struct err *e));
/* What o->name means. PS_ENOTFOUND, saying what there is. */
int checkpoint_find(const struct checkpoint_options *o,
                    const struct ckpt_list *list,
                    const struct ckpt_entry **entry, struct err *e) MUST_USE;
/* "2026-11-23 08:31:00"; room for CHECKPOINT_TIME_BYTES. */
enum { CHECKPOINT_TIME_BYTES = 24 };
void checkpoint_time(uint64_t time_ms, char *out);

#endif
