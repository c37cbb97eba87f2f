/* restore_find.h - which checkpoint is meant, and is it good?
 *
 *     LIST the root --> MANIFEST of one after another, newest first
 *                            |  the wish takes it
 *                            v
 *                       CHECK every byte, where that is asked for
 *                            |  damaged: named, the next one is tried
 *                            |  an increment: the same for its BASE
 *                            v
 *                       found, or none
 *
 * Over the disk seam: no file, no clock; what is read is believed only after
 * its checksum was right. Used by one job at a time. */
#ifndef RESTORE_FIND_H
#define RESTORE_FIND_H

#include "base/limits.h"
#include "ckpt/ckpt.h"
#include "fs/disk.h"
#include "scheduler/restore_past.h"

enum {
    /* Set in the tags of all its requests; those of saves have it not. */
    RESTORE_TAG = 0x80,
    RESTORE_ALSO_MAX = 8
};

/* ---- every byte of one checkpoint --------------------------------------- */

struct restore_check {
    struct disk *disk;
    uint64_t serial; /* in the tags, and the number of the open file */
    struct ckpt *c;  /* borrowed */
    const char *folder;
    uint32_t lane;   /* of the manifest */
    uint32_t file;   /* of its index */
    uint32_t tensor; /* of its file of rows */
    uint32_t block;
    bool is_open;
    uint64_t done; /* bytes of files */
    uint64_t total;
    int status;
    struct err e;
};

/* c: with its manifest, no indexes; c and folder outlive it. */
void restore_check_begin(struct restore_check *k, struct disk *disk,
                         uint64_t serial, struct ckpt *c, const char *folder);
/* True when it has ended, with k->status and the file that is damaged in k->e.
 * r is an answer to one of its own requests. */
bool restore_check_on_disk(struct restore_check *k,
                           const struct disk_result *r) MUST_USE;
/* It ends now. */
void restore_check_stop(struct restore_check *k);

/* ---- the one that is meant ---------------------------------------------- */

enum restore_kind {
    RESTORE_NEWEST,   /* of any cluster */
    RESTORE_TIMELINE, /* the newest that this cluster made since its last
                         restore, or `also`, or made before one of these */
    RESTORE_NAMED,    /* folder, cut or a user's name */
    RESTORE_OLDER     /* the newest of `past` before folder `name` */
};

struct restore_wish {
    enum restore_kind kind;
    bool verifies;
    bool gives_up; /* what the disk fails with, though it lists, is damage */
    char name[LIMIT_NAME_BYTES + 1];
    uint64_t cluster_high;
    uint64_t cluster_low;
    uint64_t restore; /* OLDER: that of `name` */
    /* TIMELINE: folders that are of it whatever their manifests say: parts of
     * this cluster come from them. */
    char also[RESTORE_ALSO_MAX][CKPT_NAME_MAX + 1];
    uint32_t n_also;
    struct restore_past past; /* OLDER */
};

struct restore_folder {
    uint64_t cut;
    uint64_t term;
    bool is_meant;
};

/* The highest numbers of all that was seen, damaged or not. */
struct restore_marks {
    uint64_t cut;
    uint64_t restore;
    uint64_t next_session;
    uint64_t next_lane;
};

struct restore_find {
    struct disk *disk;
    uint64_t serial;
    bool is_active;
    bool is_checking;
    struct restore_wish wish;
    struct restore_folder *folders; /* newest first */
    uint32_t n;
    uint32_t at;
    bool by_folder; /* NAMED: the listing said which */
    struct restore_check check;
    /* What it builds on, one after another; NULL: it is being looked at
     * itself. */
    struct ckpt *base;
    uint32_t base_at; /* the next of `folders` that may be one */
    char base_folder[CKPT_NAME_MAX + 1];
    struct restore_marks marks;
    uint32_t n_damaged;
    uint64_t damaged_cut; /* of the first one that was */
    char damaged[CKPT_NAME_MAX + 1];
    /* When it has ended: PS_OK with c and folder; PS_ENOTFOUND: none is meant;
     * PS_EDATALOSS: all that are meant are damaged, why names them; what the
     * listing said. */
    int status;
    struct ckpt *c;
    char folder[CKPT_NAME_MAX + 1];
    char why[512];
};

void restore_find_begin(struct restore_find *f, struct disk *disk,
                        const struct restore_wish *wish);
/* True when it has ended. Answers to others and to former searches do
 * nothing. */
bool restore_find_on_disk(struct restore_find *f,
                          const struct disk_result *r) MUST_USE;
/* The disk does not answer: it has ended, with PS_EIO. */
void restore_find_give_up(struct restore_find *f);
/* Drops what it has found, or stops. */
void restore_find_end(struct restore_find *f);
/* The checkpoint that was found, the caller's from now on. */
struct ckpt *restore_find_take(struct restore_find *f);

#endif
