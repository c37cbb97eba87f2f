/* world.c - the clock, the heap of events, processes and their threads.
 *
 * A thread that is busy takes no events: they are put back for the moment when
 * it is free again, in the order in which they came. A handler may take time
 * of its own (a process that is stopped between two looks at the clock): what
 * it looks at and sends afterwards is later by that, and it is busy until
 * then. */
#include <stdarg.h>
#include <stdio.h>

#include "base/hash.h"
#include "base/mem.h"
#include "lib/crashfs.h"
#include "oracle.h"
#include "psplus.h"
#include "sim.h"

enum {
    HEAP_FIRST = 1024,
    /* A log is read again every 5 s. */
    REFUSED_US = 8 * SIM_S,
    TICK_MIN_US = 20,
    TICK_SLACK_US = 1000
};

/* ---- chance ------------------------------------------------------------ */

uint64_t world_random(struct sim *s)
{
    uint64_t x;

    s->rng.s += 0x9e3779b97f4a7c15u;
    x = s->rng.s;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

uint64_t world_below(struct sim *s, uint64_t n)
{
    ASSERT(n > 0);
    return world_random(s) % n;
}

uint64_t world_between(struct sim *s, uint64_t low, uint64_t high)
{
    ASSERT(low <= high);
    return low + world_below(s, high - low + 1);
}

bool world_chance(struct sim *s, uint32_t in_a_million)
{
    return in_a_million > 0 && world_below(s, SIM_MILLION) < in_a_million;
}

/* ---- memory and failure ------------------------------------------------ */

void *world_take(struct sim *s, size_t bytes)
{
    void *p = arena_take(&s->arena, bytes == 0 ? 1 : bytes);

    ASSERT(p != NULL);
    memset(p, 0, bytes);
    return p;
}

void world_fail(struct sim *s, const char *format, ...)
{
    va_list args;

    if (s->has_failed) {
        return;
    }
    s->has_failed = true;
    va_start(args, format);
    vsnprintf(s->why, sizeof(s->why), format, args);
    va_end(args);
    trace_note(s, "FAILED: %s", s->why);
}

/* ---- events ------------------------------------------------------------ */

static bool comes_before(const struct event *a, const struct event *b)
{
    return a->at < b->at || (a->at == b->at && a->order < b->order);
}

static void sift_up(struct sim *s, size_t i)
{
    struct event e = s->heap[i];

    while (i > 0 && comes_before(&e, &s->heap[(i - 1) / 2])) {
        s->heap[i] = s->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    s->heap[i] = e;
}

void world_push(struct sim *s, uint64_t at, enum event_kind kind,
                struct thread *thread, void *object, uint64_t value)
{
    if (s->n_events == s->events_room) {
        s->events_room = s->events_room == 0 ? HEAP_FIRST : 2 * s->events_room;
        s->heap = mem_try_resize(s->heap, s->events_room * sizeof(*s->heap));
        ASSERT(s->heap != NULL);
    }
    s->heap[s->n_events] = (struct event){
        base_max_u64(at, s->now), s->order++, kind, thread, object, value};
    s->n_events++;
    sift_up(s, s->n_events - 1);
}

static bool pop(struct sim *s, struct event *out)
{
    struct event last;
    size_t i = 0;

    if (s->n_events == 0) {
        return false;
    }
    *out = s->heap[0];
    s->n_events--;
    last = s->heap[s->n_events];
    for (;;) {
        size_t child = 2 * i + 1;

        if (child >= s->n_events) {
            break;
        }
        if (child + 1 < s->n_events &&
            comes_before(&s->heap[child + 1], &s->heap[child])) {
            child++;
        }
        if (!comes_before(&s->heap[child], &last)) {
            break;
        }
        s->heap[i] = s->heap[child];
        i = child;
    }
    s->heap[i] = last;
    return true;
}

/* ---- clocks ------------------------------------------------------------ */

uint64_t world_clock(const struct process *p, uint64_t at)
{
    int64_t drift = (int64_t)at / SIM_MILLION * p->rate_ppm +
                    (int64_t)at % SIM_MILLION * p->rate_ppm / SIM_MILLION;

    return p->clock_us + at + (uint64_t)drift;
}

uint64_t world_when(const struct process *p, uint64_t clock_us)
{
    struct sim *s = p->place->sim;
    uint64_t here = world_clock(p, s->now);
    int64_t left;

    if (clock_us <= here) {
        return s->now;
    }
    left = (int64_t)base_min_u64(clock_us - here, (uint64_t)1 << 40);
    left -= left / SIM_MILLION * p->rate_ppm;
    return s->now + (uint64_t)left;
}

/* ---- threads ----------------------------------------------------------- */

static void set_tick(struct thread *t)
{
    struct sim *s = t->sim;
    uint64_t next = t->machine->next(t);
    uint64_t at;

    if (next == UINT64_MAX) {
        t->tick_at = UINT64_MAX;
        return;
    }
    at = world_when(t->process, next);
    at = base_max_u64(at, base_max_u64(t->busy_until, s->now + TICK_MIN_US));
    /* A tick that is set for about then will do: timers are not exact. */
    if (t->tick_at != UINT64_MAX && t->tick_at >= at &&
        t->tick_at <= at + TICK_SLACK_US) {
        return;
    }
    t->tick_at = at + world_below(s, TICK_SLACK_US / 2);
    world_push(s, t->tick_at, EVENT_TICK, t, NULL, t->tick_at);
}

void world_enter(struct thread *t)
{
    struct sim *s = t->sim;

    ASSERT(s->running == NULL && !t->is_dead);
    s->running = t;
    t->inside_us = 0;
    t->looks_left = -1;
    if (faults_draw(s, FAULT_stop_in_handler)) {
        /* Mostly between the first look and the second: before and after
         * what the handler does. */
        t->looks_left = world_chance(s, 300000) ? 1 : (int)world_below(s, 4);
        t->stop_us = world_chance(s, 500000)
                         ? world_between(s, 3 * SIM_S, 8 * SIM_S)
                         : world_between(s, 100 * SIM_MS, 3 * SIM_S);
        t->stop_is_whole = world_chance(s, 700000) || s->is_calm;
    }
}

void world_leave(struct thread *t)
{
    struct sim *s = t->sim;

    ASSERT(s->running == t);
    s->running = NULL;
    if (t->inside_us > 0) {
        uint64_t until = s->now + t->inside_us;

        if (t->stop_is_whole) {
            world_pause(t->process, t->inside_us);
        }
        t->busy_until = base_max_u64(t->busy_until, until);
        t->inside_us = 0;
    }
    if (t->machine->after != NULL && !s->has_failed) {
        t->machine->after(t);
    }
    if (!t->is_dead) {
        set_tick(t);
    }
}

void world_pause(struct process *p, uint64_t us)
{
    uint64_t until = p->place->sim->now + us;

    for (uint32_t i = 0; i < p->n_threads; i++) {
        struct thread *t = &p->threads[i];

        t->busy_until = base_max_u64(t->busy_until, until);
    }
}

struct process *world_process(struct place *p, uint32_t n_threads)
{
    struct sim *s = p->sim;
    struct process *process = world_take(s, sizeof(*process));

    ASSERT(p->process == NULL && n_threads <= SIM_THREADS_MAX);
    process->next = s->processes;
    s->processes = process;
    process->place = p;
    process->life = p->lives++;
    process->n_threads = n_threads;
    process->clock_us = world_between(s, SIM_S, 1000000ull * SIM_S);
    process->rate_ppm = (int32_t)world_below(s, 2001) - 1000;
    for (uint32_t i = 0; i < n_threads; i++) {
        struct thread *t = &process->threads[i];

        t->sim = s;
        t->process = process;
        t->number = i;
        t->tick_at = UINT64_MAX;
        t->looks_left = -1;
        simnet_init(t);
    }
    p->process = process;
    simcoord_start(process);
    return process;
}

void world_thread_start(struct thread *t)
{
    set_tick(t);
}

void world_kill(struct process *p)
{
    struct sim *s = p->place->sim;

    ASSERT(!p->is_dead && s->running == NULL);
    trace_note(s, "%s dies", world_name(p));
    p->is_dead = true;
    p->died_at = s->now;
    for (uint32_t i = 0; i < p->n_threads; i++) {
        p->threads[i].is_dead = true;
    }
    simnet_on_kill(p);
    simcoord_on_kill(p);
    simdisk_on_kill(p);
    switch (p->place->kind) {
    case PLACE_SCHEDULER:
        actor_scheduler_kill(p);
        break;
    case PLACE_SERVER:
        actor_server_kill(p);
        break;
    case PLACE_CLIENT:
        actor_client_kill(p);
        break;
    }
    p->place->process = NULL;
}

void world_mail(struct thread *from, struct thread *to, const struct mail *m)
{
    struct sim *s = from->sim;
    struct mail *copy = world_take(s, sizeof(*copy));
    uint64_t at = s->now + from->inside_us + world_between(s, 5, 200);

    *copy = *m;
    copy->next = NULL;
    if (m->size > 0) {
        copy->data = world_take(s, m->size);
        memcpy(copy->data, m->data, m->size);
    }
    if (faults_draw(s, FAULT_thread_slow)) {
        at += world_between(s, SIM_MS, 800 * SIM_MS);
    }
    copy->at = base_max_u64(at, to->mail_at);
    to->mail_at = copy->at;
    if (to->mail == NULL) {
        to->mail = copy;
    } else {
        to->mail_last->next = copy;
    }
    to->mail_last = copy;
    world_push(s, copy->at, EVENT_MAIL, to, NULL, 0);
}

const char *world_name(const struct process *p)
{
    static const char *const kinds[] = {"scheduler", "server", "client"};
    static char text[4][48];
    static unsigned turn;
    char *out = text[turn++ % 4];

    snprintf(out, sizeof(text[0]), "%s %u.%u", kinds[p->place->kind],
             p->place->index, p->life);
    return out;
}

/* ---- the run ----------------------------------------------------------- */

static void start_place(struct sim *s, struct place *p)
{
    p->is_starting = false;
    if (p->process != NULL) {
        return;
    }
    switch (p->kind) {
    case PLACE_SCHEDULER:
        actor_scheduler_start(p);
        break;
    case PLACE_SERVER:
        actor_server_start(p);
        break;
    case PLACE_CLIENT:
        actor_client_start(p);
        break;
    }
    trace_note(s, "%s starts", world_name(p->process));
}

static void take_mail(struct thread *t)
{
    struct mail *m = t->mail;

    ASSERT(m != NULL);
    t->mail = m->next;
    world_enter(t);
    t->machine->on_mail(t, m);
    world_leave(t);
}

/* What is to be waited for: said when the time is over. */
static bool all_is_done(struct sim *s, char *text, size_t size)
{
    for (uint32_t i = 0; i < s->n_places; i++) {
        struct place *p = &s->places[i];

        if (p->process == NULL) {
            snprintf(text, size, "place %u has no process", i);
            return p->kind == PLACE_CLIENT && !p->is_starting &&
                   actor_client_work_is_done(s);
        }
        if (p->kind == PLACE_CLIENT && !actor_client_is_done(p->process)) {
            actor_client_says(p->process, text, size);
            return false;
        }
        if (p->kind == PLACE_SERVER && !actor_server_is_done(p->process)) {
            snprintf(text, size, "%s: %s", world_name(p->process),
                     actor_server_says(p->process));
            return false;
        }
        if (p->kind == PLACE_SCHEDULER &&
            !actor_scheduler_is_done(p->process)) {
            snprintf(text, size, "%s: %s", world_name(p->process),
                     actor_scheduler_says(p->process));
            return false;
        }
    }
    return true;
}

/* Logs that cannot be read leave their parts unserved. Where we damaged them
 * the way out is a restore, and where there is nothing to go back to either
 * the run ends. True: it does. Who is stopped cannot try again. */
static bool look_at_logs(struct sim *s)
{
    const char *why = NULL;

    for (uint32_t i = 0; i < s->n_servers && why == NULL; i++) {
        const struct process *p = s->places[s->n_schedulers + i].process;
        bool is_stopped = p == NULL || p->threads[0].busy_until > s->now;

        why = is_stopped ? NULL : actor_server_refuses(p);
    }
    if (why == NULL) {
        return false; /* it may be at it again */
    }
    if (s->refused_at == 0 || s->now > s->refused_at + 2ull * REFUSED_US) {
        s->restore_at = s->now + REFUSED_US;
        s->cannot_restore = false;
    }
    s->refused_at = s->now;
    if (s->now < s->restore_at) {
        return false;
    }
    if (!oracle_log_may_refuse(s, why)) {
        if (!s->faults_on && s->now > s->healed_at + 3ull * REFUSED_US) {
            world_fail(s, "a server does not read a log that is right: %s",
                       why);
        }
        return false;
    }
    if (s->cannot_restore && !s->faults_on) {
        trace_note(s, "nothing to go back to: %s", why);
        s->was_given_up = true;
        s->totals.given_up++;
        return true;
    }
    s->totals.logs_refused++;
    s->restore_at = s->now + REFUSED_US;
    actor_client_ask_restore(s);
    return false;
}

/* Ends the faults when the work is done, then waits until all is quiet, asks
 * the shards for their status, and hands the rest to the oracle. */
static void watchdog(struct sim *s)
{
    char text[256];

    if (s->has_logs && look_at_logs(s)) {
        s->is_over = true;
        return;
    }
    if (s->faults_on &&
        (actor_client_work_is_done(s) || s->now > 90ull * SIM_S)) {
        s->faults_on = false;
        s->healed_at = s->now;
        s->disk_full_until = 0;
        memset(s->log_full_until, 0, sizeof(s->log_full_until));
        s->oracle->healed_ticket = s->oracle->save_ticket;
        trace_note(s, "no more faults");
        simnet_heal(s);
        for (uint32_t i = 0; i < s->n_places; i++) {
            struct place *p = &s->places[i];

            if (p->process == NULL && !p->is_starting) {
                world_push(s, s->now, EVENT_START, NULL, p, 0);
                p->is_starting = true;
            }
        }
    }
    if (!s->faults_on) {
        if (!all_is_done(s, text, sizeof(text))) {
            s->quiet_since = 0;
            if (s->now > s->healed_at + SIM_LIVENESS_US) {
                world_fail(s, "not done %u s after the last fault: %s",
                           SIM_LIVENESS_US / SIM_S, text);
            }
        } else if (s->quiet_since == 0) {
            s->quiet_since = s->now;
        } else if (!s->asked_save && s->now > s->quiet_since + SIM_S) {
            s->asked_save = true;
            actor_client_ask_save(s);
        } else if (s->asked_save && !actor_client_has_saved(s)) {
            s->quiet_since = s->now;
        } else if (!s->asked_status && s->now > s->quiet_since + 5 * SIM_S) {
            s->asked_status = true;
            actor_client_ask_status(s);
        } else if (s->asked_status && actor_client_has_status(s)) {
            oracle_end(s);
            s->is_over = true;
            return;
        }
    }
    world_push(s, s->now + 100 * SIM_MS, EVENT_WATCHDOG, NULL, NULL, 0);
}

static void run_thread_event(struct sim *s, struct event *e)
{
    struct thread *t = e->thread;

    if (e->kind == EVENT_TICK) {
        if (e->value != t->tick_at) {
            return;
        }
        t->tick_at = UINT64_MAX;
        world_enter(t);
        t->machine->tick(t);
        world_leave(t);
    } else if (e->kind == EVENT_MAIL) {
        take_mail(t);
    } else if (e->kind == EVENT_ANSWER) {
        simcoord_on_answer(s, e->object);
    } else if (e->kind == EVENT_DISK_ANSWER) {
        simdisk_on_answer(s, e->object);
    } else {
        ASSERT(e->kind == EVENT_WORK);
        world_enter(t);
        t->machine->on_work(t, e->value);
        world_leave(t);
    }
}

static void run_event(struct sim *s, struct event *e)
{
    switch (e->kind) {
    case EVENT_START:
        start_place(s, e->object);
        break;
    case EVENT_CONNECT:
        simnet_on_connect(s, e->object);
        break;
    case EVENT_DELIVER:
        simnet_on_deliver(s, e->object, (uint32_t)e->value);
        break;
    case EVENT_STORE:
        simcoord_on_store(s, e->object);
        break;
    case EVENT_LINK:
        simfs_on_link(s, e->object);
        break;
    case EVENT_DISK:
        simdisk_on_work(s, e->object);
        break;
    case EVENT_ACK:
        oracle_on_ack(s, e->object);
        break;
    case EVENT_FAULT:
        faults_on_event(s);
        break;
    case EVENT_KILL:
        faults_kill_scheduler(s);
        break;
    case EVENT_WATCHDOG:
        watchdog(s);
        break;
    case EVENT_TICK:
    case EVENT_MAIL:
    case EVENT_ANSWER:
    case EVENT_DISK_ANSWER:
    case EVENT_WORK:
        run_thread_event(s, e);
        break;
    }
}

static void draw_logs(struct sim *s)
{
    s->has_logs = world_chance(s, 450000);
    s->log_us = (const uint64_t[]){100, SIM_MS, 5 * SIM_MS,
                                   30 * SIM_MS}[world_below(s, 4)];
    for (uint32_t i = 0; i < SIM_VARIABLES; i++) {
        uint64_t way = world_below(s, 100);

        if (s->has_logs) {
            s->durability[i] = way < 35   ? PS_MEMORY
                               : way < 70 ? PS_LOG
                                          : PS_FSYNC;
        }
        s->no_save[i] = s->durability[i] == PS_MEMORY &&
                        hash_key(s->seed << 8 | i) % 6 == 0;
    }
}

/* Everything that a seed decides before it starts. */
static void draw_world(struct sim *s)
{
    s->n_schedulers = world_chance(s, 300000) ? 2 : 1;
    s->n_servers = world_chance(s, 200000) ? 3 : 2;
    s->n_shards = world_chance(s, 150000) ? 3 : 2;
    s->n_clients = world_chance(s, 300000) ? 4 : 3;
    s->is_calm = s->seed % 16 == 7;
    if (world_chance(s, 32000)) {
        s->memory_bytes = world_between(s, 26, 40) * 1024 * s->n_shards;
    }
    s->idle_us = (const uint64_t[]){100, 5 * SIM_MS, 60 * SIM_MS,
                                    400 * SIM_MS}[world_below(s, 4)];
    s->disk_us =
        (const uint64_t[]){300, 3 * SIM_MS, 30 * SIM_MS}[world_below(s, 3)];
    s->has_restores = !s->is_calm && world_chance(s, 200000);
    s->full_every =
        world_chance(s, 400000) ? (uint32_t)world_between(s, 2, 4) : 0;
    s->successor_ms = world_chance(s, 300000) ? world_between(s, 500, 6000) : 0;
    if (s->memory_bytes != 0) {
        s->successor_ms = 0; /* what several had may be too much for one */
    }
    s->is_consistent = s->seed % 8 == 3;
    s->shards_vary = s->seed % 3 == 0 && !s->is_calm && s->memory_bytes == 0;
    s->block_rows = world_chance(s, 300000) ? 0 : world_between(s, 24, 240);
    s->save_bytes = (uint32_t)world_between(s, 64, 8192);
    draw_logs(s);
    faults_init(s);
    trace_note(s,
               "%u schedulers, %u servers of %u shards, %u clients, %llu "
               "bytes a server%s",
               s->n_schedulers, s->n_servers, s->n_shards, s->n_clients,
               (unsigned long long)s->memory_bytes, s->is_calm ? ", calm" : "");
}

static void add_places(struct sim *s, enum place_kind kind, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        struct place *p = &s->places[s->n_places++];

        *p = (struct place){
            .sim = s, .kind = kind, .index = i, .is_starting = true};
        world_push(s, world_below(s, 500 * SIM_MS), EVENT_START, NULL, p, 0);
    }
}

void world_run(struct sim *s, uint64_t seed, bool is_traced)
{
    struct event e;

    memset(s, 0, sizeof(*s));
    s->seed = seed;
    s->rng.s = seed * 0x2545f4914f6cdd1du + 0x1234567;
    s->is_traced = is_traced;
    s->faults_on = true;
    arena_init(&s->arena);
    draw_world(s);
    s->memory = fs_memory_new();
    ASSERT(s->memory != NULL);
    s->fs = simfs_new(s, s->memory);
    s->storage = crashfs_new();
    for (uint32_t i = 0; i < s->n_servers; i++) {
        s->logs[i] = crashfs_new();
    }
    oracle_init(s);
    add_places(s, PLACE_SCHEDULER, s->n_schedulers);
    add_places(s, PLACE_SERVER, s->n_servers);
    add_places(s, PLACE_CLIENT, s->n_clients);
    actor_client_init(s);
    world_push(s, SIM_S, EVENT_FAULT, NULL, NULL, 0);
    world_push(s, SIM_S, EVENT_WATCHDOG, NULL, NULL, 0);
    while (!s->is_over && !s->has_failed && pop(s, &e)) {
        s->now = e.at;
        if (e.thread != NULL && e.thread->is_dead) {
            continue;
        }
        if (e.thread != NULL && e.thread->busy_until > s->now) {
            if (e.kind == EVENT_TICK && e.value == e.thread->tick_at) {
                e.thread->tick_at = e.thread->busy_until;
                e.value = e.thread->tick_at;
            }
            world_push(s, e.thread->busy_until, e.kind, e.thread, e.object,
                       e.value);
            continue;
        }
        trace_event(s, &e);
        run_event(s, &e);
        if (++s->totals.events > SIM_EVENTS_MAX) {
            world_fail(s, "over %d events: something turns in a circle",
                       SIM_EVENTS_MAX);
        }
    }
    s->totals.seeds = 1;
    s->totals.virtual_us = s->now;
}

void world_fini(struct sim *s)
{
    for (struct process *p = s->processes; p != NULL; p = p->next) {
        if (!p->is_dead) {
            p->is_dead = true;
            switch (p->place->kind) {
            case PLACE_SCHEDULER:
                actor_scheduler_kill(p);
                break;
            case PLACE_SERVER:
                actor_server_kill(p);
                break;
            case PLACE_CLIENT:
                actor_client_kill(p);
                break;
            }
        }
    }
    simnet_fini(s);
    simcoord_fini(s);
    simdisk_fini(s);
    oracle_fini(s);
    fs_memory_free(s->memory);
    mem_free(s->heap);
    arena_fini(&s->arena);
}
