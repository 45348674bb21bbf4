// A wall clock that a test sets. Preloaded into a program, this answers in the system's place when the
// program asks for the time of day; every other clock, and every wait, is the system's own.
//
// The file that WALL_CLOCK names holds two numbers: whether the clock runs (1) or stands still (0), and
// by how many nanoseconds it is off, or where it stands. It is read each time: a new one counts at once.

#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000LL

int clock_gettime(clockid_t clock, struct timespec *now) {
    if (syscall(SYS_clock_gettime, clock, now) != 0) {
        return -1;
    }
    if (clock != CLOCK_REALTIME) {
        return 0;
    }
    char text[64] = {0};
    const char *path = getenv("WALL_CLOCK");
    int file = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    // A program that went by the real time instead would pass tests that it should not.
    if (file < 0 || read(file, text, sizeof text - 1) <= 0) {
        abort();
    }
    close(file);
    char *rest;
    long long runs = strtoll(text, &rest, 10);
    long long ns = runs * (now->tv_sec * SECOND + now->tv_nsec) + strtoll(rest, NULL, 10);
    now->tv_sec = ns / SECOND;
    now->tv_nsec = ns % SECOND;
    return 0;
}
