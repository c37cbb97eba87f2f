/* probe_judge.c - what the journals of all workers say that the rows must show.
 *
 * A frame was acknowledged where its worker has written so down. It is in the
 * rows if its lane lives, and gone with all its rows if not; a worker that came
 * to its end in order must have been told of exactly the latter, and no worker
 * of anything else. A frame that was refused is in no row.
 *
 * A frame of which a killed worker has not written down the outcome may be in
 * the rows or not, unless its server died after the worker: then it is gone. So
 * a worker's three sums in a row are those of what was acknowledged and of some
 * of what is open there; every choice is tried. Count, sum and squares together
 * tell a loss and a double that would cancel in any one of them. And where the
 * choice is clear in several rows it must be the same for all that one frame
 * carried.
 *
 * Where servers come back with what a checkpoint has, LANES is `told`: then
 * what a worker was told to be lost is gone, in those rows, and all else that
 * was acknowledged is there.
 */
#include "probe_fire.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHOICES_MAX = 20, WRONG_SHOWN = 5 };

struct sums {
    int64_t s[FIRE_SUMS];
};

/* An item of which it is open whether it was applied. */
struct doubt {
    size_t cell;
    uint64_t frame; /* the same for what one frame carried */
    uint32_t g;
    int8_t was_applied; /* -1: not clear */
};

/* What a worker was told is lost. */
struct report {
    struct ps_loss loss;
    uint32_t variable; /* FIRE_VARIABLES: all */
};

struct judge {
    uint32_t workers;
    size_t keys;
    struct fire_home *homes;
    uint64_t *lanes; /* that live */
    size_t n_lanes;
    int believes;      /* LANES is `told` */
    struct sums *told; /* [FIRE_VARIABLES][keys][workers] */
    struct doubt *doubts;
    size_t n_doubts;
    size_t room_doubts;
    uint64_t n_frames; /* numbers for doubts */
    uint64_t acked;
    uint64_t lost;  /* of these, on lanes that have ended */
    uint64_t heard; /* of these, so many the worker was told */
    uint64_t refused;
    uint64_t deaf;         /* lost, and a worker that lived was not told */
    uint64_t false_losses; /* told, and not lost */
    uint64_t unheard_of;   /* numbers in losses that no frame has had */
    uint64_t twice;        /* an item that two frames have applied */
    uint64_t no_entry;     /* outcomes without an intent */
};

struct push {
    struct fire_item items[FIRE_ITEMS];
    uint32_t n;
    uint32_t taken; /* a bit for each item: a frame was told that it applied */
    int is_settled;
};

struct life {
    uint32_t worker;
    uint8_t *bytes;
    size_t size;
    uint32_t died_later[64]; /* servers */
    size_t n_died_later;
    int has_ended; /* in order */
    struct push *pushes;
    size_t n_pushes;
    size_t room_pushes;
    struct report *losses;
    size_t n_losses;
    size_t room_losses;
    uint64_t n_found; /* frames that the losses name */
};

static void read_file(const char *path, struct life *life)
{
    FILE *f = fopen(path, "rb");

    if (f == NULL || fseek(f, 0, SEEK_END) != 0) {
        probe_fail("a journal", PS_EIO, path);
    }
    life->size = (size_t)ftell(f);
    life->bytes = probe_array(life->size, 1);
    rewind(f);
    if (fread(life->bytes, 1, life->size, f) != life->size) {
        probe_fail("a journal", PS_EIO, path);
    }
    fclose(f);
}

static size_t size_of(const struct fire_entry *e)
{
    switch (e->kind) {
    case FIRE_INTENT:
        return e->n * sizeof(struct fire_item);
    case FIRE_SETTLED:
        return e->n * sizeof(struct ps_frame_outcome);
    case FIRE_LOSS:
        return e->n * sizeof(struct ps_loss);
    default:
        return 0;
    }
}

/* The next whole entry from *at on, and where its items lie. */
static const uint8_t *next_entry(const struct life *life, size_t *at,
                                 struct fire_entry *e)
{
    const uint8_t *items;

    if (life->size - *at < sizeof(*e)) {
        return NULL;
    }
    memcpy(e, life->bytes + *at, sizeof(*e));
    items = life->bytes + *at + sizeof(*e);
    if (life->size - *at - sizeof(*e) < size_of(e)) {
        return NULL;
    }
    *at += sizeof(*e) + size_of(e);
    return items;
}

/* Intents, losses and the end; outcomes need these. */
static void read_intents(struct life *life)
{
    struct fire_entry e;
    const uint8_t *items;
    size_t at = 0;

    while ((items = next_entry(life, &at, &e)) != NULL) {
        void *grown;

        if (e.kind == FIRE_INTENT) {
            grown = life->pushes;
            probe_grow(&grown, life->n_pushes, &life->room_pushes,
                       sizeof(struct push));
            life->pushes = grown;
            life->pushes[life->n_pushes] = (struct push){.n = e.n};
            memcpy(life->pushes[life->n_pushes].items, items, size_of(&e));
            life->n_pushes++;
        } else if (e.kind == FIRE_LOSS) {
            grown = life->losses;
            probe_grow(&grown, life->n_losses, &life->room_losses,
                       sizeof(struct report));
            life->losses = grown;
            memcpy(&life->losses[life->n_losses].loss, items, size_of(&e));
            life->losses[life->n_losses].variable = (uint32_t)e.push;
            life->n_losses++;
        } else if (e.kind == FIRE_END) {
            life->has_ended = 1;
        }
    }
}

static int lives(const struct judge *j, uint64_t lane)
{
    for (size_t i = 0; i < j->n_lanes; i++) {
        if (j->lanes[i] == lane) {
            return 1;
        }
    }
    return 0;
}

static int names(const struct ps_loss *loss, const struct ps_frame_outcome *f)
{
    return loss->session == f->session && loss->lane == f->lane &&
           loss->first <= f->seq && f->seq <= loss->last;
}

/* Of the same part. */
static int is_told_twice(const struct life *life,
                         const struct ps_frame_outcome *f)
{
    for (size_t i = 0; i < life->n_losses; i++) {
        for (size_t k = 0; k < i && names(&life->losses[i].loss, f); k++) {
            if (names(&life->losses[k].loss, f) &&
                life->losses[i].variable == life->losses[k].variable &&
                life->losses[i].loss.begin == life->losses[k].loss.begin) {
                return 1;
            }
        }
    }
    return 0;
}

/* v: FIRE_VARIABLES for any. */
static uint64_t count_reports(const struct life *life,
                              const struct ps_frame_outcome *f, uint32_t v)
{
    uint64_t n = 0;

    for (size_t i = 0; i < life->n_losses; i++) {
        const struct ps_loss *loss = &life->losses[i].loss;
        uint32_t of = life->losses[i].variable;

        n += names(loss, f) &&
             (v == FIRE_VARIABLES || of == FIRE_VARIABLES || of == v);
    }
    return n;
}

static size_t cell_of(const struct judge *j, const struct fire_item *item,
                      uint32_t worker)
{
    return (item->variable * j->keys + item->key) * j->workers + worker;
}

static const struct fire_home *home_of(const struct judge *j,
                                       const struct fire_item *item)
{
    return &j->homes[item->variable * j->keys + item->key];
}

static void add(struct sums *sums, int64_t g)
{
    sums->s[0] += 1;
    sums->s[1] += g;
    sums->s[2] += g * g;
}

/* An acknowledged frame's losses; is_there[v]: in the rows of variable v. */
static void take_losses(struct judge *j, const struct life *life,
                        const struct ps_frame_outcome *f, int *is_there)
{
    int is_alive = lives(j, f->lane);
    uint64_t reports = count_reports(life, f, FIRE_VARIABLES);
    int is_twice = is_told_twice(life, f);

    for (uint32_t v = 0; v < FIRE_VARIABLES; v++) {
        uint64_t n = count_reports(life, f, v);

        is_there[v] = j->believes ? n == 0 : is_alive;
    }
    if (j->believes) {
        is_alive = reports == 0;
    }
    j->lost += !is_alive;
    j->heard += !is_alive && reports > 0;
    j->deaf += !is_alive && reports == 0 && life->has_ended;
    j->false_losses += is_twice || (is_alive && reports > 0);
}

static void take_frame(struct judge *j, struct life *life, struct push *push,
                       const struct ps_frame_outcome *f)
{
    int is_there[FIRE_VARIABLES];
    uint64_t reports = count_reports(life, f, FIRE_VARIABLES);

    life->n_found += reports;
    if (f->status != PS_OK) {
        j->refused++;
        j->false_losses += reports;
        return;
    }
    j->acked++;
    take_losses(j, life, f, is_there);
    for (uint32_t i = 0; i < push->n; i++) {
        const struct fire_home *home = home_of(j, &push->items[i]);

        if (home->server != f->server || home->shard != f->shard) {
            continue;
        }
        j->twice += push->taken >> i & 1;
        push->taken |= 1U << i;
        if (is_there[push->items[i].variable]) {
            add(&j->told[cell_of(j, &push->items[i], life->worker)],
                push->items[i].g);
        }
    }
}

static void read_outcomes(struct judge *j, struct life *life)
{
    struct fire_entry e;
    const uint8_t *items;
    size_t at = 0;

    while ((items = next_entry(life, &at, &e)) != NULL) {
        if (e.kind != FIRE_SETTLED) {
            continue;
        }
        if (e.push >= life->n_pushes) {
            j->no_entry++;
            continue;
        }
        life->pushes[e.push].is_settled = 1;
        for (uint32_t i = 0; i < e.n; i++) {
            struct ps_frame_outcome f;

            memcpy(&f, items + i * sizeof(f), sizeof(f));
            take_frame(j, life, &life->pushes[e.push], &f);
        }
    }
    for (size_t i = 0; life->has_ended && i < life->n_losses; i++) {
        const struct ps_loss *loss = &life->losses[i].loss;

        j->unheard_of += loss->last - loss->first + 1;
    }
    j->unheard_of -= life->has_ended ? life->n_found : 0;
}

static int died_later(const struct life *life, uint32_t server)
{
    for (size_t i = 0; i < life->n_died_later; i++) {
        if (life->died_later[i] == server) {
            return 1;
        }
    }
    return 0;
}

/* The pushes whose outcome nobody has written down. */
static void read_doubts(struct judge *j, const struct life *life)
{
    for (size_t p = 0; p < life->n_pushes; p++) {
        const struct push *push = &life->pushes[p];

        for (uint32_t i = 0; !push->is_settled && i < push->n; i++) {
            const struct fire_home *home = home_of(j, &push->items[i]);
            void *doubts = j->doubts;

            if (died_later(life, home->server)) {
                continue;
            }
            probe_grow(&doubts, j->n_doubts, &j->room_doubts,
                       sizeof(*j->doubts));
            j->doubts = doubts;
            j->doubts[j->n_doubts] = (struct doubt){
                .cell = cell_of(j, &push->items[i], life->worker),
                .frame =
                    (j->n_frames + p) << 16 | home->server << 8 | home->shard,
                .g = push->items[i].g,
                .was_applied = -1,
            };
            j->n_doubts++;
        }
    }
    j->n_frames += life->n_pushes;
}

/* WORKER:PATH[:SERVER]...: the servers that died after this life's end. */
static void read_life(struct judge *j, char *word)
{
    struct life life = {0};
    char *rest = NULL;

    life.worker = (uint32_t)probe_number(strtok_r(word, ":", &rest));
    read_file(strtok_r(NULL, ":", &rest), &life);
    while ((word = strtok_r(NULL, ":", &rest)) != NULL) {
        life.died_later[life.n_died_later] = (uint32_t)probe_number(word);
        life.n_died_later++;
    }
    read_intents(&life);
    read_outcomes(j, &life);
    read_doubts(j, &life);
    free(life.bytes);
    free(life.pushes);
    free(life.losses);
}

static int compare_cells(const void *a, const void *b)
{
    size_t x = ((const struct doubt *)a)->cell;
    size_t y = ((const struct doubt *)b)->cell;

    return (x > y) - (x < y);
}

static int compare_frames(const void *a, const void *b)
{
    uint64_t x = ((const struct doubt *)a)->frame;
    uint64_t y = ((const struct doubt *)b)->frame;

    return (x > y) - (x < y);
}

/* Whether some of these doubts make up what is left over; notes for each of
 * them whether all choices that do agree on it. */
static int choose(struct doubt *d, size_t n, const struct sums *over)
{
    uint32_t all = 0xffffffff;
    uint32_t any = 0;
    int is_possible = 0;

    if (n > CHOICES_MAX) {
        return over->s[0] >= 0 && over->s[0] <= (int64_t)n &&
               over->s[1] >= over->s[0] && over->s[2] >= over->s[1];
    }
    for (uint32_t choice = 0; choice < 1U << n; choice++) {
        struct sums sums = {{0}};

        for (size_t i = 0; i < n; i++) {
            if (choice >> i & 1) {
                add(&sums, d[i].g);
            }
        }
        if (memcmp(&sums, over, sizeof(sums)) == 0) {
            is_possible = 1;
            all &= choice;
            any |= choice;
        }
    }
    for (size_t i = 0; is_possible && i < n; i++) {
        if ((all >> i & 1) == (any >> i & 1)) {
            d[i].was_applied = (int8_t)(all >> i & 1);
        }
    }
    return is_possible;
}

/* How many frames were applied in part. */
static uint64_t count_torn(struct judge *j, uint64_t *applied)
{
    uint64_t torn = 0;
    size_t i = 0;

    *applied = 0;
    if (j->n_doubts == 0) {
        return 0;
    }
    qsort(j->doubts, j->n_doubts, sizeof(*j->doubts), compare_frames);
    while (i < j->n_doubts) {
        uint64_t frame = j->doubts[i].frame;
        int has_some = 0;
        int lacks_some = 0;

        for (; i < j->n_doubts && j->doubts[i].frame == frame; i++) {
            has_some |= j->doubts[i].was_applied == 1;
            lacks_some |= j->doubts[i].was_applied == 0;
        }
        torn += has_some && lacks_some;
        *applied += has_some ? 1 : 0;
    }
    return torn;
}

static float *pull_rows(ps_client *client, struct judge *j, uint32_t v)
{
    ps_variable *variable = fire_declare(client, v, j->workers);
    uint64_t *keys = probe_array(j->keys, sizeof(*keys));
    float *rows = probe_array(j->keys * j->workers * FIRE_SUMS, sizeof(*rows));

    for (size_t i = 0; i < j->keys; i++) {
        keys[i] = i;
    }
    probe_need("pull", ps_pull(variable, keys, j->keys, rows, PROBE_SETTLE_MS));
    free(keys);
    return rows;
}

/* Compares every cell; prints the first that are wrong. */
static uint64_t compare(struct judge *j, ps_client *client)
{
    uint64_t n_wrong = 0;
    size_t at = 0;

    if (j->n_doubts > 0) {
        qsort(j->doubts, j->n_doubts, sizeof(*j->doubts), compare_cells);
    }
    printf("{\"wrong\":[");
    for (uint32_t v = 0; v < FIRE_VARIABLES; v++) {
        size_t n = j->keys * j->workers;
        float *rows = pull_rows(client, j, v);

        for (size_t i = 0; i < n; i++) {
            const struct sums *told = &j->told[v * n + i];
            const float *found = rows + i * FIRE_SUMS;
            struct sums over;
            size_t from = at;

            while (at < j->n_doubts && j->doubts[at].cell == v * n + i) {
                at++;
            }
            for (size_t k = 0; k < FIRE_SUMS; k++) {
                over.s[k] = (int64_t)found[k] - told->s[k];
            }
            if (choose(j->doubts + from, at - from, &over)) {
                continue;
            }
            if (n_wrong < WRONG_SHOWN) {
                printf("%s{\"variable\":\"%s\",\"key\":%zu,\"worker\":%zu,"
                       "\"told\":[%" PRId64 ",%" PRId64 ",%" PRId64 "],"
                       "\"over\":[%" PRId64 ",%" PRId64 ",%" PRId64 "],"
                       "\"open\":%zu}",
                       n_wrong == 0 ? "" : ",", fire_names[v], i / j->workers,
                       i % j->workers, told->s[0], told->s[1], told->s[2],
                       over.s[0], over.s[1], over.s[2], at - from);
            }
            n_wrong++;
        }
        free(rows);
    }
    printf("],");
    return n_wrong;
}

static void read_lanes(struct judge *j, char *words)
{
    char *rest = NULL;

    j->believes = strcmp(words, "told") == 0;
    if (j->believes) {
        return;
    }
    j->lanes = probe_array(strlen(words), sizeof(*j->lanes));
    for (char *word = strtok_r(words, ",", &rest); word != NULL;
         word = strtok_r(NULL, ",", &rest)) {
        j->lanes[j->n_lanes] = probe_number(word);
        j->n_lanes++;
    }
}

int probe_judge(int argc, char **argv)
{
    struct judge j = {0};
    ps_client *client = probe_open(-1, NULL, NULL);
    uint64_t n_wrong;
    uint64_t n_torn;
    uint64_t n_applied;

    if (argc < 5) {
        probe_fail("judge WORKERS KEYS HOMES LANES JOURNAL...", PS_EARGUMENT,
                   NULL);
    }
    j.workers = (uint32_t)probe_number(argv[0]);
    j.keys = probe_number(argv[1]);
    j.homes = fire_read_homes(argv[2], j.keys);
    read_lanes(&j, argv[3]);
    j.told = probe_array(FIRE_VARIABLES * j.keys * j.workers, sizeof(*j.told));
    for (int i = 4; i < argc; i++) {
        read_life(&j, argv[i]);
    }
    n_wrong = compare(&j, client);
    n_torn = count_torn(&j, &n_applied);
    printf("\"cells_wrong\":%" PRIu64 ",\"acked\":%" PRIu64
           ",\"refused\":%" PRIu64 ",\"lost\":%" PRIu64 ",\"heard\":%" PRIu64
           ",\"deaf\":%" PRIu64 ",\"false_losses\":%" PRIu64
           ",\"unheard_of\":%" PRIu64 ",\"twice\":%" PRIu64
           ",\"no_entry\":%" PRIu64 ",\"open\":%zu,\"open_applied\":%" PRIu64
           ",\"torn\":%" PRIu64 "}\n",
           n_wrong, j.acked, j.refused, j.lost, j.heard, j.deaf, j.false_losses,
           j.unheard_of, j.twice, j.no_entry, j.n_doubts, n_applied, n_torn);
    free(j.homes);
    free(j.lanes);
    free(j.told);
    free(j.doubts);
    return ps_close(client, PROBE_SETTLE_MS) == PS_OK ? 0 : 1;
}
