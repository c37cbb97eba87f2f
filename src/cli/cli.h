/* cli.h - what roles and subcommands share: exit statuses, the options that
 * each of them has, how a page of help looks and how a failure is printed.
 *
 * A command parses its table with cli_parse, checks what it got, shows it where
 * --print-config asks for it, and runs. Whatever is refused is one line on
 * stderr that says what would be right.
 */
#ifndef CLI_H
#define CLI_H

#include <jansson.h>

#include "base/opt.h"
#include "psplus.h"

enum cli_exit {
    CLI_OK = 0,
    CLI_FAILED = 1, /* while it ran */
    CLI_REFUSED = 2 /* before anything was begun */
};

/* Checkpoints that may be kept, and of what chain. */
enum { CLI_KEEP_MAX = 4096, CLI_CHAIN_MAX = 64 };

/* First in the options of each command. */
struct cli_options {
    const char *log_level;
    bool is_config;
    bool is_version;
    bool is_help;
};

/* clang-format off */
/* The last rows of each table; `level` is what --log-level falls back to. */
#define CLI_OPTIONS(level)                                                    \
    {.name = "log-level", .type = OPT_TEXT, .fallback = (level),              \
     .offset = offsetof(struct cli_options, log_level), .value = "LEVEL",     \
     .help = "What is logged on stderr: debug, info, warning, error, none."}, \
    {.name = "print-config", .type = OPT_FLAG, .flags = OPT_ALONE,            \
     .offset = offsetof(struct cli_options, is_config),                       \
     .help = "Prints each option with the value it would have, and ends."},   \
    {.name = "version", .type = OPT_FLAG, .flags = OPT_ALONE,                 \
     .offset = offsetof(struct cli_options, is_version),                      \
     .help = "Prints the version, and ends."},                                \
    {.name = "help", .brief = "h", .type = OPT_FLAG, .flags = OPT_ALONE,      \
     .offset = offsetof(struct cli_options, is_help),                         \
     .help = "Prints this, and ends."}
/* clang-format on */

/* One command, as its --help shows it. */
struct cli_page {
    const char *usage;
    const char *about; /* paragraphs and examples, lines ended */
    const struct opt *table;
    size_t n;
};

/* Fills in *options, whose first member is a struct cli_options. False where
 * the program ends with *status: help and version are printed then, and so is
 * what is wrong; all lists are empty. rest as in opt_parse. Sets the level of
 * the log. */
bool cli_parse(const struct cli_page *page, int argc, char **argv,
               void *options, struct opt_list *rest, int *status) MUST_USE;
/* True where --print-config was given: the options are printed now. */
bool cli_shows_config(const struct cli_page *page, const void *options);

void cli_print_version(void);
/* "ps-plus: text" on stderr. They return CLI_REFUSED and CLI_FAILED. */
int cli_refuse(const struct err *e);
int cli_fail(const struct err *e);

/* Whether a text is left out or empty: it asks for nothing. */
bool cli_is_empty(const char *text);

/* The folder that -sp names, in CLI_FOLDER_BYTES; nothing where it was not
 * given (NULL). PS_EARGUMENT. */
enum { CLI_FOLDER_BYTES = 4096 };
int cli_check_kv(const char *kv_path, char *folder, struct err *e) MUST_USE;
/* A name that was given for a checkpoint: an empty one may be a mistake of a
 * script, and would mean another checkpoint. PS_EARGUMENT. */
int cli_check_name(const char *name, struct err *e) MUST_USE;
/* A client would wait for the store to come into being; who asks a cluster for
 * something wants to know that it is not there. folder: of kv_path. */
int cli_check_store(const char *kv_path, const char *folder,
                    struct err *e) MUST_USE;
/* A client that is no worker, and logs nothing. */
int cli_open(ps_client **client, const char *kv_path, int64_t timeout_ms,
             struct err *e) MUST_USE;
/* On stdout; takes root. */
int cli_print_json(json_t *root, struct err *e) MUST_USE;

/* Each command, in the file of its first word. argv is without the program's
 * name and the command's word; they return the exit status. */
int role_main(int argc, char **argv);
int local_main(int argc, char **argv);
int status_main(int argc, char **argv);
int bench_main(int argc, char **argv);
int save_main(int argc, char **argv);
int restore_main(int argc, char **argv);
int move_main(int argc, char **argv);
int checkpoint_main(int argc, char **argv);
int checkpoint_verify_main(int argc, char **argv);
int checkpoint_inspect_main(int argc, char **argv);
int compact_main(int argc, char **argv);
int import_main(int argc, char **argv);
int export_main(int argc, char **argv);

#endif
