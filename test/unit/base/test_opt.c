/* test_opt.c - the option parser, its refusals and what it prints. */
#include "base/opt.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

struct options {
    const char *kv;
    const char *number;
    const char *path;
    int64_t id;
    int64_t memory;
    bool cores;
    bool is_json;
    bool is_help;
    bool is_loud;
    const char *level;
    struct opt_list plugins;
};

#define AT(field) offsetof(struct options, field)

static const struct opt table[] = {
    {.name = "scheduler_kv_path",
     .brief = "sp",
     .type = OPT_TEXT,
     .offset = AT(kv),
     .flags = OPT_REQUIRED,
     .help = "The coordination store.",
     .value = "KV"},
    {.name = "server_num",
     .brief = "sn",
     .type = OPT_TEXT,
     .offset = AT(number),
     .help = "How many servers of each type.",
     .value = "N[,M...]"},
    {.name = "checkpoint_path",
     .brief = "cp",
     .type = OPT_TEXT,
     .offset = AT(path),
     .fallback = "none://",
     .help = "Where checkpoints are.",
     .value = "URL"},
    {.name = "server_id",
     .brief = "si",
     .type = OPT_INT,
     .offset = AT(id),
     .max = 4095,
     .fallback = "7",
     .help = "The number of this server.",
     .value = "ID"},
    {.name = "server_memory_limit",
     .brief = "smem",
     .type = OPT_INT,
     .offset = AT(memory),
     .min = -5,
     .max = INT64_MAX,
     .help = "Memory for rows; left out, there is no limit but that of the "
             "machine, which is rarely what you want.",
     .value = "MB"},
    {.name = "bind_cores",
     .brief = "bc",
     .type = OPT_BOOL,
     .offset = AT(cores),
     .help = "Bind threads to cores.",
     .value = "BOOL"},
    {.name = "json", .type = OPT_FLAG, .offset = AT(is_json), .help = "JSON."},
    {.name = "help",
     .type = OPT_FLAG,
     .offset = AT(is_help),
     .flags = OPT_ALONE,
     .help = "This text."},
    {.name = "loud",
     .type = OPT_BOOL,
     .offset = AT(is_loud),
     .flags = OPT_OPTIONAL_VALUE,
     .help = "Loud.",
     .value = "BOOL"},
    {.name = "log-level",
     .type = OPT_TEXT,
     .offset = AT(level),
     .fallback = "info",
     .flags = OPT_OPTIONAL_VALUE,
     .help = "Level.",
     .value = "WORD"},
    {.name = "plugin",
     .type = OPT_LIST,
     .offset = AT(plugins),
     .help = "A plugin.",
     .value = "FILE_OF_ITS_OWN_FORM"},
};

enum { WORDS_MAX = 16 };

/* Parses the words of a line, split at spaces; they stay valid until the next
 * call. A lone ~ stands for an empty word. */
static int parse(const char *line, struct options *o, struct opt_list *rest,
                 struct err *e)
{
    static char copy[512];
    char *argv[WORDS_MAX];
    int argc = 0;
    char *save = NULL;

    snprintf(copy, sizeof(copy), "%s", line);
    for (char *w = strtok_r(copy, " ", &save); w != NULL;
         w = strtok_r(NULL, " ", &save)) {
        assert_true(argc < WORDS_MAX);
        if (strcmp(w, "~") == 0) {
            *w = '\0';
        }
        argv[argc] = w;
        argc++;
    }
    memset(o, 0xee, sizeof(*o)); /* the parser clears it */
    *e = (struct err){0};
    return opt_parse(table, ARRAY_LEN(table), argc, argv, o, rest, e);
}

static void both_names_take_one_dash_or_two_and_equals_or_space(void **state)
{
    static const char *const lines[] = {
        "-sp x -si 3",
        "--sp x --si 3",
        "-sp=x -si=3",
        "--sp=x --si=3",
        "-scheduler_kv_path x -server_id 3",
        "--scheduler_kv_path x --server_id 3",
        "-scheduler_kv_path=x -server_id=3",
        "--scheduler_kv_path=x --server_id=3",
        "--server_id=3 -sp x",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        struct options o;
        struct err e;

        assert_int_equal(parse(lines[i], &o, NULL, &e), PS_OK);
        assert_string_equal(o.kv, "x");
        assert_int_equal(o.id, 3);
    }
}

static void what_is_left_out_has_its_fallback_or_nothing(void **state)
{
    struct options o;
    struct err e;

    (void)state;
    assert_int_equal(parse("-sp x", &o, NULL, &e), PS_OK);
    assert_string_equal(o.path, "none://");
    assert_int_equal(o.id, 7);
    assert_string_equal(o.level, "info");
    assert_null(o.number);
    assert_int_equal(o.memory, 0);
    assert_false(o.cores);
    assert_false(o.is_json);
    assert_int_equal(o.plugins.n, 0);
    assert_null(o.plugins.items);
}

static void values_are_taken_as_they_are(void **state)
{
    struct options o;
    struct err e;

    (void)state;
    assert_int_equal(
        parse("-sp=a=b -sn 4,2 -smem 9223372036854775807 --json", &o, NULL, &e),
        PS_OK);
    assert_string_equal(o.kv, "a=b");
    assert_string_equal(o.number, "4,2");
    assert_true(o.memory == INT64_MAX);
    assert_true(o.is_json);
    /* Behind = anything goes, also nothing where nothing is required. */
    assert_int_equal(parse("-sp=-x -sn= -cp=--json", &o, NULL, &e), PS_OK);
    assert_string_equal(o.kv, "-x");
    assert_string_equal(o.number, "");
    assert_string_equal(o.path, "--json");
    assert_false(o.is_json);
    /* And a negative number is no option. */
    assert_int_equal(parse("-sp -1.5 -smem -5", &o, NULL, &e), PS_OK);
    assert_string_equal(o.kv, "-1.5");
    assert_int_equal(o.memory, -5);
}

static void bools_are_words_in_any_case_or_digits(void **state)
{
    static const struct {
        const char *word;
        bool value;
    } words[] = {{"true", true},   {"True", true},   {"TRUE", true},
                 {"1", true},      {"false", false}, {"False", false},
                 {"FaLsE", false}, {"0", false}};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        struct options o;
        struct err e;
        char line[64];

        snprintf(line, sizeof(line), "-sp x -bc %s", words[i].word);
        assert_int_equal(parse(line, &o, NULL, &e), PS_OK);
        assert_int_equal(o.cores, words[i].value);
    }
}

static void an_optional_value_stands_behind_equals_only(void **state)
{
    struct options o;
    struct opt_list rest;
    struct err e;

    (void)state;
    assert_int_equal(parse("-sp x --loud", &o, NULL, &e), PS_OK);
    assert_true(o.is_loud);
    assert_int_equal(parse("-sp x --loud=false", &o, NULL, &e), PS_OK);
    assert_false(o.is_loud);
    assert_int_equal(parse("-sp x --log-level debug", &o, &rest, &e), PS_OK);
    assert_string_equal(o.level, "info");
    assert_int_equal(rest.n, 1);
    assert_string_equal(rest.items[0], "debug");
    opt_list_free(&rest);
    assert_int_equal(parse("-sp x --log-level=debug", &o, &rest, &e), PS_OK);
    assert_string_equal(o.level, "debug");
}

static void a_list_keeps_every_value_in_order(void **state)
{
    struct options o;
    struct err e;

    (void)state;
    assert_int_equal(
        parse("--plugin a.so -sp x -plugin=b.so --plugin a.so", &o, NULL, &e),
        PS_OK);
    assert_int_equal(o.plugins.n, 3);
    assert_string_equal(o.plugins.items[0], "a.so");
    assert_string_equal(o.plugins.items[1], "b.so");
    assert_string_equal(o.plugins.items[2], "a.so");
    opt_list_free(&o.plugins);
    assert_null(o.plugins.items);
    assert_int_equal(o.plugins.n, 0);
    opt_list_free(&o.plugins);
}

static void words_without_a_dash_and_behind_two_go_to_the_rest(void **state)
{
    struct options o;
    struct opt_list rest;
    struct err e;

    (void)state;
    assert_int_equal(parse("one -sp x ~ -- -si -- --help", &o, &rest, &e),
                     PS_OK);
    assert_int_equal(rest.n, 5);
    assert_string_equal(rest.items[0], "one");
    assert_string_equal(rest.items[1], "");
    assert_string_equal(rest.items[2], "-si");
    assert_string_equal(rest.items[3], "--");
    assert_string_equal(rest.items[4], "--help");
    assert_int_equal(o.id, 7);
    assert_false(o.is_help);
    opt_list_free(&rest);
}

static void help_needs_nothing_else(void **state)
{
    struct options o;
    struct err e;

    (void)state;
    assert_int_equal(parse("--help", &o, NULL, &e), PS_OK);
    assert_true(o.is_help);
    assert_null(o.kv);
}

static const struct {
    const char *line;
    const char *text;
} refusals[] = {
    /* unknown */
    {"-smeem", "unknown option -smeem; did you mean -smem? See --help"},
    {"--server_idd=5",
     "unknown option --server_idd; did you mean --server_id? See --help"},
    {"--log_level=debug",
     "unknown option --log_level; did you mean --log-level? See --help"},
    /* two letters are like enough, three are not */
    {"--scheduler-kv-path",
     "unknown option --scheduler-kv-path; did you mean --scheduler_kv_path? "
     "See --help"},
    {"--Scheduler-kv-path", "unknown option --Scheduler-kv-path; see --help"},
    {"--whatever", "unknown option --whatever; see --help"},
    {"-x", "unknown option -x; see --help"},
    {"-", "unknown option -; see --help"},
    {"--=5", "unknown option --; see --help"},
    {"---json", "unknown option ---json; did you mean --json? See --help"},
    {"-5", "unknown option -5; see --help"},
    /* never abbreviated, nor joined to its value, nor in another case */
    {"--scheduler x", "unknown option --scheduler; see --help"},
    {"-si3", "unknown option -si3; did you mean -si? See --help"},
    {"-SI 3", "unknown option -SI; see --help"},
    {"-s", "unknown option -s; did you mean -sp? See --help"},
    /* missing values */
    {"-sp", "option -sp wants a value (KV), and nothing follows it"},
    {"-sp -si 3", "option -sp wants a value (KV), and -si follows it; if that "
                  "is the value, put = between them"},
    {"--sp -- x", "option --sp wants a value (KV), and -- follows it; if that "
                  "is the value, put = between them"},
    {"-sp -inf", "option -sp wants a value (KV), and -inf follows it; if that "
                 "is the value, put = between them"},
    {"-sp x -si",
     "option -si wants a number from 0 to 4095, and nothing follows it"},
    {"-sp=", "option -sp wants a value (KV), not \"\""},
    {"-sp ~", "option -sp wants a value (KV), not \"\""},
    {"-bc", "option -bc wants true or false, and nothing follows it"},
    /* wrong values */
    {"-si x", "option -si wants a number from 0 to 4095, not \"x\""},
    {"-si 4096", "option -si wants a number from 0 to 4095, not \"4096\""},
    {"-si -1", "option -si wants a number from 0 to 4095, not \"-1\""},
    {"-si=3x", "option -si wants a number from 0 to 4095, not \"3x\""},
    {"-si=+3", "option -si wants a number from 0 to 4095, not \"+3\""},
    {"-si=", "option -si wants a number from 0 to 4095, not \"\""},
    {"-si=-", "option -si wants a number from 0 to 4095, not \"-\""},
    {"-si=0x10", "option -si wants a number from 0 to 4095, not \"0x10\""},
    {"-si=1.0", "option -si wants a number from 0 to 4095, not \"1.0\""},
    {"--server_memory_limit=-6",
     "option --server_memory_limit wants a number of at least -5, not \"-6\""},
    {"-smem 9223372036854775808", "option -smem wants a number of at least -5, "
                                  "not \"9223372036854775808\""},
    {"-smem -9223372036854775809", "option -smem wants a number of at least "
                                   "-5, not \"-9223372036854775809\""},
    {"-bc yes", "option -bc wants true or false, not \"yes\""},
    {"--loud=maybe", "option --loud wants true or false, not \"maybe\""},
    {"--json=1", "option --json takes no value, so leave out \"=1\""},
    /* twice */
    {"-si 1 -si 1", "option --server_id or -si is given twice; give it once"},
    {"-si 1 --server_id=2",
     "option --server_id or -si is given twice; give it once"},
    {"--json --json", "option --json is given twice; give it once"},
    {"--help --help", "option --help is given twice; give it once"},
    /* words */
    {"-sp x stray", "unexpected word \"stray\"; options begin with a dash, see "
                    "--help"},
    {"-sp x -- stray", "unexpected word \"stray\" behind --; see --help"},
    {"-sp x ~", "unexpected word \"\"; options begin with a dash, see --help"},
    /* required */
    {"-si 3", "option --scheduler_kv_path or -sp is missing; it wants a value "
              "(KV)"},
    {"--json", "option --scheduler_kv_path or -sp is missing; it wants a value "
               "(KV)"},
};

static void a_refusal_is_one_line_that_says_what_is_right(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(refusals); i++) {
        struct options o;
        struct err e;

        assert_int_equal(parse(refusals[i].line, &o, NULL, &e), PS_EARGUMENT);
        assert_int_equal(e.status, PS_EARGUMENT);
        assert_string_equal(e.text, refusals[i].text);
    }
}

static void a_refusal_leaves_no_list_behind(void **state)
{
    struct options o;
    struct opt_list rest;
    struct err e;

    (void)state;
    assert_int_equal(parse("word --plugin a.so --nosuch", &o, &rest, &e),
                     PS_EARGUMENT);
    assert_null(o.plugins.items);
    assert_int_equal(o.plugins.n, 0);
    assert_null(rest.items);
    assert_int_equal(rest.n, 0);
}

static void a_huge_word_is_refused_in_one_short_line(void **state)
{
    char huge[3][2000];
    char *argv[1];
    struct options o;
    struct err e;

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        memset(huge[i], 'a', sizeof(huge[i]) - 1);
        huge[i][sizeof(huge[i]) - 1] = '\0';
    }
    memcpy(huge[0], "--", 2);
    memcpy(huge[1], "-si=\n", 5);
    for (size_t i = 0; i < 3; i++) {
        argv[0] = huge[i];
        assert_int_equal(
            opt_parse(table, ARRAY_LEN(table), 1, argv, &o, NULL, &e),
            PS_EARGUMENT);
        assert_null(strchr(e.text, '\n'));
        assert_true(strlen(e.text) < 200);
    }
    /* The advice at the end is still there. */
    assert_non_null(strstr(e.text, "see --help"));
}

static void help_is_aligned_and_shows_both_names(void **state)
{
    static const char *const want =
        "  --scheduler_kv_path, -sp KV   The coordination store. (required)\n"
        "  --server_num, -sn N[,M...]    How many servers of each type.\n"
        "  --checkpoint_path, -cp URL    Where checkpoints are. (default "
        "none://)\n"
        "  --server_id, -si ID           The number of this server. (default "
        "7)\n"
        "  --server_memory_limit, -smem MB\n"
        "                                Memory for rows; left out, there is "
        "no limit\n"
        "                                but that of the machine, which is "
        "rarely what\n"
        "                                you want.\n"
        "  --bind_cores, -bc BOOL        Bind threads to cores.\n"
        "  --json                        JSON.\n"
        "  --help                        This text.\n"
        "  --loud[=BOOL]                 Loud.\n"
        "  --log-level[=WORD]            Level. (default info)\n"
        "  --plugin FILE_OF_ITS_OWN_FORM\n"
        "                                A plugin. (may be given several "
        "times)\n";
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);

    (void)state;
    assert_non_null(f);
    opt_print_help(table, ARRAY_LEN(table), f);
    fclose(f);
    assert_string_equal(text, want);
    free(text);
}

static void the_config_is_one_line_for_each_value(void **state)
{
    static const char *const want = "scheduler_kv_path = file:///run/ps\n"
                                    "server_num =\n"
                                    "checkpoint_path = none://\n"
                                    "server_id = 3\n"
                                    "server_memory_limit = -2\n"
                                    "bind_cores = true\n"
                                    "json = false\n"
                                    "loud = false\n"
                                    "log-level = info\n"
                                    "plugin = a.so\n"
                                    "plugin = b.so\n";
    struct options o;
    struct err e;
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);

    (void)state;
    assert_non_null(f);
    assert_int_equal(parse("-sp file:///run/ps -si 3 -smem -2 -bc TRUE "
                           "--plugin a.so --plugin b.so",
                           &o, NULL, &e),
                     PS_OK);
    opt_print_config(table, ARRAY_LEN(table), &o, f);
    fclose(f);
    assert_string_equal(text, want);
    free(text);
    opt_list_free(&o.plugins);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_names_take_one_dash_or_two_and_equals_or_space),
        cmocka_unit_test(what_is_left_out_has_its_fallback_or_nothing),
        cmocka_unit_test(values_are_taken_as_they_are),
        cmocka_unit_test(bools_are_words_in_any_case_or_digits),
        cmocka_unit_test(an_optional_value_stands_behind_equals_only),
        cmocka_unit_test(a_list_keeps_every_value_in_order),
        cmocka_unit_test(words_without_a_dash_and_behind_two_go_to_the_rest),
        cmocka_unit_test(help_needs_nothing_else),
        cmocka_unit_test(a_refusal_is_one_line_that_says_what_is_right),
        cmocka_unit_test(a_refusal_leaves_no_list_behind),
        cmocka_unit_test(a_huge_word_is_refused_in_one_short_line),
        cmocka_unit_test(help_is_aligned_and_shows_both_names),
        cmocka_unit_test(the_config_is_one_line_for_each_value),
    };

    return cmocka_run_group_tests_name("opt", tests, NULL, NULL);
}
