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

/* e to the power of x, within 1 ulp. Over the largest double it is inf; what
 * would be a denormal is 0, whether or not the thread flushes them. */
double kmath_exp(double x);

/* x to the power of p, for x not negative: the float next to it, or in rare
 * cases the one beside that. p = 0 is 1 whatever x; 0 to a power over 0 is 0,
 * under 0 inf. NaN in x or p, or x under 0: NaN. In a thread that flushes
 * denormals, denormal floats are 0 here too. */
float kmath_pow(float x, float p);

#endif
