/* place.c - even placement of a new variable.
 *
 *     owners  every lane that a part may name, by lane number
 *        |-> spot   a live shard, by (server, shard): gets parts
 *        `-> load   a server with live shards, by id: is limited
 *
 * What the plan's variables take is charged to the servers first; then the new
 * one is dealt out, charged likewise, and the servers that got something are
 * held against the limits. Nothing is tried twice: where the even share does
 * not fit, a person has to decide what gives way.
 *
 * Of U buckets, shard i of n gets ceil(U i / n) to ceil(U (i + 1) / n), so that
 * shares differ by one at most and split_keys finds a bucket's part without a
 * search. A dense variable has ceil(rows / 65,536) rows in a bucket and may
 * leave the last buckets empty: only those with rows are dealt, and the last
 * part takes the empty ones.
 */
#include "plan/place.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/limits.h"

enum { SMALL_DENSE_BYTES = 64 << 10, INDEX_BYTES = 16, NAME_SHOWN_BYTES = 80 };

struct load {
    uint32_t server;
    bool is_chosen; /* gets a part of the new variable */
    uint64_t memory_bytes;
    uint64_t network_bytes;
    uint64_t queries;
};

struct spot {
    const struct wire_lane *lane;
    struct load *load;
    uint64_t dense_bytes;
    uint32_t n_given; /* by place_parts */
};

struct owner {
    uint64_t lane;
    struct load *load;
    struct spot *spot; /* NULL for a lane that ended */
};

struct placing {
    const struct wire_plan *w;
    const struct wire_variable *v; /* the new one */
    const struct place_limits *limits;
    uint32_t (*slots_of)(const struct wire_variable *v);
    struct arena *arena;
    struct spot *spots;
    struct load *loads;
    struct owner *owners;
    size_t n_spots;
    size_t n_loads;
    size_t n_owners;
};

/* Sums and products that stop at the largest number: a plan may say anything,
 * and what is too much must not come out as little. */
static uint64_t add(uint64_t a, uint64_t b)
{
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

static uint64_t multiply(uint64_t a, uint64_t b)
{
    return b != 0 && a > UINT64_MAX / b ? UINT64_MAX : a * b;
}

/* What `buckets` of all buckets take of `total`, rounded up. */
static uint64_t share(uint64_t total, uint32_t buckets)
{
    uint64_t rest = total % LIMIT_BUCKETS * buckets;

    return total / LIMIT_BUCKETS * buckets + rest / LIMIT_BUCKETS +
           (rest % LIMIT_BUCKETS != 0);
}

static uint64_t value_bytes(const struct wire_variable *v)
{
    return (uint64_t)v->dim * sizeof(float);
}

static uint64_t row_bytes(const struct wire_variable *v, uint32_t slots)
{
    uint64_t bytes = multiply(value_bytes(v), (uint64_t)slots + 1);

    return v->kind == PS_DENSE ? bytes : add(bytes, INDEX_BYTES);
}

uint64_t place_bytes(const struct wire_variable *v, uint32_t slots)
{
    return multiply(v->rows, row_bytes(v, slots));
}

static int compare_spots(const void *a, const void *b)
{
    const struct wire_lane *x = ((const struct spot *)a)->lane;
    const struct wire_lane *y = ((const struct spot *)b)->lane;

    if (x->server != y->server) {
        return x->server < y->server ? -1 : 1;
    }
    if (x->shard != y->shard) {
        return x->shard < y->shard ? -1 : 1;
    }
    return x->lane < y->lane ? -1 : x->lane > y->lane;
}

static int compare_loads(const void *a, const void *b)
{
    const struct load *x = a;
    const struct load *y = b;

    return x->server < y->server ? -1 : x->server > y->server;
}

static int compare_owners(const void *a, const void *b)
{
    const struct owner *x = a;
    const struct owner *y = b;

    return x->lane < y->lane ? -1 : x->lane > y->lane;
}

static int compare_ids(const void *a, const void *b)
{
    const struct wire_variable *x = a;
    const struct wire_variable *y = b;

    return x->id < y->id ? -1 : x->id > y->id;
}

static void fill_spots(struct placing *p)
{
    const struct wire_plan *w = p->w;

    p->n_spots = w->n_lanes;
    for (size_t i = 0; i < p->n_spots; i++) {
        p->spots[i] = (struct spot){.lane = &w->lanes[i]};
    }
    qsort(p->spots, p->n_spots, sizeof(*p->spots), compare_spots);
    for (size_t i = 0; i < p->n_spots; i++) {
        uint32_t server = p->spots[i].lane->server;

        if (i == 0 || p->loads[p->n_loads - 1].server != server) {
            p->loads[p->n_loads] = (struct load){.server = server};
            p->n_loads++;
        }
        p->spots[i].load = &p->loads[p->n_loads - 1];
    }
}

static void fill_owners(struct placing *p)
{
    const struct wire_plan *w = p->w;

    for (size_t i = 0; i < p->n_spots; i++) {
        p->owners[p->n_owners++] = (struct owner){
            p->spots[i].lane->lane, p->spots[i].load, &p->spots[i]};
    }
    for (uint32_t i = 0; i < w->n_ended; i++) {
        struct load key = {.server = w->ended[i].server};
        struct load *load =
            bsearch(&key, p->loads, p->n_loads, sizeof(key), compare_loads);

        if (load != NULL) {
            p->owners[p->n_owners++] =
                (struct owner){w->ended[i].lane, load, NULL};
        }
    }
    qsort(p->owners, p->n_owners, sizeof(*p->owners), compare_owners);
}

static int start(struct placing *p)
{
    size_t n = p->w->n_lanes;

    p->spots = arena_take(p->arena, n * sizeof(*p->spots));
    p->loads = arena_take(p->arena, n * sizeof(*p->loads));
    p->owners = arena_take(p->arena, (n + p->w->n_ended) * sizeof(*p->owners));
    if (p->spots == NULL || p->loads == NULL || p->owners == NULL) {
        return PS_ENOMEM;
    }
    fill_spots(p);
    fill_owners(p);
    return PS_OK;
}

/* Charges a part of v to the server, and the shard where there is one, that
 * `owner` stands for. */
static void charge(const struct placing *p, const struct wire_variable *v,
                   const struct wire_part *part, const struct owner *owner)
{
    uint32_t slots = p->slots_of(v);
    uint64_t memory;
    uint64_t network;

    if (v->kind == PS_DENSE) {
        uint64_t begin;
        uint64_t end;

        plan_dense_rows(v->rows, part->begin, part->end, &begin, &end);
        memory = multiply(end - begin, row_bytes(v, slots));
        network = multiply(end - begin, value_bytes(v));
        if (owner->spot != NULL) {
            owner->spot->dense_bytes = add(owner->spot->dense_bytes, memory);
        }
    } else {
        uint32_t buckets = part->end - part->begin;

        memory = share(place_bytes(v, slots), buckets);
        network = share(multiply(v->batch_read, value_bytes(v)), buckets);
    }
    owner->load->memory_bytes = add(owner->load->memory_bytes, memory);
    owner->load->network_bytes = add(owner->load->network_bytes, network);
    owner->load->queries++;
}

static void charge_plan(struct placing *p)
{
    const struct wire_plan *w = p->w;

    for (uint32_t i = 0; i < w->n_parts; i++) {
        struct owner lane = {.lane = w->parts[i].lane};
        struct wire_variable id = {.id = w->parts[i].variable};
        const struct owner *owner = bsearch(&lane, p->owners, p->n_owners,
                                            sizeof(lane), compare_owners);
        const struct wire_variable *v = NULL;

        if (w->n_variables > 0) {
            v = bsearch(&id, w->variables, w->n_variables, sizeof(id),
                        compare_ids);
        }
        if (owner != NULL && v != NULL) {
            charge(p, v, &w->parts[i], owner);
        }
    }
}

/* Gives buckets [begin, end) of the new variable to a spot. */
static void give(struct placing *p, struct wire_part *part, struct spot *spot,
                 uint32_t begin, uint32_t end)
{
    struct owner owner = {spot->lane->lane, spot->load, spot};

    *part = (struct wire_part){.variable = p->v->id,
                               .begin = begin,
                               .end = end,
                               .lane = spot->lane->lane,
                               .since = p->w->plan + 1};
    spot->load->is_chosen = true;
    charge(p, p->v, part, &owner);
}

static bool is_small(const struct placing *p)
{
    const struct wire_variable *v = p->v;

    return v->kind == PS_DENSE &&
           (v->rows < p->n_spots ||
            multiply(v->rows, value_bytes(v)) < SMALL_DENSE_BYTES);
}

static struct spot *least_dense(struct placing *p)
{
    struct spot *least = &p->spots[0];

    for (size_t i = 1; i < p->n_spots; i++) {
        if (p->spots[i].dense_bytes < least->dense_bytes) {
            least = &p->spots[i];
        }
    }
    return least;
}

/* Buckets of the new variable that have rows. */
static uint64_t used_buckets(const struct wire_variable *v)
{
    uint64_t per;

    if (v->kind != PS_DENSE) {
        return LIMIT_BUCKETS;
    }
    per = v->rows / LIMIT_BUCKETS + (v->rows % LIMIT_BUCKETS != 0);
    return v->rows / per + (v->rows % per != 0);
}

static uint32_t deal(struct placing *p, struct wire_part *parts)
{
    uint64_t used = used_buckets(p->v);
    uint64_t begin = 0;
    uint32_t n = 0;

    for (size_t i = 0; i < p->n_spots; i++) {
        uint64_t end = (used * (i + 1) + p->n_spots - 1) / p->n_spots;

        /* More shards than buckets: some get none. */
        if (end > begin) {
            give(p, &parts[n++], &p->spots[i], (uint32_t)begin,
                 end == used ? LIMIT_BUCKETS : (uint32_t)end);
            begin = end;
        }
    }
    return n;
}

/* 2410 as 2,410. */
static const char *grouped(uint64_t n, char text[32])
{
    char *at = text + 31;

    *at = '\0';
    for (int digits = 0; digits == 0 || n > 0; digits++) {
        if (digits > 0 && digits % 3 == 0) {
            *--at = ',';
        }
        *--at = (char)('0' + n % 10);
        n /= 10;
    }
    return at;
}

/* How much of a name leaves room for the rest of the line, in whole
 * characters. */
static int shown_bytes(const char *name)
{
    size_t n = strnlen(name, NAME_SHOWN_BYTES + 1);

    if (n > NAME_SHOWN_BYTES) {
        n = NAME_SHOWN_BYTES;
        while (n > 0 && ((unsigned char)name[n] & 0xc0) == 0x80) {
            n--;
        }
    }
    return (int)n;
}

static uint64_t megabytes_up(uint64_t bytes)
{
    return (bytes >> 20) + ((bytes & ((1u << 20) - 1)) != 0);
}

static int check_load(const struct placing *p, const struct load *load,
                      struct err *e)
{
    const struct place_limits *l = p->limits;
    const char *name = p->v->name;
    int shown = shown_bytes(name);
    char need[32];
    char have[32];

    if (l->memory_bytes > 0 && load->memory_bytes > l->memory_bytes) {
        return err_set(e, PS_ELIMIT,
                       "cannot place \"%.*s\": server %u would need %s MB, "
                       "-smem allows %s MB",
                       shown, name, load->server,
                       grouped(megabytes_up(load->memory_bytes), need),
                       grouped(l->memory_bytes >> 20, have));
    }
    if (l->network_bytes > 0 && load->network_bytes > l->network_bytes) {
        return err_set(e, PS_ELIMIT,
                       "cannot place \"%.*s\": server %u would send %s MB/s, "
                       "-snet allows %s MB/s",
                       shown, name, load->server,
                       grouped(megabytes_up(load->network_bytes), need),
                       grouped(l->network_bytes >> 20, have));
    }
    if (l->queries > 0 && load->queries > l->queries) {
        return err_set(e, PS_ELIMIT,
                       "cannot place \"%.*s\": server %u would answer %s "
                       "queries a second, -sqps allows %s",
                       shown, name, load->server, grouped(load->queries, need),
                       grouped(l->queries, have));
    }
    return PS_OK;
}

/* Only servers that got something: another one may be over a limit that has
 * been lowered since, which is no reason to refuse this variable. */
static int check_limits(const struct placing *p, struct err *e)
{
    for (size_t i = 0; i < p->n_loads; i++) {
        if (p->loads[i].is_chosen) {
            int rc = check_load(p, &p->loads[i], e);

            if (rc != PS_OK) {
                return rc;
            }
        }
    }
    return PS_OK;
}

static int check_variable(const struct wire_plan *w,
                          const struct wire_variable *v, struct err *e)
{
    if (v->kind != PS_DENSE && v->kind != PS_HASH64) {
        return err_set(e, PS_EARGUMENT, "cannot place \"%.*s\": kind %u",
                       shown_bytes(v->name), v->name, v->kind);
    }
    if (v->kind == PS_DENSE && v->rows == 0) {
        return err_set(e, PS_EARGUMENT,
                       "cannot place \"%.*s\": a dense variable has at least "
                       "one row",
                       shown_bytes(v->name), v->name);
    }
    if (w->n_lanes == 0) {
        return err_set(e, PS_ENOTREADY, "cannot place \"%.*s\": no servers yet",
                       shown_bytes(v->name), v->name);
    }
    return PS_OK;
}

/* A dense part is pushed and pulled whole, in one frame: what is larger becomes
 * several parts of the same shard. */
static int cut_to_frames(const struct placing *p, struct wire_part **parts,
                         uint32_t *n, struct err *e)
{
    const struct wire_variable *v = p->v;
    uint64_t per = v->rows / LIMIT_BUCKETS + (v->rows % LIMIT_BUCKETS != 0);
    uint64_t most = LIMIT_FRAME_TARGET_BYTES / base_max_u64(value_bytes(v), 1);
    uint64_t fit = most / per; /* buckets, where `most` counts rows */
    struct wire_part *out;
    uint32_t n_out = 0;

    if (fit == 0 && v->rows > most) {
        return err_set(e, PS_ELIMIT,
                       "cannot place \"%.*s\": a dense variable of that "
                       "many rows is too large for any number of shards",
                       shown_bytes(v->name), v->name);
    }
    if (fit == 0 || fit >= LIMIT_BUCKETS) {
        return PS_OK;
    }
    out = arena_take(p->arena, (*n + LIMIT_BUCKETS / fit + 1) * sizeof(*out));
    if (out == NULL) {
        return err_set(e, PS_ENOMEM, "out of memory");
    }
    for (uint32_t i = 0; i < *n; i++) {
        const struct wire_part *part = &(*parts)[i];
        uint64_t begin, end, used, pieces;

        plan_dense_rows(v->rows, part->begin, part->end, &begin, &end);
        used = (end - begin + per - 1) / per;
        pieces = base_max_u64((used + fit - 1) / fit, 1);
        for (uint64_t k = 0; k < pieces; k++) {
            out[n_out] = *part;
            out[n_out].begin = part->begin + (uint32_t)(used * k / pieces);
            if (k + 1 < pieces) {
                out[n_out].end =
                    part->begin + (uint32_t)(used * (k + 1) / pieces);
            }
            n_out++;
        }
    }
    *parts = out;
    *n = n_out;
    return PS_OK;
}

int place_variable(const struct wire_plan *w, const struct wire_variable *v,
                   const struct place_limits *limits,
                   uint32_t (*slots_of)(const struct wire_variable *v),
                   struct arena *arena, struct wire_part **parts,
                   uint32_t *n_parts, struct err *e)
{
    struct placing p = {
        .w = w, .v = v, .limits = limits, .slots_of = slots_of, .arena = arena};
    struct wire_part *given;
    uint32_t n = 1;
    int rc = check_variable(w, v, e);

    if (rc != PS_OK) {
        return rc;
    }
    given = arena_take(arena, w->n_lanes * sizeof(*given));
    if (given == NULL || start(&p) != PS_OK) {
        return err_set(e, PS_ENOMEM, "out of memory");
    }
    charge_plan(&p);
    if (is_small(&p)) {
        give(&p, &given[0], least_dense(&p), 0, LIMIT_BUCKETS);
    } else {
        n = deal(&p, given);
    }
    rc = v->kind == PS_DENSE ? cut_to_frames(&p, &given, &n, e) : PS_OK;
    if (rc == PS_OK) {
        rc = check_limits(&p, e);
    }
    if (rc != PS_OK) {
        return rc;
    }
    *parts = given;
    *n_parts = n;
    return PS_OK;
}

/* The shard that the part of p->v goes to: of the servers where it fits the one
 * with the least memory taken, there the shard that was given the fewest. */
static struct spot *find_room(const struct placing *p,
                              const struct wire_part *part)
{
    struct spot *best = NULL;

    for (size_t i = 0; i < p->n_spots; i++) {
        struct spot *spot = &p->spots[i];
        struct load trial = *spot->load;
        const struct owner owner = {spot->lane->lane, &trial, NULL};

        if (best != NULL &&
            (spot->load->memory_bytes > best->load->memory_bytes ||
             (spot->load->memory_bytes == best->load->memory_bytes &&
              spot->n_given >= best->n_given))) {
            continue;
        }
        charge(p, p->v, part, &owner);
        if (check_load(p, &trial, NULL) == PS_OK) {
            best = spot;
        }
    }
    return best;
}

int place_parts(const struct wire_plan *w, const bool *wanted,
                const struct place_limits *limits,
                uint32_t (*slots_of)(const struct wire_variable *v),
                struct arena *arena, uint64_t *lanes)
{
    struct placing p = {
        .w = w, .limits = limits, .slots_of = slots_of, .arena = arena};
    uint32_t variable = 0;

    if (w->n_lanes == 0) {
        return PS_ENOTREADY;
    }
    if (start(&p) != PS_OK) {
        return PS_ENOMEM;
    }
    charge_plan(&p);
    for (uint32_t i = 0; i < w->n_parts; i++) {
        struct spot *spot;

        while (variable < w->n_variables &&
               w->variables[variable].id != w->parts[i].variable) {
            variable++; /* both rise by id */
        }
        if (!wanted[i] || variable == w->n_variables) {
            continue;
        }
        p.v = &w->variables[variable];
        spot = find_room(&p, &w->parts[i]);
        lanes[i] = spot != NULL ? spot->lane->lane : 0;
        if (spot != NULL) {
            const struct owner owner = {lanes[i], spot->load, spot};

            spot->n_given++;
            charge(&p, p.v, &w->parts[i], &owner);
        }
    }
    return PS_OK;
}
