/* The store's folder was made anew: another cluster is there, whose plans say
 * nothing of the lanes and rows that this session knows. A record's version
 * cannot tell, as it may be lower or higher than the one before. So whoever
 * goes on waits for ever; it ends instead, and may be opened again. */
#include <stdio.h>

#include "base/log.h"
#include "client/session_impl.h"

bool anew_is_other(const struct session *s, const struct wire_plan *w,
                   uint64_t version)
{
    const struct wire_plan *ours = &s->plan->w;

    /* With the id of its checkpoint, and a restore above that one's. An answer
     * that was overtaken is of an older version, too, but not of a later
     * restore. */
    return w->cluster_high != ours->cluster_high ||
           w->cluster_low != ours->cluster_low ||
           (version < s->plan_version && w->restore > ours->restore);
}

static bool settle_one(struct session *s, const struct flight_list *list)
{
    for (struct flight *f = list->first; f != NULL; f = f->next) {
        if (f->kind == FLIGHT_RUN || f->kind == FLIGHT_STATUS) {
            flight_settle(s, f, PS_ECLOSED);
            return true;
        }
    }
    return false;
}

static bool settle_any(struct session *s)
{
    struct link *l;
    size_t i = 0;

    if (settle_one(s, &s->parked) || settle_one(s, &s->resolving)) {
        return true;
    }
    while ((l = map_next(&s->links, &i)) != NULL) {
        if (settle_one(s, &l->writes) || settle_one(s, &l->reads)) {
            return true;
        }
    }
    for (struct request *r = s->first; r != NULL; r = r->next) {
        if (r->kind != REQUEST_RUN && r->kind != REQUEST_STATUS) {
            r->status = PS_ECLOSED;
            snprintf(r->text, sizeof(r->text), "another cluster is there now");
            request_settle(r);
            return true;
        }
    }
    return false;
}

void anew_end(struct session *s)
{
    log_write(LOG_ERROR, "the store was made anew: another cluster is there "
                         "now, and this client must be opened again");
    s->is_over = true;
    while (settle_any(s)) {
    }
}
