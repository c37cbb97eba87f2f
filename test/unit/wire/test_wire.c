/* test_wire.c - the codec: bytes worked out by hand, and what is refused. */
#include "wire/wire.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/hash.h"
#include "base/mem.h"
#include "wire_bytes.h"

/* A copy that ends where the sanitizer sees the byte behind it. */
static uint8_t *copy_of(const uint8_t *data, size_t size)
{
    uint8_t *copy = mem_new(size);

    if (size > 0) {
        memcpy(copy, data, size);
    }
    return copy;
}

static int decode_plan(const uint8_t *data, size_t size, struct buf *again)
{
    uint8_t *copy = copy_of(data, size);
    struct arena arena;
    struct wire_plan plan;
    int rc;

    arena_init(&arena);
    rc = wire_plan_decode(copy, size, &arena, &plan);
    if (rc == PS_OK && again != NULL) {
        wire_plan_encode(&plan, again);
    }
    arena_fini(&arena);
    mem_free(copy);
    return rc;
}

static void assert_bytes(const struct buf *b, const uint8_t *data, size_t size)
{
    assert_false(b->failed);
    assert_int_equal(b->size, size);
    assert_memory_equal(b->data, data, size);
}

static void hello_has_the_bytes_of_the_specification(void **state)
{
    struct wire_hello m = {.version = 1, .features = 5, .role = "client"};
    struct wire_hello back;
    struct arena arena;
    struct buf b;

    (void)state;
    arena_init(&arena);
    buf_init(&b);
    wire_hello_encode(&m, &b);
    assert_bytes(&b, hello_bytes, sizeof(hello_bytes));
    assert_int_equal(
        wire_hello_decode(hello_bytes, sizeof(hello_bytes), &arena, &back),
        PS_OK);
    assert_int_equal(back.version, 1);
    assert_int_equal(back.features, 5);
    assert_string_equal(back.role, "client");
    buf_fini(&b);
    arena_fini(&arena);
}

static void lease_has_the_bytes_of_the_specification(void **state)
{
    struct wire_lease m = {.nonce = 0x1122334455667788,
                           .renewal = 9,
                           .state = 2,
                           .body = {(const uint8_t *)"abc", 3}};
    struct wire_lease back;
    struct arena arena;
    struct buf b;

    (void)state;
    arena_init(&arena);
    buf_init(&b);
    wire_lease_encode(&m, &b);
    assert_bytes(&b, lease_bytes, sizeof(lease_bytes));
    assert_int_equal(
        wire_lease_decode(lease_bytes, sizeof(lease_bytes), &arena, &back),
        PS_OK);
    assert_int_equal(back.nonce, 0x1122334455667788);
    assert_int_equal(back.renewal, 9);
    assert_int_equal(back.state, 2);
    assert_int_equal(back.body.size, 3);
    assert_memory_equal(back.body.data, "abc", 3);
    buf_fini(&b);
    arena_fini(&arena);
}

/* The plan of plan_bytes. */
static struct wire_plan sample_plan(void)
{
    static const struct wire_variable variables[] = {
        {.id = 4,
         .name = "user/\xc3\xa9",
         .kind = PS_HASH64,
         .rows = 1000000,
         .dim = 16,
         .init_kind = PS_INIT_TRUNCATED_NORMAL,
         .init_b = 0.01,
         .init_seed = 7,
         .init_key = UINT64_MAX,
         .updater = "AdagradUpdater",
         .n_params = 2,
         .param0 = 0.05,
         .param1 = -0.5,
         .batch_read = 2000,
         .durability = 2,
         .born = 2,
         .no_save = 1}};
    static const struct wire_lane lanes[] = {
        {.lane = 6, .server = 1, .shard = 0, .address = "10.0.0.1:7070"}};
    static const struct wire_part parts[] = {
        {.variable = 4, .begin = 0, .end = 40000, .lane = 5, .since = 1},
        {.variable = 4, .begin = 40000, .end = 65536, .lane = 6, .since = 3}};
    static const struct wire_load loads[] = {{.variable = 4,
                                              .since = 3,
                                              .folder = "ckpt-000000000009-2",
                                              .cut = 9,
                                              .name = "old",
                                              .brings_lanes = 1,
                                              .restore = 6,
                                              .log_from = 12}};
    static const struct wire_moving moves[] = {
        {8, 4, 16384, 32768, 5, 6, "move"}};
    static const struct wire_order orders[] = {
        {.nonce = 21, .restore = 1, .plan = 2, .folder = "ckpt"}};
    static const struct wire_ended ended[] = {
        {.lane = 5, .server = 0, .shard = 3, .plan = 3, .cut = 7}};
    static const struct wire_gap gaps[] = {{.since = 3, .after = 4, .to = 8}};

    return (struct wire_plan){.nonce = 11,
                              .term = 2,
                              .plan = 3,
                              .next_variable = 5,
                              .servers = 2,
                              .memory_limit = (uint64_t)1000 << 20,
                              .checkpoints = "/ckpt",
                              .tracks_changes = 1,
                              .cluster_high = 13,
                              .cluster_low = 14,
                              .variables = variables,
                              .n_variables = 1,
                              .lanes = lanes,
                              .n_lanes = 1,
                              .parts = parts,
                              .n_parts = 2,
                              .ended = ended,
                              .n_ended = 1,
                              .loads = loads,
                              .n_loads = 1,
                              .orders = orders,
                              .n_orders = 1,
                              .gaps = gaps,
                              .n_gaps = 1,
                              .moves = moves,
                              .n_moves = 1};
}

static void plan_has_the_bytes_of_the_specification(void **state)
{
    struct wire_plan m = sample_plan();
    struct buf b;

    (void)state;
    buf_init(&b);
    wire_plan_encode(&m, &b);
    assert_bytes(&b, plan_bytes, sizeof(plan_bytes));
    buf_fini(&b);
}

static void plan_is_read_from_the_bytes_of_the_specification(void **state)
{
    struct arena arena;
    struct wire_plan m;

    (void)state;
    arena_init(&arena);
    assert_int_equal(
        wire_plan_decode(plan_bytes, sizeof(plan_bytes), &arena, &m), PS_OK);
    assert_int_equal(m.nonce, 11);
    assert_int_equal(m.memory_limit, 1048576000);
    assert_string_equal(m.checkpoints, "/ckpt");
    assert_int_equal(m.n_variables, 1);
    assert_int_equal(m.variables[0].id, 4);
    assert_string_equal(m.variables[0].name, "user/\xc3\xa9");
    assert_int_equal(m.variables[0].init_key, UINT64_MAX);
    assert_true(m.variables[0].init_b == 0.01);
    assert_true(m.variables[0].param0 == 0.05);
    assert_true(m.variables[0].param1 == -0.5);
    assert_true(m.variables[0].param7 == 0.0);
    assert_int_equal(m.variables[0].batch_read, 2000);
    assert_int_equal(m.variables[0].durability, 2);
    assert_int_equal(m.variables[0].no_save, 1);
    assert_int_equal(m.variables[0].born, 2);
    assert_int_equal(m.n_lanes, 1);
    assert_string_equal(m.lanes[0].address, "10.0.0.1:7070");
    assert_int_equal(m.n_parts, 2);
    assert_int_equal(m.parts[1].begin, 40000);
    assert_int_equal(m.n_loads, 1);
    assert_string_equal(m.loads[0].folder, "ckpt-000000000009-2");
    assert_int_equal(m.loads[0].variable, 4);
    assert_int_equal(m.loads[0].cut, 9);
    assert_string_equal(m.loads[0].name, "old");
    assert_int_equal(m.parts[1].end, 65536);
    assert_int_equal(m.parts[1].since, 3);
    assert_int_equal(m.n_ended, 1);
    assert_int_equal(m.ended[0].shard, 3);
    assert_int_equal(m.ended[0].plan, 3);
    assert_int_equal(m.ended[0].cut, 7);
    assert_int_equal(m.n_orders, 1);
    assert_int_equal(m.orders[0].nonce, 21);
    assert_string_equal(m.orders[0].folder, "ckpt");
    assert_int_equal(m.n_gaps, 1);
    assert_int_equal(m.gaps[0].since, 3);
    assert_int_equal(m.gaps[0].after, 4);
    assert_int_equal(m.gaps[0].to, 8);
    assert_int_equal(m.n_moves, 1);
    assert_int_equal(m.moves[0].end, 32768);
    assert_int_equal(m.moves[0].to, 6);
    assert_string_equal(m.moves[0].folder, "move");
    arena_fini(&arena);
}

static void a_plan_cut_short_anywhere_is_refused(void **state)
{
    (void)state;
    for (size_t size = 0; size < sizeof(plan_bytes); size++) {
        assert_int_equal(decode_plan(plan_bytes, size, NULL), PS_EPROTOCOL);
    }
}

static void a_plan_with_something_behind_it_is_refused(void **state)
{
    uint8_t longer[sizeof(plan_bytes) + 8] = {0};

    (void)state;
    memcpy(longer, plan_bytes, sizeof(plan_bytes));
    for (size_t more = 1; more <= 8; more++) {
        assert_int_equal(decode_plan(longer, sizeof(plan_bytes) + more, NULL),
                         PS_EPROTOCOL);
    }
}

/* A message has one encoding: what is still accepted encodes to itself. */
static void a_plan_with_any_byte_changed_is_refused_or_meant(void **state)
{
    static const uint8_t masks[] = {0xff, 0x01, 0x02, 0x04, 0x08,
                                    0x10, 0x20, 0x40, 0x80};
    uint8_t bytes[sizeof(plan_bytes)];
    size_t refused = 0;

    (void)state;
    memcpy(bytes, plan_bytes, sizeof(bytes));
    for (size_t i = 0; i < sizeof(bytes); i++) {
        for (size_t k = 0; k < ARRAY_LEN(masks); k++) {
            struct buf again;
            int rc;

            buf_init(&again);
            bytes[i] ^= masks[k];
            rc = decode_plan(bytes, sizeof(bytes), &again);
            if (rc == PS_OK) {
                assert_bytes(&again, bytes, sizeof(bytes));
            } else {
                assert_int_equal(rc, PS_EPROTOCOL);
                refused++;
            }
            bytes[i] ^= masks[k];
            buf_fini(&again);
        }
    }
    assert_true(refused > 0);
}

/* Puts `value` in word `word` of a plan. */
static int decode_plan_with(size_t word, uint64_t value)
{
    uint8_t bytes[sizeof(plan_bytes)];

    memcpy(bytes, plan_bytes, sizeof(bytes));
    memcpy(bytes + word * 8, &value, 8);
    return decode_plan(bytes, sizeof(bytes), NULL);
}

static void giant_counts_are_refused_before_any_arithmetic(void **state)
{
    /* The bytes of a text, the counts of variables, two texts, lanes, an
     * address, parts, ended and loads: by line of plan_bytes. */
    static const size_t words[] = {7, 12, 14, 24, 40, 44, 47, 58, 64};
    static const uint64_t giants[] = {
        3,
        100,
        (uint64_t)UINT32_MAX,
        (uint64_t)UINT32_MAX + 1,
        (uint64_t)UINT32_MAX + 2,
        (uint64_t)1 << 61,
        ((uint64_t)1 << 61) + 1,
        (uint64_t)1 << 63,
        UINT64_MAX - 8,
        UINT64_MAX - 7,
        UINT64_MAX - 1,
        UINT64_MAX,
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        for (size_t k = 0; k < ARRAY_LEN(giants); k++) {
            assert_int_equal(decode_plan_with(words[i], giants[k]),
                             PS_EPROTOCOL);
        }
    }
}

static void giant_byte_strings_are_refused(void **state)
{
    static const uint64_t giants[] = {9, UINT32_MAX, (uint64_t)UINT32_MAX + 1,
                                      UINT64_MAX - 7, UINT64_MAX};
    struct arena arena;

    (void)state;
    arena_init(&arena);
    for (size_t k = 0; k < ARRAY_LEN(giants); k++) {
        uint8_t *copy = copy_of(lease_bytes, sizeof(lease_bytes));
        struct wire_lease m;

        memcpy(copy + 24, &giants[k], 8);
        assert_int_equal(
            wire_lease_decode(copy, sizeof(lease_bytes), &arena, &m),
            PS_EPROTOCOL);
        mem_free(copy);
    }
    arena_fini(&arena);
}

/* An array of fates has 8 bytes an element: the smallest there is. */
static void a_count_that_is_there_is_taken_and_one_more_is_not(void **state)
{
    uint64_t words[] = {3, 1, 2, 3};
    struct wire_resolve_answer m;
    struct arena arena;

    (void)state;
    arena_init(&arena);
    assert_int_equal(
        wire_resolve_answer_decode(words, sizeof(words), &arena, &m), PS_OK);
    assert_int_equal(m.n_parts, 3);
    assert_int_equal(m.parts[2].status_negated, 3);
    words[0] = 4;
    assert_int_equal(
        wire_resolve_answer_decode(words, sizeof(words), &arena, &m),
        PS_EPROTOCOL);
    words[0] = 2;
    assert_int_equal(
        wire_resolve_answer_decode(words, sizeof(words), &arena, &m),
        PS_EPROTOCOL);
    arena_fini(&arena);
}

/* An array may take as much memory as it has bytes on the wire, twice; a count
 * alone takes none. */
static void a_count_without_its_bytes_takes_no_memory(void **state)
{
    enum { LEFT = 100 };
    uint64_t words[1 + LEFT] = {0};
    struct wire_resolve_answer fates;
    struct wire_declare variables;
    struct arena arena;
    uint64_t calls = mem_calls();

    (void)state;
    arena_init(&arena);
    words[0] = LEFT + 1;
    assert_int_equal(
        wire_resolve_answer_decode(words, sizeof(words), &arena, &fates),
        PS_EPROTOCOL);
    words[0] = LEFT * 8 / (sizeof(struct wire_variable) / 2) + 1;
    assert_int_equal(
        wire_declare_decode(words, sizeof(words), &arena, &variables),
        PS_EPROTOCOL);
    assert_int_equal(mem_calls(), calls);
    arena_fini(&arena);
}

static void a_number_over_32_bits_is_refused_where_32_are_meant(void **state)
{
    (void)state;
    assert_int_equal(decode_plan_with(4, UINT32_MAX), PS_OK);
    assert_int_equal(decode_plan_with(4, (uint64_t)1 << 32), PS_EPROTOCOL);
    assert_int_equal(decode_plan_with(4, UINT64_MAX), PS_EPROTOCOL);
    assert_int_equal(decode_plan_with(3, UINT64_MAX), PS_OK);
}

static void a_failed_decode_leaves_the_message_alone(void **state)
{
    struct wire_hello m = {.version = 77};
    struct arena arena;

    (void)state;
    arena_init(&arena);
    assert_int_equal(wire_hello_decode(hello_bytes, 24, &arena, &m),
                     PS_EPROTOCOL);
    assert_int_equal(m.version, 77);
    assert_int_equal(wire_hello_decode(NULL, 0, &arena, &m), PS_EPROTOCOL);
    arena_fini(&arena);
}

static uint64_t bits_of(double value)
{
    uint64_t bits;

    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

static void doubles_keep_their_bits(void **state)
{
    static const uint64_t patterns[] = {
        0x7ff8000000000000, 0x7ff0000000000001, /* quiet, signalling NaN */
        0xfff8dead0000beef, 0x7ff0000000000000,
        0x8000000000000000, 0x0000000000000001, /* a subnormal */
        0x3fb999999999999a,
    };
    struct arena arena;

    (void)state;
    arena_init(&arena);
    for (size_t i = 0; i < ARRAY_LEN(patterns); i++) {
        struct wire_variable m = {.name = "x"};
        struct wire_variable back;
        struct buf b;

        memcpy(&m.init_a, &patterns[i], 8);
        buf_init(&b);
        wire_variable_encode(&m, &b);
        /* id, name of two words, kind, rows, dim, init_kind */
        assert_memory_equal(b.data + 56, &patterns[i], 8);
        assert_int_equal(wire_variable_decode(b.data, b.size, &arena, &back),
                         PS_OK);
        assert_int_equal(bits_of(back.init_a), patterns[i]);
        buf_fini(&b);
    }
    arena_fini(&arena);
}

static void texts_are_utf_8_without_control_characters(void **state)
{
    static const struct {
        const char *bytes;
        size_t size;
        bool is_text;
    } cases[] = {
        {"", 0, true},
        {" ~", 2, true},
        {"a\0b", 3, false},
        {"\x1f", 1, false},
        {"\n", 1, false},
        {"\x7f", 1, false},
        {"\xc2\x80", 2, false}, /* U+0080 */
        {"\xc2\x9f", 2, false}, /* U+009F */
        {"\xc2\xa0", 2, true},  /* U+00A0 */
        {"\xdf\xbf", 2, true},  /* U+07FF */
        {"\xc0\x80", 2, false}, /* long form of U+0000 */
        {"\xc1\xbf", 2, false},
        {"\x80", 1, false},
        {"\xbf", 1, false},
        {"\xc3", 1, false},
        {"\xc3(", 2, false},
        {"\xe0\xa0\x80", 3, true}, /* U+0800 */
        {"\xe0\x9f\xbf", 3, false},
        {"\xe2\x82\xac", 3, true},
        {"\xe2\x82", 2, false},
        {"\xe2\x82(", 3, false},
        {"\xed\x9f\xbf", 3, true},  /* U+D7FF */
        {"\xed\xa0\x80", 3, false}, /* a surrogate */
        {"\xed\xbf\xbf", 3, false},
        {"\xee\x80\x80", 3, true}, /* U+E000 */
        {"\xef\xbf\xbf", 3, true},
        {"\xf0\x90\x80\x80", 4, true}, /* U+10000 */
        {"\xf0\x8f\xbf\xbf", 4, false},
        {"\xf4\x8f\xbf\xbf", 4, true}, /* U+10FFFF */
        {"\xf4\x90\x80\x80", 4, false},
        {"\xf0\x9f\x98", 3, false},
        {"\xf5\x80\x80\x80", 4, false},
        {"\xff", 1, false},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint64_t words[3] = {cases[i].size};
        struct wire_text m;
        struct arena arena;
        uint8_t *copy = copy_of((const uint8_t *)cases[i].bytes, cases[i].size);

        arena_init(&arena);
        assert_int_equal(wire_is_text((const char *)copy, cases[i].size),
                         cases[i].is_text);
        memcpy(&words[1], cases[i].bytes, cases[i].size);
        assert_int_equal(wire_text_decode(words, 16, &arena, &m),
                         cases[i].is_text ? PS_OK : PS_EPROTOCOL);
        arena_fini(&arena);
        mem_free(copy);
    }
}

/* Seven bytes and a NUL are one word; eight need a second for the NUL. */
static void a_text_ends_with_a_nul_inside_its_words(void **state)
{
    static const uint8_t seven[] = "\7\0\0\0\0\0\0\0abcdefg";
    static const uint8_t eight[] = "\10\0\0\0\0\0\0\0abcdefgh\0\0\0\0\0\0\0";
    struct wire_text m = {.text = "abcdefg"};
    struct arena arena;
    struct buf b;

    (void)state;
    arena_init(&arena);
    buf_init(&b);
    wire_text_encode(&m, &b);
    assert_bytes(&b, seven, 16);
    buf_clear(&b);
    m.text = "abcdefgh";
    wire_text_encode(&m, &b);
    assert_bytes(&b, eight, 24);
    assert_int_equal(wire_text_decode(eight, 24, &arena, &m), PS_OK);
    assert_string_equal(m.text, "abcdefgh");
    assert_int_equal(wire_text_decode(eight, 16, &arena, &m), PS_EPROTOCOL);
    for (size_t i = 16; i < 24; i++) {
        b.data[i] = 1;
        assert_int_equal(wire_text_decode(b.data, 24, &arena, &m),
                         PS_EPROTOCOL);
        b.data[i] = 0;
    }
    buf_fini(&b);
    arena_fini(&arena);
}

static void the_longest_text_passes_and_a_longer_one_does_not(void **state)
{
    char *text = mem_new(WIRE_TEXT_MAX + 2);
    struct wire_text m = {.text = text};
    struct wire_text back;
    struct arena arena;
    struct buf b;

    (void)state;
    arena_init(&arena);
    buf_init(&b);
    memset(text, 'x', WIRE_TEXT_MAX + 1);
    text[WIRE_TEXT_MAX] = '\0';
    wire_text_encode(&m, &b);
    assert_false(b.failed);
    assert_int_equal(b.size, 8 + WIRE_TEXT_MAX + 8);
    assert_int_equal(wire_text_decode(b.data, b.size, &arena, &back), PS_OK);
    assert_string_equal(back.text, text);
    /* The same with one more byte, for which the words have room. */
    b.data[8 + WIRE_TEXT_MAX] = 'x';
    b.data[0]++;
    assert_int_equal(wire_text_decode(b.data, b.size, &arena, &back),
                     PS_EPROTOCOL);
    text[WIRE_TEXT_MAX] = 'x';
    text[WIRE_TEXT_MAX + 1] = '\0';
    buf_clear(&b);
    wire_text_encode(&m, &b);
    assert_true(b.failed);
    buf_fini(&b);
    arena_fini(&arena);
    mem_free(text);
}

static void a_text_that_its_reader_would_refuse_is_not_sent(void **state)
{
    struct wire_text m = {.text = "cut \xc3"};
    struct buf b;

    (void)state;
    buf_init(&b);
    wire_text_encode(&m, &b);
    assert_true(b.failed);
    buf_clear(&b);
    m.text = NULL;
    wire_text_encode(&m, &b);
    assert_bytes(&b, (const uint8_t[16]){0}, 16);
    buf_fini(&b);
}

static uint64_t random_state;

static uint64_t draw(uint64_t below)
{
    random_state++;
    return hash_key(random_state) % below;
}

static uint64_t draw_u64(void)
{
    static const uint64_t edges[] = {0, 1, UINT32_MAX, UINT64_MAX};

    random_state++;
    return draw(4) == 0 ? edges[draw(ARRAY_LEN(edges))]
                        : hash_key(random_state);
}

static uint32_t draw_u32(void)
{
    return (uint32_t)draw_u64();
}

static double draw_f64(void)
{
    uint64_t bits = draw_u64();
    double value;

    memcpy(&value, &bits, sizeof(value));
    return value;
}

static const char *draw_text(struct arena *arena)
{
    size_t n = draw(20);
    char *text = arena_take(arena, n + 1);

    assert_non_null(text);
    for (size_t i = 0; i < n; i++) {
        text[i] = (char)(' ' + draw(95));
    }
    text[n] = '\0';
    return text;
}

static struct wire_bytes draw_bytes(struct arena *arena)
{
    uint32_t n = (uint32_t)draw(20);
    uint8_t *data = arena_take(arena, n);

    assert_non_null(data);
    for (uint32_t i = 0; i < n; i++) {
        data[i] = (uint8_t)draw(256);
    }
    return (struct wire_bytes){data, n};
}

/* clang-format off */
#define DRAW_F(type, field) m->field = draw_##type();
#define DRAW_S(field) m->field = draw_text(arena);
#define DRAW_B(field) m->field = draw_bytes(arena);
#define DRAW_A(type, field)                                                   \
    {                                                                         \
        uint32_t n = (uint32_t)draw(4);                                       \
        struct wire_##type *array = arena_take(arena, n * sizeof(*array));    \
                                                                              \
        assert_non_null(array);                                               \
        for (uint32_t i = 0; i < n; i++) {                                    \
            draw_fields_of_##type(&array[i], arena);                          \
        }                                                                     \
        m->field = array;                                                     \
        m->n_##field = n;                                                     \
    }
#define SAME_F(type, field)                                                   \
    assert_memory_equal(&a->field, &b->field, sizeof(a->field));
#define SAME_S(field) assert_string_equal(a->field, b->field);
#define SAME_B(field)                                                         \
    assert_int_equal(a->field.size, b->field.size);                           \
    assert_memory_equal(a->field.data, b->field.data, a->field.size);
#define SAME_A(type, field)                                                   \
    assert_int_equal(a->n_##field, b->n_##field);                             \
    for (uint32_t i = 0; i < a->n_##field; i++) {                             \
        same_##type(&a->field[i], &b->field[i]);                              \
    }
#define DEFINE_ROUND_TRIP(name, NAME)                                         \
    static void draw_fields_of_##name(struct wire_##name *m,                  \
                                      struct arena *arena)                    \
    {                                                                         \
        (void)arena;                                                          \
        WIRE_##NAME##_FIELDS(DRAW_F, DRAW_S, DRAW_B, DRAW_A)                  \
    }                                                                         \
                                                                              \
    static void same_##name(const struct wire_##name *a,                      \
                            const struct wire_##name *b)                      \
    {                                                                         \
        WIRE_##NAME##_FIELDS(SAME_F, SAME_S, SAME_B, SAME_A)                  \
    }                                                                         \
                                                                              \
    static void round_trip_##name(void)                                       \
    {                                                                         \
        struct wire_##name m;                                                 \
        struct wire_##name back;                                              \
        struct arena arena;                                                   \
        struct buf b;                                                         \
                                                                              \
        arena_init(&arena);                                                   \
        buf_init(&b);                                                         \
        draw_fields_of_##name(&m, &arena);                                    \
        wire_##name##_encode(&m, &b);                                         \
        assert_false(b.failed);                                               \
        assert_int_equal(b.size % 8, 0);                                      \
        assert_int_equal(                                                     \
            wire_##name##_decode(b.data, b.size, &arena, &back), PS_OK);      \
        same_##name(&m, &back);                                               \
        for (size_t size = 0; size < b.size; size++) {                        \
            assert_int_equal(                                                 \
                wire_##name##_decode(b.data, size, &arena, &back),            \
                PS_EPROTOCOL);                                                \
        }                                                                     \
        buf_fini(&b);                                                         \
        arena_fini(&arena);                                                   \
    }
WIRE_MESSAGES(DEFINE_ROUND_TRIP)

#define ROUND_TRIP(name, NAME) round_trip_##name();
/* What take_array relies on: an empty message has no fewer bytes than a word
 * or half of its struct. */
#define SMALLEST(name, NAME)                                                  \
    {                                                                         \
        struct wire_##name m = { 0 };                                         \
                                                                              \
        buf_clear(&b);                                                        \
        wire_##name##_encode(&m, &b);                                         \
        assert_true(b.size >= 8);                                             \
        assert_true(b.size >= sizeof(m) / 2);                                 \
    }
/* clang-format on */

static void every_message_comes_back_as_it_went(void **state)
{
    (void)state;
    for (random_state = 0; random_state < 200000; random_state += 4000) {
        WIRE_MESSAGES(ROUND_TRIP)
    }
}

static void no_message_is_smaller_than_arrays_take_it_for(void **state)
{
    struct buf b;

    (void)state;
    buf_init(&b);
    WIRE_MESSAGES(SMALLEST)
    buf_fini(&b);
}

static void without_memory_both_ways_say_so(void **state)
{
    struct wire_plan m = sample_plan();
    struct arena arena;
    struct buf b;

    (void)state;
    arena_init(&arena);
    buf_init(&b);
    mem_fail_at(1);
    assert_int_equal(
        wire_plan_decode(plan_bytes, sizeof(plan_bytes), &arena, &m),
        PS_ENOMEM);
    mem_fail_at(1);
    wire_plan_encode(&m, &b);
    assert_true(b.failed);
    mem_fail_at(0);
    buf_fini(&b);
    arena_fini(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hello_has_the_bytes_of_the_specification),
        cmocka_unit_test(lease_has_the_bytes_of_the_specification),
        cmocka_unit_test(plan_has_the_bytes_of_the_specification),
        cmocka_unit_test(plan_is_read_from_the_bytes_of_the_specification),
        cmocka_unit_test(a_plan_cut_short_anywhere_is_refused),
        cmocka_unit_test(a_plan_with_something_behind_it_is_refused),
        cmocka_unit_test(a_plan_with_any_byte_changed_is_refused_or_meant),
        cmocka_unit_test(giant_counts_are_refused_before_any_arithmetic),
        cmocka_unit_test(giant_byte_strings_are_refused),
        cmocka_unit_test(a_count_that_is_there_is_taken_and_one_more_is_not),
        cmocka_unit_test(a_count_without_its_bytes_takes_no_memory),
        cmocka_unit_test(a_number_over_32_bits_is_refused_where_32_are_meant),
        cmocka_unit_test(a_failed_decode_leaves_the_message_alone),
        cmocka_unit_test(doubles_keep_their_bits),
        cmocka_unit_test(texts_are_utf_8_without_control_characters),
        cmocka_unit_test(a_text_ends_with_a_nul_inside_its_words),
        cmocka_unit_test(the_longest_text_passes_and_a_longer_one_does_not),
        cmocka_unit_test(a_text_that_its_reader_would_refuse_is_not_sent),
        cmocka_unit_test(every_message_comes_back_as_it_went),
        cmocka_unit_test(no_message_is_smaller_than_arrays_take_it_for),
        cmocka_unit_test(without_memory_both_ways_say_so),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
