/* damage.c - what happens to files that nobody is at: bits turn, a stranger
 * removes one, the power goes. */
#include "base/mem.h"
#include "ckpt/ckpt.h"
#include "lib/crashfs.h"
#include "oracle.h"
#include "server/logfile.h"
#include "sim.h"

enum { TAIL_BYTES = 250 };

struct pick {
    struct sim *sim;
    uint64_t n;
    const char *only; /* of this name; NULL: any */
    uint64_t cut;     /* only segments that begin with it; 0: any */
    uint64_t lane;    /* only the newest segment of it; 0: of any, any */
    uint64_t segment;
    char name[DISK_PATH_MAX + 1];
};

static bool pick_one(void *context, const char *name)
{
    struct pick *p = context;
    struct ckpt_move move;

    if (ckpt_move_parse(name, &move)) {
        return true; /* nothing but this has the part's rows: not served then */
    }
    struct logfile_name file;

    if (p->only != NULL && strcmp(name, p->only) != 0) {
        return true;
    }
    if ((p->cut != 0 || p->lane != 0) &&
        (!logfile_parse(name, &file) ||
         (p->cut != 0 && file.segment != p->cut) ||
         (p->lane != 0 &&
          (file.lane != p->lane || file.segment < p->segment)))) {
        return true;
    }
    p->segment = p->lane != 0 ? file.segment : 0;
    p->n++;
    if ((p->lane != 0 || world_below(p->sim, p->n) == 0) &&
        strlen(name) < sizeof(p->name)) {
        memcpy(p->name, name, strlen(name) + 1);
    }
    return true;
}

/* A file in some folder. Returns its size; 0: there is none. */
static uint64_t pick_file(struct sim *s, struct crashfs *c, struct pick *folder,
                          struct pick *file, char path[2 * DISK_PATH_MAX + 2])
{
    struct fs *fs = crashfs_fs(c);
    uint64_t size = 0;
    struct buf b;
    size_t n;

    folder->sim = s;
    file->sim = s;
    if (fs->ops->list(fs, ".", pick_one, folder, NULL) != PS_OK ||
        folder->n == 0 ||
        fs->ops->list(fs, folder->name, pick_one, file, NULL) != PS_OK ||
        file->n == 0) {
        return 0;
    }
    n = strlen(folder->name);
    memcpy(path, folder->name, n);
    path[n] = '/';
    memcpy(path + n + 1, file->name, strlen(file->name) + 1);
    buf_init(&b);
    if (fs->ops->read(fs, path, SIZE_MAX, &b, NULL) == PS_OK) {
        size = b.size;
    }
    buf_fini(&b);
    return size;
}

static uint64_t newest_cut(const struct sim *s)
{
    uint64_t cut = 0;

    for (const struct saved *f = s->oracle->saved; f != NULL; f = f->next) {
        cut = base_max_u64(cut, f->is_done ? f->cut : 0);
    }
    return cut;
}

/* The newest checkpoint, or what it builds on; NULL: nothing. */
static const char *pick_newest(struct sim *s)
{
    uint64_t cut = newest_cut(s);
    uint64_t base = 0;
    const char *found = NULL;

    for (const struct saved *f = s->oracle->saved; f != NULL; f = f->next) {
        base = f->is_done && f->cut == cut ? f->base : base;
    }
    cut = base != 0 && world_chance(s, 800000) ? base : cut;
    for (const struct saved *f = s->oracle->saved; f != NULL; f = f->next) {
        found = f->is_done && !f->is_going && f->cut == cut ? f->folder : found;
    }
    return found;
}

/* Turns a bit of some file of some checkpoint, mostly of what is loaded. */
bool damage_flip(struct sim *s)
{
    struct pick folder = {.only =
                              world_chance(s, 700000) ? pick_newest(s) : NULL};
    struct pick file = {.n = 0};
    char path[2 * DISK_PATH_MAX + 2];
    uint64_t size = pick_file(s, s->storage, &folder, &file, path);

    if (size == 0 ||
        crashfs_flip(s->storage, path, world_below(s, 8 * size)) != PS_OK) {
        return false;
    }
    trace_note(s, "a bit of %s is turned", path);
    oracle_save_on_flipped(s, folder.name, file.name);
    return true;
}

bool damage_flip_log(struct sim *s, uint32_t server, bool is_tail)
{
    uint64_t lane = s->oracle->live[server][world_below(s, s->n_shards)];
    struct pick folder = {.n = 0}, file = {.lane = is_tail ? lane : 0};
    char path[2 * DISK_PATH_MAX + 2];
    uint64_t size = pick_file(s, s->logs[server], &folder, &file, path);
    uint64_t at;

    if (size == 0) {
        return false;
    }
    at = is_tail && size > TAIL_BYTES ? size - 1 - world_below(s, TAIL_BYTES)
                                      : world_below(s, size);
    if (crashfs_flip(s->logs[server], path, 8 * at + world_below(s, 8)) !=
        PS_OK) {
        return false;
    }
    trace_note(s, "a bit of byte %llu of %s of server %u is turned",
               (unsigned long long)at, path, server);
    oracle_log_on_damage(s, file.name, at);
    return true;
}

bool damage_remove_log(struct sim *s, uint32_t server)
{
    struct fs *fs = crashfs_fs(s->logs[server]);
    /* Mostly one that a load of the newest checkpoint begins with. */
    struct pick folder = {.n = 0};
    struct pick file = {.cut = world_chance(s, 700000) ? newest_cut(s) : 0};
    char path[2 * DISK_PATH_MAX + 2];

    if (pick_file(s, s->logs[server], &folder, &file, path) == 0 ||
        fs->ops->unlink(fs, path, NULL) != PS_OK) {
        return false;
    }
    trace_note(s, "somebody removes %s of server %u", path, server);
    oracle_log_on_damage(s, file.name, 0);
    return true;
}

/* Everything that a disk was told and had not synced may be gone. */
static void cut(struct sim *s, struct crashfs *c)
{
    static const enum crashfs_how hows[] = {CRASHFS_LOST, CRASHFS_KEPT,
                                            CRASHFS_RANDOM, CRASHFS_TORN};
    uint64_t how = world_below(s, ARRAY_LEN(hows));

    trace_note(s, "a disk loses its power, mode %u", (unsigned)how);
    simdisk_forget_late(s, c);
    crashfs_crash(c, hows[how], world_random(s));
}

void damage_cut_power_of(struct sim *s, uint32_t server)
{
    oracle_log_on_power_cut(s, server);
    cut(s, s->logs[server]);
}

void damage_cut_power(struct sim *s)
{
    cut(s, s->storage);
    for (uint32_t i = 0; i < s->n_servers; i++) {
        damage_cut_power_of(s, i);
    }
    oracle_save_on_power_cut(s);
}
