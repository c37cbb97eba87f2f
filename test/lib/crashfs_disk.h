/* crashfs_disk.h - what is durable in a crashfs, and what is not yet.
 *
 * Between crashfs.c, which knows paths, and crashfs_disk.c, which knows nodes.
 */
#ifndef CRASHFS_DISK_H
#define CRASHFS_DISK_H

#include "lib/crashfs.h"

enum { NAME_BYTES = 256, SECTOR = 512, ROOT = 0, NOBODY = -1 };

struct bytes {
    uint8_t *data;
    size_t size;
    size_t room;
};

struct write {
    uint64_t offset;
    uint64_t order;
    bool is_lost; /* by an fsync that failed */
    struct bytes bytes;
};

struct node {
    bool is_folder;
    struct bytes seen;
    struct bytes durable;
    struct write *writes; /* since the last sync */
    size_t n;
    size_t room;
};

struct slot {
    int32_t folder;
    char name[NAME_BYTES];
};

struct entry {
    struct slot at;
    int32_t node;
};

struct entries {
    struct entry *all;
    size_t n;
    size_t room;
};

/* node leaves `from` and comes to `to`; one of them may have NOBODY for its
 * folder: a creation or a removal. */
struct change {
    struct slot from;
    struct slot to;
    int32_t node;
    bool is_done; /* by a sync, or overtaken by one */
};

struct fs_open_file {
    struct fs_open_file *next;
    int32_t node;
    uint64_t life; /* between two power cuts */
    bool may_write;
    bool is_lost;
};

struct crashfs {
    struct fs fs;
    struct node *nodes;
    size_t n_nodes;
    size_t nodes_room;
    struct entries seen;
    struct entries durable;
    struct change *changes;
    size_t n_changes;
    size_t changes_room;
    struct fs_open_file *files;
    uint64_t life;
    uint64_t order;
    uint64_t ops;
    uint64_t fail_at; /* in ops; 0: never */
    enum crashfs_reason reason;
    enum crashfs_effect effect;
    bool is_sticky;
    bool has_failed;
    uint64_t failed_at; /* in ops: the first time */
    int64_t misdirect;  /* 0: not */
};

/* A node without a name. */
int32_t crashfs_new_node(struct crashfs *c, bool is_folder);
/* What a program sees there; NULL: nothing. */
const struct entry *crashfs_find(const struct crashfs *c,
                                 const struct slot *at);
/* A name goes, comes (from is NULL) or goes for good (to is NULL). */
void crashfs_change(struct crashfs *c, const struct slot *from,
                    const struct slot *to, int32_t node);
void crashfs_write(struct crashfs *c, int32_t node, uint64_t offset,
                   const void *data, size_t size);
void crashfs_sync(struct node *node);
/* An fsync failed: what it had to write is never written. */
void crashfs_lose(struct node *node);
void crashfs_sync_folder(struct crashfs *c, int32_t folder);
int crashfs_flip_node(struct node *node, uint64_t bit);

#endif
