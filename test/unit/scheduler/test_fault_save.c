/* test_fault_save.c - a scheduler whose nth allocation fails, for every n of a
 * save and of a restore: a clear answer, nothing changed where it was refused,
 * each order done once; and with memory again, both work. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>

#include "base/hash.h"
#include "base/mem.h"
#include "lib/armed.h"
#include "scheduler_stage.h"

enum { TIMES_MAX = 5000, TRIES_MAX = 500, LANE = 7, REQUESTS = 256 };

static uint64_t now_turns;
static uint64_t lane;   /* of server 0 */
static uint64_t loaded; /* plan */

/* Where its lane has ended the server takes another, and loads. */
static void play_server(void)
{
    struct wire_plan w = stage_plan();

    if (stage_ended(&w, lane) != NULL) {
        lane += 100;
        stage_put_server(0, lane);
    } else if (w.n_loads > 0 && w.n_parts > 0 && w.plan != loaded) {
        stage_report(0, &(struct wire_shard){.loaded = w.plan});
        loaded = w.plan;
    }
}

/* 10 ms go by, with the answers of store and disk; their failures count too. */
static void turn(void)
{
    struct desk *d = &stage.a;
    bool is_busy = true;

    if (now_turns++ % 50 == 0) {
        stage_renew();
    }
    if (now_turns % 10 == 0) {
        play_server();
    }
    d->net.now_us += 10 * MS;
    if (scheduler_next(d->scheduler) <= d->net.now_us) {
        ARMED(scheduler_tick(d->scheduler));
    }
    while (is_busy) {
        bool has_asked;

        ARMED(is_busy = shelf_do_key(&d->shelf, NULL));
        ARMED(has_asked = stage_do_request(d));
        is_busy = is_busy || has_asked;
    }
}

/* A new connection with its hello; false where memory ended it. */
static bool connect(void)
{
    struct wire_hello m = {.version = WIRE_VERSION, .role = "client"};
    struct frame_header h = {.type = WIRE_HELLO, .request = 1};
    struct desk *d = &stage.a;
    struct frame *f;
    struct buf b;

    buf_init(&b);
    wire_hello_encode(&m, &b);
    f = draft_frame(&h, b.data, b.size);
    buf_fini(&b);
    assert_int_equal(frame_header_decode(f->data, &h), PS_OK);
    d->connection = tape_accept(&d->net);
    ARMED(scheduler_on_open(d->scheduler, d->connection));
    if (!tape_is_closed(&d->net, d->connection)) {
        ARMED(scheduler_on_frame(d->scheduler, d->connection, &h, f));
    }
    frame_put(f);
    return stage_answer(d) == PS_OK && !tape_is_closed(&d->net, d->connection);
}

/* Asks as a client does: again where there was no answer, or one that says to
 * come back. The final status. */
static int ask(enum wire_type type, const struct buf *body)
{
    static uint64_t request = 1;
    struct frame_header h = {.type = (uint16_t)type, .request = request + 1};
    struct desk *d = &stage.a;
    struct frame *f = draft_frame(&h, body->data, body->size);
    int rc = NO_ANSWER;

    request++;
    assert_int_equal(frame_header_decode(f->data, &h), PS_OK);
    for (int i = 0; i < TRIES_MAX && rc == NO_ANSWER; i++) {
        if (!tape_is_closed(&d->net, d->connection)) {
            ARMED(scheduler_on_frame(d->scheduler, d->connection, &h, f));
        }
        for (int k = 0; k < 50 && rc == NO_ANSWER; k++) {
            turn();
            rc = stage_answer(d);
            if (rc != NO_ANSWER && d->answer->h.request != request) {
                rc = NO_ANSWER; /* to what was asked twice */
            }
        }
        rc = rc == PS_ENOMEM || rc == PS_ENOTREADY ? NO_ANSWER : rc;
        if (tape_is_closed(&d->net, d->connection)) {
            assert_true(connect() || connect());
        }
    }
    frame_put(f);
    return rc;
}

static uint64_t version_of(const char *key)
{
    return shelf_get(&stage.a.shelf, key);
}

/* ---- a save ------------------------------------------------------------- */

static int order_save(uint64_t nonce)
{
    struct wire_save_request m = {.nonce = nonce, .name = "tuesday"};
    struct buf b;
    int rc;

    buf_init(&b);
    wire_save_request_encode(&m, &b);
    rc = ask(WIRE_SAVE, &b);
    buf_fini(&b);
    return rc;
}

static struct wire_save turn_until_past(uint32_t state)
{
    struct wire_save w = {.state = SAVE_NONE};

    for (int i = 0; i < TRIES_MAX; i++) {
        turn();
        w = stage_save_record();
        if (w.state > state) {
            return w;
        }
    }
    fail_msg("the save stays %u: %s", (unsigned)w.state,
             scheduler_says(stage.a.scheduler));
    return w;
}

/* Lane 7's files into the unfinished folder; what its server says of them. */
static struct wire_shard make_files(const struct wire_save *w)
{
    struct ckpt_manifest m = {.cut = w->cut, .term = w->term};
    struct wire_shard said = {.cut = w->cut, .saved = SAVED_DONE, .why = ""};
    const char *from = stage_checkpoint(&m);
    struct fs *fs = stage.root;
    char to[CKPT_NAME_MAX + 1];
    char path[256];
    struct buf b;

    stage_saving_name(w->folder, to);
    assert_int_equal(fs->ops->rename(fs, from, to, NULL), PS_OK);
    snprintf(path, sizeof(path), "%s/manifest.json", to);
    assert_int_equal(fs->ops->unlink(fs, path, NULL), PS_OK);
    snprintf(path, sizeof(path), "%s/lane-7.json", to);
    buf_init(&b);
    assert_int_equal(fs->ops->read(fs, path, 1 << 20, &b, NULL), PS_OK);
    said.index_bytes = b.size;
    said.index_checksum = hash_bytes(b.data, b.size);
    buf_fini(&b);
    return said;
}

/* From the order to its end, with lane 7's files; where it begins again under
 * another cut so do they. */
static struct wire_save save(uint64_t nonce)
{
    uint64_t before = version_of("save");
    struct wire_save w;
    int rc = order_save(nonce);

    if (rc != PS_OK) {
        assert_true(armed.has_failed);
        assert_int_equal(version_of("save"), before);
        return (struct wire_save){.state = SAVE_FAILED, .why = "refused"};
    }
    do {
        struct wire_shard said;

        w = turn_until_past(SAVE_OPEN); /* no session is open */
        if (w.state == SAVE_CLOSED) {
            said = make_files(&w);
            stage_report(0, &said);
            w = turn_until_past(SAVE_CLOSED);
        }
    } while (w.state == SAVE_OPEN);
    return w;
}

/* How many checkpoints there are; each is whole. */
static uint32_t count_whole(void)
{
    struct ckpt_list list;
    struct err e;
    uint32_t n = 0;

    assert_int_equal(ckpt_list(stage.root, &list, &e), PS_OK);
    for (uint32_t i = 0; i < list.n; i++) {
        assert_true(list.entries[i].is_new || list.entries[i].is_whole);
        n += !list.entries[i].is_new;
    }
    ckpt_list_free(&list);
    return n;
}

static void save_once(void)
{
    struct wire_save w = save(5);

    if (w.state != SAVE_DONE) {
        assert_true(armed.has_failed);
        assert_int_equal(w.state, SAVE_FAILED);
        assert_string_not_equal(w.why, "");
        assert_int_equal(count_whole(), 1);
        w = save(6);
        assert_int_equal(w.state, SAVE_DONE);
        assert_in_range(w.ticket, 1, 2);
    } else {
        assert_int_equal(w.ticket, 1);
    }
    assert_int_equal(count_whole(), 2);
}

/* ---- a restore ---------------------------------------------------------- */

static int order_restore(uint64_t nonce)
{
    struct wire_restore_request m = {.nonce = nonce, .name = "monday"};
    struct buf b;
    int rc;

    buf_init(&b);
    wire_restore_request_encode(&m, &b);
    rc = ask(WIRE_RESTORE, &b);
    buf_fini(&b);
    return rc;
}

static void restore_once(const char *folder)
{
    struct wire_plan w = stage_plan();
    uint64_t restore = w.restore;
    int rc = order_restore(8);

    if (rc != PS_OK) {
        assert_true(armed.has_failed);
        assert_int_equal(stage_plan().restore, restore);
        assert_int_equal(stage_plan().n_loads, 0);
        assert_string_not_equal(stage_text(&stage.a), "");
        assert_int_equal(order_restore(9), PS_OK);
    }
    assert_true(scheduler_is_running(stage.a.scheduler));
    w = stage_plan();
    assert_int_equal(w.restore, restore + 1);
    assert_int_equal(w.n_loads, 1);
    assert_string_equal(w.loads[0].folder, folder);
    assert_int_equal(w.n_variables, 2);
    assert_int_equal(w.n_parts, 2);
    assert_int_equal(w.parts[0].lane, LANE + 100);
}

static const char *begin(void)
{
    struct wire_variable v = stage_variable("user", 8);
    struct ckpt_manifest m = {.cut = 1, .plan = 2, .name = "monday"};
    struct wire_cluster c;
    void *room;

    assert_int_equal(stage_set_up(NULL), 0);
    stage_begin_with_root(LANE);
    assert_int_equal(stage_declare(&stage.a, &v), PS_OK);
    v = stage_variable("bias", 1);
    v.kind = PS_DENSE;
    v.rows = 5;
    assert_int_equal(stage_declare(&stage.a, &v), PS_OK);
    c = stage_cluster();
    m.cluster_high = c.id_high;
    m.cluster_low = c.id_low;
    /* What the stage itself needs is not what fails. */
    room = mem_try_resize(stage.a.files.requests,
                          REQUESTS * sizeof(*stage.a.files.requests));
    assert_non_null(room);
    stage.a.files.requests = room;
    stage.a.files.room = REQUESTS;
    now_turns = 0;
    lane = LANE;
    loaded = 0;
    return stage_checkpoint(&m);
}

static void each_allocation_of_a_save_and_a_restore_may_fail(void **state)
{
    uint64_t n = 0;

    (void)state;
    armed.has_failed = true;
    while (armed.has_failed) {
        const char *folder = begin();

        n++;
        assert_true(n < TIMES_MAX);
        armed_at(n);
        save_once();
        restore_once(folder);
        assert_int_equal(stage_tear_down(NULL), 0);
    }
    print_message("%llu allocations\n", (unsigned long long)n - 1);
    assert_true(n > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_allocation_of_a_save_and_a_restore_may_fail),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
