/* store_stage.c - a client on a store that is made by hand. */
#include "store_stage.h"

#include <ftw.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/mem.h"
#include "coord/coord.h"
#include "fs/fs.h"

struct store_stage store_stage;
static struct coord_file *store;
static struct loop *loop;
static pthread_t thread;
static void (*answer)(uint64_t connection, const struct frame_header *header);

static void on_frame(void *context, uint64_t connection,
                     const struct frame_header *header, struct frame *frame)
{
    const struct wire_hello_answer hello = {.version = WIRE_VERSION,
                                            .lane = header->lane};
    struct buf b;

    (void)context;
    (void)frame;
    if (header->type != WIRE_HELLO) {
        answer(connection, header);
        return;
    }
    buf_init(&b);
    wire_hello_answer_encode(&hello, &b);
    store_stage_answer(connection, header, PS_OK, &b);
    buf_fini(&b);
}

static void on_mail(void *context, struct loop_mail *mail)
{
    (void)context;
    (void)mail;
    loop_quit(loop);
}

static void *serve(void *context)
{
    loop_run(loop);
    return context;
}

int store_stage_begin(void (*on)(uint64_t connection,
                                 const struct frame_header *header))
{
    static const struct loop_handler handler = {.on_frame = on_frame,
                                                .on_mail = on_mail};
    const struct loop_options options = {.handler = &handler};
    uint16_t port;

    log_set_level(LOG_NONE);
    answer = on;
    snprintf(store_stage.root, sizeof(store_stage.root),
             "/tmp/test_client.XXXXXX");
    if (mkdtemp(store_stage.root) == NULL ||
        coord_file_open(&store, fs_file(), store_stage.root, 7, NULL) !=
            PS_OK ||
        loop_new(&loop, &options, NULL) != PS_OK ||
        loop_listen(loop, "127.0.0.1", 0, &port, NULL) != PS_OK ||
        pthread_create(&thread, NULL, serve, NULL) != 0) {
        return -1;
    }
    snprintf(store_stage.address, sizeof(store_stage.address), "127.0.0.1:%u",
             (unsigned)port);
    buf_init(&store_stage.record);
    draft_cluster(&store_stage.record, 3000);
    store_stage_put("cluster");
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int type,
                      struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

int store_stage_end(void)
{
    struct loop_mail *mail = mem_try_zero(sizeof(*mail));

    if (mail == NULL) {
        return -1;
    }
    loop_post(loop, mail);
    pthread_join(thread, NULL);
    loop_stop(loop);
    loop_free(loop);
    buf_fini(&store_stage.record);
    coord_file_close(store);
    return nftw(store_stage.root, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

void store_stage_put(const char *key)
{
    struct coord_request r = {.op = COORD_GET};
    struct coord_result result;
    struct buf value;

    assert_false(store_stage.record.failed);
    snprintf(r.key, sizeof(r.key), "%s", key);
    buf_init(&value);
    coord_file_do(store, &r, &value, &result);
    r.op = COORD_CAS;
    r.version = result.version;
    r.data = store_stage.record.data;
    r.size = store_stage.record.size;
    coord_file_do(store, &r, &value, &result);
    assert_int_equal(result.status, PS_OK);
    buf_fini(&value);
}

void store_stage_answer(uint64_t connection, const struct frame_header *to,
                        int status, const struct buf *body)
{
    struct net *net = loop_net(loop);
    struct frame_header h = *to;
    struct frame *f;

    h.flags = FRAME_ANSWER;
    h.status = status;
    f = draft_frame(&h, body->data, body->size);
    net->send(net, connection, f);
    frame_put(f);
}

ps_client *store_stage_open(int worker)
{
    struct ps_options options;
    ps_client *client = NULL;

    ps_options_init(&options);
    options.scheduler = store_stage.root;
    options.worker = worker;
    options.timeout_ms = 10000;
    options.quiet = 1;
    assert_int_equal(ps_open(&client, &options, NULL), PS_OK);
    return client;
}
