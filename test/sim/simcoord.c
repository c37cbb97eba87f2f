/* simcoord.c - the store as each process sees it: late, failing, lying.
 *
 * The work is done by the real coord_file over one file system in memory, each
 * process with a handle of its own. What a process asks is done by an event
 * some time later, and answered by another. Operations of one process are done
 * in any order: coord.h promises none. A write may be answered with an error
 * and take effect all the same, then or later, its process dead or alive. */
#include <stdio.h>

#include "base/mem.h"
#include "oracle.h"
#include "sim.h"

enum dead_mode { DEAD_NOTHING, DEAD_DOES, DEAD_PARTLY };

struct store_op {
    struct store_op *next;
    struct store_op *prev;
    struct process *process;
    struct coord_request request;
    struct buf data;
    struct buf value;
    struct coord_result result;
    bool is_done;    /* only its answer is missing */
    bool is_silent;  /* answered already */
    bool was_slow;   /* was drawn once */
    bool is_hanging; /* until its process reaches the store again */
    bool is_orphan;  /* its process died meanwhile */
    enum dead_mode dead_mode;
};

static struct process *process_of(struct coord *c)
{
    return CONTAINER_OF(c, struct process, coord);
}

static struct store_op *take_op(struct sim *s)
{
    struct store_op *op = s->free_ops;
    struct buf data, value;

    if (op != NULL) {
        s->free_ops = op->next;
        data = op->data;
        value = op->value;
        memset(op, 0, sizeof(*op));
        op->data = data;
        op->value = value;
        buf_clear(&op->data);
    } else {
        op = world_take(s, sizeof(*op));
        buf_init(&op->data);
        buf_init(&op->value);
    }
    op->next = s->ops;
    if (s->ops != NULL) {
        s->ops->prev = op;
    }
    s->ops = op;
    return op;
}

static void unlink_op(struct sim *s, struct store_op *op)
{
    if (op->prev != NULL) {
        op->prev->next = op->next;
    } else {
        s->ops = op->next;
    }
    if (op->next != NULL) {
        op->next->prev = op->prev;
    }
    op->prev = NULL;
    op->next = NULL;
}

static void give_op(struct sim *s, struct store_op *op)
{
    unlink_op(s, op);
    op->next = s->free_ops;
    s->free_ops = op;
}

static uint64_t latency(struct sim *s)
{
    return world_chance(s, 950000) ? world_between(s, 100, 4 * SIM_MS)
                                   : world_between(s, 4 * SIM_MS, 150 * SIM_MS);
}

static void submit(struct coord *c, const struct coord_request *request)
{
    struct process *p = process_of(c);
    struct sim *s = p->place->sim;
    struct store_op *op;
    uint64_t inside = s->running != NULL ? s->running->inside_us : 0;

    if (p->is_dead) {
        return;
    }
    op = take_op(s);
    op->process = p;
    op->request = *request;
    op->request.data = NULL;
    if (request->size > 0) {
        int rc = buf_append(&op->data, request->data, request->size);

        ASSERT(rc == PS_OK);
        op->request.data = op->data.data;
    }
    world_push(s, s->now + inside + latency(s), EVENT_STORE, NULL, op, 0);
}

void simcoord_start(struct process *p)
{
    struct sim *s = p->place->sim;
    struct err e;
    int rc;

    p->coord.submit = submit;
    rc = coord_file_open(&p->store, simfs_fs(s->fs), "/store", world_random(s),
                         &e);
    if (rc != PS_OK) {
        world_fail(s, "the store cannot be opened: %s", e.text);
    }
}

static void answer(struct sim *s, struct store_op *op, uint64_t at)
{
    op->is_done = true;
    world_push(s, at, EVENT_ANSWER, &op->process->threads[0], op, 0);
}

static void answer_error(struct sim *s, struct store_op *op, uint64_t at)
{
    op->result = (struct coord_result){
        .op = op->request.op,
        .tag = op->request.tag,
        .key = op->request.key,
        .status = PS_EIO,
    };
    answer(s, op, at);
}

/* Lets the real store do it, with a step that goes wrong. */
static void perform(struct sim *s, struct store_op *op,
                    struct coord_result *result)
{
    bool writes = op->request.op == COORD_CAS || op->request.op == COORD_DEL;

    if (op->is_orphan && op->dead_mode == DEAD_PARTLY) {
        simfs_arm(s->fs, SIMFS_DIES, (uint32_t)world_below(s, 7));
    } else if (writes && faults_draw(s, FAULT_store_step_failed)) {
        simfs_arm(s->fs, SIMFS_FAILS, (uint32_t)world_below(s, 5));
    } else if (writes && faults_draw(s, FAULT_store_step_lied)) {
        simfs_arm(s->fs, SIMFS_LIES, (uint32_t)world_below(s, 5));
    } else if (writes && world_chance(s, s->rates[FAULT_store_link_late]) &&
               s->faults_on) {
        simfs_arm(s->fs, SIMFS_LINKS_LATE, 0);
    }
    coord_file_do(op->process->store, &op->request, &op->value, result);
    (void)simfs_disarm(s->fs);
    if (writes) {
        oracle_on_stored(s, op->request.key);
    }
}

/* The process cannot reach the store, or nobody can. True if that is so. */
static bool is_away(struct sim *s, struct store_op *op)
{
    struct process *p = op->process;
    uint64_t until = base_max_u64(s->away_until, p->cut_off_until);

    if (until <= s->now || op->is_orphan || op->is_silent) {
        return false;
    }
    if (p->cut_off_first && op->request.op == COORD_CAS &&
        s->away_until <= s->now) {
        /* The last that gets through; its answer takes very long. */
        p->cut_off_first = false;
        perform(s, op, &op->result);
        answer(s, op, s->now + world_between(s, 600 * SIM_MS, 2700 * SIM_MS));
    } else if (op->is_hanging || world_chance(s, 300000)) {
        op->is_hanging = true;
        world_push(s, base_min_u64(until, s->now + 200 * SIM_MS) + latency(s),
                   EVENT_STORE, NULL, op, 0);
    } else {
        answer_error(s, op,
                     s->now + world_between(s, 10 * SIM_MS, 500 * SIM_MS));
    }
    return true;
}

/* An operation whose process has died, or was answered before. */
static void perform_unheard(struct sim *s, struct store_op *op)
{
    struct coord_result result;

    if (!op->is_orphan || op->dead_mode != DEAD_NOTHING) {
        if (op->is_orphan && op->request.op == COORD_CAS) {
            faults_count(s, FAULT_store_write_dead);
        }
        perform(s, op, &result);
    }
    give_op(s, op);
}

static void poll(struct sim *s, struct store_op *op)
{
    struct process *p = op->process;

    if (p->threads[0].busy_until > s->now) {
        world_push(s, p->threads[0].busy_until, EVENT_STORE, NULL, op, 0);
        return;
    }
    perform(s, op, &op->result);
    if (op->result.status == PS_EBUSY) {
        world_push(
            s, s->now + LIMIT_WATCH_MS * SIM_MS + world_below(s, 5 * SIM_MS),
            EVENT_STORE, NULL, op, 0);
    } else {
        answer(s, op, s->now + latency(s));
    }
}

void simcoord_on_store(struct sim *s, struct store_op *op)
{
    uint64_t late = 0;

    if (op->is_silent || op->is_orphan) {
        perform_unheard(s, op);
        return;
    }
    if (is_away(s, op)) {
        return;
    }
    if (!op->was_slow && op->request.op != COORD_WATCH &&
        faults_draw(s, FAULT_store_slow)) {
        late = world_between(s, 100 * SIM_MS, 3 * SIM_S);
        op->was_slow = true;
        if (world_chance(s, 500000)) {
            world_push(s, s->now + late, EVENT_STORE, NULL, op, 0);
            return;
        }
    }
    if (op->request.op == COORD_WATCH || op->request.op == COORD_GET) {
        if (faults_draw(s, FAULT_store_read_fails)) {
            answer_error(s, op, s->now + late + latency(s));
        } else if (op->request.op == COORD_WATCH) {
            poll(s, op);
        } else {
            perform(s, op, &op->result);
            answer(s, op, s->now + late + latency(s));
        }
        return;
    }
    if (op->process->full_until > s->now) {
        answer_error(s, op, s->now + late + latency(s));
        return;
    }
    if (faults_draw(s, FAULT_store_write_stuck)) {
        struct store_op *copy = take_op(s);
        int rc;

        copy->process = op->process;
        copy->request = op->request;
        rc = buf_append(&copy->data, op->data.data, op->data.size);
        ASSERT(rc == PS_OK || op->data.size == 0);
        copy->request.data = copy->data.data;
        copy->is_silent = true;
        world_push(s, s->now + world_between(s, SIM_MS, 6 * SIM_S), EVENT_STORE,
                   NULL, copy, 0);
        answer_error(s, op, s->now + late + latency(s));
        return;
    }
    perform(s, op, &op->result);
    if (op->result.status == PS_OK && faults_draw(s, FAULT_store_write_lied)) {
        answer_error(s, op, s->now + late + latency(s));
    } else {
        answer(s, op, s->now + late + latency(s));
    }
}

void simcoord_on_answer(struct sim *s, struct store_op *op)
{
    struct thread *t = &op->process->threads[0];

    if (s->is_traced) {
        trace_note(s, "%s: %s of %s (tag %llu): %d, version %llu",
                   world_name(op->process),
                   op->request.op == COORD_CAS   ? "cas"
                   : op->request.op == COORD_GET ? "get"
                   : op->request.op == COORD_DEL ? "del"
                                                 : "watch",
                   op->request.key, (unsigned long long)op->request.tag,
                   op->result.status, (unsigned long long)op->result.version);
    }
    trace_mix(s, op->result.version, (uint64_t)(int64_t)op->result.status);
    /* The process may end in here: then this one is not given twice. */
    op->process = NULL;
    /* The handler may end its process, which looks through the list. */
    unlink_op(s, op);
    world_enter(t);
    t->machine->on_coord(t, &op->result);
    world_leave(t);
    op->next = s->free_ops;
    s->free_ops = op;
}

void simcoord_on_kill(struct process *p)
{
    struct sim *s = p->place->sim;
    struct store_op *next;

    for (struct store_op *op = s->ops; op != NULL; op = next) {
        next = op->next;
        if (op->process != p || op->is_silent) {
            continue;
        }
        if (op->is_done) {
            give_op(s, op); /* its event finds a dead thread */
        } else {
            op->is_orphan = true;
            op->dead_mode = (enum dead_mode)world_below(s, 3);
        }
    }
}

void simcoord_fini(struct sim *s)
{
    for (struct process *p = s->processes; p != NULL; p = p->next) {
        if (p->store != NULL) {
            coord_file_close(p->store);
        }
    }
    for (uint32_t i = 0; i < 2; i++) {
        for (struct store_op *op = i == 0 ? s->ops : s->free_ops; op != NULL;
             op = op->next) {
            buf_fini(&op->data);
            buf_fini(&op->value);
        }
    }
}
