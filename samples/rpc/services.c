/* SPDX-License-Identifier: MIT */
#include "services.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char service[512];
static const char *broker;
static pid_t warehouse, notify;
static pthread_t story;

int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000) + now.tv_nsec / 1000000;
}

void sleep_ms(int ms)
{
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000}, NULL);
}

static pid_t start(const char *name, int slow_ms)
{
    char slow[16];
    snprintf(slow, sizeof slow, "%d", slow_ms);
    pid_t pid = fork();
    if (pid == 0) {
        execl(service, service, name, slow, broker, (char *)NULL);
        _exit(127);
    }
    return pid;
}

static void end(pid_t *pid)
{
    if (*pid > 0 && kill(*pid, SIGKILL) == 0)
        waitpid(*pid, NULL, 0);
    *pid = 0;
}

bool services_start(const char *program, const char *uri)
{
    const char *slash = strrchr(program, '/');
    int folder = slash ? (int)(slash - program) : 0;
    snprintf(service, sizeof service, "%.*s%srpc-service", folder, program, slash ? "/" : "./");
    broker = uri;
    warehouse = start("warehouse", 0);
    notify = start("notify", 0);
    return warehouse > 0 && notify > 0;
}

void services_stop(void)
{
    end(&warehouse);
    end(&notify);
}

static void *tell_story(void *unused)
{
    (void)unused;
    sleep_ms(FINE_MS);
    end(&warehouse);
    sleep_ms(DEAD_MS);
    warehouse = start("warehouse", SLOWNESS_MS);
    sleep_ms(SLOW_MS);
    end(&warehouse);
    warehouse = start("warehouse", 0);
    sleep_ms(FINE_MS);
    return NULL;
}

void story_begin(void)
{
    pthread_create(&story, NULL, tell_story, NULL);
}

void story_end(void)
{
    pthread_join(story, NULL);
}
