/* simdisk.c - the disk of each machine, over one file system for all.
 *
 * Requests of one disk are done one after another, each by an event, and
 * answered by another in that order; those of different disks in any. The file
 * system is crashfs: what was not synced is lost when the power of the storage
 * is cut. Of a process that is killed the first few requests are done, the
 * next one perhaps half, the rest not; then what it lent is not looked at any
 * more. */
#include "base/mem.h"
#include "fs/disk_work.h"
#include "lib/crashfs.h"
#include "oracle.h"
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
    bool is_working;     /* its event is on its way */
    bool is_tearing;     /* its process dies of what it is at */
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

static uint64_t latency(struct sim *s)
{
    if (faults_draw(s, FAULT_disk_slow)) {
        return world_between(s, 50 * SIM_MS, 2 * SIM_S);
    }
    return world_chance(s, 950000)
               ? world_between(s, 20, s->disk_us)
               : world_between(s, s->disk_us, 20 * s->disk_us);
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
        world_push(s, s->now + d->thread->inside_us + latency(s), EVENT_DISK,
                   NULL, d, 0);
    }
}

struct disk *simdisk_new(struct thread *t)
{
    struct simdisk *d = world_take(t->sim, sizeof(*d));

    d->disk.submit = submit;
    d->thread = t;
    d->next = t->sim->disks;
    t->sim->disks = d;
    disk_work_init(&d->work, crashfs_fs(t->sim->storage));
    return &d->disk;
}

/* ---- work -------------------------------------------------------------- */

static bool takes_room(enum disk_op op)
{
    return op == DISK_CREATE || op == DISK_WRITE || op == DISK_SYNC ||
           op == DISK_WRITE_WHOLE || op == DISK_RENAME;
}

/* Lets this request fail, where it is to. */
static void arm(struct sim *s, const struct disk_request *r)
{
    static const enum crashfs_effect effects[] = {
        CRASHFS_NOT_DONE, CRASHFS_HALF_DONE, CRASHFS_DONE};

    if (s->disk_full_until > s->now && takes_room(r->op)) {
        crashfs_fail(s->storage, 1, CRASHFS_ENOSPC, effects[world_below(s, 2)],
                     true);
    } else if (faults_draw(s, FAULT_disk_fails)) {
        crashfs_fail(s->storage, world_between(s, 1, 3), CRASHFS_EIO,
                     effects[world_below(s, 3)], world_chance(s, 300000));
    } else if (r->op == DISK_WRITE && r->size > 0 &&
               faults_draw(s, FAULT_disk_misdirects)) {
        int64_t by = (int64_t)world_between(s, 1, 3000);

        crashfs_misdirect(s->storage, world_chance(s, 500000) ? by : -by);
    }
}

static void disarm(struct sim *s)
{
    crashfs_fail(s->storage, 0, CRASHFS_EIO, CRASHFS_NOT_DONE, false);
    crashfs_misdirect(s->storage, 0);
}

static void perform(struct simdisk *d, struct disk_task *op)
{
    struct sim *s = d->thread->sim;

    op->err.text[0] = '\0';
    if (op->request.op == DISK_REMOVE) {
        oracle_save_on_removing(s, op->request.path);
    }
    op->status = disk_work_do(&d->work, &op->request, &op->out, &op->err);
    disarm(s);
    if (op->request.op == DISK_RENAME) {
        oracle_save_on_renamed(s, op->request.to);
    } else if (op->request.op == DISK_REMOVE && op->status != PS_OK) {
        oracle_save_on_kept(s, op->request.path);
    }
    trace_mix(s, op->request.tag << 8 | (uint64_t)op->request.op,
              (uint64_t)(int64_t)op->status);
    trace_note(
        s, "disk of %s/%u: %s of %s %s file %llu at %llu, %zu bytes: %s",
        world_name(d->thread->process), d->thread->number,
        (const char *const[]){"create", "open", "write", "read", "sync",
                              "close", "rename", "sync_dir", "remove", "list",
                              "read_whole", "write_whole"}[op->request.op],
        op->request.path, op->request.to, (unsigned long long)op->request.file,
        (unsigned long long)op->request.offset, op->request.size,
        op->status == PS_OK ? "ok" : op->err.text);
}

void simdisk_on_work(struct sim *s, struct simdisk *d)
{
    struct disk_task *op = take_first(&d->asked);

    if (op == NULL) {
        return; /* its process has died */
    }
    if (faults_draw(s, FAULT_disk_torn)) {
        op->next = d->asked.first;
        d->asked.last = d->asked.first == NULL ? op : d->asked.last;
        d->asked.first = op;
        d->is_tearing = true;
        world_kill(d->thread->process);
        faults_restart(d->thread->process->place);
        return;
    }
    arm(s, &op->request);
    perform(d, op);
    append(&d->done, op);
    world_push(s, s->now + world_between(s, 5, 100), EVENT_DISK_ANSWER,
               d->thread, d, 0);
    d->is_working = d->asked.first != NULL;
    if (d->is_working) {
        world_push(s, s->now + latency(s), EVENT_DISK, NULL, d, 0);
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
    };

    world_enter(t);
    t->machine->on_disk(t, &result);
    world_leave(t);
    op->next = s->free_disk_ops;
    s->free_disk_ops = op;
}

static void forget(struct sim *s, struct op_list *list)
{
    struct disk_task *op;

    while ((op = take_first(list)) != NULL) {
        op->next = s->free_disk_ops;
        s->free_disk_ops = op;
    }
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

        perform(d, op);
        append(&d->done, op);
    }
    if (d->asked.first != NULL && (d->is_tearing || world_chance(s, 500000))) {
        struct disk_task *op = take_first(&d->asked);

        crashfs_fail(s->storage, world_between(s, 1, 3), CRASHFS_EIO,
                     CRASHFS_HALF_DONE, true);
        perform(d, op);
        append(&d->done, op);
    }
    for (const struct disk_task *op = d->asked.first; op != NULL;
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
}

/* ---- the storage ------------------------------------------------------- */

struct pick {
    struct sim *sim;
    uint64_t n;
    char name[DISK_PATH_MAX + 1];
};

static bool pick_one(void *context, const char *name)
{
    struct pick *p = context;

    p->n++;
    if (world_below(p->sim, p->n) == 0 && strlen(name) < sizeof(p->name)) {
        memcpy(p->name, name, strlen(name) + 1);
    }
    return true;
}

/* Turns a bit of some file of some checkpoint. */
bool simdisk_flip(struct sim *s)
{
    struct fs *fs = crashfs_fs(s->storage);
    struct pick folder = {.sim = s}, file = {.sim = s};
    char path[2 * DISK_PATH_MAX + 2];
    size_t n;
    struct buf b;
    uint64_t size = 0;

    if (fs->ops->list(fs, ".", pick_one, &folder, NULL) != PS_OK ||
        folder.n == 0 ||
        fs->ops->list(fs, folder.name, pick_one, &file, NULL) != PS_OK ||
        file.n == 0) {
        return false;
    }
    n = strlen(folder.name);
    memcpy(path, folder.name, n);
    path[n] = '/';
    memcpy(path + n + 1, file.name, strlen(file.name) + 1);
    buf_init(&b);
    if (fs->ops->read(fs, path, SIZE_MAX, &b, NULL) == PS_OK) {
        size = b.size;
    }
    buf_fini(&b);
    if (size == 0 ||
        crashfs_flip(s->storage, path, world_below(s, 8 * size)) != PS_OK) {
        return false;
    }
    trace_note(s, "a bit of %s is turned", path);
    oracle_save_on_flipped(s, folder.name);
    return true;
}

/* Everything that the storage was told and had not synced may be gone. */
void simdisk_cut_power(struct sim *s)
{
    static const enum crashfs_how hows[] = {CRASHFS_LOST, CRASHFS_KEPT,
                                            CRASHFS_RANDOM, CRASHFS_TORN};
    uint64_t how = world_below(s, ARRAY_LEN(hows));

    trace_note(s, "the storage loses its power, mode %u", (unsigned)how);
    crashfs_crash(s->storage, hows[how], world_random(s));
    oracle_save_on_power_cut(s);
}
