/* See places.h. */
#include "server/places.h"

static struct places_file *find(struct places *p, uint64_t number)
{
    for (uint32_t i = 0; i < p->n_files; i++) {
        if (p->files[i].number == number) {
            return &p->files[i];
        }
    }
    return NULL;
}

/* Notes where a file is opened. One for which there is no room is looked for at
 * the newest place. */
static struct disk *open_file(struct places *p, uint64_t number)
{
    struct disk *newest = disk_loop_disk(p->all[p->newest]);
    struct places_file *f = find(p, number);

    if (f == NULL && p->n_files < PLACES_FILES_MAX) {
        f = &p->files[p->n_files++];
    }
    if (f != NULL) {
        *f = (struct places_file){number, newest};
    }
    return newest;
}

static struct disk *disk_of(struct places *p, const struct disk_request *r)
{
    struct disk *newest = disk_loop_disk(p->all[p->newest]);
    struct places_file *f;
    struct disk *disk;

    switch (r->op) {
    case DISK_CREATE:
    case DISK_OPEN:
        return open_file(p, r->file);
    case DISK_WRITE:
    case DISK_READ:
    case DISK_SUM:
    case DISK_SYNC:
    case DISK_CLOSE:
        f = find(p, r->file);
        disk = f == NULL ? newest : f->disk;
        if (f != NULL && r->op == DISK_CLOSE) {
            *f = p->files[--p->n_files];
        }
        return disk;
    case DISK_RENAME:
    case DISK_SYNC_DIR:
    case DISK_REMOVE:
    case DISK_LIST:
    case DISK_READ_WHOLE:
    case DISK_WRITE_WHOLE:
        break;
    }
    return newest;
}

static void submit(struct disk *d, const struct disk_request *request)
{
    struct disk *to = disk_of(CONTAINER_OF(d, struct places, disk), request);

    to->submit(to, request);
}

void places_init(struct places *p, struct loop *loop,
                 void (*answer)(void *context,
                                const struct disk_result *result),
                 void *context)
{
    *p = (struct places){.disk.submit = submit,
                         .loop = loop,
                         .answer = answer,
                         .context = context};
}

void places_fini(struct places *p)
{
    for (uint32_t i = 0; i < p->n; i++) {
        disk_loop_close(p->all[i]);
    }
}

int places_set(struct places *p, const char *url, struct err *e)
{
    uint32_t i = 0;
    int rc;

    while (i < p->n && strcmp(url, p->urls[i]) != 0) {
        i++;
    }
    if (i == PLACES_MAX || strlen(url) >= PLACES_URL_BYTES) {
        return err_set(e, PS_ELIMIT,
                       "the place of checkpoints has changed "
                       "too often, or is too long");
    }
    if (i == p->n) {
        rc = disk_loop_open(&p->all[i], p->loop,
                            url[0] != '\0' ? url : "none://", DISK_LOOP_FILES,
                            p->answer, p->context, e);
        if (rc != PS_OK) {
            return rc;
        }
        memcpy(p->urls[i], url, strlen(url) + 1);
        p->n++;
    }
    p->newest = i;
    return PS_OK;
}

void places_tick(struct places *p)
{
    for (uint32_t i = 0; i < p->n; i++) {
        disk_loop_tick(p->all[i]);
    }
}

uint64_t places_next(const struct places *p)
{
    uint64_t next = UINT64_MAX;

    for (uint32_t i = 0; i < p->n; i++) {
        next = base_min_u64(next, disk_loop_next(p->all[i]));
    }
    return next;
}
