/* opt.c - the option parser.
 *
 * One pass over the words. A word that begins with a dash is an option: one or
 * two dashes, a name, and perhaps `=` and a value. The name is looked up whole,
 * among long and short names alike; -sn is never -s with the value n. What is
 * left to its default is filled in after the pass.
 */
#include "opt.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "limits.h"
#include "mem.h"

enum {
    NAME_BYTES = 64, /* longer names are not compared for likeness */
    LIKE_CHANGES = 2 /* letters that two like names may differ in */
};

struct parse {
    const struct opt *table;
    size_t n;
    char **argv;
    size_t argc;
    size_t at; /* the next word */
    void *out;
    struct err *e;
    bool is_alone; /* an OPT_ALONE was given */
    bool seen[LIMIT_OPTIONS];
};

/* One word of the command line, taken apart: --name=value */
struct word {
    const char *text;
    const char *name;
    size_t name_size;
    int shown_size;    /* of text, up to the `=`: for messages */
    const char *value; /* behind the `=`, or NULL */
};

static void *field(void *out, const struct opt *o)
{
    return (char *)out + o->offset;
}

static bool has_flag(const struct opt *o, uint32_t flag)
{
    return (o->flags & flag) != 0;
}

static struct word split_word(const char *text)
{
    struct word w = {.text = text, .name = text};
    const char *equals = strchr(text, '=');
    size_t shown = equals == NULL ? strlen(text) : (size_t)(equals - text);

    for (int i = 0; i < 2 && *w.name == '-'; i++) {
        w.name++;
    }
    w.name_size = shown - (size_t)(w.name - text);
    w.shown_size = (int)base_min_u64(shown, NAME_BYTES);
    w.value = equals == NULL ? NULL : equals + 1;
    return w;
}

static bool is_name(const char *name, const struct word *w)
{
    return name != NULL && strlen(name) == w->name_size &&
           memcmp(name, w->name, w->name_size) == 0;
}

/* How many letters to put in, take out or exchange to make a of b: Levenshtein,
 * one row at a time. b is shorter than NAME_BYTES. */
static size_t count_changes(const char *a, size_t na, const char *b, size_t nb)
{
    size_t row[NAME_BYTES];

    for (size_t j = 0; j <= nb; j++) {
        row[j] = j;
    }
    for (size_t i = 1; i <= na; i++) {
        size_t diagonal = row[0];

        row[0] = i;
        for (size_t j = 1; j <= nb; j++) {
            size_t exchange = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);

            diagonal = row[j];
            row[j] =
                base_min_u64(exchange, base_min_u64(row[j], row[j - 1]) + 1);
        }
    }
    return row[nb];
}

/* Takes name as the likest so far if it is. A name of which nothing would be
 * left is not like anything. */
static void compare_name(const char *name, const struct word *w, size_t *least,
                         const char **likest)
{
    size_t size = name == NULL ? 0 : strlen(name);
    size_t changes;

    if (size == 0 || size >= NAME_BYTES) {
        return;
    }
    changes = count_changes(w->name, w->name_size, name, size);
    if (changes < *least && changes < size) {
        *least = changes;
        *likest = name;
    }
}

static int refuse_unknown(const struct parse *p, const struct word *w)
{
    size_t least = LIKE_CHANGES + 1;
    const char *likest = NULL;
    bool is_long = false;

    for (size_t i = 0; i < p->n; i++) {
        size_t before = least;

        compare_name(p->table[i].brief, w, &least, &likest);
        is_long = least < before ? false : is_long;
        before = least;
        compare_name(p->table[i].name, w, &least, &likest);
        is_long = least < before ? true : is_long;
    }
    if (likest == NULL) {
        return err_set(p->e, PS_EARGUMENT, "unknown option %.*s; see --help",
                       w->shown_size, w->text);
    }
    return err_set(p->e, PS_EARGUMENT,
                   "unknown option %.*s; did you mean %s%s? See --help",
                   w->shown_size, w->text, is_long ? "--" : "-", likest);
}

/* What the option wants, in words, such as "a number from 0 to 4095". */
static void describe_value(const struct opt *o, char *text, size_t room)
{
    if (o->type == OPT_BOOL) {
        snprintf(text, room, "true or false");
    } else if (o->type == OPT_FLAG) {
        snprintf(text, room, "no value");
    } else if (o->type != OPT_INT) {
        snprintf(text, room, "a value (%s)",
                 o->value == NULL ? "TEXT" : o->value);
    } else if (o->max == INT64_MAX) {
        snprintf(text, room, "a number of at least %" PRId64, o->min);
    } else {
        snprintf(text, room, "a number from %" PRId64 " to %" PRId64, o->min,
                 o->max);
    }
}

/* strtoimax takes spaces and a plus in front; we do not. */
static bool parse_int(const char *text, int64_t *value)
{
    char *end;

    if (!isdigit((unsigned char)text[text[0] == '-' ? 1 : 0])) {
        return false;
    }
    errno = 0;
    *value = strtoimax(text, &end, 10);
    return errno == 0 && *end == '\0';
}

static bool parse_bool(const char *text, bool *value)
{
    bool is_true = strcasecmp(text, "true") == 0 || strcmp(text, "1") == 0;
    bool is_false = strcasecmp(text, "false") == 0 || strcmp(text, "0") == 0;

    *value = is_true;
    return is_true || is_false;
}

/* `items_max` is the most the list can become: it is allocated once. */
static void add_item(struct opt_list *list, const char *text, size_t items_max)
{
    if (list->items == NULL) {
        list->items = mem_new(mem_array(items_max, sizeof(*list->items)));
    }
    ASSERT(list->n < items_max);
    list->items[list->n] = text;
    list->n++;
}

/* Stores the value that text says; false if it says none that is allowed. */
static bool store(const struct opt *o, void *out, const char *text,
                  size_t items_max)
{
    int64_t number;

    switch (o->type) {
    case OPT_TEXT:
        if (text[0] == '\0' && has_flag(o, OPT_REQUIRED)) {
            return false;
        }
        *(const char **)field(out, o) = text;
        return true;
    case OPT_INT:
        if (!parse_int(text, &number) || number < o->min || number > o->max) {
            return false;
        }
        *(int64_t *)field(out, o) = number;
        return true;
    case OPT_BOOL:
    case OPT_FLAG:
        return parse_bool(text, field(out, o));
    case OPT_LIST:
        add_item(field(out, o), text, items_max);
        return true;
    }
    return false;
}

static bool is_number(const char *text)
{
    char *end;

    if (text[0] == '-' && !isdigit((unsigned char)text[1]) && text[1] != '.') {
        return false; /* strtod knows -inf and -nan */
    }
    (void)strtod(text, &end);
    return end != text && *end == '\0';
}

/* Finds the value of an option that wants one: behind the `=` or in the next
 * word. A next word with a dash is more likely an option than a value. */
static int take_value(struct parse *p, const struct opt *o,
                      const struct word *w, const char **value)
{
    const char *next = p->at < p->argc ? p->argv[p->at] : NULL;
    char wants[NAME_BYTES * 2];

    if (w->value != NULL) {
        *value = w->value;
        return PS_OK;
    }
    describe_value(o, wants, sizeof(wants));
    if (next == NULL) {
        return err_set(p->e, PS_EARGUMENT,
                       "option %.*s wants %s, and nothing follows it",
                       w->shown_size, w->text, wants);
    }
    if (next[0] == '-' && !is_number(next)) {
        return err_set(p->e, PS_EARGUMENT,
                       "option %.*s wants %s, and %.64s follows it; if that is "
                       "the value, put = between them",
                       w->shown_size, w->text, wants, next);
    }
    p->at++;
    *value = next;
    return PS_OK;
}

static int refuse_value(const struct parse *p, const struct opt *o,
                        const struct word *w, const char *value)
{
    char wants[NAME_BYTES * 2];

    describe_value(o, wants, sizeof(wants));
    return err_set(p->e, PS_EARGUMENT, "option %.*s wants %s, not \"%.64s\"",
                   w->shown_size, w->text, wants, value);
}

/* An option of the table, found: takes its value, if it wants one. */
static int take_option(struct parse *p, const struct opt *o,
                       const struct word *w)
{
    bool *seen = &p->seen[o - p->table];
    const char *value = "true";
    int status;

    if (*seen && o->type != OPT_LIST) {
        return err_set(p->e, PS_EARGUMENT,
                       "option --%s%s%s is given twice; give it once", o->name,
                       o->brief == NULL ? "" : " or -",
                       o->brief == NULL ? "" : o->brief);
    }
    *seen = true;
    p->is_alone = p->is_alone || has_flag(o, OPT_ALONE);
    if (o->type == OPT_FLAG) {
        if (w->value != NULL) {
            return err_set(p->e, PS_EARGUMENT,
                           "option %.*s takes no value, so leave out "
                           "\"=%.64s\"",
                           w->shown_size, w->text, w->value);
        }
    } else if (w->value == NULL && has_flag(o, OPT_OPTIONAL_VALUE)) {
        if (o->type != OPT_BOOL) {
            *seen = false; /* so that it gets its fallback */
            return PS_OK;
        }
    } else {
        status = take_value(p, o, w, &value);
        if (status != PS_OK) {
            return status;
        }
    }
    return store(o, p->out, value, p->argc) ? PS_OK
                                            : refuse_value(p, o, w, value);
}

static int take_word(struct parse *p, struct opt_list *rest, const char *text)
{
    struct word w = split_word(text);

    if (text[0] != '-') {
        if (rest == NULL) {
            return err_set(p->e, PS_EARGUMENT,
                           "unexpected word \"%.64s\"; options begin with a "
                           "dash, see --help",
                           text);
        }
        add_item(rest, text, p->argc);
        return PS_OK;
    }
    for (size_t i = 0; i < p->n; i++) {
        if (is_name(p->table[i].name, &w) || is_name(p->table[i].brief, &w)) {
            return take_option(p, &p->table[i], &w);
        }
    }
    return refuse_unknown(p, &w);
}

static int take_words(struct parse *p, struct opt_list *rest)
{
    bool is_rest = false; /* behind a lone -- */
    int status = PS_OK;

    while (p->at < p->argc && status == PS_OK) {
        const char *text = p->argv[p->at];

        p->at++;
        if (!is_rest && strcmp(text, "--") == 0) {
            is_rest = true;
        } else if (is_rest && rest != NULL) {
            add_item(rest, text, p->argc);
        } else if (is_rest) {
            status = err_set(p->e, PS_EARGUMENT,
                             "unexpected word \"%.64s\" behind --; see --help",
                             text);
        } else {
            status = take_word(p, rest, text);
        }
    }
    return status;
}

static void clear_fields(const struct parse *p)
{
    for (size_t i = 0; i < p->n; i++) {
        const struct opt *o = &p->table[i];

        if (o->type == OPT_TEXT) {
            *(const char **)field(p->out, o) = NULL;
        } else if (o->type == OPT_INT) {
            *(int64_t *)field(p->out, o) = 0;
        } else if (o->type == OPT_LIST) {
            *(struct opt_list *)field(p->out, o) = (struct opt_list){0};
        } else {
            *(bool *)field(p->out, o) = false;
        }
    }
}

/* Gives what was not seen its fallback, or says that it is missing. */
static int fill_in(const struct parse *p)
{
    for (size_t i = 0; i < p->n; i++) {
        const struct opt *o = &p->table[i];
        char wants[NAME_BYTES * 2];

        if (p->seen[i]) {
            continue;
        }
        if (o->fallback != NULL) {
            ASSERT(store(o, p->out, o->fallback, 1));
        } else if (has_flag(o, OPT_REQUIRED) && !p->is_alone) {
            describe_value(o, wants, sizeof(wants));
            return err_set(p->e, PS_EARGUMENT,
                           "option --%s%s%s is missing; it wants %s", o->name,
                           o->brief == NULL ? "" : " or -",
                           o->brief == NULL ? "" : o->brief, wants);
        }
    }
    return PS_OK;
}

void opt_list_free(struct opt_list *list)
{
    mem_free(list->items);
    *list = (struct opt_list){0};
}

static void free_lists(const struct parse *p, struct opt_list *rest)
{
    for (size_t i = 0; i < p->n; i++) {
        if (p->table[i].type == OPT_LIST) {
            opt_list_free(field(p->out, &p->table[i]));
        }
    }
    if (rest != NULL) {
        opt_list_free(rest);
    }
}

int opt_parse(const struct opt *table, size_t n, int argc, char **argv,
              void *out, struct opt_list *rest, struct err *e)
{
    struct parse p = {.table = table, .n = n, .argv = argv, .out = out, .e = e};
    int status;

    ASSERT(n <= LIMIT_OPTIONS);
    p.argc = argc < 0 ? 0 : (size_t)argc;
    clear_fields(&p);
    if (rest != NULL) {
        *rest = (struct opt_list){0};
    }
    status = take_words(&p, rest);
    if (status == PS_OK) {
        status = fill_in(&p);
    }
    if (status != PS_OK) {
        free_lists(&p, rest);
    }
    return status;
}
