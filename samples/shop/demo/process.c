/* SPDX-License-Identifier: MIT */
/* Starts, stops and kills child processes.
 *
 * The kernel kills the children when the demo dies (PR_SET_PDEATHSIG). Each has a process group
 * of its own, so Ctrl-C reaches the demo alone, which then ends them in order. */
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_ARGUMENTS 8
#define TAIL_BYTES 2000

/* The program's path: the directory of /proc/self/exe and its name. */
static bool find_program(char *path, size_t size, const char *program)
{
    ssize_t length = readlink("/proc/self/exe", path, size - 1);
    if (length < 0)
        return false;
    path[length] = '\0';
    char *name = strrchr(path, '/') + 1;
    size_t room = size - (size_t)(name - path);
    return (size_t)snprintf(name, room, "%s", program) < room;
}

/* Between fork and exec in a program with threads: async-signal-safe calls only. */
static void become(const char *path, char *const arguments[], int log, pid_t demo)
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != demo) /* it died before the line above */
        _exit(127);
    int nothing = open("/dev/null", O_RDONLY);
    dup2(nothing, STDIN_FILENO);
    dup2(log, STDOUT_FILENO);
    dup2(log, STDERR_FILENO);
    execv(path, arguments);
    static const char failed[] = "cannot execute\n";
    (void)!write(STDERR_FILENO, failed, sizeof failed - 1);
    _exit(127);
}

bool process_start(struct process *process, const char *const arguments[])
{
    char path[4096];
    char *argv[MAX_ARGUMENTS + 2] = {process->program};
    for (int i = 0; i < MAX_ARGUMENTS && arguments[i]; i++)
        argv[i + 1] = (char *)arguments[i]; /* execv() does not write to them */

    int log = open(process->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    pid_t demo = getpid();
    pid_t pid = -1;
    if (log >= 0 && find_program(path, sizeof path, process->program))
        pid = fork();
    if (pid == 0)
        become(path, argv, log, demo);
    if (pid < 0)
        fprintf(stderr, "cannot start %s: %s\n", process->program, strerror(errno));
    if (log >= 0)
        close(log);
    process->pid = pid > 0 ? pid : 0;
    return pid > 0;
}

bool process_running(struct process *process)
{
    if (process->pid && waitpid(process->pid, &process->status, WNOHANG) == process->pid)
        process->pid = 0;
    return process->pid != 0;
}

bool process_succeeded(const struct process *process)
{
    return process->pid == 0 && WIFEXITED(process->status) && WEXITSTATUS(process->status) == 0;
}

bool process_stop(struct process *process, int timeout_ms)
{
    if (process->pid)
        kill(process->pid, SIGTERM);
    for (int waited_ms = 0; process_running(process) && waited_ms < timeout_ms; waited_ms += 10)
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    process_kill(process);
    return process_succeeded(process);
}

void process_kill(struct process *process)
{
    if (!process->pid)
        return;
    kill(process->pid, SIGKILL);
    waitpid(process->pid, &process->status, 0);
    process->pid = 0;
}

/* The end of the log, whole lines as far as they fit. */
static void read_tail(const struct process *process, char tail[TAIL_BYTES + 1])
{
    tail[0] = '\0';
    FILE *log = fopen(process->log, "re");
    if (!log)
        return;
    fseek(log, 0, SEEK_END);
    long size = ftell(log);
    fseek(log, size > TAIL_BYTES ? size - TAIL_BYTES : 0, SEEK_SET);
    tail[fread(tail, 1, TAIL_BYTES, log)] = '\0';
    fclose(log);
    char *first_end = size > TAIL_BYTES ? strchr(tail, '\n') : NULL;
    if (first_end)
        memmove(tail, first_end + 1, strlen(first_end + 1) + 1);
}

void process_show_log(const struct process *process)
{
    char tail[TAIL_BYTES + 1];
    read_tail(process, tail);
    fprintf(stderr, "--- the end of %s\n%s---\n", process->log, tail);
}

void process_last_line(const struct process *process, char *line, size_t size)
{
    char tail[TAIL_BYTES + 1];
    read_tail(process, tail);
    size_t length = strlen(tail);
    if (length > 0 && tail[length - 1] == '\n')
        tail[length - 1] = '\0';
    const char *last = strrchr(tail, '\n');
    snprintf(line, size, "%s", last ? last + 1 : tail);
}
