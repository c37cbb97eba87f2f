#include "scheduler/restore_past.h"

/* By rising cuts, none touching the next: one past has one form. */
void restore_past_give_up(struct restore_past *past, uint64_t after,
                          uint64_t to)
{
    struct ckpt_gap gaps[RESTORE_GAPS_MAX + 1] = {{0}};
    struct ckpt_gap gap = {after, base_max_u64(after, to)};
    uint32_t n = 0, at;

    for (uint32_t i = 0; i < past->n; i++) {
        const struct ckpt_gap *g = &past->gaps[i];

        if (g->to >= gap.after && g->after <= gap.to) {
            gap.after = base_min_u64(gap.after, g->after);
            gap.to = base_max_u64(gap.to, g->to);
        } else {
            gaps[n++] = *g;
        }
    }
    for (at = n++; at > 0 && gaps[at - 1].after > gap.to; at--) {
        gaps[at] = gaps[at - 1];
    }
    gaps[at] = gap;
    if (n > RESTORE_GAPS_MAX) {
        gaps[1].after = gaps[0].after; /* the oldest matter least */
        memmove(gaps, gaps + 1, --n * sizeof(*gaps));
    }
    memcpy(past->gaps, gaps, n * sizeof(*gaps));
    past->n = n;
}

void restore_past_of(const struct wire_plan *w, uint64_t since,
                     struct restore_past *past)
{
    past->n = 0;
    for (uint32_t i = 0; i < w->n_gaps; i++) {
        const struct wire_gap *g = &w->gaps[i];

        if (since == RESTORE_PAST_ALL || g->since == since) {
            restore_past_give_up(past, g->after, g->to);
        }
    }
}

bool restore_past_is_same(const struct restore_past *a,
                          const struct restore_past *b)
{
    bool same = a->n == b->n;

    for (uint32_t i = 0; i < a->n && same; i++) {
        same = a->gaps[i].after == b->gaps[i].after &&
               a->gaps[i].to == b->gaps[i].to;
    }
    return same;
}

bool restore_past_has(const struct restore_past *past, uint64_t cut)
{
    for (uint32_t i = 0; i < past->n; i++) {
        if (cut > past->gaps[i].after && cut <= past->gaps[i].to) {
            return false;
        }
    }
    return true;
}

bool restore_past_is_below(const struct restore_past *past, uint64_t cut)
{
    return past->n > 0 && cut <= past->gaps[past->n - 1].after;
}

int restore_past_write(const struct restore_past *past, uint64_t since,
                       struct arena *arena, struct wire_plan *w)
{
    struct wire_gap *gaps =
        arena_take(arena, ((size_t)w->n_gaps + past->n + 1) * sizeof(*gaps));

    if (gaps == NULL) {
        return PS_ENOMEM;
    }
    if (w->n_gaps > 0) {
        memcpy(gaps, w->gaps, w->n_gaps * sizeof(*gaps));
    }
    for (uint32_t i = 0; i < past->n; i++) {
        gaps[w->n_gaps++] =
            (struct wire_gap){since, past->gaps[i].after, past->gaps[i].to};
    }
    w->gaps = gaps;
    return PS_OK;
}
