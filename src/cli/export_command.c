/* export_command.c - ps-plus export: variables of a checkpoint as text, as the
 * original's convert_ps_variable wrote them.
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/mem.h"
#include "ckpt/import_text.h"
#include "cli/checkpoint_command.h"

struct options {
    struct checkpoint_options checkpoint;
    const char *to;
    bool is_text;
    bool with_slots;
    bool with_lines;
};
_Static_assert(offsetof(struct options, checkpoint) == 0, "CHECKPOINT_OPTIONS");

#define AT(field) offsetof(struct options, field)

static const struct opt table[] = {
    {.name = "text",
     .type = OPT_FLAG,
     .flags = OPT_REQUIRED,
     .offset = AT(is_text),
     .help = "As text, a file for each variable. There is no other form yet."},
    {.name = "variable",
     .type = OPT_TEXT,
     .flags = OPT_REQUIRED,
     .offset = AT(checkpoint.variable),
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
    CHECKPOINT_OPTIONS,
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
        "one that is no increment (ps-plus compact makes one of an "
        "increment).\n"
        "What was imported and is not served can be exported too.\n"
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
    char *list = mem_text(o->checkpoint.variable);
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
    import_text_init(&x);
    rc = fs_url_open(&x.to, o->to, e);
    if (rc == PS_OK) {
        rc = write_texts(o, &x, e);
        fs_url_close(x.to);
    }
    import_text_fini(&x);
    ckpt_free(c);
    if (rc == PS_OK && o->checkpoint.is_json) {
        return cli_print_json(
            json_pack("{s:s, s:I, s:I}", "folder", entry->folder, "files",
                      (json_int_t)x.n_files, "bytes", (json_int_t)x.n_bytes),
            e);
    }
    if (rc == PS_OK) {
        printf("%s: %" PRIu32 " files, %" PRIu64 " bytes\n", entry->folder,
               x.n_files, x.n_bytes);
    }
    return rc;
}

static int export_text(const struct checkpoint_options *checkpoint,
                       struct fs *fs, const struct ckpt_list *list,
                       struct err *e)
{
    const struct options *o = (const void *)checkpoint; /* its first member */
    const struct ckpt_entry *entry;
    int rc;

    if (fs_url_is_none(o->to)) {
        return err_set(e, PS_EARGUMENT, "none:// keeps nothing");
    }
    rc = checkpoint_find(checkpoint, list, &entry, e);
    for (uint32_t i = 0; rc == PS_OK && checkpoint->name == NULL && i < list->n;
         i++) {
        if (list->entries[i].is_whole && list->entries[i].base == 0) {
            entry = &list->entries[i];
            break;
        }
    }
    return rc == PS_OK ? write_from(o, fs, entry, e) : rc;
}

int export_main(int argc, char **argv)
{
    struct options o = {0};

    return checkpoint_run(&page, 2, argc, argv, &o.checkpoint, export_text);
}
