/* faults.c - what goes wrong, how often, and when.
 *
 * Two sorts: faults that happen to something (a frame, a connect, a write) are
 * drawn there; those of processes and of the store as a whole are events of
 * their own. Each seed draws its own rates, some of them zero, so that one
 * fault does not hide what another would show. */
#include <stdio.h>

#include "oracle.h"
#include "sim.h"

const char *const faults_names[FAULTS_N] = {
#define FAULT_NAME(name, text) #name,
    FAULTS_MAP(FAULT_NAME)
#undef FAULT_NAME
};

/* In a million, of what each happens to; of process faults: weights. */
static const uint32_t usual[FAULTS_N] = {
    [FAULT_frame_lost] = 5000,
    [FAULT_ack_lost] = 10000,
    [FAULT_frame_delayed] = 4000,
    [FAULT_cut_mid_frame] = 2500,
    [FAULT_old_bytes_late] = 400000,
    [FAULT_stall_one_way] = 500,
    [FAULT_connect_refused] = 60000,
    [FAULT_connect_slow] = 60000,
    [FAULT_kill_server] = 110,
    [FAULT_kill_client] = 60,
    [FAULT_kill_scheduler] = 80,
    [FAULT_pause_server] = 120,
    [FAULT_pause_client] = 100,
    [FAULT_pause_scheduler] = 60,
    [FAULT_stop_in_handler] = 200,
    [FAULT_thread_slow] = 10000,
    [FAULT_clock_jump] = 80,
    [FAULT_store_away] = 60,
    [FAULT_store_cut_off] = 160,
    [FAULT_store_full] = 100,
    [FAULT_store_slow] = 6000,
    [FAULT_store_read_fails] = 4000,
    [FAULT_store_write_lied] = 20000,
    [FAULT_store_write_stuck] = 10000,
    [FAULT_store_step_failed] = 15000,
    [FAULT_store_step_lied] = 15000,
    [FAULT_store_link_late] = 10000,
    [FAULT_disk_slow] = 4000,
    [FAULT_disk_fails] = 500,
    [FAULT_disk_misdirects] = 1500,
    [FAULT_disk_torn] = 1000,
    [FAULT_disk_full] = 50,
    [FAULT_disk_flips] = 80,
    [FAULT_disk_blind] = 10000,
    [FAULT_power_cut] = 30,
    [FAULT_power_server] = 60,
    [FAULT_log_slow] = 3000,
    [FAULT_log_fails] = 200,
    [FAULT_log_torn] = 150,
    [FAULT_log_late] = 400000,
    [FAULT_log_misdirects] = 20,
    [FAULT_log_full] = 20,
    [FAULT_log_flips] = 15,
    [FAULT_log_removed] = 40,
};

/* In a million kills of a server. */
enum { TAIL_FLIPS = 150000 };

static bool is_of_process(enum fault f)
{
    return f >= FAULT_kill_server && f <= FAULT_clock_jump &&
           f != FAULT_thread_slow;
}

/* Set before a seed is run. */
static uint32_t flips = 1;

void faults_for_plant(void)
{
    flips = 3; /* or a loader that looks at nothing is seldom found out */
}

void faults_init(struct sim *s)
{
    for (uint32_t f = 0; f < FAULTS_N; f++) {
        static const uint32_t times[] = {0, 500, 1000, 1000, 2000};

        s->rates[f] =
            (uint32_t)((uint64_t)usual[f] *
                       times[world_below(s, ARRAY_LEN(times))] / 1000);
        /* Calm: only network and store; and of the store what passes. */
        if (s->is_calm &&
            (is_of_process((enum fault)f) || f >= FAULT_store_cut_off)) {
            s->rates[f] = 0;
        }
        if (!s->has_logs && f >= FAULT_power_server) {
            s->rates[f] = 0;
        }
    }
    /* More in what builds on another. */
    s->rates[FAULT_disk_flips] *= s->full_every > 1 ? 4 : flips;
    if (s->is_calm) {
        s->rates[FAULT_store_away] = usual[FAULT_store_away];
        s->rates[FAULT_thread_slow] = 0;
        s->rates[FAULT_stop_in_handler] = 0;
        s->rates[FAULT_disk_slow] = usual[FAULT_disk_slow];
        s->rates[FAULT_log_slow] = usual[FAULT_log_slow];
    }
    if (s->seed % 8 == 3) {
        /* Servers die again and again while clients live on and saves are
         * made: parts come to have several former lanes. */
        static const enum fault none[] = {
            FAULT_kill_client,  FAULT_kill_scheduler, FAULT_pause_client,
            FAULT_pause_server, FAULT_store_full,     FAULT_disk_fails,
            FAULT_disk_full,    FAULT_disk_torn,      FAULT_disk_misdirects,
            FAULT_disk_flips,   FAULT_power_cut,
        };

        for (size_t i = 0; i < ARRAY_LEN(none); i++) {
            s->rates[none[i]] = 0;
        }
        s->rates[FAULT_kill_server] = 2 * usual[FAULT_kill_server];
    }
}

void faults_count(struct sim *s, enum fault f)
{
    s->totals.faults[f]++;
    trace_mix(s, f, 0);
    trace_note(s, "fault: %s", faults_names[f]);
}

bool faults_draw(struct sim *s, enum fault f)
{
    if (!s->faults_on || !world_chance(s, s->rates[f])) {
        return false;
    }
    faults_count(s, f);
    return true;
}

/* A living process of a kind; NULL. */
static struct process *pick(struct sim *s, enum place_kind kind)
{
    struct process *found[SIM_PLACES_MAX];
    uint32_t n = 0;

    for (uint32_t i = 0; i < s->n_places; i++) {
        if (s->places[i].kind == kind && s->places[i].process != NULL) {
            found[n++] = s->places[i].process;
        }
    }
    return n == 0 ? NULL : found[world_below(s, n)];
}

void faults_restart(struct place *p)
{
    struct sim *s = p->sim;
    uint64_t us = world_chance(s, 700000)
                      ? world_between(s, 5 * SIM_MS, 800 * SIM_MS)
                      : world_between(s, 800 * SIM_MS, 5 * SIM_S);

    p->is_starting = true;
    world_push(s, s->now + us, EVENT_START, NULL, p, 0);
}

static void kill_one(struct sim *s, enum fault f, enum place_kind kind)
{
    struct process *p = pick(s, kind);

    /* A whole burst that dies with its client is much of what a run may lose
     * (main.c judges it); it happens, but not often. */
    if (p != NULL && kind == PLACE_CLIENT &&
        actor_client_in_flight(p) > LIMIT_WINDOW / 4 &&
        world_chance(s, 800000)) {
        return;
    }
    if (p != NULL) {
        struct place *place = p->place;

        faults_count(s, f);
        world_kill(p);
        faults_restart(place);
        /* Nothing will be behind the last record to say that it was there. */
        if (kind == PLACE_SERVER && s->rates[FAULT_log_flips] > 0 &&
            world_chance(s, TAIL_FLIPS) &&
            damage_flip_log(s, place->index, true)) {
            faults_count(s, FAULT_log_flips);
        }
    }
}

void faults_kill_scheduler(struct sim *s)
{
    if (s->faults_on) {
        kill_one(s, FAULT_kill_scheduler, PLACE_SCHEDULER);
    }
}

static void pause_one(struct sim *s, enum fault f, enum place_kind kind)
{
    struct process *p = pick(s, kind);
    uint64_t us = world_chance(s, 600000)
                      ? world_between(s, 100 * SIM_MS, 3 * SIM_S)
                      : world_between(s, 3 * SIM_S, 20 * SIM_S);

    if (p != NULL) {
        faults_count(s, f);
        trace_note(s, "%s is stopped for %.3f s", world_name(p),
                   (double)us / SIM_S);
        world_pause(p, us);
    }
}

static void jump_one(struct sim *s)
{
    struct process *p = pick(s, (enum place_kind)world_below(s, 3));

    /* An observer bounds what one look counts (lease.h): one jump within a
     * lease is what that is for, not a clock that jumps all the time. */
    if (p == NULL || s->now < p->jumped_at + 10ull * SIM_S) {
        return;
    }
    faults_count(s, FAULT_clock_jump);
    p->jumped_at = s->now;
    p->clock_us += world_between(s, 10 * SIM_MS, 30 * SIM_S);
}

/* One process, servers above all, cannot reach the store for some seconds. */
static void cut_one_off(struct sim *s)
{
    struct process *p = pick(s, world_chance(s, 700000)   ? PLACE_SERVER
                                : world_chance(s, 600000) ? PLACE_CLIENT
                                                          : PLACE_SCHEDULER);

    if (p == NULL) {
        return;
    }
    faults_count(s, FAULT_store_cut_off);
    p->cut_off_until = s->now + world_between(s, SIM_S, 9 * SIM_S);
    p->cut_off_first = world_chance(s, 700000);
    trace_note(s, "%s cannot reach the store until %.3f", world_name(p),
               (double)p->cut_off_until / SIM_S);
}

/* Its disk is full, say. */
static void fill_one(struct sim *s)
{
    struct process *p = pick(s, (enum place_kind)world_below(s, 3));

    if (p != NULL) {
        faults_count(s, FAULT_store_full);
        p->full_until = s->now + world_between(s, SIM_S, 9 * SIM_S);
        trace_note(s, "%s cannot write to the store until %.3f", world_name(p),
                   (double)p->full_until / SIM_S);
    }
}

static void take_store_away(struct sim *s)
{
    uint64_t us = world_chance(s, 700000)
                      ? world_between(s, 200 * SIM_MS, 3 * SIM_S)
                      : world_between(s, 3 * SIM_S, 12 * SIM_S);

    faults_count(s, FAULT_store_away);
    s->away_until = base_max_u64(s->away_until, s->now + us);
    trace_note(s, "the store is away until %.3f",
               (double)s->away_until / SIM_S);
}

static void fill_storage(struct sim *s)
{
    faults_count(s, FAULT_disk_full);
    s->disk_full_until = s->now + world_between(s, 100 * SIM_MS, 6 * SIM_S);
}

/* Of the storage, and of all who are in the same room: not the clients. */
static void cut_power(struct sim *s)
{
    faults_count(s, FAULT_power_cut);
    for (uint32_t i = 0; i < s->n_places; i++) {
        struct place *p = &s->places[i];

        if (p->kind != PLACE_CLIENT && p->process != NULL) {
            world_kill(p->process);
            faults_restart(p);
        }
    }
    damage_cut_power(s);
}

static void cut_power_of(struct sim *s)
{
    struct process *p = pick(s, PLACE_SERVER);

    if (p != NULL) {
        uint32_t server = p->place->index;

        faults_count(s, FAULT_power_server);
        world_kill(p);
        faults_restart(p->place);
        damage_cut_power_of(s, server);
    }
}

static void fill_log(struct sim *s)
{
    faults_count(s, FAULT_log_full);
    s->log_full_until[world_below(s, s->n_servers)] =
        s->now + world_between(s, 100 * SIM_MS, 6 * SIM_S);
}

/* Somebody soon reads what was damaged. */
static void kill_a_reader(struct sim *s)
{
    if (s->rates[FAULT_kill_server] > 0 && world_chance(s, 500000)) {
        kill_one(s, FAULT_kill_server, PLACE_SERVER);
    }
}

/* Mostly where the way out, a checkpoint, is there. */
static void damage_log(struct sim *s, enum fault f)
{
    uint32_t server = (uint32_t)world_below(s, s->n_servers);

    if (!s->oracle->has_saved && world_chance(s, 900000)) {
        return;
    }
    if (f == FAULT_log_removed ? damage_remove_log(s, server)
                               : damage_flip_log(s, server, false)) {
        faults_count(s, f);
        kill_a_reader(s);
    }
}

static void happen(struct sim *s, enum fault f)
{
    if (f == FAULT_kill_server) {
        kill_one(s, f, PLACE_SERVER);
    } else if (f == FAULT_kill_client) {
        kill_one(s, f, PLACE_CLIENT);
    } else if (f == FAULT_kill_scheduler) {
        kill_one(s, f, PLACE_SCHEDULER);
    } else if (f == FAULT_pause_server) {
        pause_one(s, f, PLACE_SERVER);
    } else if (f == FAULT_pause_client) {
        pause_one(s, f, PLACE_CLIENT);
    } else if (f == FAULT_pause_scheduler) {
        pause_one(s, f, PLACE_SCHEDULER);
    } else if (f == FAULT_clock_jump) {
        jump_one(s);
    } else if (f == FAULT_store_away) {
        take_store_away(s);
    } else if (f == FAULT_store_full) {
        fill_one(s);
    } else if (f == FAULT_disk_full) {
        fill_storage(s);
    } else if (f == FAULT_power_cut) {
        cut_power(s);
    } else if (f == FAULT_disk_flips) {
        if (damage_flip(s)) {
            faults_count(s, f);
            kill_a_reader(s);
        }
    } else if (f == FAULT_power_server) {
        cut_power_of(s);
    } else if (f == FAULT_log_full) {
        fill_log(s);
    } else if (f == FAULT_log_flips || f == FAULT_log_removed) {
        damage_log(s, f);
    } else {
        cut_one_off(s);
    }
}

void faults_on_event(struct sim *s)
{
    static const enum fault kinds[] = {
        FAULT_kill_server,  FAULT_kill_client,  FAULT_kill_scheduler,
        FAULT_pause_server, FAULT_pause_client, FAULT_pause_scheduler,
        FAULT_clock_jump,   FAULT_store_away,   FAULT_store_cut_off,
        FAULT_store_full,   FAULT_disk_full,    FAULT_disk_flips,
        FAULT_power_cut,    FAULT_power_server, FAULT_log_full,
        FAULT_log_flips,    FAULT_log_removed,
    };
    uint64_t all = 0, at;

    if (!s->faults_on) {
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        all += s->rates[kinds[i]];
    }
    at = all == 0 ? 0 : world_below(s, all);
    for (size_t i = 0; i < ARRAY_LEN(kinds) && all > 0; i++) {
        if (at < s->rates[kinds[i]]) {
            happen(s, kinds[i]);
            break;
        }
        at -= s->rates[kinds[i]];
    }
    world_push(s, s->now + world_between(s, 500 * SIM_MS, 5 * SIM_S),
               EVENT_FAULT, NULL, NULL, 0);
}
