#include "cli/local_ready.h"

#include <jansson.h>
#include <stdio.h>

enum { OPEN_MS = 300, STATUS_MS = 1000, CLOSE_MS = 1000 };

/* A part of the state that is not as it should be goes into waits_for. */
static bool is_serving(struct local_ready *r, const json_t *server)
{
    const json_t *state = json_object_get(server, "state");
    const char *word = json_is_string(state) ? json_string_value(state) : "";
    int id = (int)json_integer_value(json_object_get(server, "id"));
    size_t shards = json_array_size(json_object_get(server, "shards"));

    if (strcmp(word, "serving") == 0 && shards == r->shards) {
        return true;
    }
    snprintf(r->waits_for, sizeof(r->waits_for),
             "server %d is %s, %zu of %u shards are in the plan", id, word,
             shards, (unsigned)r->shards);
    return false;
}

static bool all_serve(struct local_ready *r, const char *text)
{
    json_t *root = json_loads(text, 0, NULL);
    const json_t *servers = json_object_get(root, "servers");
    size_t n = json_array_size(servers);
    bool is_ready = n == r->servers;

    if (!is_ready) {
        snprintf(r->waits_for, sizeof(r->waits_for),
                 "the plan has %zu of %u servers", n, (unsigned)r->servers);
    }
    for (size_t i = 0; i < n && is_ready; i++) {
        is_ready = is_serving(r, json_array_get(servers, i));
    }
    json_decref(root);
    return is_ready;
}

bool local_ready_look(struct local_ready *r)
{
    struct ps_error e = {0};
    char *text = NULL;
    bool is_ready;

    if (r->client == NULL) {
        struct ps_options options;

        ps_options_init(&options);
        options.scheduler = r->store;
        options.worker = -1;
        options.timeout_ms = OPEN_MS;
        options.quiet = 1;
        if (ps_open(&r->client, &options, &e) != PS_OK) {
            r->client = NULL;
        }
    }
    if (r->client == NULL ||
        ps_status_json(r->client, &text, STATUS_MS, &e) != PS_OK) {
        snprintf(r->waits_for, sizeof(r->waits_for), "%s", e.text);
        return false;
    }
    is_ready = all_serve(r, text);
    ps_text_free(text);
    return is_ready;
}

void local_ready_end(struct local_ready *r)
{
    /* It has sent nothing that could be lost. */
    (void)ps_close(r->client, CLOSE_MS);
    r->client = NULL;
}
