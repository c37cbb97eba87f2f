/* See map.h. A deletion leaves no mark: what probed past it moves back. */
#include "map.h"

#include "hash.h"
#include "mem.h"

void map_init(struct map *m)
{
    memset(m, 0, sizeof(*m));
}

void map_fini(struct map *m)
{
    mem_free(m->slots);
    map_init(m);
}

static size_t home_of(const struct map *m, uint64_t key)
{
    return (size_t)hash_key(key) & (m->room - 1);
}

/* The slot of the key, or the free one where it would go. */
static struct map_slot *slot_of(const struct map *m, uint64_t key)
{
    size_t i = home_of(m, key);

    while (m->slots[i].value != NULL && m->slots[i].key != key) {
        i = (i + 1) & (m->room - 1);
    }
    return &m->slots[i];
}

static int grow(struct map *m)
{
    struct map bigger = {.room = m->room == 0 ? 16 : m->room * 2, .n = m->n};

    bigger.slots =
        mem_try_zero(mem_array(bigger.room, sizeof(struct map_slot)));
    if (bigger.slots == NULL) {
        return PS_ENOMEM;
    }
    for (size_t i = 0; i < m->room; i++) {
        if (m->slots[i].value != NULL) {
            *slot_of(&bigger, m->slots[i].key) = m->slots[i];
        }
    }
    mem_free(m->slots);
    *m = bigger;
    return PS_OK;
}

void *map_get(const struct map *m, uint64_t key)
{
    return m->room == 0 ? NULL : slot_of(m, key)->value;
}

int map_put(struct map *m, uint64_t key, void *value)
{
    struct map_slot *slot;

    ASSERT(value != NULL);
    if ((m->n + 1) * 4 > m->room * 3 && grow(m) != PS_OK) {
        return PS_ENOMEM;
    }
    slot = slot_of(m, key);
    if (slot->value == NULL) {
        m->n++;
    }
    slot->key = key;
    slot->value = value;
    return PS_OK;
}

void *map_take(struct map *m, uint64_t key)
{
    struct map_slot *slot;
    size_t hole, i;
    void *value;

    if (m->room == 0) {
        return NULL;
    }
    slot = slot_of(m, key);
    value = slot->value;
    if (value == NULL) {
        return NULL;
    }
    slot->value = NULL;
    m->n--;
    /* Close the gap: whatever probed past the hole moves back into it. */
    hole = (size_t)(slot - m->slots);
    for (i = (hole + 1) & (m->room - 1); m->slots[i].value != NULL;
         i = (i + 1) & (m->room - 1)) {
        size_t from_home = (i - home_of(m, m->slots[i].key)) & (m->room - 1);
        size_t from_hole = (i - hole) & (m->room - 1);

        if (from_home >= from_hole) {
            m->slots[hole] = m->slots[i];
            m->slots[i].value = NULL;
            hole = i;
        }
    }
    return value;
}

void *map_next(const struct map *m, size_t *i)
{
    while (*i < m->room) {
        void *value = m->slots[(*i)++].value;

        if (value != NULL) {
            return value;
        }
    }
    return NULL;
}
