/* Preloaded into a process: adds the seconds in the file $CLOCK to its time of day, not to others. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t id, struct timespec *now) {
    int (*real)(clockid_t, struct timespec *) = dlsym(RTLD_NEXT, "clock_gettime");
    int failed = real(id, now);
    const char *name = getenv("CLOCK");
    if (failed || id != CLOCK_REALTIME || name == NULL) return failed;
    int file = open(name, O_RDONLY | O_CLOEXEC);
    if (file < 0) return failed;
    char text[32] = {0};
    if (read(file, text, sizeof text - 1) > 0) now->tv_sec += atol(text);
    close(file);
    return failed;
}
