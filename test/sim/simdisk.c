/* simdisk.c - the disk of each machine: one file system of checkpoints for all,
 * and one of logs for each server, which outlives its processes.
 *
 * Requests of one disk are done one after another, each by an event, and
 * answered by another in that order; those of different disks in any. The file
 * system is crashfs: what was not synced is lost when the power of the storage
 * is cut. Of a process that is killed the first few requests are done, the
 * next one perhaps half, the rest not; then what it lent is not looked at any
 * more. Those to a log may also be done seconds later, when others have read
 * it. */
#include "base/mem.h"
#include "fs/disk_work.h"
#include "lib/crashfs.h"
#include "oracle.h"
#include "server/logfile.h"
#include "sim.h"

struct disk_task {
    struct disk_task *next;
    struct disk_request request;
    int status;
    struct err err;
    struct buf out;
};

struct op_list {
    struct disk_task *first;
    struct disk_task *last;
};

struct simdisk {
    struct disk disk;
    struct simdisk *next; /* all there ever were */
    struct thread *thread;
    struct disk_work work;
    struct op_list asked;
    struct op_list done; /* only their answers are missing */
    struct crashfs *under;
    bool is_log;
    uint64_t writes;  /* this lane's log */
    uint64_t reads;   /* ... that one's */
    uint64_t late_at; /* its process is dead: the rest is done then */
    bool is_working;  /* its event is on its way */
    uint64_t blind_until;
    bool is_tearing; /* its process dies of what it is at */
};

static void append(struct op_list *list, struct disk_task *op)
{
    op->next = NULL;
    if (list->first == NULL) {
        list->first = op;
    } else {
        list->last->next = op;
    }
    list->last = op;
}

static struct disk_task *take_first(struct op_list *list)
{
    struct disk_task *op = list->first;

    if (op != NULL) {
        list->first = op->next;
    }
    return op;
}

static uint64_t latency(const struct simdisk *d)
{
    struct sim *s = d->thread->sim;
    uint64_t usual = d->is_log ? s->log_us : s->disk_us;

    if (faults_draw(s, d->is_log ? FAULT_log_slow : FAULT_disk_slow)) {
        return world_between(s, 50 * SIM_MS, 2 * SIM_S);
    }
    return world_chance(s, 950000) ? world_between(s, 20, usual)
                                   : world_between(s, usual, 20 * usual);
}

static void submit(struct disk *disk, const struct disk_request *request)
{
    struct simdisk *d = CONTAINER_OF(disk, struct simdisk, disk);
    struct sim *s = d->thread->sim;
    struct disk_task *op = s->free_disk_ops;

    if (d->thread->is_dead) {
        return;
    }
    if (op != NULL) {
        s->free_disk_ops = op->next;
        buf_clear(&op->out);
    } else {
        op = world_take(s, sizeof(*op));
        buf_init(&op->out);
    }
    op->request = *request;
    append(&d->asked, op);
    if (!d->is_working) {
        d->is_working = true;
        world_push(s, s->now + d->thread->inside_us + latency(d), EVENT_DISK,
                   NULL, d, 0);
    }
}

static struct disk *make(struct thread *t, struct crashfs *under, bool is_log)
{
    struct simdisk *d = world_take(t->sim, sizeof(*d));

    d->disk.submit = submit;
    d->thread = t;
    d->under = under;
    d->is_log = is_log;
    d->next = t->sim->disks;
    t->sim->disks = d;
    disk_work_init(&d->work, crashfs_fs(under));
    return &d->disk;
}

struct disk *simdisk_new(struct thread *t)
{
    return make(t, t->sim->storage, false);
}

struct disk *simdisk_new_log(struct thread *t)
{
    return make(t, t->sim->logs[t->process->place->index], true);
}

/* ---- work -------------------------------------------------------------- */

static bool takes_room(enum disk_op op)
{
    return op == DISK_CREATE || op == DISK_WRITE || op == DISK_SYNC ||
           op == DISK_WRITE_WHOLE || op == DISK_RENAME;
}

static bool is_full(const struct simdisk *d)
{
    const struct sim *s = d->thread->sim;

    return (d->is_log ? s->log_full_until[d->thread->process->place->index]
                      : s->disk_full_until) > s->now;
}

/* Lets this request fail, where it is to. Returns by how much a write lands
 * beside its place. */
static int64_t arm(struct simdisk *d, const struct disk_request *r)
{
    static const enum crashfs_effect effects[] = {
        CRASHFS_NOT_DONE, CRASHFS_HALF_DONE, CRASHFS_DONE};
    struct sim *s = d->thread->sim;

    if (is_full(d) && takes_room(r->op)) {
        crashfs_fail(d->under, 1, CRASHFS_ENOSPC, effects[world_below(s, 2)],
                     true);
    } else if (faults_draw(s, d->is_log ? FAULT_log_fails : FAULT_disk_fails)) {
        crashfs_fail(d->under, world_between(s, 1, 3), CRASHFS_EIO,
                     effects[world_below(s, 3)], world_chance(s, 300000));
    } else if (r->op == DISK_WRITE && r->size > 0 &&
               faults_draw(s, d->is_log ? FAULT_log_misdirects
                                        : FAULT_disk_misdirects)) {
        int64_t by = (int64_t)world_between(s, 1, 3000);

        by = world_chance(s, 500000) ? by : -by;
        crashfs_misdirect(d->under, by);
        return by;
    }
    return 0;
}

static void disarm(struct simdisk *d)
{
    crashfs_fail(d->under, 0, CRASHFS_EIO, CRASHFS_NOT_DONE, false);
    crashfs_misdirect(d->under, 0);
}

/* Its mount is not there, so that a whole checkpoint is missing. */
static bool is_blind(struct simdisk *d, enum disk_op op)
{
    struct sim *s = d->thread->sim;

    if ((op != DISK_OPEN && op != DISK_READ_WHOLE) ||
        d->thread->process->place->kind != PLACE_SERVER) {
        return false;
    }
    if (s->now >= d->blind_until && faults_draw(s, FAULT_disk_blind)) {
        d->blind_until = s->now + world_between(s, 10 * SIM_MS, 5 * SIM_S);
    }
    return s->now < d->blind_until;
}

/* Whose log a request is about. */
static uint64_t log_of(struct simdisk *d, const struct disk_request *r)
{
    struct logfile_name name = {0, 0};
    const char *slash = strchr(r->path, '/');
    bool is_named = slash != NULL && logfile_parse(slash + 1, &name);

    if (r->op == DISK_CREATE && is_named) {
        d->writes = name.lane;
    } else if (r->op == DISK_OPEN && is_named) {
        d->reads = name.lane;
    }
    return r->file >> 63 != 0 ? d->reads : d->writes;
}

static void tell_oracle(struct simdisk *d, const struct disk_task *op,
                        int64_t by)
{
    const struct disk_request *r = &op->request;
    struct sim *s = d->thread->sim;
    uint64_t lane = log_of(d, r);

    if (r->op == DISK_WRITE) {
        oracle_log_on_written(s, lane, r, by, op->status == PS_OK);
    } else if (r->op == DISK_SYNC) {
        oracle_log_on_synced(s, lane, op->status == PS_OK);
    } else if (r->op == DISK_READ) {
        oracle_log_on_read(s, lane);
    }
}

/* Removes a checkpoint, or gives it the name of an unfinished one for that. */
static bool removes(const struct disk_request *r)
{
    return r->op == DISK_REMOVE ||
           (r->op == DISK_RENAME && strncmp(r->to, ".new-", 5) == 0);
}

/* by: as arm returned it */
static void perform(struct simdisk *d, struct disk_task *op, int64_t by)
{
    struct sim *s = d->thread->sim;

    op->err.text[0] = '\0';
    if (op->request.op == DISK_REMOVE && d->is_log) {
        oracle_log_on_removing(s, op->request.path);
    } else if (removes(&op->request)) {
        oracle_save_on_removing(s, op->request.path);
    }
    if (!d->is_log && is_blind(d, op->request.op)) {
        op->status = err_set(&op->err, PS_ENOTFOUND, "no such file");
    } else {
        op->status = disk_work_do(&d->work, &op->request, &op->out, &op->err);
    }
    disarm(d);
    if (d->is_log) {
        tell_oracle(d, op, by);
    } else if (!removes(&op->request)) {
        if (op->request.op == DISK_RENAME) {
            oracle_save_on_renamed(s, op->request.to);
        }
    } else if (op->status != PS_OK) {
        oracle_save_on_kept(s, op->request.path);
    }
    trace_mix(s, op->request.tag << 8 | (uint64_t)op->request.op,
              (uint64_t)(int64_t)op->status);
    trace_note(
        s, "%s of %s/%u: %s of %s %s file %llu at %llu, %zu bytes: %s",
        d->is_log ? "log" : "disk", world_name(d->thread->process),
        d->thread->number,
        (const char *const[]){"create", "open", "write", "read", "sum", "sync",
                              "close", "rename", "sync_dir", "remove", "list",
                              "read_whole", "write_whole"}[op->request.op],
        op->request.path, op->request.to, (unsigned long long)op->request.file,
        (unsigned long long)op->request.offset, op->request.size,
        op->status == PS_OK ? "ok" : op->err.text);
}

static void forget(struct sim *s, struct op_list *list)
{
    struct disk_task *op;

    while ((op = take_first(list)) != NULL) {
        op->next = s->free_disk_ops;
        s->free_disk_ops = op;
    }
}

/* Nobody is told of it. */
static void do_late(struct simdisk *d)
{
    struct disk_task *op;

    while ((op = take_first(&d->asked)) != NULL) {
        perform(d, op, 0);
        append(&d->done, op);
    }
    forget(d->thread->sim, &d->done);
    disk_work_fini(&d->work);
    d->late_at = 0;
}

void simdisk_on_work(struct sim *s, struct simdisk *d)
{
    struct disk_task *op;

    if (d->late_at != 0) {
        if (s->now >= d->late_at) {
            do_late(d);
        }
        return;
    }
    op = take_first(&d->asked);
    if (op == NULL) {
        return; /* its process has died */
    }
    if (faults_draw(s, d->is_log ? FAULT_log_torn : FAULT_disk_torn)) {
        op->next = d->asked.first;
        d->asked.last = d->asked.first == NULL ? op : d->asked.last;
        d->asked.first = op;
        d->is_tearing = true;
        world_kill(d->thread->process);
        faults_restart(d->thread->process->place);
        return;
    }
    perform(d, op, arm(d, &op->request));
    append(&d->done, op);
    world_push(s, s->now + world_between(s, 5, 100), EVENT_DISK_ANSWER,
               d->thread, d, 0);
    d->is_working = d->asked.first != NULL;
    if (d->is_working) {
        world_push(s, s->now + latency(d), EVENT_DISK, NULL, d, 0);
    }
}

void simdisk_on_answer(struct sim *s, struct simdisk *d)
{
    struct disk_task *op = take_first(&d->done);
    struct thread *t = d->thread;
    struct disk_result result = {
        .op = op->request.op,
        .tag = op->request.tag,
        .status = op->status,
        .why = op->status == PS_OK ? "" : op->err.text,
        .data = op->out.data,
        .size = op->out.size,
        .memory = &op->out,
    };

    world_enter(t);
    if (d->is_log) {
        t->machine->on_log(t, &result);
    } else {
        t->machine->on_disk(t, &result);
    }
    world_leave(t);
    op->next = s->free_disk_ops;
    s->free_disk_ops = op;
}

/* What is still to be done is done when others have read the log, perhaps. */
static void put_off(struct simdisk *d)
{
    struct sim *s = d->thread->sim;

    for (struct disk_task *op = d->asked.first; op != NULL; op = op->next) {
        if (op->request.op == DISK_WRITE) {
            void *copy = world_take(s, op->request.size);

            memcpy(copy, op->request.data, op->request.size);
            op->request.data = copy;
        }
    }
    forget(s, &d->done);
    d->late_at = s->now + world_between(s, SIM_MS, 12 * SIM_S);
    world_push(s, d->late_at, EVENT_DISK, NULL, d, 0);
}

/* What was written is not undone when a process dies while it is synced. */
static bool can_be_torn(const struct disk_request *r)
{
    return r->op != DISK_SYNC;
}

static void end_disk(struct simdisk *d)
{
    struct sim *s = d->thread->sim;
    uint64_t n = 0;

    for (const struct disk_task *op = d->asked.first; op != NULL;
         op = op->next) {
        n++;
    }
    n = d->is_tearing ? 0 : world_below(s, n + 1);
    while (n-- > 0) {
        struct disk_task *op = take_first(&d->asked);

        perform(d, op, 0);
        append(&d->done, op);
    }
    if (d->asked.first != NULL && can_be_torn(&d->asked.first->request) &&
        (d->is_tearing || world_chance(s, 500000))) {
        struct disk_task *op = take_first(&d->asked);

        crashfs_fail(d->under, world_between(s, 1, 3), CRASHFS_EIO,
                     CRASHFS_HALF_DONE, true);
        perform(d, op, 0);
        append(&d->done, op);
    } else if (d->asked.first != NULL && d->is_log &&
               faults_draw(s, FAULT_log_late)) {
        put_off(d);
        return;
    }
    for (const struct disk_task *op = d->asked.first; op != NULL && !d->is_log;
         op = op->next) {
        if (op->request.op == DISK_REMOVE) {
            oracle_save_on_kept(s, op->request.path);
        }
    }
    forget(s, &d->asked);
    forget(s, &d->done);
    disk_work_fini(&d->work);
}

void simdisk_on_kill(struct process *p)
{
    for (struct simdisk *d = p->place->sim->disks; d != NULL; d = d->next) {
        if (d->thread->process == p) {
            end_disk(d);
        }
    }
}

void simdisk_forget_late(struct sim *s, const struct crashfs *under)
{
    for (struct simdisk *d = s->disks; d != NULL; d = d->next) {
        if (d->late_at != 0 && d->under == under) {
            forget(s, &d->asked);
            disk_work_fini(&d->work);
        }
    }
}

void simdisk_fini(struct sim *s)
{
    for (struct simdisk *d = s->disks; d != NULL; d = d->next) {
        forget(s, &d->asked);
        forget(s, &d->done);
        disk_work_fini(&d->work);
    }
    while (s->free_disk_ops != NULL) {
        buf_fini(&s->free_disk_ops->out);
        s->free_disk_ops = s->free_disk_ops->next;
    }
    crashfs_free(s->storage);
    for (uint32_t i = 0; i < SIM_SERVERS_MAX; i++) {
        crashfs_free(s->logs[i]);
    }
}
