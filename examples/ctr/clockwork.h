/* clockwork.h - seconds since some fixed moment, and a nap. */
#ifndef CLOCKWORK_H
#define CLOCKWORK_H

double clockwork_now(void);
void clockwork_sleep_ms(int ms);

#endif
