/* kmath.h - functions of libm that must give the same bits on every machine.
 *
 * libm chooses its code by the CPU it finds, and changes with its version. What
 * becomes a value of a model is computed here instead, with + - * / and bits.
 */
#ifndef KMATH_H
#define KMATH_H

/* The natural logarithm, within 1 ulp. log(0) is -inf, of a negative number
 * NaN. Denormals count, whether or not the thread flushes them. */
double kmath_log(double x);

#endif
