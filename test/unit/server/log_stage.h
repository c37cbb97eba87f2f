/* log_stage.h - what the tests of a shard's log share.
 *
 * The only shard of a server lives on lane 7, dies, and comes back as lane 8...
 * on the same disk, which is a crashfs; disk and store do what they are asked
 * one by one, when the test says so. Push i adds 1 to key i, so a row says how
 * often its push was applied.
 */
#ifndef LOG_STAGE_H
#define LOG_STAGE_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>

#include "fs/disk_work.h"
#include "lib/crashfs.h"
#include "lib/tape.h"
#include "server/shard_log.h"

enum {
    ROWS = 1,
    PUSHES = 24,
    LANES = 16,
    QUEUE = 256,
    FIRST_LANE = 7,
    PLAIN = 2, /* a variable of durability memory */
    NEVER = 1000000
};

struct order {
    struct disk_request request;
    bool is_record;
    struct shard_log_record record;
};

/* A server and its disk; the disk and the store outlive it. */
struct logs {
    struct crashfs *crashfs;
    struct disk_work work;
    struct disk disk;
    struct shard_owner owner;
    struct tape net;
    struct shard *shard;
    uint64_t connection;
    uint64_t lane;
    uint64_t plan;
    uint64_t born;     /* the plan that the variable came with */
    uint64_t last_end; /* no newer cut had been begun when a lane ended last */
    uint32_t durability;
    struct order queue[QUEUE];
    size_t first;
    size_t n;
    uint64_t steps_left; /* of the disk; then the process is dead */
    struct shard_log_record records[LANES + FIRST_LANE];
    bool acked[PUSHES + 1];
    uint64_t n_acked;
    uint64_t wants_life;
    bool wants_plan;
    uint64_t store_fails; /* answers of the store */
};

extern struct logs logs;
extern const char *const logs_folder;

/* A new disk, and a first life on it. */
void logs_set_up(uint32_t durability);
/* A process begins: the next lane. */
void logs_start(void);
/* The process is gone, with what it had asked for. */
void logs_stop(void);
/* Hands the shard its plan, once more. */
void logs_set_plan(void);
/* Does what the disk or the store was asked first; false: nothing, or dead. */
bool logs_step(void);
void logs_settle_down(void);
void logs_push_to(uint32_t variable, uint64_t seq, uint64_t cut);
void logs_push(uint64_t seq);
/* Pushes in flights of several, a cut among them. */
void logs_work(void);
/* How often the push was applied; -1: the row cannot be read. */
int logs_count_of(uint64_t key);
/* What resolve says; 1: no answer yet. */
int logs_fate_of(uint64_t lane, uint64_t seq);
bool logs_load_has_failed(void);
/* Every acknowledged push is there, none twice; resolve says the same. */
void logs_check_rows(void);
/* Appends the first segment of the first lane, and tells its path. */
size_t logs_read_log(char path[128], struct buf *b);
/* Fails the nth allocation of the shard from now; 0: none. Whether it did. */
void logs_arm(uint64_t n);
bool logs_has_failed(void);
/* A main function's: runs them, with the planted fault of this name. */
int logs_plant(int argc, char **argv);

#endif
