/* export_command.c - ps-plus export: variables of a checkpoint as text, as the
 * original's convert_ps_variable wrote them.
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/mem.h"
#include "ckpt/import_text.h"
#include "cli/cli.h"

struct options {
    struct cli_options cli;
    const char *url;
    const char *name; /* of the checkpoint; NULL: the newest */
    const char *variables;
    const char *to;
    bool is_text;
    bool with_slots;
    bool with_lines;
    bool is_json;
};
_Static_assert(offsetof(struct options, cli) == 0, "rows of cli.h");

#define AT(field) offsetof(struct options, field)

static const struct opt table[] = {
    {.name = "text",
     .type = OPT_FLAG,
     .offset = AT(is_text),
     .help = "As text, a file for each variable. There is no other form yet."},
    {.name = "variable",
     .type = OPT_TEXT,
     .flags = OPT_REQUIRED,
     .offset = AT(variables),
     .value = "V[,W...]",
     .help = "Which variables. Those that are not there are passed over."},
    {.name = "output",
     .brief = "o",
     .type = OPT_TEXT,
     .flags = OPT_REQUIRED,
     .offset = AT(to),
     .value = "DIR",
     .help = "The folder for the files. Older ones of the same names go."},
    {.name = "with-slots",
     .type = OPT_FLAG,
     .offset = AT(with_slots),
     .help = "The slots of the updater too, each in a file VARIABLE&SLOT."},
    {.name = "with-enter",
     .type = OPT_FLAG,
     .offset = AT(with_lines),
     .help = "Each row of a dense variable on a line of its own."},
    {.name = "json",
     .type = OPT_FLAG,
     .offset = AT(is_json),
     .help = "The end as one object of JSON, for programs."},
    CLI_OPTIONS("warning"),
};

static const struct cli_page page = {
    .usage = "ps-plus export --text URL [NAME] --variable V[,W] -o DIR "
             "[OPTION...]",
    .about =
        "Writes variables of a checkpoint as text, in the format of the\n"
        "original's convert_ps_variable: of a hash variable a line for each\n"
        "key, `key,v1,...,vn`, the key as a signed number; of a dense one all\n"
        "rows on one line. Numbers have 6 significant digits. A variable's\n"
        "file has its name, with & for each /. NAME is a folder, a cut, or "
        "the\n"
        "name that was given to ps-plus save; without it, the newest whole\n"
        "one. What was imported and is not served can be exported too.\n"
        "\n"
        "    ps-plus export --text file:///srv/model --variable user,item -o "
        "out\n",
    .table = table,
    .n = ARRAY_LEN(table),
};

/* Each variable of the list; what is passed over is said. */
static int write_texts(const struct options *o, struct import_text *x,
                       struct err *e)
{
    char *list = mem_text(o->variables);
    char *rest = list;
    int rc = PS_OK;

    while (rest != NULL && rc == PS_OK) {
        const char *name = strsep(&rest, ",");

        if (name[0] == '\0') {
            continue;
        }
        rc = import_text_write(x, name, e);
        if (rc == PS_ENOTFOUND) {
            base_one_line(e->text);
            fprintf(stderr, "ps-plus: passed over: %s\n", e->text);
            rc = PS_OK;
        }
    }
    mem_free(list);
    return rc;
}

static int write_from(const struct options *o, struct fs *fs,
                      const struct ckpt_entry *entry, struct err *e)
{
    struct import_text x = {.fs = fs,
                            .folder = entry->folder,
                            .with_slots = o->with_slots,
                            .with_lines = o->with_lines};
    struct ckpt *c;
    int rc = ckpt_open(fs, entry->folder, &c, e);

    if (rc != PS_OK) {
        err_wrap(e, "%s", entry->folder);
        return rc;
    }
    x.ckpt = c;
    rc = fs_url_open(&x.to, o->to, e);
    if (rc == PS_OK) {
        rc = write_texts(o, &x, e);
        fs_url_close(x.to);
    }
    ckpt_free(c);
    if (rc == PS_OK && o->is_json) {
        printf("{\"folder\": \"%s\", \"files\": %" PRIu32
               ", \"bytes\": %" PRIu64 "}\n",
               entry->folder, x.n_files, x.n_bytes);
    } else if (rc == PS_OK) {
        printf("%s: %" PRIu32 " files, %" PRIu64 " bytes\n", entry->folder,
               x.n_files, x.n_bytes);
    }
    return rc;
}

static int run(const struct options *o, struct err *e)
{
    const struct ckpt_entry *entry;
    struct ckpt_list list;
    struct fs *fs;
    int rc = fs_url_open(&fs, o->url, e);

    if (rc != PS_OK) {
        return rc;
    }
    rc = ckpt_list(fs, &list, e);
    if (rc == PS_OK) {
        entry = ckpt_list_find(&list, o->name);
        rc = entry != NULL
                 ? write_from(o, fs, entry, e)
                 : err_set(e, PS_ENOTFOUND,
                           "no such checkpoint; ps-plus checkpoints %.100s "
                           "lists what is there",
                           o->url);
        ckpt_list_free(&list);
    }
    fs_url_close(fs);
    return rc;
}

static int check(struct options *o, const struct opt_list *rest, struct err *e)
{
    if (rest->n == 0 || rest->n > 2) {
        return err_set(e, PS_EARGUMENT,
                       rest->n == 0 ? "which checkpoint? Wanted is their "
                                      "folder, such as file:///srv/model"
                                    : "unexpected word \"%.64s\"",
                       rest->n > 2 ? rest->items[2] : "");
    }
    o->url = rest->items[0];
    o->name = rest->n > 1 ? rest->items[1] : NULL;
    if (!o->is_text) {
        return err_set(e, PS_EARGUMENT,
                       "--text is wanted: there is no other "
                       "form yet");
    }
    if (fs_url_is_none(o->url) || fs_url_is_none(o->to)) {
        return err_set(e, PS_EARGUMENT, "none:// keeps nothing");
    }
    return PS_OK;
}

int export_main(int argc, char **argv)
{
    struct options o;
    struct opt_list rest;
    struct err e;
    int status;

    if (!cli_parse(&page, argc, argv, &o, &rest, &status)) {
        return status;
    }
    status = CLI_OK;
    if (!cli_shows_config(&page, &o)) {
        if (check(&o, &rest, &e) != PS_OK) {
            status = cli_refuse(&e);
        } else if (run(&o, &e) != PS_OK) {
            status = cli_fail(&e);
        }
    }
    opt_list_free(&rest);
    return status;
}
