/* stage.h - what the tests of the file:// store share: a folder on either file
 * system, a file system that fails on request, and short forms of requests.
 *
 * Each test gets a struct stage as its state. */
#ifndef STAGE_H
#define STAGE_H

#include "coord/coord.h"
#include "fs/fs.h"

/* A file system that fails, or does something else first. */
struct fault_fs {
    struct fs fs;
    struct fs *real;
    uint64_t calls;
    uint64_t fail_from;  /* 0: never; the first call that fails */
    uint64_t fail_count; /* how many calls fail */
    bool has_effect;     /* a failing call is done all the same */
    /* Run once, around the next link. */
    void (*before_link)(void *context);
    void (*after_link)(void *context);
    void *context;
    uint64_t syncs; /* of files and folders */
    uint64_t writes;
    uint64_t reads;
};

struct stage {
    bool is_real;
    struct fs *real;
    struct fault_fs fault;
    char dir[256];
    uint64_t nonce;
    struct buf value; /* of the last request */
    struct coord_result result;
};

/* The calls of struct fault_fs. */
extern const struct fs_ops stage_ops;
extern uint32_t stage_lines;      /* lines in the log since the set-up */
extern char stage_last_line[512]; /* the last of them */

void stage_clear(struct stage *w);
int stage_set_up_file(void **state);
int stage_set_up_memory(void **state);
int stage_tear_down(void **state);
/* Opens on the fault file system, as a new process. */
struct coord_file *stage_open_store(struct stage *w);
int stage_request(struct stage *w, struct coord_file *c, enum coord_op op,
                  const char *key, uint64_t version, const char *text,
                  uint32_t flags);
int stage_cas(struct stage *w, struct coord_file *c, uint64_t version,
              const char *text);
int stage_cas_durable(struct stage *w, struct coord_file *c, uint64_t version,
                      const char *text);
int stage_get(struct stage *w, struct coord_file *c);
bool stage_result_is(const struct stage *w, uint64_t version, const char *text);
void stage_expect_stored(struct stage *w, struct coord_file *c,
                         uint64_t version, const char *text);
void stage_expect_absent(struct stage *w, struct coord_file *c);
const char *stage_in(const struct stage *w, const char *name);
bool stage_add_to(void *context, const char *name);
/* The names in a folder, one digit each: "v.3 v.4 " gives "34". */
void stage_expect_versions(struct stage *w, const char *digits);
void stage_expect_no_temporaries(struct stage *w);
/* Replaces a file by the first `size` of the given bytes. */
void stage_overwrite(struct stage *w, const char *name, const void *data,
                     size_t size);

#define ON(test, which) \
    cmocka_unit_test_setup_teardown(test, stage_set_up_##which, stage_tear_down)
#define ON_BOTH(test) ON(test, file), ON(test, memory)

#endif
