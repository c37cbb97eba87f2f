/* See map.h. A deletion leaves no mark: what probed past it moves back. */
#include "map.h"

#include "hash.h"
#include "mem.h"

enum {
    ROOM_MIN = 16,
    SHRINK_ROOM = 1024 /* smaller ones are not worth the while */
};

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

static int resize(struct map *m, size_t room)
{
    struct map other = {.room = room, .n = m->n};

    other.slots = mem_try_zero(mem_array(room, sizeof(struct map_slot)));
    if (other.slots == NULL) {
        return PS_ENOMEM;
    }
    for (size_t i = 0; i < m->room; i++) {
        if (m->slots[i].value != NULL) {
            *slot_of(&other, m->slots[i].key) = m->slots[i];
        }
    }
    mem_free(m->slots);
    *m = other;
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
    if ((m->n + 1) * 4 > m->room * 3 &&
        resize(m, m->room == 0 ? ROOM_MIN : m->room * 2) != PS_OK) {
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
    if (m->room >= SHRINK_ROOM && m->n * 8 < m->room) {
        (void)resize(m, m->room / 4); /* else it stays as large as it is */
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
