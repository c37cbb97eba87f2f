/* tsan_close.c - lets ThreadSanitizer see libuv close descriptors.
 *
 * libuv closes with syscall(SYS_close), which TSan does not see, nor openat(),
 * with which fs/ opens. A file that gets the number that a socket of another
 * thread had is then the same descriptor to TSan, and its close() a race. This
 * library, loaded before all others, turns the system call into the close()
 * that TSan knows. Without it some close() or closedir() of fs/ is reported in
 * most runs.
 */
#include <dlfcn.h>
#include <stdarg.h>
#include <sys/syscall.h>
#include <unistd.h>

typedef long syscall_fn(long number, ...);

__attribute__((visibility("default"))) long syscall(long number, ...)
{
    static syscall_fn *next;
    long a[6];
    va_list args;

    va_start(args, number);
    for (int i = 0; i < 6; i++) {
        a[i] = va_arg(args, long);
    }
    va_end(args);
    if (number == SYS_close) {
        return close((int)a[0]);
    }
    if (next == NULL) {
        *(void **)&next = dlsym(RTLD_NEXT, "syscall");
    }
    return next(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
