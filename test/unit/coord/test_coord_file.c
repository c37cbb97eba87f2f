/* test_coord_file.c - the store in a folder, on both file systems: versions,
 * conflicts, watching, deleting, collecting, opening, counting together. */
#include "coord/coord.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "stage.h"

static void versions_rise_by_one_from_the_first_write(void **state)
{
    struct stage *w = *state;
    struct coord_file *c = stage_open_store(w);

    stage_expect_absent(w, c);
    assert_int_equal(stage_cas(w, c, 0, "one"), PS_OK);
    assert_int_equal(w->result.version, 1);
    stage_expect_stored(w, c, 1, "one");
    assert_int_equal(stage_cas_durable(w, c, 1, ""), PS_OK);
    assert_int_equal(w->result.version, 2);
    stage_expect_stored(w, c, 2, "");
    for (uint64_t v = 2; v < 12; v++) {
        assert_int_equal(stage_cas(w, c, v, "more"), PS_OK);
    }
    stage_expect_stored(w, c, 12, "more");
    coord_file_close(c);
    c = stage_open_store(w);
    stage_expect_stored(w, c, 12, "more");
    coord_file_close(c);
    assert_int_equal(stage_lines, 0);
}

static void a_swap_from_any_other_version_conflicts(void **state)
{
    struct stage *w = *state;
    struct coord_file *a = stage_open_store(w);
    struct coord_file *b = stage_open_store(w);

    assert_int_equal(stage_cas(w, a, 1, "x"), PS_ECONFLICT);
    assert_int_equal(stage_cas(w, a, 0, "one"), PS_OK);
    assert_int_equal(stage_cas(w, b, 0, "x"), PS_ECONFLICT);
    assert_int_equal(w->result.version, 0);
    assert_int_equal(stage_cas(w, b, 1, "two"), PS_OK);
    assert_int_equal(stage_cas(w, a, 1, "x"), PS_ECONFLICT);
    assert_int_equal(stage_cas(w, a, 3, "x"), PS_ECONFLICT);
    assert_int_equal(stage_cas(w, a, 99, "x"), PS_ECONFLICT);
    assert_int_equal(stage_cas(w, a, UINT64_MAX, "x"), PS_ECONFLICT);
    stage_expect_stored(w, a, 2, "two");
    stage_expect_no_temporaries(w);
    coord_file_close(a);
    coord_file_close(b);
}

static void keys_are_apart_and_their_names_checked(void **state)
{
    static const char *const bad[] = {"",       "/a",  "a/",   "a//b", ".",
                                      "..",     "a/.", "../x", "a b",  "a,b",
                                      "FORMAT", "tmp", "a\n",  "a/..", "\xc3"};
    struct stage *w = *state;
    struct coord_file *c = stage_open_store(w);
    char key[COORD_KEY_MAX + 1];

    assert_int_equal(stage_request(w, c, COORD_CAS, "server", 0, "s", 0),
                     PS_OK);
    assert_int_equal(stage_request(w, c, COORD_CAS, "server/3", 0, "s3", 0),
                     PS_OK);
    assert_int_equal(stage_request(w, c, COORD_CAS, "server/v.1", 0, "v", 0),
                     PS_OK);
    assert_int_equal(stage_request(w, c, COORD_CAS, "tmp/x", 0, "t", 0), PS_OK);
    assert_int_equal(stage_request(w, c, COORD_DEL, "server", 0, NULL, 0),
                     PS_OK);
    assert_int_equal(stage_request(w, c, COORD_GET, "server", 0, NULL, 0),
                     PS_ENOTFOUND);
    assert_int_equal(stage_request(w, c, COORD_GET, "server/3", 0, NULL, 0),
                     PS_OK);
    assert_true(stage_result_is(w, 1, "s3"));
    assert_int_equal(stage_request(w, c, COORD_GET, "server/v.1", 0, NULL, 0),
                     PS_OK);
    memset(key, 'k', sizeof(key) - 1);
    key[sizeof(key) - 1] = '\0';
    assert_int_equal(stage_request(w, c, COORD_CAS, key, 0, "long", 0), PS_OK);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(stage_request(w, c, COORD_CAS, bad[i], 0, "x", 0),
                         PS_EARGUMENT);
        assert_int_equal(stage_request(w, c, COORD_GET, bad[i], 0, NULL, 0),
                         PS_EARGUMENT);
    }
    coord_file_close(c);
}

static void values_have_a_limit(void **state)
{
    struct stage *w = *state;
    struct coord_file *c = stage_open_store(w);
    struct coord_request r = {.op = COORD_CAS, .key = "k"};
    uint8_t *bytes = mem_new((size_t)COORD_VALUE_MAX + 1);

    memset(bytes, 0x5a, (size_t)COORD_VALUE_MAX + 1);
    bytes[COORD_VALUE_MAX - 1] = 1;
    r.data = bytes;
    r.size = (size_t)COORD_VALUE_MAX + 1;
    coord_file_do(c, &r, &w->value, &w->result);
    assert_int_equal(w->result.status, PS_EARGUMENT);
    r.size = COORD_VALUE_MAX;
    coord_file_do(c, &r, &w->value, &w->result);
    assert_int_equal(w->result.status, PS_OK);
    assert_int_equal(stage_get(w, c), PS_OK);
    assert_int_equal(w->result.size, COORD_VALUE_MAX);
    assert_memory_equal(w->result.data, bytes, COORD_VALUE_MAX);
    mem_free(bytes);
    coord_file_close(c);
}

static void watch_answers_only_another_version_and_reads_only_then(void **state)
{
    struct stage *w = *state;
    struct coord_file *c = stage_open_store(w);

    assert_int_equal(stage_request(w, c, COORD_WATCH, "k", 0, NULL, 0),
                     PS_EBUSY);
    assert_int_equal(stage_cas(w, c, 0, "one"), PS_OK);
    assert_int_equal(stage_request(w, c, COORD_WATCH, "k", 0, NULL, 0), PS_OK);
    assert_true(stage_result_is(w, 1, "one"));
    w->fault.reads = 0;
    assert_int_equal(stage_request(w, c, COORD_WATCH, "k", 1, NULL, 0),
                     PS_EBUSY);
    assert_int_equal(w->fault.reads, 0);
    assert_int_equal(w->result.version, 1);
    assert_int_equal(w->result.size, 0);
    assert_int_equal(stage_cas(w, c, 1, "two"), PS_OK);
    assert_int_equal(stage_request(w, c, COORD_WATCH, "k", 1, NULL, 0), PS_OK);
    assert_true(stage_result_is(w, 2, "two"));
    assert_int_equal(stage_request(w, c, COORD_DEL, "k", 0, NULL, 0), PS_OK);
    assert_int_equal(stage_request(w, c, COORD_WATCH, "k", 2, NULL, 0),
                     PS_ENOTFOUND);
    assert_int_equal(w->result.version, 0);
    coord_file_close(c);
}

static void a_deleted_key_is_absent_with_all_its_versions(void **state)
{
    struct stage *w = *state;
    struct coord_file *c = stage_open_store(w);

    assert_int_equal(stage_request(w, c, COORD_DEL, "k", 0, NULL, 0), PS_OK);
    assert_int_equal(stage_cas(w, c, 0, "one"), PS_OK);
    assert_int_equal(stage_cas(w, c, 1, "two"), PS_OK);
    assert_int_equal(
        stage_request(w, c, COORD_DEL, "k", 0, NULL, COORD_DURABLE), PS_OK);
    stage_expect_absent(w, c);
    assert_int_equal(stage_cas(w, c, 2, "x"), PS_ECONFLICT);
    assert_int_equal(stage_request(w, c, COORD_DEL, "k", 0, NULL, 0), PS_OK);
    stage_expect_no_temporaries(w);
    coord_file_close(c);
}

static void collection_keeps_two_and_after_renewals_the_durable(void **state)
{
    struct stage *w = *state;
    struct coord_file *c = stage_open_store(w);
    struct coord_file *other = stage_open_store(w);

    assert_int_equal(stage_cas_durable(w, c, 0, "1"), PS_OK);
    assert_int_equal(stage_cas_durable(w, c, 1, "2"), PS_OK);
    stage_expect_versions(w, "12");
    assert_int_equal(stage_cas_durable(w, c, 2, "3"), PS_OK);
    stage_expect_versions(w, "23");
    for (uint64_t v = 3; v < 7; v++) {
        assert_int_equal(stage_cas(w, v % 2 == 0 ? c : other, v, "renewal"),
                         PS_OK);
    }
    stage_expect_versions(w, "2367");
    assert_int_equal(stage_cas_durable(w, c, 7, "8"), PS_OK);
    stage_expect_versions(w, "78");
    coord_file_close(c);
    coord_file_close(other);
}

static void only_durable_swaps_sync_the_file_and_both_folders(void **state)
{
    struct stage *w = *state;
    struct coord_file *c = stage_open_store(w);

    w->fault.syncs = 0;
    assert_int_equal(stage_cas(w, c, 0, "1"), PS_OK);
    assert_int_equal(stage_cas(w, c, 1, "2"), PS_OK);
    assert_int_equal(w->fault.syncs, 0);
    assert_int_equal(stage_cas_durable(w, c, 2, "3"), PS_OK);
    assert_int_equal(w->fault.syncs, 3);
    w->fault.writes = 0;
    assert_int_equal(stage_cas_durable(w, c, 2, "x"), PS_ECONFLICT);
    assert_int_equal(w->fault.writes, 0);
    coord_file_close(c);
}

static void a_store_of_another_format_is_refused(void **state)
{
    static const char *const cases[][2] = {
        {"ps-plus coordination store, format 2\n",
         "has format 2, this program knows 1"},
        {"ps-plus coordination store, format 10\n", "has format 10"},
        {"ps-plus coordination store, format 1", "not that of a ps-plus"},
        {"ps-plus coordination store, format x\n", "not that of a ps-plus"},
        {"", "not that of a ps-plus"},
        {"hello\n", "not that of a ps-plus"},
    };
    struct stage *w = *state;
    struct coord_file *c = stage_open_store(w);
    struct buf b;

    buf_init(&b);
    assert_int_equal(
        w->real->ops->read(w->real, stage_in(w, "FORMAT"), 100, &b, NULL),
        PS_OK);
    assert_int_equal(b.size, 37);
    assert_memory_equal(b.data, "ps-plus coordination store, format 1\n", 37);
    buf_fini(&b);
    coord_file_close(c);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err e = {0};

        stage_overwrite(w, "FORMAT", cases[i][0], strlen(cases[i][0]));
        c = NULL;
        assert_int_equal(coord_file_open(&c, w->real, w->dir, 9, &e),
                         PS_EVERSION);
        assert_null(c);
        assert_non_null(strstr(e.text, cases[i][1]));
        assert_non_null(strstr(e.text, w->dir));
    }
}

static void joining_makes_nothing(void **state)
{
    struct stage *w = *state;
    struct coord_file *c = NULL;
    struct err e = {0};
    char text[256] = "";

    assert_int_equal(w->real->ops->mkdir(w->real, w->dir, NULL), PS_OK);
    assert_int_equal(coord_file_join(&c, w->real, stage_in(w, "typo"), 9, &e),
                     PS_ENOTFOUND);
    assert_null(c);
    assert_non_null(strstr(e.text, "no cluster was ever started in "));
    assert_non_null(strstr(e.text, "typo"));
    assert_int_equal(coord_file_join(&c, w->real, w->dir, 9, &e), PS_ENOTFOUND);
    assert_int_equal(
        w->real->ops->list(w->real, w->dir, stage_add_to, text, NULL), PS_OK);
    assert_string_equal(text, "");
}

static void who_joins_reads_and_writes_like_the_others(void **state)
{
    struct stage *w = *state;
    struct coord_file *first = stage_open_store(w);
    struct coord_file *c;

    assert_int_equal(stage_cas(w, first, 0, "one"), PS_OK);
    assert_int_equal(coord_file_join(&c, w->real, w->dir, 9, NULL), PS_OK);
    stage_expect_stored(w, c, 1, "one");
    assert_int_equal(stage_cas(w, c, 1, "two"), PS_OK);
    stage_expect_stored(w, first, 2, "two");
    coord_file_close(c);
    coord_file_close(first);
    stage_overwrite(w, "FORMAT", "x", 1);
    assert_int_equal(coord_file_join(&c, w->real, w->dir, 9, NULL),
                     PS_EVERSION);
}

static int refuse_network(struct fs *fs, const char *path, struct err *e)
{
    (void)fs;
    return err_set(e, PS_EARGUMENT, "%s is on NFS", path);
}

static void a_network_folder_is_refused_and_left_empty(void **state)
{
    struct stage *w = *state;
    struct fs_ops ops = stage_ops;
    struct coord_file *c = NULL;
    char text[256] = "";
    struct err e = {0};

    ops.is_local = refuse_network;
    w->fault.fs.ops = &ops;
    assert_int_equal(coord_file_open(&c, &w->fault.fs, w->dir, 1, &e),
                     PS_EARGUMENT);
    assert_null(c);
    assert_non_null(strstr(e.text, "is on NFS"));
    assert_int_equal(
        w->real->ops->list(w->real, w->dir, stage_add_to, text, NULL), PS_OK);
    assert_string_equal(text, "");
    w->fault.fs.ops = &stage_ops;
}

static void open_removes_leftovers_and_nothing_else_from_tmp(void **state)
{
    struct stage *w = *state;
    const struct fs_ops *ops = w->real->ops;
    char text[256] = "";

    coord_file_close(stage_open_store(w));
    assert_int_equal(ops->write_new(w->real,
                                    stage_in(w, "tmp/0123456789abcdef-7"), "x",
                                    1, false, NULL),
                     PS_OK);
    assert_int_equal(
        ops->mkdir(w->real, stage_in(w, "tmp/0123456789abcdef-8"), NULL),
        PS_OK);
    assert_int_equal(ops->write_new(w->real,
                                    stage_in(w, "tmp/0123456789abcdef-8/v.1"),
                                    "x", 1, false, NULL),
                     PS_OK);
    assert_int_equal(
        ops->write_new(w->real, stage_in(w, "tmp/notes"), "x", 1, false, NULL),
        PS_OK);
    coord_file_close(stage_open_store(w));
    assert_int_equal(
        ops->list(w->real, stage_in(w, "tmp"), stage_add_to, text, NULL),
        PS_OK);
    assert_string_equal(text, "notes ");
}

static void a_broken_disk_is_heard_of_but_does_not_fill_the_log(void **state)
{
    struct stage *w = *state;
    struct coord_file *c = stage_open_store(w);

    w->fault.fail_from = w->fault.calls + 1;
    w->fault.fail_count = UINT64_MAX;
    for (size_t i = 0; i < 100; i++) {
        assert_int_equal(stage_get(w, c), PS_EIO);
    }
    assert_int_equal(stage_lines, 7); /* 1, 2, 4 ... 64 */
    assert_non_null(strstr(stage_last_line, "planted"));
    assert_non_null(strstr(stage_last_line, w->dir));
    w->fault.fail_from = 0;
    stage_expect_absent(w, c);
    coord_file_close(c);
}

static void without_memory_the_answer_is_an_error(void **state)
{
    struct stage *w = *state;
    struct coord_file *c = stage_open_store(w);
    uint64_t version = 1;
    uint64_t n = 0;
    int rc;

    assert_int_equal(stage_cas(w, c, 0, "one"), PS_OK);
    do {
        char text[8];

        snprintf(text, sizeof(text), "t%u", (unsigned)n % 1000);
        mem_fail_at(++n);
        rc = stage_cas(w, c, version, text);
        mem_fail_at(0);
        assert_true(rc == PS_OK || rc == PS_EIO);
        assert_int_equal(stage_get(w, c), PS_OK);
        assert_true(rc == PS_EIO || w->result.version == version + 1);
        assert_in_range(w->result.version, version, version + 1);
        assert_true(w->result.version == version ||
                    stage_result_is(w, version + 1, text));
        version = w->result.version;
        /* Collection may do without memory: so go on until none is asked. */
    } while (rc != PS_OK || n < 40);
    coord_file_close(c);
}

/* The value of the two counting processes. */
struct count {
    uint64_t sum;
    uint64_t last[2]; /* number of the last addition of each */
};

enum { ADDITIONS = 500 };

/* Adds 1 ADDITIONS times, each certainly once; the status that ended it. */
static int count_up(struct stage *w, size_t me, uint64_t *unsure)
{
    struct coord_file *c = NULL;
    struct coord_request r = {.key = "k"};
    struct coord_result result;
    struct count now;
    struct buf value;
    uint64_t done = 0;
    int rc = coord_file_open(&c, w->real, w->dir, 100 + me, NULL);

    buf_init(&value);
    while (rc == PS_OK && done < ADDITIONS) {
        r.op = COORD_GET;
        coord_file_do(c, &r, &value, &result);
        if (result.status != PS_OK || result.size != sizeof(now)) {
            rc = PS_EUNKNOWN;
            break;
        }
        memcpy(&now, result.data, sizeof(now));
        if (now.last[me] == done + 1) {
            done++; /* an unsure one was done */
            continue;
        }
        now.sum++;
        now.last[me] = done + 1;
        r.op = COORD_CAS;
        r.flags = done % 50 == 0 ? COORD_DURABLE : 0;
        r.version = result.version;
        r.data = &now;
        r.size = sizeof(now);
        coord_file_do(c, &r, &value, &result);
        if (result.status == PS_OK) {
            done++;
        } else if (result.status == PS_EUNSURE) {
            (*unsure)++;
        } else if (result.status != PS_ECONFLICT) {
            rc = result.status;
        }
    }
    coord_file_close(c);
    buf_fini(&value);
    return rc;
}

static void two_processes_count_together_without_losing_one(void **state)
{
    struct stage *w = *state;
    struct coord_file *c = stage_open_store(w);
    struct count total = {0};
    struct coord_request r = {
        .op = COORD_CAS, .key = "k", .data = &total, .size = sizeof(total)};
    uint64_t unsure = 0;
    int status;
    pid_t child;
    int rc;

    coord_file_do(c, &r, &w->value, &w->result);
    assert_int_equal(w->result.status, PS_OK);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        rc = count_up(w, 1, &unsure);
        coord_file_close(c); /* its copy, or valgrind calls it lost */
        _exit(rc == PS_OK ? 0 : 1);
    }
    rc = count_up(w, 0, &unsure);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(rc, PS_OK);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_int_equal(stage_get(w, c), PS_OK);
    assert_int_equal(w->result.size, sizeof(total));
    memcpy(&total, w->result.data, sizeof(total));
    assert_int_equal(total.sum, 2 * ADDITIONS);
    assert_int_equal(total.last[0], ADDITIONS);
    assert_int_equal(total.last[1], ADDITIONS);
    assert_int_equal(w->result.version, 2 * ADDITIONS + 1);
    stage_expect_no_temporaries(w);
    coord_file_close(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_BOTH(versions_rise_by_one_from_the_first_write),
        ON_BOTH(a_swap_from_any_other_version_conflicts),
        ON_BOTH(keys_are_apart_and_their_names_checked),
        ON_BOTH(values_have_a_limit),
        ON_BOTH(watch_answers_only_another_version_and_reads_only_then),
        ON_BOTH(a_deleted_key_is_absent_with_all_its_versions),
        ON_BOTH(collection_keeps_two_and_after_renewals_the_durable),
        ON_BOTH(only_durable_swaps_sync_the_file_and_both_folders),
        ON_BOTH(a_store_of_another_format_is_refused),
        ON_BOTH(joining_makes_nothing),
        ON_BOTH(who_joins_reads_and_writes_like_the_others),
        ON_BOTH(a_network_folder_is_refused_and_left_empty),
        ON_BOTH(open_removes_leftovers_and_nothing_else_from_tmp),
        ON_BOTH(a_broken_disk_is_heard_of_but_does_not_fill_the_log),
        ON_BOTH(without_memory_the_answer_is_an_error),
        ON(two_processes_count_together_without_losing_one, file),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
