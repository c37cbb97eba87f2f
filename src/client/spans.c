#include "client/spans.h"

#include "base/mem.h"

void spans_fini(struct spans *s)
{
    mem_free(s->at);
    *s = (struct spans){NULL, 0, 0};
}

/* Behind all that is there, or touching the last of it. */
static int append(struct spans *s, uint64_t first, uint64_t last)
{
    struct wire_span *at;
    uint32_t room = 2 * s->room + 2;

    if (s->n > 0 && first <= s->at[s->n - 1].last + 1) {
        s->at[s->n - 1].last = base_max_u64(s->at[s->n - 1].last, last);
        return PS_OK;
    }
    if (s->n == s->room) {
        at = room > s->room
                 ? mem_try_resize(s->at, mem_array(room, sizeof(*at)))
                 : NULL;
        if (at == NULL) {
            return PS_ENOMEM;
        }
        s->at = at;
        s->room = room;
    }
    s->at[s->n++] = (struct wire_span){first, last};
    return PS_OK;
}

/* One of the two sets on the way from low to high. */
struct side {
    const struct spans *s;
    uint32_t i; /* the range that `at` is in or before */
};

/* Whether `at` is in the set; *next becomes where that changes, if that is
 * nearer. */
static bool is_in(struct side *x, uint64_t at, uint64_t *next)
{
    const struct wire_span *r;

    while (x->i < x->s->n && x->s->at[x->i].last < at) {
        x->i++;
    }
    if (x->i == x->s->n) {
        return false;
    }
    r = &x->s->at[x->i];
    *next = base_min_u64(*next, r->first <= at ? r->last + 1 : r->first);
    return r->first <= at;
}

int spans_combine(const struct spans *a, enum spans_op op,
                  const struct spans *b, struct spans *out)
{
    struct side x = {a, 0};
    struct side y = {b, 0};
    uint64_t at = 0;

    while (at <= SPANS_END) {
        uint64_t next = UINT64_MAX;
        bool in_a = is_in(&x, at, &next);
        bool in_b = is_in(&y, at, &next);
        bool is_wanted = op == SPANS_EITHER ? in_a || in_b
                         : op == SPANS_BOTH ? in_a && in_b
                                            : in_a && !in_b;

        if (is_wanted && append(out, at, next - 1) != PS_OK) {
            spans_fini(out);
            return PS_ENOMEM;
        }
        at = next;
    }
    return PS_OK;
}

int spans_join(struct spans *to, const struct spans *b)
{
    struct spans all = {NULL, 0, 0};
    int rc = spans_combine(to, SPANS_EITHER, b, &all);

    if (rc == PS_OK) {
        spans_fini(to);
        *to = all;
    }
    return rc;
}

int spans_add(struct spans *s, uint64_t first, uint64_t last)
{
    struct wire_span one = {first, last};
    struct spans b = {&one, 1, 1};

    return s->n == 0 || first >= s->at[s->n - 1].first ? append(s, first, last)
                                                       : spans_join(s, &b);
}

uint64_t spans_count(const struct spans *s)
{
    uint64_t n = 0;

    for (uint32_t i = 0; i < s->n; i++) {
        n += s->at[i].last - s->at[i].first + 1;
    }
    return n;
}
