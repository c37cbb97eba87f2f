#include "cli/cli.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/limits.h"
#include "base/log.h"
#include "coord/coord.h"
#include "wire/wire.h"

static void print_page(const struct cli_page *page)
{
    printf("usage: %s\n\n%s\nOptions, with one dash or two, and a space or = "
           "before the value:\n",
           page->usage, page->about);
    opt_print_help(page->table, page->n, stdout);
}

static int set_level(const char *word, struct err *e)
{
    int level = log_level_parse(word);

    if (level < 0) {
        return err_set(e, PS_EARGUMENT,
                       "option --log-level wants debug, info, warning, error "
                       "or none, not \"%.64s\"",
                       word);
    }
    log_set_level((enum log_level)level);
    return PS_OK;
}

static void free_lists(const struct cli_page *page, void *options)
{
    for (size_t i = 0; i < page->n; i++) {
        if (page->table[i].type == OPT_LIST) {
            void *list = (char *)options + page->table[i].offset;

            opt_list_free(list);
        }
    }
}

bool cli_parse(const struct cli_page *page, int argc, char **argv,
               void *options, struct opt_list *rest, int *status)
{
    const struct cli_options *o = options;
    struct err e;

    if (opt_parse(page->table, page->n, argc, argv, options, rest, &e) !=
        PS_OK) {
        *status = cli_refuse(&e);
        return false;
    }
    *status = CLI_OK;
    if (o->is_help) {
        print_page(page);
    } else if (o->is_version) {
        cli_print_version();
    } else if (set_level(o->log_level, &e) != PS_OK) {
        *status = cli_refuse(&e);
    } else {
        return true;
    }
    free_lists(page, options);
    if (rest != NULL) {
        opt_list_free(rest);
    }
    return false;
}

bool cli_shows_config(const struct cli_page *page, const void *options)
{
    const struct cli_options *o = options;

    if (o->is_config) {
        opt_print_config(page->table, page->n, options, stdout);
    }
    return o->is_config;
}

void cli_print_version(void)
{
    printf("ps-plus %s\n", ps_version());
}

static void print_error(const struct err *e)
{
    struct err line = *e;

    base_one_line(line.text);
    fflush(stdout); /* what was said before stands before */
    fprintf(stderr, "ps-plus: %s\n", line.text);
}

int cli_refuse(const struct err *e)
{
    print_error(e);
    return CLI_REFUSED;
}

int cli_fail(const struct err *e)
{
    print_error(e);
    return CLI_FAILED;
}

bool cli_is_empty(const char *text)
{
    return text == NULL || text[0] == '\0';
}

int cli_check_kv(const char *kv_path, char *folder, struct err *e)
{
    if (kv_path != NULL &&
        coord_path_parse(kv_path, folder, CLI_FOLDER_BYTES, e) != PS_OK) {
        return err_wrap(e, "option --scheduler_kv_path or -sp");
    }
    return PS_OK;
}

int cli_check_name(const char *name, struct err *e)
{
    if (name[0] == '\0' || strlen(name) > LIMIT_NAME_BYTES ||
        !wire_is_text(name, strlen(name))) {
        return err_set(e, PS_EARGUMENT,
                       "the name has to be 1 to %d bytes of UTF-8 without "
                       "control characters, or left out",
                       (int)LIMIT_NAME_BYTES);
    }
    return PS_OK;
}

int cli_check_store(const char *kv_path, const char *folder, struct err *e)
{
    struct stat info;

    if (stat(folder, &info) != 0) {
        return errno == ENOENT
                   ? err_set(e, PS_ENOTFOUND,
                             "no cluster at %s: there is no such folder",
                             kv_path)
                   : err_set(e, PS_EIO, "%s: %s", folder, strerror(errno));
    }
    if (!S_ISDIR(info.st_mode)) {
        return err_set(e, PS_EIO, "%s is not a folder", folder);
    }
    return PS_OK;
}

int cli_open(ps_client **client, const char *kv_path, int64_t timeout_ms,
             struct err *e)
{
    struct ps_options options;
    struct ps_error error = {0};
    int rc;

    ps_options_init(&options);
    options.scheduler = kv_path;
    options.worker = -1; /* a worker that asks is not that worker anew */
    options.timeout_ms = (int)timeout_ms;
    options.quiet = 1;
    rc = ps_open(client, &options, &error);
    return rc == PS_OK ? rc : err_set(e, rc, "%s", error.text);
}

static int put_json(const char *text, size_t size, void *context)
{
    return buf_append(context, text, size) == PS_OK ? 0 : -1;
}

/* 17 digits, the library's own choice, make 0.20100000000000001 of 0.201. All
 * numbers have 15 where that is enough for each of them. */
int cli_print_json(json_t *root, struct err *e)
{
    struct buf text;
    json_t *back = NULL;
    bool is_done;

    buf_init(&text);
    if (root != NULL &&
        json_dump_callback(root, put_json, &text,
                           JSON_INDENT(1) | JSON_REAL_PRECISION(15)) == 0) {
        back = json_loadb((const char *)text.data, text.size, 0, NULL);
    }
    if (back != NULL && json_equal(root, back)) {
        is_done = fwrite(text.data, 1, text.size, stdout) == text.size;
    } else {
        is_done = root != NULL && json_dumpf(root, stdout, JSON_INDENT(1)) == 0;
    }
    printf("\n");
    json_decref(back);
    json_decref(root);
    buf_fini(&text);
    return is_done ? PS_OK : err_set(e, PS_EIO, "cannot write the JSON");
}
