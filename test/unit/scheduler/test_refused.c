/* test_refused.c - what the scheduler says when it refuses a variable or a
 * move: which one, where, and what to do. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "restore_cluster.h"

static struct wire_move move_to(uint32_t server)
{
    return (struct wire_move){.name = "user", .server = server};
}

static void refuse_move(const struct wire_move *m, int status, const char *text)
{
    uint64_t plan = stage_plan().plan;
    struct buf b;

    buf_init(&b);
    wire_move_encode(m, &b);
    stage_send(&stage.a, WIRE_MOVE, &b);
    buf_fini(&b);
    stage_pass(300);
    assert_int_equal(stage_answer(&stage.a), status);
    assert_string_equal(stage_text(&stage.a), text);
    assert_int_equal(stage_plan().plan, plan);
}

static void refuse_declare(const struct wire_variable *v, int status,
                           const char *text)
{
    uint64_t plan = stage_plan().plan;

    assert_int_equal(stage_declare(&stage.a, v), status);
    assert_string_equal(stage_text(&stage.a), text);
    assert_int_equal(stage_plan().plan, plan);
}

static void a_move_that_cannot_be_is_refused_by_name(void **state)
{
    struct wire_variable v = stage_variable("logged", 8);
    struct wire_move m = move_to(1);

    (void)state;
    stage.has_log = true;
    restore_run_cluster(2);
    v.durability = PS_LOG;
    assert_int_equal(stage_declare(&stage.a, &v), PS_OK);
    m.name = "logged";
    refuse_move(&m, PS_EARGUMENT,
                "cannot move \"logged\" buckets 0 to 32767 from server 0 shard "
                "0 to server 1 shard 0: it is logged on the disk of its "
                "server, where its parts stay");
    m.name = "nobody";
    refuse_move(&m, PS_ENOTFOUND,
                "no variable is named \"nobody\"; ps-plus status lists them");
    m = move_to(1);
    m.bucket = LIMIT_BUCKETS;
    refuse_move(&m, PS_ENOTFOUND,
                "\"user\" has no bucket 65536: there are 65536, from 0");
    m = move_to(2);
    refuse_move(&m, PS_ENOTFOUND,
                "\"user\" bucket 0 cannot move to server 2 shard 0: no such "
                "shard is there now; ps-plus status lists them");
    m = move_to(1);
    m.bucket = 7;
    m.shard = 1;
    refuse_move(&m, PS_ENOTFOUND,
                "\"user\" bucket 7 cannot move to server 1 shard 1: no such "
                "shard is there now; ps-plus status lists them");
}

static void open_without_root(uint32_t servers)
{
    stage_close(&stage.a);
    stage.servers = servers;
    stage_open(&stage.a, 200, "sched:1");
    stage_pass(5000);
    stage_put_server(0, 11);
    stage_pass(500);
    stage_connect(&stage.a);
}

static void without_a_place_for_checkpoints_nothing_moves(void **state)
{
    struct wire_variable v = stage_variable("user", 8);
    struct wire_move m = move_to(0);

    (void)state;
    open_without_root(2);
    stage_put_server(1, 12);
    stage_pass(500);
    assert_int_equal(stage_declare(&stage.a, &v), PS_OK);
    m.bucket = LIMIT_BUCKETS - 1;
    refuse_move(&m, PS_EARGUMENT,
                "cannot move \"user\" buckets 32768 to 65535 from server 1 "
                "shard 0 to server 0 shard 0: parts move through the folder of "
                "checkpoints: give the scheduler -cp URL");
}

/* 2^20 rows of 32 bytes and 16 of the index are 24 MiB a part; the other server
 * has 24 of 40. */
static void a_server_without_room_does_not_get_a_part(void **state)
{
    struct wire_variable v = stage_variable("large", 8);
    struct wire_move m = move_to(1);

    (void)state;
    stage.limits.memory_bytes = 40 << 20;
    restore_run_cluster(2);
    v.rows = 1 << 20;
    assert_int_equal(stage_declare(&stage.a, &v), PS_OK);
    m.name = "large";
    refuse_move(
        &m, PS_ELIMIT,
        "cannot move \"large\" buckets 0 to 32767 from server 0 shard 0 "
        "to server 1 shard 0: that server has no room for it: raise "
        "-smem, -snet and -sqps of the scheduler, or name another");
}

static void a_declaration_that_cannot_be_is_refused_by_name(void **state)
{
    const struct wire_variable good = stage_variable("user", 8);
    struct wire_variable v = good;

    (void)state;
    restore_run_cluster(1);
    v.name = "wide";
    v.dim = 65537;
    refuse_declare(&v, PS_EARGUMENT,
                   "variable \"wide\": dim is 1 to 65536, not 65537");
    v = good;
    v.name = "long";
    v.kind = PS_DENSE;
    v.rows = UINT64_C(1) << 32;
    refuse_declare(&v, PS_EARGUMENT,
                   "variable \"long\": a dense variable has 1 to 2147483647 "
                   "rows, not 4294967296");
    v = good;
    v.name = "many";
    v.n_params = 9;
    refuse_declare(&v, PS_EARGUMENT,
                   "variable \"many\": an updater has at most 8 parameters, "
                   "not 9");
    v = good;
    v.name = "odd";
    v.updater = "OddUpdater";
    refuse_declare(
        &v, PS_ENOUDF,
        "variable \"odd\": there is no updater named OddUpdater: the "
        "scheduler and all servers load a plugin's with --plugin");
    v = good;
    v.name = "kept";
    v.durability = 3;
    refuse_declare(&v, PS_EARGUMENT,
                   "variable \"kept\": durability 3 is not known: 0 is memory, "
                   "1 log, 2 fsync");
    v.durability = PS_FSYNC;
    refuse_declare(&v, PS_EARGUMENT,
                   "variable \"kept\": durability fsync wants a log on each "
                   "server, and server 0 has none: give it --log_path");
    v.no_save = 1;
    refuse_declare(&v, PS_EARGUMENT,
                   "variable \"kept\": what checkpoints leave out has "
                   "durability memory: a log would begin where nothing is");
}

static void a_declaration_that_differs_is_told_what_is_there(void **state)
{
    struct wire_variable v = stage_variable("other", 8);

    (void)state;
    restore_run_cluster(1);
    v.init_kind = PS_INIT_CONSTANT;
    v.init_a = v.init_b = 0;
    v.init_seed = 3;
    v.updater = "AssignAddUpdater";
    v.n_params = 0;
    assert_int_equal(stage_declare(&stage.a, &v), PS_OK);
    v.dim = 16;
    v.no_save = 1;
    refuse_declare(
        &v, PS_ECONFLICT,
        "variable \"other\" is there as hash64 rows 0 dim 8, constant(0, 0) "
        "seed 3, AssignAddUpdater(); asked for hash64 rows 0 dim 16, "
        "constant(0, 0) seed 3, AssignAddUpdater(), not saved: drop that one "
        "first, or take another name");
}

static void a_declaration_that_is_too_early_is_told_of_the_servers(void **state)
{
    struct wire_variable v = stage_variable("user", 8);

    (void)state;
    open_without_root(2);
    refuse_declare(&v, PS_ENOTREADY,
                   "variable \"user\" waits for servers: 1 of 2 are there");
}

static void a_variable_without_room_is_told_the_limit(void **state)
{
    struct wire_variable v = stage_variable("large", 8);

    (void)state;
    stage.limits.memory_bytes = 40 << 20;
    restore_run_cluster(1);
    v.rows = 1 << 20; /* 48 MiB */
    assert_int_equal(stage_declare(&stage.a, &v), PS_ELIMIT);
    assert_non_null(strstr(stage_text(&stage.a),
                           "cannot place \"large\": server 0 would need "));
    assert_non_null(strstr(stage_text(&stage.a), "-smem allows 40 MB"));
}

static void a_drop_of_nothing_is_refused_by_name(void **state)
{
    (void)state;
    restore_run_cluster(1);
    assert_int_equal(stage_drop(&stage.a, "nobody"), PS_ENOTFOUND);
    assert_string_equal(
        stage_text(&stage.a),
        "no variable is named \"nobody\"; ps-plus status lists them");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STAGED(a_move_that_cannot_be_is_refused_by_name),
        STAGED(without_a_place_for_checkpoints_nothing_moves),
        STAGED(a_server_without_room_does_not_get_a_part),
        STAGED(a_declaration_that_cannot_be_is_refused_by_name),
        STAGED(a_declaration_that_differs_is_told_what_is_there),
        STAGED(a_declaration_that_is_too_early_is_told_of_the_servers),
        STAGED(a_variable_without_room_is_told_the_limit),
        STAGED(a_drop_of_nothing_is_refused_by_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
