/* test_coord_crash.c - the store in a folder when things go wrong: power loss,
 * rot, a process stopped in the middle, a failure at every single step. */
#include "coord/coord.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>

#include "base/mem.h"
#include "coord/coord_record.h"
#include "stage.h"

/* Power loss: v.2, not synced, has only its first bytes, or zeros instead. */
static void a_torn_renewal_shows_the_old_value_under_its_number(void **state)
{
    struct stage *w = *state;
    uint8_t whole[COORD_HEADER_BYTES + 3];
    struct buf b;

    for (size_t cut = 0; cut < 2 * sizeof(whole); cut++) {
        struct coord_file *c;
        bool has_zeros = cut >= sizeof(whole);
        size_t kept = cut % sizeof(whole);

        stage_clear(w);
        c = stage_open_store(w);
        assert_int_equal(stage_cas_durable(w, c, 0, "one"), PS_OK);
        assert_int_equal(stage_cas(w, c, 1, "two"), PS_OK);
        coord_file_close(c);
        buf_init(&b);
        assert_int_equal(
            w->real->ops->read(w->real, stage_in(w, "k/v.2"), 100, &b, NULL),
            PS_OK);
        assert_int_equal(b.size, sizeof(whole));
        memset(whole, 0, sizeof(whole));
        memcpy(whole, b.data, kept);
        buf_fini(&b);
        stage_overwrite(w, "k/v.2", whole, has_zeros ? sizeof(whole) : kept);

        c = stage_open_store(w);
        if (has_zeros && kept > COORD_HEADER_BYTES - 8 &&
            kept < COORD_HEADER_BYTES) {
            /* Part of the checksum: told from rot by nothing. */
            assert_int_equal(stage_get(w, c), PS_EIO);
        } else {
            stage_expect_stored(w, c, 2, "one");
            assert_int_equal(stage_cas(w, c, 1, "x"), PS_ECONFLICT);
            assert_int_equal(stage_cas(w, c, 0, "x"), PS_ECONFLICT);
            assert_int_equal(stage_cas(w, c, 2, "three"), PS_OK);
            assert_int_equal(w->result.version, 3);
            assert_int_equal(stage_cas(w, c, 2, "x"), PS_ECONFLICT);
            stage_expect_stored(w, c, 3, "three");
        }
        coord_file_close(c);
    }
}

static void the_durable_value_outlives_all_torn_renewals(void **state)
{
    struct stage *w = *state;
    struct coord_file *c = stage_open_store(w);

    assert_int_equal(stage_cas_durable(w, c, 0, "one"), PS_OK);
    for (uint64_t v = 1; v < 6; v++) {
        assert_int_equal(stage_cas(w, c, v, "renewal"), PS_OK);
    }
    coord_file_close(c);
    stage_overwrite(w, "k/v.5", "", 0);
    stage_overwrite(w, "k/v.6", "", 0);
    c = stage_open_store(w);
    stage_lines = 0;
    stage_expect_stored(w, c, 6, "one");
    stage_expect_stored(w, c, 6, "one");
    assert_int_equal(stage_lines, 1);
    assert_non_null(strstr(stage_last_line, "version 6 of k is torn"));
    assert_int_equal(stage_request(w, c, COORD_WATCH, "k", 6, NULL, 0),
                     PS_EBUSY);
    assert_int_equal(stage_cas(w, c, 6, "two"), PS_OK);
    stage_expect_stored(w, c, 7, "two");
    stage_expect_versions(w, "167");
    coord_file_close(c);
}

static void a_key_with_nothing_whole_is_absent_and_can_be_made(void **state)
{
    struct stage *w = *state;
    struct coord_file *c = stage_open_store(w);

    assert_int_equal(stage_cas(w, c, 0, "1"), PS_OK);
    assert_int_equal(stage_cas(w, c, 1, "2"), PS_OK);
    stage_overwrite(w, "k/v.1", "", 0);
    stage_overwrite(w, "k/v.2", "", 0);
    stage_expect_absent(w, c);
    assert_int_equal(stage_request(w, c, COORD_WATCH, "k", 0, NULL, 0),
                     PS_EBUSY);
    assert_int_equal(stage_cas(w, c, 0, "again"), PS_OK);
    assert_int_equal(w->result.version, 3);
    assert_int_equal(stage_cas(w, c, 0, "x"), PS_ECONFLICT);
    stage_expect_stored(w, c, 3, "again");
    coord_file_close(c);
}

static void a_damaged_durable_file_is_never_passed_over(void **state)
{
    struct stage *w = *state;
    struct coord_file *c = stage_open_store(w);
    struct buf b;

    assert_int_equal(stage_cas_durable(w, c, 0, "one"), PS_OK);
    assert_int_equal(stage_cas_durable(w, c, 1, "two"), PS_OK);
    buf_init(&b);
    assert_int_equal(
        w->real->ops->read(w->real, stage_in(w, "k/v.2"), 100, &b, NULL),
        PS_OK);
    for (size_t i = 0; i < b.size * 8; i++) {
        b.data[i / 8] ^= (uint8_t)(1u << (i % 8));
        stage_overwrite(w, "k/v.2", b.data, b.size);
        assert_int_equal(stage_get(w, c), PS_EIO);
        assert_int_equal(w->result.size, 0);
        assert_int_equal(stage_cas(w, c, 0, "x"), PS_EIO);
        b.data[i / 8] ^= (uint8_t)(1u << (i % 8));
    }
    stage_overwrite(w, "k/v.2", b.data, b.size - 1);
    assert_int_equal(stage_get(w, c), PS_EIO);
    stage_overwrite(w, "k/v.2", b.data, b.size);
    stage_expect_stored(w, c, 2, "two");
    buf_fini(&b);
    coord_file_close(c);
}

/* What another process does while ours is stopped before or after its link. */
struct other {
    struct coord_file *c;
    uint64_t from; /* version of the first of its swaps */
    uint32_t n;
    bool deletes;
    struct stage *opens; /* it opens the store as well */
};

static void act(void *context)
{
    struct other *o = context;
    struct coord_request r = {.key = "k", .data = "other", .size = 5};
    struct coord_result result = {.status = PS_OK};
    struct buf value;

    buf_init(&value);
    r.op = COORD_CAS;
    for (uint32_t i = 0; i < o->n && result.status == PS_OK; i++) {
        r.version = o->from + i;
        coord_file_do(o->c, &r, &value, &result);
    }
    if (o->deletes && result.status == PS_OK) {
        r.op = COORD_DEL;
        coord_file_do(o->c, &r, &value, &result);
    }
    if (o->opens != NULL) {
        struct coord_file *c = NULL;

        result.status = coord_file_open(&c, o->opens->real, o->opens->dir,
                                        o->opens->nonce++, NULL);
        coord_file_close(c);
    }
    buf_fini(&value);
    o->n = result.status == PS_OK ? o->n : UINT32_MAX;
}

/* Swaps from version 4 in an empty store, with `o` before or after the link. */
static int swap_from_4(struct stage *w, struct other *o, bool is_before,
                       struct coord_file **c)
{
    uint32_t n = o->n;
    int rc;

    stage_clear(w);
    *c = stage_open_store(w);
    for (uint64_t v = 0; v < 4; v++) {
        assert_int_equal(stage_cas(w, *c, v, "before"), PS_OK);
    }
    assert_int_equal(coord_file_open(&o->c, w->real, w->dir, w->nonce++, NULL),
                     PS_OK);
    *(is_before ? &w->fault.before_link : &w->fault.after_link) = act;
    w->fault.context = o;
    rc = stage_cas(w, *c, 4, "mine");
    coord_file_close(o->c);
    assert_int_equal(o->n, n);
    return rc;
}

static void a_link_into_the_past_is_not_taken_for_a_success(void **state)
{
    /* By the others' swaps before our link to v.5. After three of them v.5 has
     * been collected, so that the link succeeds. */
    static const int expected[] = {PS_OK,      PS_ECONFLICT, PS_ECONFLICT,
                                   PS_EUNSURE, PS_EUNSURE,   PS_EUNSURE};
    struct stage *w = *state;

    for (uint32_t n = 0; n < ARRAY_LEN(expected); n++) {
        struct other o = {.from = 4, .n = n};
        struct coord_file *c;

        assert_int_equal(swap_from_4(w, &o, true, &c), expected[n]);
        stage_expect_stored(w, c, n == 0 ? 5 : 4 + n,
                            n == 0 ? "mine" : "other");
        if (expected[n] == PS_EUNSURE) {
            assert_int_equal(stage_cas(w, c, 4 + n, "next"), PS_OK);
            stage_expect_stored(w, c, 5 + n, "next");
            stage_expect_versions(w, n == 3 ? "78" : n == 4 ? "89" : "019");
        }
        stage_expect_no_temporaries(w);
        coord_file_close(c);
    }
}

static void a_success_overtaken_is_one_as_long_as_that_can_be_told(void **state)
{
    static const int expected[] = {PS_OK, PS_OK, PS_EUNSURE, PS_EUNSURE};
    struct stage *w = *state;

    for (uint32_t n = 0; n < ARRAY_LEN(expected); n++) {
        struct other o = {.from = 5, .n = n};
        struct coord_file *c;

        assert_int_equal(swap_from_4(w, &o, false, &c), expected[n]);
        assert_int_equal(w->result.version, expected[n] == PS_OK ? 5 : 0);
        stage_expect_stored(w, c, 5 + n, n == 0 ? "mine" : "other");
        coord_file_close(c);
    }
}

static void a_swap_that_meets_a_delete_never_makes_the_key_again(void **state)
{
    struct stage *w = *state;

    for (size_t i = 0; i < 2; i++) {
        struct other o = {.from = 4, .deletes = true};
        struct coord_file *c;

        assert_int_equal(swap_from_4(w, &o, i == 0, &c),
                         i == 0 ? PS_ECONFLICT : PS_EUNSURE);
        stage_expect_absent(w, c);
        stage_expect_no_temporaries(w);
        coord_file_close(c);
    }
}

static void an_open_that_removes_a_living_temporary_harms_nobody(void **state)
{
    struct stage *w = *state;

    for (size_t i = 0; i < 2; i++) {
        struct other o = {.from = 4, .opens = w};
        struct coord_file *c;

        assert_int_equal(swap_from_4(w, &o, i == 0, &c), PS_OK);
        stage_expect_stored(w, c, 5, "mine");
        stage_expect_no_temporaries(w);
        coord_file_close(c);
    }
}

/* What a run of the script knows when a call of the file system fails. */
struct known {
    uint64_t version; /* last acknowledged; 0: absent */
    char text[8];     /* its value */
    uint64_t tried;   /* version of what was being done, 0: delete or none */
    char tried_text[8];
    bool is_trying;
};

/* Makes, renews, writes and deletes a key until something fails; true if
 * nothing did. */
static bool run_script(struct stage *w, struct known *k)
{
    struct coord_file *c = NULL;
    bool is_done = false;

    *k = (struct known){.version = 0};
    if (coord_file_open(&c, &w->fault.fs, w->dir, w->nonce++, NULL) != PS_OK) {
        return false;
    }
    for (uint64_t v = 0; v < 7; v++) {
        k->is_trying = true;
        k->tried = v == 6 ? 0 : v + 1;
        snprintf(k->tried_text, sizeof(k->tried_text), "%c", (int)('a' + v));
        if (v == 6 ? stage_request(w, c, COORD_DEL, "k", 0, NULL,
                                   COORD_DURABLE) != PS_OK
                   : stage_request(w, c, COORD_CAS, "k", v, k->tried_text,
                                   v % 3 == 0 ? COORD_DURABLE : 0) != PS_OK) {
            assert_int_equal(w->result.status, PS_EIO);
            goto out;
        }
        k->is_trying = false;
        k->version = k->tried;
        memcpy(k->text, k->tried_text, sizeof(k->text));
    }
    is_done = true;
out:
    coord_file_close(c);
    return is_done;
}

/* A fresh process finds the old value or the new one, and goes on from it. */
static void expect_old_or_new(struct stage *w, const struct known *k)
{
    struct coord_file *c;
    uint64_t version;
    bool is_old;
    bool is_new;
    int rc;

    /* The first open may be the one that makes the store, and removes
     * nothing. */
    coord_file_close(stage_open_store(w));
    c = stage_open_store(w);
    rc = stage_get(w, c);
    assert_true(rc == PS_OK || rc == PS_ENOTFOUND);
    version = w->result.version;
    is_old = version == k->version &&
             stage_result_is(w, k->version, k->version == 0 ? "" : k->text);
    is_new = k->is_trying &&
             stage_result_is(w, k->tried, k->tried == 0 ? "" : k->tried_text);
    assert_true(is_old || is_new);
    stage_expect_no_temporaries(w);
    assert_int_equal(stage_cas(w, c, version, "next"), PS_OK);
    assert_int_equal(stage_cas_durable(w, c, version + 1, "last"), PS_OK);
    stage_expect_stored(w, c, version + 2, "last");
    stage_expect_no_temporaries(w);
    coord_file_close(c);
}

/* Fails from each call on (a crash), or each call alone (an error), with and
 * without the effect of the first. */
static void every_step_may_be_the_last(void **state)
{
    struct stage *w = *state;

    for (uint32_t kind = 0; kind < 4; kind++) {
        bool is_done = false;
        uint64_t n = 0;

        while (!is_done) {
            struct known k;

            stage_clear(w);
            w->fault.fail_from = ++n;
            w->fault.fail_count = kind < 2 ? UINT64_MAX : 1;
            w->fault.has_effect = kind % 2 == 1;
            is_done = run_script(w, &k) && w->fault.calls < n;
            w->fault.fail_from = 0;
            expect_old_or_new(w, &k);
        }
        assert_in_range(n, 60, 200);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_BOTH(a_torn_renewal_shows_the_old_value_under_its_number),
        ON_BOTH(the_durable_value_outlives_all_torn_renewals),
        ON_BOTH(a_key_with_nothing_whole_is_absent_and_can_be_made),
        ON_BOTH(a_damaged_durable_file_is_never_passed_over),
        ON_BOTH(a_link_into_the_past_is_not_taken_for_a_success),
        ON_BOTH(a_success_overtaken_is_one_as_long_as_that_can_be_told),
        ON_BOTH(a_swap_that_meets_a_delete_never_makes_the_key_again),
        ON_BOTH(an_open_that_removes_a_living_temporary_harms_nobody),
        ON_BOTH(every_step_may_be_the_last),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
