/* probe.h - what the modes of the probe share. */
#ifndef E2E_PROBE_H
#define E2E_PROBE_H

#include <stdint.h>

#include "psplus.h"

/* How long the library may take to settle a push by itself, whatever happens
 * to the servers meanwhile: a lease, a restart, and much room. */
#define PROBE_SETTLE_MS 60000

/* Ends the program with a message that names what failed. */
void probe_fail(const char *what, int status, const char *text)
    __attribute__((noreturn));
/* As above where `status` is not PS_OK. */
void probe_need(const char *what, int status);

void *probe_array(size_t n, size_t size);
/* Room for one more than n items of *items. */
void probe_grow(void **items, size_t n, size_t *room, size_t size);

/* A number of the command line. */
uint64_t probe_number(const char *text);

double probe_now(void);
void probe_sleep(double seconds);
/* xorshift64*: *state is not 0. */
uint64_t probe_random(uint64_t *state);

/* Opens with the environment's cluster. */
ps_client *probe_open(int worker,
                      void (*on_loss)(void *, const struct ps_loss *),
                      void *context);
/* AssignAddUpdater over zeros, so that a row is the sum of its pushes; with the
 * durability of PS_PROBE_DURABILITY. Checkpoints leave the variable out that
 * PS_PROBE_NO_SAVE names. */
ps_variable *probe_declare(ps_client *client, const char *name, int kind,
                           uint64_t rows, uint32_t dim);

/* Prints text as a string of JSON. */
void probe_text(const char *text);
/* Says that the preparation is done. */
void probe_ready(void);
/* The next line on stdin: 1 there is one, 0 not within the time, -1 the end.
 * timeout_ms -1 waits for ever. */
int probe_line(char *line, size_t size, int timeout_ms);

/* The modes. */
int probe_count(int argc, char **argv);
int probe_size(int argc, char **argv);
int probe_stress(int argc, char **argv);
int probe_open_late(int argc, char **argv);
int probe_errors(void);
int probe_homes(int argc, char **argv);
int probe_fire(int argc, char **argv);
int probe_rate(int argc, char **argv);
int probe_judge(int argc, char **argv);
int probe_train(int argc, char **argv);
int probe_restored(int argc, char **argv);
int probe_fill(int argc, char **argv);
int probe_watch(int argc, char **argv);
int probe_replay(int argc, char **argv);

#endif
