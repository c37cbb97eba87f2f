/* trace.c - a hash over everything that happens, and a print of it. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/hash.h"
#include "sim.h"

static const char *const names[] = {
    [EVENT_START] = "start",       [EVENT_TICK] = "tick",
    [EVENT_CONNECT] = "connect",   [EVENT_DELIVER] = "deliver",
    [EVENT_MAIL] = "mail",         [EVENT_STORE] = "store",
    [EVENT_ANSWER] = "answer",     [EVENT_LINK] = "link",
    [EVENT_ACK] = "ack",           [EVENT_FAULT] = "fault",
    [EVENT_KILL] = "kill",         [EVENT_WORK] = "work",
    [EVENT_WATCHDOG] = "watchdog", [EVENT_DISK] = "disk",
    [EVENT_DISK_ANSWER] = "done",
};

void trace_mix(struct sim *s, uint64_t a, uint64_t b)
{
    uint64_t words[3] = {s->trace, a, b};

    s->trace = hash_bytes(words, sizeof(words));
}

void trace_event(struct sim *s, const struct event *e)
{
    uint64_t who = 0;

    if (e->thread != NULL) {
        const struct process *p = e->thread->process;

        who = (uint64_t)p->place->kind << 40 | (uint64_t)p->place->index << 32 |
              (uint64_t)p->life << 8 | e->thread->number;
    }
    trace_mix(s, e->at << 8 | (uint64_t)e->kind, who ^ e->value << 48);
    if (s->is_traced && (e->kind == EVENT_TICK || e->kind == EVENT_WORK)) {
        printf("%10.6f %s %s/%u\n", (double)s->now / SIM_S, names[e->kind],
               world_name(e->thread->process), e->thread->number);
    }
}

void trace_frame(struct sim *s, const struct thread *from, uint64_t connection,
                 const struct frame_header *h, const struct frame *f,
                 const char *what)
{
    uint64_t sum;

    memcpy(&sum, f->data + 88, sizeof(sum));
    trace_mix(s, sum, hash_bytes(f->data + FRAME_HEADER_BYTES, f->body_bytes));
    if (s->is_traced) {
        printf("%10.6f %s/%u %s on %" PRIu64 ": type %u%s%s request %" PRIu64
               " session %" PRIu64 " lane %" PRIu64 " seq %" PRIu64
               " first %" PRIu64 " plan %" PRIu64 " cut %" PRIu64
               " status %d, %u bytes\n",
               (double)(s->now + from->inside_us) / SIM_S,
               world_name(from->process), from->number, what, connection,
               h->type, (h->flags & FRAME_ANSWER) != 0 ? " answer" : "",
               (h->flags & FRAME_REPEAT) != 0 ? " repeat" : "", h->request,
               h->session, h->lane, h->seq, h->first, h->plan, h->cut,
               h->status, f->body_bytes);
    }
}

void trace_note(struct sim *s, const char *format, ...)
{
    char text[512];
    va_list args;

    if (!s->is_traced) {
        return;
    }
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    printf("%10.6f -- %s\n", (double)s->now / SIM_S, text);
}
