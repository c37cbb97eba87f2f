/* crashfs_disk.c - what a power cut leaves.
 *
 *     seen:     folder/name -> node      node: seen bytes
 *     durable:  folder/name -> node            durable bytes
 *     changes:  the way from one to the other, in order, of names
 *               of each node the same way of writes
 *
 * A sync goes part of that way; a power cut goes some of it and forgets the
 * rest. Nodes are numbers and never used twice, so a change can name one that
 * is gone.
 */
#include "lib/crashfs_disk.h"

#include "base/mem.h"

/* Room for one more of `size` bytes. */
static void *make_room(void *all, size_t n, size_t *room, size_t size)
{
    void *more;

    if (n < *room) {
        return all;
    }
    *room = *room == 0 ? 16 : 2 * *room;
    more = mem_new(*room * size);
    if (n > 0) {
        memcpy(more, all, n * size);
    }
    mem_free(all);
    return more;
}

/* data NULL: zeros where nothing is yet. */
static void put(struct bytes *b, uint64_t offset, const void *data, size_t size)
{
    size_t end = (size_t)offset + size;

    if (size == 0) {
        return;
    }
    if (end > b->room) {
        size_t room = end > 2 * b->room ? end : 2 * b->room;
        uint8_t *more = mem_new(room);

        if (b->size > 0) {
            memcpy(more, b->data, b->size);
        }
        mem_free(b->data);
        b->data = more;
        b->room = room;
    }
    if (end > b->size) {
        memset(b->data + b->size, 0, end - b->size);
        b->size = end;
    }
    if (data != NULL) {
        memcpy(b->data + offset, data, size);
    }
}

static void drop_bytes(struct bytes *b)
{
    mem_free(b->data);
    *b = (struct bytes){0};
}

static void drop_writes(struct node *node)
{
    for (size_t i = 0; i < node->n; i++) {
        drop_bytes(&node->writes[i].bytes);
    }
    node->n = 0;
}

static bool is_same(const struct slot *a, const struct slot *b)
{
    return a->folder == b->folder && strcmp(a->name, b->name) == 0;
}

const struct entry *crashfs_find(const struct crashfs *c, const struct slot *at)
{
    for (size_t i = 0; i < c->seen.n; i++) {
        if (is_same(&c->seen.all[i].at, at)) {
            return &c->seen.all[i];
        }
    }
    return NULL;
}

static void drop_entry(struct entries *entries, const struct entry *entry)
{
    size_t i = (size_t)(entry - entries->all);

    entries->n--;
    memmove(&entries->all[i], &entries->all[i + 1],
            (entries->n - i) * sizeof(*entries->all));
}

/* Does a change; what it replaces goes with it. With `is_whole` the changes
 * before it have been done, so that whatever is where it takes its node from is
 * gone; otherwise only the node itself. */
static void apply(const struct crashfs *c, struct entries *entries,
                  const struct change *change, bool is_whole)
{
    for (size_t i = entries->n; i-- > 0;) {
        const struct entry *e = &entries->all[i];
        bool is_it = e->node == change->node;
        bool is_left = is_same(&e->at, &change->from) && (is_it || is_whole);

        if (is_left || (is_it && c->nodes[e->node].is_folder) ||
            is_same(&e->at, &change->to)) {
            drop_entry(entries, e);
        }
    }
    if (change->to.folder != NOBODY) {
        entries->all = make_room(entries->all, entries->n, &entries->room,
                                 sizeof(*entries->all));
        entries->all[entries->n++] =
            (struct entry){.at = change->to, .node = change->node};
    }
}

void crashfs_change(struct crashfs *c, const struct slot *from,
                    const struct slot *to, int32_t node)
{
    static const struct slot nobody = {.folder = NOBODY};
    struct change change = {
        .from = from == NULL ? nobody : *from,
        .to = to == NULL ? nobody : *to,
        .node = node,
    };

    apply(c, &c->seen, &change, true);
    c->changes = make_room(c->changes, c->n_changes, &c->changes_room,
                           sizeof(*c->changes));
    c->changes[c->n_changes++] = change;
}

int32_t crashfs_new_node(struct crashfs *c, bool is_folder)
{
    c->nodes =
        make_room(c->nodes, c->n_nodes, &c->nodes_room, sizeof(*c->nodes));
    c->nodes[c->n_nodes] = (struct node){.is_folder = is_folder};
    return (int32_t)c->n_nodes++;
}

static bool is_in_use(const struct crashfs *c, int32_t node)
{
    for (size_t i = 0; i < c->seen.n; i++) {
        if (c->seen.all[i].node == node) {
            return true;
        }
    }
    for (size_t i = 0; i < c->durable.n; i++) {
        if (c->durable.all[i].node == node) {
            return true;
        }
    }
    for (size_t i = 0; i < c->n_changes; i++) {
        if (c->changes[i].node == node) {
            return true;
        }
    }
    for (const struct fs_open_file *f = c->files; f != NULL; f = f->next) {
        if (f->node == node && f->life == c->life) {
            return true;
        }
    }
    return false;
}

/* Forgets the changes that are done and the bytes that nobody can reach. */
static void tidy(struct crashfs *c)
{
    size_t n = 0;

    for (size_t i = 0; i < c->n_changes; i++) {
        if (!c->changes[i].is_done) {
            c->changes[n++] = c->changes[i];
        }
    }
    c->n_changes = n;
    for (size_t i = 0; i < c->n_nodes; i++) {
        struct node *node = &c->nodes[i];

        if (node->room > 0 && !is_in_use(c, (int32_t)i)) {
            drop_writes(node);
            mem_free(node->writes);
            drop_bytes(&node->seen);
            drop_bytes(&node->durable);
            *node = (struct node){.is_folder = node->is_folder};
        }
    }
}

void crashfs_write(struct crashfs *c, int32_t n, uint64_t offset,
                   const void *data, size_t size)
{
    struct node *node = &c->nodes[n];
    struct write *w;

    put(&node->seen, offset, data, size);
    node->writes =
        make_room(node->writes, node->n, &node->room, sizeof(*node->writes));
    w = &node->writes[node->n++];
    *w = (struct write){.offset = offset, .order = ++c->order};
    put(&w->bytes, 0, data, size);
}

void crashfs_sync(struct node *node)
{
    for (size_t i = 0; i < node->n; i++) {
        const struct write *w = &node->writes[i];

        if (!w->is_lost) {
            put(&node->durable, w->offset, w->bytes.data, w->bytes.size);
        }
    }
    drop_writes(node);
}

void crashfs_lose(struct node *node)
{
    for (size_t i = 0; i < node->n; i++) {
        node->writes[i].is_lost = true;
    }
}

static bool touches(const struct change *change, int32_t folder)
{
    return change->from.folder == folder || change->to.folder == folder;
}

/* What the ith change says of its names is the last word: those before it, of
 * folders that are not synced, have no more to say of them. */
static void overtake(struct crashfs *c, size_t i)
{
    const struct change *last = &c->changes[i];

    for (size_t k = 0; k < i; k++) {
        struct change *old = &c->changes[k];

        if (is_same(&old->to, &last->from) || is_same(&old->to, &last->to)) {
            old->to.folder = NOBODY;
        }
        if (is_same(&old->from, &last->from) ||
            is_same(&old->from, &last->to)) {
            old->from.folder = NOBODY;
        }
        old->is_done |= old->to.folder == NOBODY && old->from.folder == NOBODY;
    }
}

void crashfs_sync_folder(struct crashfs *c, int32_t folder)
{
    for (size_t i = 0; i < c->n_changes; i++) {
        if (!c->changes[i].is_done && touches(&c->changes[i], folder)) {
            apply(c, &c->durable, &c->changes[i], true);
            c->changes[i].is_done = true;
            overtake(c, i);
        }
    }
    tidy(c);
}

void crashfs_free(struct crashfs *c)
{
    if (c == NULL) {
        return;
    }
    while (c->files != NULL) {
        struct fs_open_file *next = c->files->next;

        mem_free(c->files);
        c->files = next;
    }
    for (size_t i = 0; i < c->n_nodes; i++) {
        drop_writes(&c->nodes[i]);
        mem_free(c->nodes[i].writes);
        drop_bytes(&c->nodes[i].seen);
        drop_bytes(&c->nodes[i].durable);
    }
    mem_free(c->nodes);
    mem_free(c->seen.all);
    mem_free(c->durable.all);
    mem_free(c->changes);
    mem_free(c);
}

/* splitmix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number
 * generators", OOPSLA 2014). */
static uint64_t draw(uint64_t *seed)
{
    uint64_t z = *seed += 0x9e3779b97f4a7c15;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

/* How many bytes of a torn write are left: up to a border of sectors in it. */
static size_t tear(const struct write *w, uint64_t *seed)
{
    uint64_t first = w->offset / SECTOR;
    uint64_t last = (w->offset + w->bytes.size - 1) / SECTOR;
    uint64_t n = draw(seed) % (last - first + 1);

    return n == 0 ? 0 : (size_t)((first + n) * SECTOR - w->offset);
}

/* What a power cut leaves of one write. */
static void crash_write(struct node *node, const struct write *w,
                        enum crashfs_how how, uint64_t last, uint64_t *seed)
{
    size_t size = w->bytes.size;

    if (w->is_lost || how == CRASHFS_LOST || size == 0) {
        return;
    }
    if (how == CRASHFS_TORN && w->order == last) {
        size = tear(w, seed);
    }
    if (how == CRASHFS_RANDOM) {
        uint64_t what = draw(seed) % 4;

        if (what == 0) {
            put(&node->durable, w->offset, NULL, size);
        }
        if (what <= 1) {
            return;
        }
    }
    put(&node->durable, w->offset, w->bytes.data, size);
}

/* Removes the durable names that no way from the root leads to. */
static void prune(struct crashfs *c)
{
    bool *is_reached = mem_new(c->n_nodes);
    bool is_more = true;

    memset(is_reached, 0, c->n_nodes);
    is_reached[ROOT] = true;
    while (is_more) {
        is_more = false;
        for (size_t i = 0; i < c->durable.n; i++) {
            const struct entry *e = &c->durable.all[i];

            if (is_reached[e->at.folder] && !is_reached[e->node]) {
                is_reached[e->node] = true;
                is_more = true;
            }
        }
    }
    for (size_t i = c->durable.n; i-- > 0;) {
        if (!is_reached[c->durable.all[i].at.folder]) {
            drop_entry(&c->durable, &c->durable.all[i]);
        }
    }
    mem_free(is_reached);
}

void crashfs_crash(struct crashfs *c, enum crashfs_how how, uint64_t seed)
{
    uint64_t last = 0;

    for (size_t i = 0; i < c->n_changes; i++) {
        if (how != CRASHFS_LOST &&
            (how != CRASHFS_RANDOM || draw(&seed) % 2 == 0)) {
            apply(c, &c->durable, &c->changes[i], false);
        }
    }
    c->n_changes = 0;
    prune(c);
    for (size_t i = 0; i < c->n_nodes; i++) {
        for (size_t k = 0; k < c->nodes[i].n; k++) {
            const struct write *w = &c->nodes[i].writes[k];

            last = w->is_lost ? last : base_max_u64(last, w->order);
        }
    }
    for (size_t i = 0; i < c->n_nodes; i++) {
        struct node *node = &c->nodes[i];

        for (size_t k = 0; k < node->n; k++) {
            crash_write(node, &node->writes[k], how, last, &seed);
        }
        drop_writes(node);
        drop_bytes(&node->seen);
        put(&node->seen, 0, node->durable.data, node->durable.size);
    }
    c->seen.n = 0;
    for (size_t i = 0; i < c->durable.n; i++) {
        c->seen.all = make_room(c->seen.all, c->seen.n, &c->seen.room,
                                sizeof(*c->seen.all));
        c->seen.all[c->seen.n++] = c->durable.all[i];
    }
    c->life++;
    c->fail_at = 0;
    c->has_failed = false;
    c->misdirect = 0;
    tidy(c);
}

static void flip(struct bytes *b, uint64_t at, uint64_t bit)
{
    if (at < b->size) {
        b->data[at] ^= (uint8_t)(1U << (bit % 8));
    }
}

int crashfs_flip_node(struct node *node, uint64_t bit)
{
    if (bit / 8 >= node->seen.size) {
        return PS_EARGUMENT;
    }
    flip(&node->seen, bit / 8, bit);
    flip(&node->durable, bit / 8, bit);
    for (size_t i = 0; i < node->n; i++) {
        struct write *w = &node->writes[i];

        if (bit / 8 >= w->offset) {
            flip(&w->bytes, bit / 8 - w->offset, bit);
        }
    }
    return PS_OK;
}
