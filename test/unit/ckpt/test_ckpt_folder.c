/* test_ckpt_folder.c - checkpoints in a file system: what there is, rows of
 * them, what is kept.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>

#include "base/hash.h"
#include "base/mem.h"
#include "plan/plan.h"
#include "unit/ckpt/ckpt_stage.h"

enum { USERS = 3000 };

static int set_up(void **state)
{
    *state = fs_memory_new();
    return 0;
}

static int tear_down(void **state)
{
    fs_memory_free(*state);
    return 0;
}

static void make(struct fs *fs, uint64_t cut, uint64_t base, const char *name)
{
    char folder[CKPT_NAME_MAX + 1];
    struct err e = {0};
    int rc = stage_write(fs, cut, base, name, 20, 0, folder, &e);

    if (rc != PS_OK) {
        fail_msg("%s", e.text);
    }
}

static void remove_file(struct fs *fs, const char *path)
{
    assert_int_equal(fs->ops->unlink(fs, path, NULL), PS_OK);
}

/* What came back of one variable, by key. */
struct seen {
    uint8_t *times;
    uint64_t n;
    uint32_t tensors;
    uint64_t batches;
};

static bool see(void *context, const struct ckpt_batch *b)
{
    struct seen *s = context;
    uint32_t dim = b->part->dim;

    s->batches++;
    assert_int_equal(b->part->n_slots, s->tensors - 1);
    for (uint64_t i = 0; i < b->n; i++) {
        assert_true(b->keys[i] < s->n);
        s->times[b->keys[i]]++;
        for (uint32_t k = 0; k < dim; k++) {
            assert_true(b->values[i * dim + k] ==
                        stage_value(b->keys[i], 0, k));
            for (uint32_t t = 1; t < s->tensors; t++) {
                assert_true(b->slots[t - 1][i * dim + k] ==
                            stage_value(b->keys[i], t, k));
            }
        }
    }
    return true;
}

/* Reads [begin, end) and checks that exactly the rows came that belong. */
static void check_range(struct fs *fs, const char *folder, const struct ckpt *c,
                        const char *variable, uint32_t begin, uint32_t end,
                        uint32_t tensors, uint64_t keys)
{
    const struct wire_variable *v = ckpt_variable(c, variable);
    struct seen s = {.n = keys, .tensors = tensors};
    struct err e = {0};
    uint64_t row_begin;
    uint64_t row_end;

    assert_non_null(v);
    s.times = mem_try_zero(keys);
    plan_dense_rows(v->rows, begin, end, &row_begin, &row_end);
    if (ckpt_read_rows(fs, folder, c, v->id, begin, end, see, &s, &e) !=
        PS_OK) {
        fail_msg("%s", e.text);
    }
    for (uint64_t key = 0; key < keys; key++) {
        uint32_t bucket = hash_bucket(hash_key(key));
        bool is_in = v->kind == PS_DENSE
                         ? key >= row_begin && key < row_end
                         : key > 0 && bucket >= begin && bucket < end;

        assert_int_equal(s.times[key], is_in);
    }
    mem_free(s.times);
}

static void rows_of_any_range_come_back_bit_for_bit(void **state)
{
    static const uint32_t ranges[][2] = {
        {0, 65536},     {0, 32768},     {32768, 65536}, {100, 101},
        {30000, 40000}, {65535, 65536}, {0, 3},         {21845, 43690}};
    struct fs *fs = *state;
    char folder[CKPT_NAME_MAX + 1];
    struct ckpt *c;
    struct err e = {0};

    assert_int_equal(stage_write(fs, 12, 0, "", USERS, STAGE_TABLE, folder, &e),
                     PS_OK);
    assert_int_equal(ckpt_open(fs, folder, &c, &e), PS_OK);
    for (size_t i = 0; i < ARRAY_LEN(ranges); i++) {
        uint32_t begin = ranges[i][0];
        uint32_t end = ranges[i][1];

        check_range(fs, folder, c, STAGE_USER, begin, end, 3, USERS + 1);
        check_range(fs, folder, c, "table", begin, end, 1, STAGE_TABLE);
        check_range(fs, folder, c, "bias", begin, end, 1, STAGE_BIAS);
    }
    ckpt_free(c);
}

static void the_state_of_a_lane_comes_back(void **state)
{
    struct fs *fs = *state;
    char folder[CKPT_NAME_MAX + 1];
    struct ckpt_state s;
    struct arena arena;
    struct buf bytes = {0};
    struct ckpt *c;
    struct err e = {0};

    arena_init(&arena);
    assert_int_equal(stage_write(fs, 12, 0, "", 1, 0, folder, &e), PS_OK);
    assert_int_equal(ckpt_open(fs, folder, &c, &e), PS_OK);
    assert_int_equal(ckpt_read_state(fs, folder, c, 0, &arena, &bytes, &s, &e),
                     PS_OK);
    assert_int_equal(s.n_histories, 1);
    assert_int_equal(s.histories[0].lane, 7);
    assert_int_equal(s.histories[0].forgotten, 2);
    assert_int_equal(s.histories[0].n_windows, 2);
    assert_int_equal(s.histories[0].windows[0].next, 9);
    assert_int_equal(s.histories[0].windows[0].floor, 4);
    assert_int_equal(s.histories[0].windows[0].refuse_below, 2);
    assert_int_equal(s.histories[0].windows[0].fate[7], PS_ELIMIT);
    assert_int_equal(s.histories[0].windows[0].fate[8], 0);
    assert_true(s.histories[0].windows[0].canceled[1] == 0x8000000000000001u);
    assert_int_equal(s.histories[0].windows[1].session, 5);
    assert_int_equal(s.histories[0].windows[1].has_ended, 1);
    assert_int_equal(s.n_lates, 1);
    assert_int_equal(s.lates[0].seq, 8);
    assert_int_equal(s.lates[0].n_body, 4);
    assert_memory_equal(s.lates[0].body, "late", 4);
    assert_int_equal(s.n_chains, 1);
    assert_string_equal(s.chains[0].definition,
                        "BuildHashSlice(insert)>AdagradUpdater");
    ckpt_free(c);
    buf_fini(&bytes);
    arena_fini(&arena);
}

static void what_was_declared_comes_back(void **state)
{
    struct fs *fs = *state;
    char folder[CKPT_NAME_MAX + 1];
    const struct wire_variable *v;
    struct ckpt *c;
    struct err e = {0};

    assert_int_equal(stage_write(fs, 12, 0, "monday", 1, 0, folder, &e), PS_OK);
    assert_int_equal(ckpt_open(fs, folder, &c, &e), PS_OK);
    v = ckpt_variable(c, STAGE_USER);
    assert_non_null(v);
    assert_ptr_equal(v, ckpt_variable_by_id(c, 1));
    assert_null(ckpt_variable(c, "user"));
    assert_null(ckpt_variable_by_id(c, 3));
    assert_true(v->init_seed == UINT64_MAX && v->init_key == 1ull << 63);
    assert_true(v->init_a == 0.1 && v->param0 == 0.05 && v->param1 == 1e-300);
    assert_string_equal(v->updater, "AdagradUpdater");
    assert_string_equal(c->manifest.name, "monday");
    assert_true(c->manifest.cluster_high == 0xfedcba9876543210u);
    assert_int_equal(c->manifest.n_sessions, 1);
    assert_int_equal(c->manifest.sessions[0].position.size, 3);
    assert_memory_equal(c->manifest.sessions[0].position.data, "\0\xffp", 3);
    assert_int_equal(c->manifest.next_lane, 10);
    ckpt_free(c);
}

static void a_list_is_newest_first_and_says_what_is_wrong(void **state)
{
    struct fs *fs = *state;
    struct ckpt_list list;
    struct err e = {0};

    assert_int_equal(ckpt_list(fs, &list, &e), PS_OK);
    assert_int_equal(list.n, 0);
    assert_null(ckpt_list_find(&list, NULL));
    make(fs, 9, 0, "a");
    make(fs, 100, 0, "b");
    make(fs, 11, 9, "a");
    make(fs, 12, 10, "c");
    assert_int_equal(fs->ops->mkdir(fs, ".new-000000000101-3", NULL), PS_OK);
    assert_int_equal(fs->ops->mkdir(fs, "other", NULL), PS_OK);
    assert_int_equal(fs->ops->mkdir(fs, "ckpt-000000000001-03", NULL), PS_OK);
    remove_file(fs, "ckpt-000000000100-3/lane-9.safetensors");
    assert_int_equal(ckpt_list(fs, &list, &e), PS_OK);
    assert_int_equal(list.n, 5);
    assert_string_equal(list.entries[0].folder, ".new-000000000101-3");
    assert_true(list.entries[0].is_new && !list.entries[0].is_whole);
    assert_string_equal(list.entries[1].folder, "ckpt-000000000100-3");
    assert_false(list.entries[1].is_whole);
    assert_non_null(strstr(list.entries[1].why, "lane-9.safetensors"));
    assert_string_equal(list.entries[1].name, "b");
    assert_false(list.entries[2].is_whole);
    assert_non_null(strstr(list.entries[2].why, "cut 10"));
    assert_true(list.entries[3].is_whole && list.entries[3].base == 9);
    assert_true(list.entries[4].is_whole);
    assert_int_equal(list.entries[4].rows, 20 + STAGE_BIAS);
    assert_string_equal(ckpt_list_find(&list, NULL)->folder,
                        "ckpt-000000000011-3");
    assert_string_equal(ckpt_list_find(&list, "a")->folder,
                        "ckpt-000000000011-3");
    assert_string_equal(ckpt_list_find(&list, "9")->folder,
                        "ckpt-000000000009-3");
    assert_string_equal(ckpt_list_find(&list, "b")->folder,
                        "ckpt-000000000100-3");
    assert_string_equal(ckpt_list_find(&list, "ckpt-000000000009-3")->folder,
                        "ckpt-000000000009-3");
    assert_null(ckpt_list_find(&list, "mondy"));
    assert_null(ckpt_list_find(&list, "99999999999999999999999"));
    ckpt_list_free(&list);
}

static void a_base_is_of_the_same_cluster(void **state)
{
    static const char path[] = "ckpt-000000000009-3/" CKPT_MANIFEST;
    struct fs *fs = *state;
    struct ckpt_list list;
    struct ckpt *c;
    struct buf b;
    struct err e = {0};

    make(fs, 9, 0, "a");
    make(fs, 11, 9, "b");
    assert_int_equal(ckpt_open(fs, "ckpt-000000000009-3", &c, &e), PS_OK);
    buf_init(&b);
    c->manifest.cluster_low++;
    assert_int_equal(ckpt_manifest_encode(&c->manifest, &b), PS_OK);
    remove_file(fs, path);
    assert_int_equal(fs->ops->write_new(fs, path, b.data, b.size, false, &e),
                     PS_OK);
    assert_int_equal(ckpt_list(fs, &list, &e), PS_OK);
    assert_true(list.entries[1].is_whole);
    assert_null(ckpt_list_base(&list, &list.entries[0]));
    assert_false(list.entries[0].is_whole);
    assert_non_null(strstr(list.entries[0].why, "cut 9"));
    ckpt_list_free(&list);
    buf_fini(&b);
    ckpt_free(c);
}

static void a_good_manifest_tells_the_name_though_an_index_is_gone(void **state)
{
    struct fs *fs = *state;
    struct ckpt_list list;
    struct err e = {0};

    make(fs, 11, 9, "thu");
    remove_file(fs, "ckpt-000000000011-3/lane-9.json");
    assert_int_equal(ckpt_list(fs, &list, &e), PS_OK);
    assert_int_equal(list.n, 1);
    assert_false(list.entries[0].is_whole);
    assert_non_null(strstr(list.entries[0].why, "lane-9.json"));
    assert_string_equal(list.entries[0].name, "thu");
    assert_int_equal(list.entries[0].base, 9);
    assert_int_equal(list.entries[0].time_ms, 1700000000123);
    assert_ptr_equal(ckpt_list_find(&list, "thu"), &list.entries[0]);
    assert_null(ckpt_list_find(&list, NULL));
    ckpt_list_free(&list);
}

static void a_checkpoint_is_never_replaced(void **state)
{
    struct fs *fs = *state;
    char folder[CKPT_NAME_MAX + 1];
    struct ckpt_list list;
    struct err e = {0};

    make(fs, 5, 0, "first");
    assert_int_equal(stage_write(fs, 5, 0, "second", 3, 0, folder, &e),
                     PS_EEXIST);
    assert_int_equal(ckpt_list(fs, &list, &e), PS_OK);
    assert_int_equal(list.n, 1);
    assert_string_equal(list.entries[0].name, "first");
    ckpt_list_free(&list);
}

static void a_writer_that_runs_out_of_memory_leaves_nothing(void **state)
{
    struct fs *fs = *state;
    int rc = PS_ENOMEM;

    for (uint64_t i = 1; rc != PS_OK; i++) {
        char folder[CKPT_NAME_MAX + 1];
        struct ckpt_list list;

        mem_fail_at(i);
        rc = stage_write(fs, 12, 0, "", 5, 3, folder, NULL);
        mem_fail_at(0);
        if (rc == PS_OK) {
            assert_true(i > 50);
            break;
        }
        assert_int_equal(rc, PS_ENOMEM);
        assert_int_equal(ckpt_list(fs, &list, NULL), PS_OK);
        for (uint32_t k = 0; k < list.n; k++) {
            assert_true(list.entries[k].is_new);
        }
        ckpt_list_free(&list);
    }
}

static void what_another_makes_is_left_to_it(void **state)
{
    struct fs *fs = *state;
    char folder[CKPT_NAME_MAX + 1];
    struct err e;

    assert_int_equal(fs->ops->mkdir(fs, ".new-000000000006-3/x", NULL), PS_OK);
    assert_int_equal(stage_write(fs, 6, 0, "", 20, 0, folder, &e), PS_EEXIST);
    assert_non_null(strstr(e.text, ".new-000000000006-3: another program"));
    assert_int_equal(fs->ops->rmdir(fs, ".new-000000000006-3/x", NULL), PS_OK);
}

static void the_folder_of_a_move_has_one_name(void **state)
{
    struct ckpt_move m = {25, 10, 0xccc6a7bf5ec51b61};
    char name[CKPT_NAME_MAX + 1];
    uint64_t cut, term;
    bool is_new;

    (void)state;
    ckpt_move_name(&m, name);
    assert_string_equal(name, "move-000000000025-10-ccc6a7bf5ec51b61");
    memset(&m, 0, sizeof(m));
    assert_true(ckpt_move_parse(name, &m));
    assert_int_equal(m.number, 25);
    assert_int_equal(m.term, 10);
    assert_true(m.cluster == 0xccc6a7bf5ec51b61);
    assert_false(ckpt_folder_parse(name, &cut, &term, &is_new));
    assert_false(ckpt_move_parse("move-25-10-ccc6a7bf5ec51b61", &m));
    assert_false(ckpt_move_parse("move-000000000025-10", &m));
    assert_false(ckpt_move_parse("move--10-ccc6a7bf5ec51b61", &m));
    assert_false(ckpt_move_parse("ckpt-000000000025-10", &m));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_folder_of_a_move_has_one_name),
        cmocka_unit_test_setup_teardown(rows_of_any_range_come_back_bit_for_bit,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_state_of_a_lane_comes_back, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(what_was_declared_comes_back, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(
            a_list_is_newest_first_and_says_what_is_wrong, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_base_is_of_the_same_cluster, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(
            a_good_manifest_tells_the_name_though_an_index_is_gone, set_up,
            tear_down),
        cmocka_unit_test_setup_teardown(a_checkpoint_is_never_replaced, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(
            a_writer_that_runs_out_of_memory_leaves_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_another_makes_is_left_to_it,
                                        set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
