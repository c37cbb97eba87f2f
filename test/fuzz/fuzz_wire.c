/* fuzz_wire.c - every decoder of messages, and the plan made from a record.
 *
 * The first byte chooses the decoder, the rest is what it gets. What is
 * accepted must encode to the same bytes: a message has one encoding.
 */
#include "wire/wire.h"

#include "base/limits.h"
#include "base/mem.h"
#include "plan/plan.h"
#include "wire/run.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_same(const struct buf *b, const uint8_t *data, size_t size)
{
    ASSERT(!b->failed);
    ASSERT(b->size == size);
    ASSERT(memcmp(b->data, data, size) == 0);
}

/* clang-format off */
#define DEFINE_TRY(name, NAME)                                                \
    static void try_##name(const uint8_t *data, size_t size)                  \
    {                                                                         \
        struct wire_##name m;                                                 \
        struct arena arena;                                                   \
        struct buf b;                                                         \
                                                                              \
        arena_init(&arena);                                                   \
        buf_init(&b);                                                         \
        if (wire_##name##_decode(data, size, &arena, &m) == PS_OK) {          \
            wire_##name##_encode(&m, &b);                                     \
            check_same(&b, data, size);                                       \
            buf_clear(&b);                                                    \
            wire_##name##_print(&m, &b);                                      \
            ASSERT(!b.failed);                                                \
            ASSERT(strlen((const char *)b.data) == b.size);                   \
        }                                                                     \
        buf_fini(&b);                                                         \
        arena_fini(&arena);                                                   \
    }
WIRE_MESSAGES(DEFINE_TRY)
/* clang-format on */

static void try_run(const uint8_t *data, size_t size)
{
    struct arena arena;
    struct run_op *ops;
    uint32_t n;

    arena_init(&arena);
    if (run_decode(data, size, &arena, &ops, &n) == PS_OK) {
        uint8_t *again = mem_new(size);

        ASSERT(run_bytes(ops, n) == size);
        run_encode(ops, n, again, NULL);
        ASSERT(memcmp(again, data, size) == 0);
        mem_free(again);
    }
    arena_fini(&arena);
}

static void try_run_answer(const uint8_t *data, size_t size)
{
    struct arena arena;
    struct run_answer *answers;
    uint32_t n;

    arena_init(&arena);
    if (run_answer_decode(data, size, &arena, &answers, &n) == PS_OK) {
        uint8_t *again = mem_new(size);

        ASSERT(run_answer_bytes(answers, n) == size);
        run_answer_encode(answers, n, again, NULL);
        ASSERT(memcmp(again, data, size) == 0);
        mem_free(again);
    }
    arena_fini(&arena);
}

/* Whatever became a plan answers every question about itself. */
static void try_plan_new(const uint8_t *data, size_t size)
{
    struct plan *p;

    if (plan_new(&p, data, size) != PS_OK) {
        return;
    }
    for (uint32_t i = 0; i < p->w.n_variables; i++) {
        const struct wire_variable *v = &p->w.variables[i];
        uint64_t next = 0;
        uint32_t n;
        const struct wire_part *parts = plan_parts(p, v->id, &n);

        ASSERT(plan_variable(p, v->id) == v);
        ASSERT(plan_variable_named(p, v->name) == v);
        for (uint32_t k = 0; k < n; k++) {
            uint64_t begin;
            uint64_t end;

            ASSERT(plan_part(p, v->id, parts[k].begin) == &parts[k]);
            ASSERT(plan_part(p, v->id, parts[k].end - 1) == &parts[k]);
            ASSERT((plan_lane(p, parts[k].lane) != NULL) !=
                   (plan_ended(p, parts[k].lane) != NULL));
            plan_dense_rows(v->rows, parts[k].begin, parts[k].end, &begin,
                            &end);
            ASSERT(begin == next && end >= begin);
            next = end;
        }
        ASSERT(next == v->rows);
    }
    plan_free(p);
}

/* clang-format off */
#define TRY_ROW(name, NAME) try_##name,
static void (*const tries[])(const uint8_t *data, size_t size) = {
    WIRE_MESSAGES(TRY_ROW)
    try_run,
    try_run_answer,
    try_plan_new,
};
/* clang-format on */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy;

    if (size == 0) {
        return 0;
    }
    /* Aligned as a frame's body is, and ending where the input ends. */
    copy = mem_new(size - 1);
    memcpy(copy, data + 1, size - 1);
    tries[data[0] % ARRAY_LEN(tries)](copy, size - 1);
    mem_free(copy);
    return 0;
}
