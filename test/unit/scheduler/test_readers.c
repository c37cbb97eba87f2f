/* test_readers.c - where workers' readers stood, as the store is told. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdlib.h>

#include "base/limits.h"
#include "scheduler/readers.h"
#include "scheduler/restore.h"

/* 16 MiB of positions of 64 KiB are 256. */
enum { SHORT_BYTES = 100, READERS_MAX = 400 };

static struct scheduler scheduler;
static struct ckpt_session sessions[READERS_MAX];
static uint8_t *bytes;

/* What was asked of the store last; the test answers it. */
static struct coord_request asked;
static struct buf asked_data;
static uint32_t n_asked;

static void submit(struct coord *c, const struct coord_request *r)
{
    (void)c;
    asked = *r;
    buf_clear(&asked_data);
    assert_int_equal(buf_append(&asked_data, r->data, r->size), PS_OK);
    n_asked++;
}

static struct coord coord = {.submit = submit};

static int set_up(void **state)
{
    (void)state;
    memset(&scheduler, 0, sizeof(scheduler));
    scheduler.coord = &coord;
    arena_init(&scheduler.arena);
    buf_init(&scheduler.readers);
    buf_init(&asked_data);
    n_asked = 0;
    log_set_level(LOG_NONE);
    bytes = malloc(LIMIT_POSITION_BYTES);
    if (bytes == NULL) {
        return -1;
    }
    for (size_t i = 0; i < LIMIT_POSITION_BYTES; i++) {
        bytes[i] = (uint8_t)(i * 7);
    }
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    arena_fini(&scheduler.arena);
    buf_fini(&scheduler.readers);
    buf_fini(&asked_data);
    free(bytes);
    return 0;
}

/* A manifest whose first readers have positions of `size` bytes, the others
 * short ones. */
static struct ckpt_manifest manifest_of(uint32_t n, uint32_t size,
                                        uint32_t n_short)
{
    assert_true(n + n_short <= READERS_MAX);
    for (uint32_t i = 0; i < n + n_short; i++) {
        sessions[i] = (struct ckpt_session){
            .session = 1000 + i,
            .worker = i + 1,
            .position = {bytes, i < n ? size : SHORT_BYTES}};
    }
    return (struct ckpt_manifest){.sessions = sessions,
                                  .n_sessions = n + n_short};
}

static struct wire_restored decode(const struct buf *b)
{
    struct wire_restored w = {.cut = 0};

    assert_false(b->failed);
    assert_true(b->size <= COORD_VALUE_MAX);
    assert_int_equal(
        wire_restored_decode(b->data, b->size, &scheduler.arena, &w), PS_OK);
    return w;
}

/* Encodes; how many positions are there, of how many bytes together. */
static uint64_t count(const struct ckpt_manifest *m, uint32_t *there)
{
    struct wire_restored w;
    uint64_t sum = 0;
    struct buf b;

    buf_init(&b);
    readers_encode(&scheduler, m, 5, 2, "ckpt-000000000005-1", &b);
    w = decode(&b);
    assert_int_equal(w.cut, 5);
    assert_int_equal(w.restore, 2);
    assert_string_equal(w.folder, "ckpt-000000000005-1");
    assert_int_equal(w.n_readers, m != NULL ? m->n_sessions : 0);
    *there = 0;
    for (uint32_t i = 0; i < w.n_readers; i++) {
        const struct wire_reader *r = &w.readers[i];

        assert_int_equal(r->session, sessions[i].session);
        assert_int_equal(r->worker, sessions[i].worker);
        /* As long as it is, be it here or not. */
        assert_int_equal(r->size, sessions[i].position.size);
        if (r->position.size != 0) {
            assert_int_equal(r->position.size, r->size);
            assert_memory_equal(r->position.data, bytes, r->size);
            (*there)++;
        }
        sum += r->position.size;
    }
    buf_fini(&b);
    arena_reset(&scheduler.arena);
    return sum;
}

static void all_positions_are_told_that_fit(void **state)
{
    struct ckpt_manifest m;
    uint32_t there;

    (void)state;
    m = manifest_of(3, 0, 2);
    assert_int_equal(count(&m, &there), 2 * SHORT_BYTES);
    /* One short of 16 MiB, which its own fields need. */
    m = manifest_of(255, LIMIT_POSITION_BYTES, 100);
    assert_int_equal(count(&m, &there),
                     255 * LIMIT_POSITION_BYTES + 100 * SHORT_BYTES);
    assert_int_equal(there, 355);
    assert_int_equal(count(NULL, &there), 0);
}

static void where_all_do_not_fit_the_largest_stay_out(void **state)
{
    struct ckpt_manifest m;
    uint32_t there;

    (void)state;
    m = manifest_of(256, LIMIT_POSITION_BYTES, 100);
    assert_int_equal(count(&m, &there), 100 * SHORT_BYTES);
    assert_int_equal(there, 100);
    /* Some of less than the largest fit; those are kept. */
    m = manifest_of(380, LIMIT_POSITION_BYTES, 20);
    for (uint32_t i = 0; i < 140; i++) {
        sessions[i].position.size = LIMIT_POSITION_BYTES / 2;
    }
    assert_int_equal(count(&m, &there),
                     140 * (LIMIT_POSITION_BYTES / 2) + 20 * SHORT_BYTES);
    assert_int_equal(there, 160);
}

static void say(int status, uint64_t version, const struct buf *value)
{
    struct coord_result r = {.op = asked.op,
                             .tag = asked.tag,
                             .key = asked.key,
                             .status = status,
                             .version = version,
                             .data = value != NULL ? value->data : NULL,
                             .size = value != NULL ? value->size : 0};

    readers_on_coord(&scheduler, &r);
}

static void expect(enum coord_op op, uint64_t version)
{
    assert_int_equal(n_asked, 1);
    assert_int_equal(asked.op, op);
    assert_string_equal(asked.key, "readers");
    assert_int_equal(asked.version, version);
    n_asked = 0;
}

static void note(uint64_t cut)
{
    struct ckpt_manifest m = manifest_of(1, 30, 0);

    readers_note(&scheduler, &m, cut, 0, "ckpt-000000000005-1");
}

static void the_record_is_written_once_and_not_again_as_it_is(void **state)
{
    struct buf same;

    (void)state;
    note(5);
    expect(COORD_GET, 0);
    say(PS_ENOTFOUND, 0, NULL);
    expect(COORD_CAS, 0);
    assert_int_equal(decode(&asked_data).cut, 5);
    say(PS_OK, 1, NULL);
    readers_go_on(&scheduler);
    assert_int_equal(n_asked, 0);
    /* The next scheduler finds the same. */
    note(5);
    expect(COORD_GET, 0);
    buf_init(&same);
    assert_int_equal(
        buf_append(&same, scheduler.readers.data, scheduler.readers.size),
        PS_OK);
    say(PS_OK, 1, &same);
    buf_fini(&same);
    readers_go_on(&scheduler);
    assert_int_equal(n_asked, 0);
}

static void what_could_not_be_written_is_tried_again(void **state)
{
    (void)state;
    note(5);
    expect(COORD_GET, 0);
    say(PS_EIO, 0, NULL);
    assert_int_equal(n_asked, 0);
    readers_go_on(&scheduler);
    expect(COORD_GET, 0);
    say(PS_OK, 3, NULL);
    expect(COORD_CAS, 3);
    say(PS_ECONFLICT, 0, NULL);
    readers_go_on(&scheduler);
    expect(COORD_GET, 0);
    say(PS_OK, 4, NULL);
    expect(COORD_CAS, 4);
    say(PS_OK, 5, NULL);
    readers_go_on(&scheduler);
    assert_int_equal(n_asked, 0);
}

/* A restore comes while the record of the beginning is being written. */
static void what_is_news_meanwhile_is_written_after_it(void **state)
{
    (void)state;
    note(5);
    say(PS_ENOTFOUND, 0, NULL);
    n_asked = 0;
    note(9);
    assert_int_equal(n_asked, 0);
    say(PS_OK, 1, NULL); /* of cut 5 */
    readers_go_on(&scheduler);
    expect(COORD_GET, 0);
    say(PS_OK, 1, NULL);
    expect(COORD_CAS, 1);
    assert_int_equal(decode(&asked_data).cut, 9);
    say(PS_OK, 2, NULL);
    readers_go_on(&scheduler);
    assert_int_equal(n_asked, 0);
}

/* Only then a worker may read it. */
static void told_is_when_it_has_looked_and_the_record_is_written(void **state)
{
    static struct restore restore;
    const char *why = NULL;

    (void)state;
    scheduler.restore = &restore;
    scheduler.state = SCHEDULER_RUN;
    restore.phase = RESTORE_IDLE;
    restore.knows_newest = false;
    assert_int_equal(readers_are_told(&scheduler, &why), PS_ENOTREADY);
    assert_non_null(strstr(why, "looks"));
    note(5);
    restore.knows_newest = true;
    say(PS_ENOTFOUND, 0, NULL);
    assert_int_equal(readers_are_told(&scheduler, &why), PS_ENOTREADY);
    say(PS_OK, 1, NULL);
    assert_int_equal(readers_are_told(&scheduler, &why), PS_OK);
    restore.phase = RESTORE_RAISING; /* it goes back to another */
    assert_int_equal(readers_are_told(&scheduler, &why), PS_ENOTREADY);
    restore.phase = RESTORE_IDLE;
    scheduler.state = SCHEDULER_TERM;
    assert_int_equal(readers_are_told(&scheduler, &why), PS_ENOTREADY);
}

#define STAGED(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STAGED(all_positions_are_told_that_fit),
        STAGED(where_all_do_not_fit_the_largest_stay_out),
        STAGED(the_record_is_written_once_and_not_again_as_it_is),
        STAGED(what_could_not_be_written_is_tried_again),
        STAGED(what_is_news_meanwhile_is_written_after_it),
        STAGED(told_is_when_it_has_looked_and_the_record_is_written),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
