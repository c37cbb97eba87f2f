/* probe_size.c - requests of every size, refusals and conflicts. One case a
 * run; each prints what it found, and ends the program where that is wrong. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "probe.h"

enum { MILLION = 1000000, MANY = 128, WAIT_MS = 60000 };

static void expect(const char *what, int holds)
{
    if (!holds) {
        probe_fail(what, PS_EUNKNOWN, "it is not so");
    }
}

/* Submits, waits, and says how many numbered frames it took. */
static int run_ops(ps_client *client, const struct ps_op *ops, size_t n,
                   size_t *frames)
{
    ps_request *r = NULL;
    int rc = ps_submit(client, ops, n, &r);

    if (rc == PS_OK) {
        rc = ps_wait(r, WAIT_MS);
        *frames = ps_request_frames(r);
    }
    ps_request_free(r);
    return rc;
}

static void test_empty(ps_client *client)
{
    const uint64_t keys[] = {1, 2};
    const float values[] = {5, 6};
    float rows[2] = {-1, -1};
    size_t frames = 99;
    ps_variable *v = probe_declare(client, "empty", PS_HASH64, 0, 1);
    struct ps_op ops[] = {
        {.variable = v, .kind = PS_PUSH},
        {.variable = v, .kind = PS_PUSH, .keys = keys, .values = values},
        {.variable = v, .kind = PS_PULL, .out = rows},
    };

    probe_need("push of nothing", ps_push(v, NULL, 0, NULL, WAIT_MS));
    probe_need("pull of nothing", ps_pull(v, NULL, 0, NULL, WAIT_MS));
    probe_need("three times nothing", run_ops(client, ops, 3, &frames));
    expect("nothing takes no frame", frames == 0);
    ops[1].n_keys = 2;
    probe_need("nothing beside something", run_ops(client, ops, 3, &frames));
    probe_need("pull", ps_pull(v, keys, 2, rows, WAIT_MS));
    expect("the rows are those pushed", rows[0] == 5 && rows[1] == 6);
    expect("no operation is an argument error",
           run_ops(client, ops, 0, &frames) == PS_EARGUMENT);
    printf("{\"ok\":true}\n");
}

/* Also the ids at the ends, and an id that was never pushed. */
static void test_one(ps_client *client)
{
    const uint64_t ends[] = {0, UINT64_MAX, (uint64_t)1 << 63, 42};
    const float value[3] = {1.5F, -2, 1e-30F};
    float rows[4 * 3];
    struct ps_declaration what;
    ps_variable *v = NULL;

    ps_declaration_init(&what);
    what.name = "one";
    what.kind = PS_HASH64;
    what.dim = 3;
    what.init = (struct ps_init){.kind = PS_INIT_CONSTANT, .a = 8};
    what.updater = (struct ps_updater){.name = "AssignUpdater"};
    probe_need("declare", ps_declare(client, &what, &v, WAIT_MS, NULL));
    for (size_t i = 0; i < 3; i++) {
        probe_need("push", ps_push(v, &ends[i], 1, value, WAIT_MS));
    }
    probe_need("pull", ps_pull(v, ends, 4, rows, WAIT_MS));
    for (size_t i = 0; i < 3; i++) {
        expect("a row is the one pushed",
               memcmp(rows + 3 * i, value, sizeof(value)) == 0);
    }
    expect("an absent row is its initial value",
           rows[9] == 8 && rows[10] == 8 && rows[11] == 8);
    printf("{\"ok\":true}\n");
}

static void test_million(ps_client *client)
{
    uint64_t *keys = probe_array(MILLION, sizeof(*keys));
    float *values = probe_array(2 * MILLION, sizeof(*values));
    float *rows = probe_array(2 * MILLION, sizeof(*rows));
    ps_variable *v = probe_declare(client, "million", PS_HASH64, MILLION, 2);
    struct ps_op op = {.variable = v,
                       .kind = PS_PUSH,
                       .keys = keys,
                       .n_keys = MILLION,
                       .values = values};
    double start = probe_now();
    size_t frames = 0;

    for (size_t i = 0; i < MILLION; i++) {
        keys[i] = i * UINT64_C(0x9e3779b97f4a7c15);
        values[2 * i] = (float)i;
        values[2 * i + 1] = 1;
    }
    probe_need("push", run_ops(client, &op, 1, &frames));
    probe_need("pull", ps_pull(v, keys, MILLION, rows, WAIT_MS));
    expect("a million rows are those pushed",
           memcmp(rows, values, 2 * MILLION * sizeof(*rows)) == 0);
    printf("{\"ok\":true,\"frames\":%zu,\"seconds\":%.3f}\n", frames,
           probe_now() - start);
    free(keys);
    free(values);
    free(rows);
}

/* One gradient: the sum in batch order in float32, which is not what any other
 * order gives for these values. */
static void test_same(ps_client *client)
{
    uint64_t *keys = probe_array(MILLION, sizeof(*keys));
    float *values = probe_array(MILLION, sizeof(*values));
    float *rows = probe_array(MILLION, sizeof(*rows));
    ps_variable *v = probe_declare(client, "same", PS_HASH64, 0, 1);
    struct ps_op op = {.variable = v,
                       .kind = PS_PUSH,
                       .keys = keys,
                       .n_keys = MILLION,
                       .values = values};
    float sum = 0;
    double exact = 0;
    size_t frames = 0;

    for (size_t i = 0; i < MILLION; i++) {
        keys[i] = 7;
        values[i] = 0.1F + (float)(i % 10);
        sum += values[i];
        exact += (double)values[i];
    }
    expect("the order shows in the sum", (double)sum != (double)(float)exact);
    probe_need("push", run_ops(client, &op, 1, &frames));
    expect("one id is one frame", frames == 1);
    probe_need("pull", ps_pull(v, keys, MILLION, rows, WAIT_MS));
    for (size_t i = 0; i < MILLION; i++) {
        expect("the row is the sum in batch order", rows[i] == sum);
    }
    printf("{\"ok\":true}\n");
    free(keys);
    free(values);
    free(rows);
}

static void test_many(ps_client *client, size_t shards)
{
    static const uint64_t keys[] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
    static const float ones[9] = {1, 1, 1, 1, 1, 1, 1, 1, 1};
    static float rows[MANY][9];
    struct ps_op ops[2 * MANY] = {0};
    size_t frames = 0;

    for (size_t i = 0; i < MANY; i++) {
        int kind = i % 2 == 0 ? PS_HASH64 : PS_DENSE;
        char name[32];

        snprintf(name, sizeof(name), "many/%zu", i);
        ops[i].variable =
            probe_declare(client, name, kind, kind == PS_DENSE ? 9 : 0, 1);
        ops[i].kind = PS_PUSH;
        ops[i].keys = kind == PS_DENSE ? NULL : keys;
        ops[i].n_keys = kind == PS_DENSE ? 0 : 9;
        ops[i].values = ones;
        ops[MANY + i] = ops[i];
        ops[MANY + i].kind = PS_PULL;
        ops[MANY + i].out = rows[i];
    }
    probe_need("push", run_ops(client, ops, MANY, &frames));
    expect("one frame for each shard", frames == shards);
    probe_need("pull", run_ops(client, ops + MANY, MANY, &frames));
    expect("a pull has no numbered frame", frames == 0);
    for (size_t i = 0; i < MANY; i++) {
        expect("each row is 1", memcmp(rows[i], ones, sizeof(ones)) == 0);
    }
    /* Push and pull merged, as a step is. */
    probe_need("both", run_ops(client, ops, (size_t)2 * MANY, &frames));
    expect("still one frame for each shard", frames == shards);
    printf("{\"ok\":true}\n");
}

static void print_refusal(int rc, const char *text)
{
    printf("{\"status\":\"%s\",\"text\":", ps_status_name(rc));
    probe_text(text);
    printf("}\n");
}

static void test_conflict(ps_client *client)
{
    struct ps_declaration what;
    struct ps_error e = {0};
    ps_variable *v = NULL;
    int rc;

    (void)probe_declare(client, "conflict", PS_HASH64, 0, 5);
    (void)probe_declare(client, "conflict", PS_HASH64, 0, 5);
    ps_declaration_init(&what);
    what.name = "conflict";
    what.kind = PS_HASH64;
    what.dim = 9;
    what.updater = (struct ps_updater){.name = "AssignAddUpdater"};
    rc = ps_declare(client, &what, &v, WAIT_MS, &e);
    print_refusal(rc, e.text);
    what.dim = 5;
    what.updater = (struct ps_updater){
        .name = "AdagradUpdater", .params = {0.5, 0.25}, .n_params = 2};
    rc = ps_declare(client, &what, &v, WAIT_MS, &e);
    print_refusal(rc, e.text);
}

static void test_names(ps_client *client)
{
    static const struct {
        const char *name;
        int status;
    } names[] = {
        {"", PS_EARGUMENT},
        {"a\nb", PS_EARGUMENT},
        {"\xff\xfe", PS_EARGUMENT},
        {"a/b/../c", PS_OK},
        {"gr\xc3\xbc\xc3\x9f", PS_OK},
    };
    struct ps_declaration what;
    char name[257];

    ps_declaration_init(&what);
    what.kind = PS_HASH64;
    what.dim = 1;
    what.updater = (struct ps_updater){.name = "AssignUpdater"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        ps_variable *v = NULL;

        what.name = names[i].name;
        expect(names[i].name,
               ps_declare(client, &what, &v, WAIT_MS, NULL) == names[i].status);
    }
    memset(name, 'n', 256);
    for (size_t size = 256; size >= 255; size--) {
        ps_variable *v = NULL;

        name[size] = '\0';
        what.name = name;
        expect("255 bytes are a name, 256 are not",
               ps_declare(client, &what, &v, WAIT_MS, NULL) ==
                   (size == 255 ? PS_OK : PS_EARGUMENT));
    }
    printf("{\"ok\":true}\n");
}

/* Two clients; one drops a variable, and the other, which may not have heard,
 * pushes to it and to one that stays, in one frame. */
static void test_dropped(ps_client *client)
{
    const uint64_t key = 3;
    const float one = 1;
    float row = -1;
    ps_client *other = probe_open(-1, NULL, NULL);
    ps_variable *stays = probe_declare(other, "stays", PS_HASH64, 0, 1);
    ps_variable *goes = probe_declare(other, "goes", PS_HASH64, 0, 1);
    struct ps_op ops[] = {
        {.variable = stays,
         .kind = PS_PUSH,
         .keys = &key,
         .n_keys = 1,
         .values = &one},
        {.variable = goes,
         .kind = PS_PUSH,
         .keys = &key,
         .n_keys = 1,
         .values = &one},
    };
    struct ps_error e = {0};
    ps_request *r = NULL;
    size_t applied = 0;
    int rc;

    (void)probe_declare(client, "goes", PS_HASH64, 0, 1);
    rc = ps_drop(client, "goes", WAIT_MS, &e);
    if (rc != PS_OK) {
        probe_fail("drop", rc, e.text);
    }
    probe_need("submit", ps_submit(other, ops, 2, &r));
    rc = ps_wait(r, WAIT_MS);
    if (rc != PS_ENOTFOUND) {
        probe_fail("a push to a dropped variable", rc, "it is not refused so");
    }
    for (size_t i = 0; i < ps_request_frames(r); i++) {
        struct ps_frame_outcome frame;

        probe_need("frame", ps_request_frame(r, i, &frame));
        applied += frame.status == PS_OK;
    }
    ps_request_free(r);
    probe_need("pull", ps_pull(stays, &key, 1, &row, WAIT_MS));
    expect("the row is what the frames were told", row == (float)applied);
    printf("{\"ok\":true,\"applied\":%zu}\n", applied);
    (void)ps_close(other, WAIT_MS);
}

/* On a cluster of one shard with little memory: pushes until one is refused,
 * which must leave nothing behind, neither in the full variable nor in the
 * other that was in the same frame; rows that exist can still be pushed. */
static void test_full(ps_client *client)
{
    enum { STEP = 4096, DIM = 64 };
    uint64_t *keys = probe_array(STEP, sizeof(*keys));
    float *values = probe_array((size_t)STEP * DIM, sizeof(*values));
    float *rows = probe_array((size_t)STEP * DIM, sizeof(*rows));
    ps_variable *small = probe_declare(client, "small", PS_HASH64, 0, 1);
    ps_variable *big = probe_declare(client, "big", PS_HASH64, 0, DIM);
    const uint64_t key = 1;
    const float one = 1;
    float row = -1;
    struct ps_op ops[] = {
        {.variable = small,
         .kind = PS_PUSH,
         .keys = &key,
         .n_keys = 1,
         .values = &one},
        {.variable = big,
         .kind = PS_PUSH,
         .keys = keys,
         .n_keys = STEP,
         .values = values},
    };
    size_t frames = 0;
    size_t step = 0;
    int rc;

    for (size_t i = 0; i < (size_t)STEP * DIM; i++) {
        values[i] = 1;
    }
    do {
        for (size_t i = 0; i < STEP; i++) {
            keys[i] = step * STEP + i;
        }
        rc = run_ops(client, ops, 2, &frames);
        step += rc == PS_OK;
    } while (rc == PS_OK && step < 100000);
    expect("the memory limit refuses", rc == PS_ELIMIT);
    probe_need("pull", ps_pull(big, keys, STEP, rows, WAIT_MS));
    for (size_t i = 0; i < (size_t)STEP * DIM; i++) {
        expect("no row of the refused push is there", rows[i] == 0);
    }
    probe_need("pull", ps_pull(small, &key, 1, &row, WAIT_MS));
    expect("nor what was beside it in its frame", row == (float)step);
    for (size_t i = 0; i < STEP; i++) {
        keys[i] = i;
    }
    probe_need("push of rows that exist", run_ops(client, ops, 2, &frames));
    probe_need("pull", ps_pull(big, keys, STEP, rows, WAIT_MS));
    for (size_t i = 0; i < (size_t)STEP * DIM; i++) {
        expect("rows that exist are updated", rows[i] == 2);
    }
    printf("{\"ok\":true,\"rows\":%zu}\n", step * STEP + (step > 0));
    free(keys);
    free(values);
    free(rows);
}

static int declare_signum(ps_client *client, ps_variable **v,
                          struct ps_error *e)
{
    struct ps_declaration what;

    ps_declaration_init(&what);
    what.name = "signum";
    what.kind = PS_HASH64;
    what.dim = 2;
    what.updater = (struct ps_updater){
        .name = "SignumUpdater", .params = {0.25, 0.5}, .n_params = 2};
    return ps_declare(client, &what, v, WAIT_MS, e);
}

/* Gradients 2, then -1, then -1: their mean is 1, then 0, then -1/2, so that d
 * is -1/4, -1/4, 0; of the opposite ones the same the other way round. */
static void test_signum(ps_client *client)
{
    enum { KEYS = 1000 };
    static const float g[3] = {2, -1, -1};
    static const float after[3] = {-0.25F, -0.25F, 0};
    static uint64_t keys[KEYS];
    static float values[2 * KEYS], out[2 * KEYS];
    ps_variable *v = NULL;
    struct ps_error e = {0};
    int rc = declare_signum(client, &v, &e);

    if (rc != PS_OK) {
        probe_fail("signum", rc, e.text);
    }
    for (int step = 0; step < 3; step++) {
        for (size_t i = 0; i < KEYS; i++) {
            keys[i] = i * 7919;
            values[2 * i] = g[step];
            values[2 * i + 1] = -g[step];
        }
        probe_need("push", ps_push(v, keys, KEYS, values, WAIT_MS));
        probe_need("pull", ps_pull(v, keys, KEYS, out, WAIT_MS));
        for (size_t i = 0; i < KEYS; i++) {
            if (out[2 * i] != after[step] || out[2 * i + 1] != -after[step]) {
                probe_fail("signum", PS_EDATALOSS, "not its formula");
            }
        }
    }
    printf("{\"ok\":true}\n");
}

static void test_no_signum(ps_client *client)
{
    ps_variable *v = NULL;
    struct ps_error e = {0};
    int rc = declare_signum(client, &v, &e);

    print_refusal(rc, e.text);
}

int probe_size(int argc, char **argv)
{
    const char *name = argc > 0 ? argv[0] : "";
    ps_client *client = probe_open(-1, NULL, NULL);

    if (strcmp(name, "empty") == 0) {
        test_empty(client);
    } else if (strcmp(name, "one") == 0) {
        test_one(client);
    } else if (strcmp(name, "million") == 0) {
        test_million(client);
    } else if (strcmp(name, "same") == 0) {
        test_same(client);
    } else if (strcmp(name, "many") == 0 && argc == 2) {
        test_many(client, probe_number(argv[1]));
    } else if (strcmp(name, "conflict") == 0) {
        test_conflict(client);
    } else if (strcmp(name, "names") == 0) {
        test_names(client);
    } else if (strcmp(name, "dropped") == 0) {
        test_dropped(client);
    } else if (strcmp(name, "signum") == 0) {
        test_signum(client);
    } else if (strcmp(name, "no-signum") == 0) {
        test_no_signum(client);
    } else if (strcmp(name, "full") == 0) {
        test_full(client);
    } else {
        probe_fail(name, PS_EARGUMENT, "there is no such case");
    }
    return ps_close(client, WAIT_MS) == PS_OK ? 0 : 1;
}
