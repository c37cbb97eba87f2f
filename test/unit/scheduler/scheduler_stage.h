/* scheduler_stage.h - what the tests of the scheduler share: two schedulers at
 * one store, and servers and clients that the test plays. */
#ifndef SCHEDULER_STAGE_H
#define SCHEDULER_STAGE_H

#include "ckpt/ckpt_folder.h"
#include "fs/disk_work.h"
#include "lib/draft.h"
#include "lib/shelf.h"
#include "lib/tape.h"
#include "scheduler/scheduler.h"

enum {
    MS = 1000,
    LENGTH_MS = 3000,
    LENGTH = LENGTH_MS * MS,
    NO_ANSWER = 1,
    ACTORS = 4
};

/* Requests of a disk, done when the stage's time goes on. */
struct stage_disk {
    struct disk disk;
    struct disk_work work;
    struct disk_request *requests;
    size_t n;
    size_t room;
    bool hangs;
};

/* One scheduler's process. */
struct desk {
    struct stage_disk files;
    struct tape net;
    struct shelf shelf;
    struct scheduler *scheduler;
    struct tape_frame *answer;
    uint64_t connection;
};

/* A server or session whose leased record the test writes. */
struct actor {
    char key[COORD_KEY_MAX + 1];
    bool is_alive; /* renews */
    uint64_t nonce;
    uint64_t renewal;
    struct buf body;
};

struct scheduler_stage {
    struct fs *fs;
    struct buf record;
    struct arena arena;
    struct arena plans; /* of stage_plan, for the whole test */
    struct desk a;
    struct desk b; /* opened by the tests that want it */
    struct actor actors[ACTORS];
    uint32_t servers; /* -sn of the next desk */
    struct place_limits limits;
    uint64_t features; /* of the next HELLO */
    struct fs *root;   /* of checkpoints; NULL: the next desk has no disk */
    bool accept_empty; /* of the next desk, as these are */
    uint64_t successor_ms;
    uint64_t save_wait_ms;
    uint32_t keep; /* 0: 3 */
    uint32_t full_every;
    bool consistent;
    bool has_log; /* of the next server */
};

extern struct scheduler_stage stage;

int stage_set_up(void **state);
int stage_tear_down(void **state);
void stage_open(struct desk *d, uint64_t nonce, const char *address);
void stage_close(struct desk *d);
/* Does the oldest request of the desk's disk; false: there is none. */
bool stage_do_request(struct desk *d);
/* Lets time go by, on both desks and for the actors, in steps of 10 ms. */
void stage_pass(uint64_t ms);
/* All actors that are alive, as stage_pass does it now and then. */
void stage_renew(void);
/* Writes server `id` with one shard on a lane, as a new process. */
void stage_put_server(uint32_t id, uint64_t lane);
void stage_put_session(uint64_t session);
/* What server `id`, which has been put, says of its shard from now on; its lane
 * is kept. */
void stage_report(uint32_t id, const struct wire_shard *shard);
/* What is in the store now; good for the whole test. */
struct wire_plan stage_plan(void);
struct wire_lease stage_lease(const char *key);
bool stage_has_session(uint64_t session);
const struct wire_lane *stage_live(const struct wire_plan *w, uint64_t lane);
const struct wire_ended *stage_ended(const struct wire_plan *w, uint64_t lane);

/* A client's connection to a desk, with its hello. */
void stage_connect(struct desk *d);
struct wire_variable stage_variable(const char *name, uint32_t dim);
/* Sends DECLARE; what is answered comes later. */
void stage_send_declare(struct desk *d, const struct wire_variable *v);
void stage_send_drop(struct desk *d, const char *name);
/* The next answer on the desk's tape: its status or NO_ANSWER. */
int stage_answer(struct desk *d);
/* Sends and waits up to 2 s. */
int stage_declare(struct desk *d, const struct wire_variable *v);
int stage_drop(struct desk *d, const char *name);
uint32_t stage_declared_id(const struct desk *d);
const char *stage_text(const struct desk *d); /* of a refusal */
/* Sends the frame that `body` is of. */
void stage_send(struct desk *d, enum wire_type type, const struct buf *body);

/* The next desk has this root of checkpoints, in memory. */
void stage_make_root(void);
/* Anew, with a root: a desk, server 0 on this lane, a client. */
void stage_begin_with_root(uint64_t lane);
/* Sends SAVE; what is answered comes later. */
void stage_send_save(uint64_t nonce, const char *name, uint32_t whole);
/* The record `save`; good for the whole test. */
struct wire_save stage_save_record(void);
/* A checkpoint of a hash variable "user" (id 1, dim 8) with three rows, and a
 * dense one "bias" (id 2), made by lane 7; m has the rest, its counters are 90,
 * 80 and 3. Returns its folder, good for the whole test. */
const char *stage_checkpoint(const struct ckpt_manifest *m);
/* Turns one bit of a file over, from its end. */
void stage_damage(const char *folder, const char *file, size_t from_end);
/* The folder in which a checkpoint of this name is made. */
void stage_saving_name(const char *folder, char out[CKPT_NAME_MAX + 1]);
struct wire_cluster stage_cluster(void);
/* Makes the files of server `id`'s lane for the save that is under way; what
 * the server would say of them. */
struct wire_shard stage_saved(uint32_t id);
/* Another scheduler takes the store over, and finds what is there. */
void stage_follow(uint64_t nonce);
/* The answer to a CANCEL. */
int stage_cancel(uint64_t ticket);

#define STAGED(name) \
    cmocka_unit_test_setup_teardown(name, stage_set_up, stage_tear_down)

#endif
