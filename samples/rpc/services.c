/* SPDX-License-Identifier: MIT */
/* Starts and kills the services. The kernel kills them when this process ends, however that happens
 * (PR_SET_PDEATHSIG). */
#include "services.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char program[4096];
static const char *broker;
static pid_t warehouse, notify;

int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000) + now.tv_nsec / 1000000;
}

void sleep_ms(int ms)
{
    if (ms > 0)
        nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000}, NULL);
}

/* The program of the services is beside this one. */
static bool find_program(void)
{
    static const char name[] = "rpc-service";
    ssize_t size = readlink("/proc/self/exe", program, sizeof program - sizeof name);
    if (size < 0)
        return false;
    program[size] = '\0';
    memcpy(strrchr(program, '/') + 1, name, sizeof name);
    return access(program, X_OK) == 0;
}

/* Between fork() and exec in a program with threads: calls that are safe in a signal handler, and no others. */
static void become(const char *name, const char *slow, pid_t parent)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() == parent) /* else it has ended before the line above */
        execl(program, program, name, slow, broker, (char *)NULL);
    _exit(127);
}

static bool start(pid_t *pid, const char *name, int slow_ms)
{
    char slow[16];
    pid_t parent = getpid();
    snprintf(slow, sizeof slow, "%d", slow_ms);
    *pid = fork();
    if (*pid == 0)
        become(name, slow, parent);
    if (*pid < 0)
        fprintf(stderr, "rpc: the %s cannot be started: %s\n", name, strerror(errno));
    return *pid > 0;
}

static void end(pid_t *pid)
{
    if (*pid > 0 && kill(*pid, SIGKILL) == 0)
        waitpid(*pid, NULL, 0);
    *pid = 0;
}

bool services_start(const char *uri)
{
    broker = uri;
    if (!find_program()) {
        fprintf(stderr, "rpc: %s cannot be started: %s\n", program, strerror(errno));
        return false;
    }
    return start(&warehouse, "warehouse", 0) && start(&notify, "notify", 0);
}

void services_stop(void)
{
    end(&warehouse);
    end(&notify);
}

static void sleep_until(int64_t ms)
{
    sleep_ms((int)(ms - now_ms()));
}

bool services_tell_story(int64_t begin_ms)
{
    sleep_until(begin_ms + FINE_MS);
    end(&warehouse);
    sleep_until(begin_ms + FINE_MS + DEAD_MS);
    bool alive = start(&warehouse, "warehouse", SLOWNESS_MS);
    sleep_until(begin_ms + FINE_MS + DEAD_MS + SLOW_MS);
    end(&warehouse);
    alive = start(&warehouse, "warehouse", 0) && alive;
    sleep_until(begin_ms + STORY_MS);
    return alive;
}
