#include "restore_cluster.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <setjmp.h>
#include <cmocka.h>

void restore_run_cluster(uint32_t servers)
{
    struct wire_variable user = stage_variable("user", 8);
    struct wire_variable bias = stage_variable("bias", 1);

    stage_close(&stage.a);
    stage_make_root();
    stage.servers = servers;
    stage_open(&stage.a, 200, "sched:1");
    stage_pass(5000);
    for (uint32_t i = 0; i < servers; i++) {
        stage_put_server(i, 11 + i);
    }
    stage_pass(500);
    stage_connect(&stage.a);
    bias.kind = PS_DENSE;
    bias.rows = 5;
    assert_int_equal(stage_declare(&stage.a, &user), PS_OK);
    assert_int_equal(stage_declare(&stage.a, &bias), PS_OK);
}

struct ckpt_manifest restore_own(uint64_t cut)
{
    struct shelf *s = &stage.a.shelf;
    struct wire_cluster c;

    arena_reset(&stage.arena);
    assert_true(shelf_get(s, "cluster") > 0);
    assert_int_equal(wire_cluster_decode(s->data, s->size, &stage.arena, &c),
                     PS_OK);
    return (struct ckpt_manifest){.cluster_high = c.id_high,
                                  .cluster_low = c.id_low,
                                  .cut = cut,
                                  .plan = stage_plan().plan};
}

const char *restore_save(uint64_t cut)
{
    const struct ckpt_manifest m = restore_own(cut);

    return stage_checkpoint(&m);
}

const struct wire_load *restore_load_of(const struct wire_plan *w,
                                        uint32_t variable)
{
    const struct wire_part *p = w->parts;
    const struct wire_load *found = NULL;

    while (p->variable != variable) {
        p++;
    }
    for (uint32_t i = 0; i < w->n_loads; i++) {
        if (w->loads[i].since == p->since &&
            (w->loads[i].variable == 0 || w->loads[i].variable == variable)) {
            found = &w->loads[i];
        }
    }
    return found;
}

void restore_say_failed(const char *folder)
{
    char why[128];

    snprintf(why, sizeof(why), "%s: lane-7.safetensors: it is damaged", folder);
    stage_report(0, &(struct wire_shard){.load_failed = 1, .why = why});
    stage_pass(500);
}

static void all_is_loaded(void)
{
    stage_report(0, &(struct wire_shard){.loaded = stage_plan().plan});
    stage_pass(500);
}

void restore_save_loaded(uint64_t cut)
{
    struct wire_shard said;

    all_is_loaded();
    tape_clear(&stage.a.net);
    stage_send_save(0, "", 0);
    stage_pass(500);
    said = stage_saved(0);
    assert_int_equal(said.cut, cut);
    said.loaded = stage_plan().plan;
    stage_report(0, &said);
    stage_pass(2000);
    assert_int_equal(stage_save_record().state, SAVE_DONE);
}

struct ckpt_manifest restore_manifest_of(const char *folder)
{
    struct ckpt_manifest m;
    char path[256];
    struct buf text;
    struct err e;

    buf_init(&text);
    snprintf(path, sizeof(path), "%s/%s", folder, CKPT_MANIFEST);
    assert_int_equal(
        stage.root->ops->read(stage.root, path, 1 << 20, &text, NULL), PS_OK);
    assert_int_equal(
        ckpt_manifest_decode(text.data, text.size, &stage.plans, &m, &e),
        PS_OK);
    buf_fini(&text);
    return m;
}

void restore_say_missing(uint32_t server, const char *folder)
{
    char why[128];

    snprintf(why, sizeof(why), "%s: lane-7.safetensors: no such file", folder);
    stage_report(server,
                 &(struct wire_shard){.load_failed = LOAD_MISSING, .why = why});
    stage_pass(500);
}

void restore_remove_file(const char *folder, const char *file)
{
    char path[256];

    snprintf(path, sizeof(path), "%s/%s", folder, file);
    assert_int_equal(stage.root->ops->unlink(stage.root, path, NULL), PS_OK);
}

void restore_save_now(uint64_t cut)
{
    struct wire_shard said;

    tape_clear(&stage.a.net);
    stage_send_save(0, "", 0);
    stage_pass(500);
    assert_int_equal(stage_answer(&stage.a), PS_OK);
    said = stage_saved(0);
    assert_int_equal(said.cut, cut);
    stage_report(0, &said);
    stage_pass(2000);
}
