/* SPDX-License-Identifier: MIT */
#include "child.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define ANSWER_MS 120000

static bool fail(const char *what)
{
    perror(what);
    return false;
}

/* An answer is one line and written at once. */
static bool read_line(const child *asked, char *answer, size_t size)
{
    struct pollfd poller = {.fd = asked->from, .events = POLLIN};
    ssize_t received = poll(&poller, 1, ANSWER_MS) > 0 ? read(asked->from, answer, size - 1) : -1;
    if (received <= 0) {
        fprintf(stderr, "bench: a side does not answer\n");
        return false;
    }
    answer[received] = '\0';
    answer[strcspn(answer, "\n")] = '\0';
    return true;
}

static void become(const char *program, const char *case_name, const int in[2], const int out[2])
{
    char path[4096];
    ssize_t size = readlink("/proc/self/exe", path, sizeof path - 64);
    if (size < 0)
        _exit(127);
    path[size] = '\0';
    if (program[0] == '/')
        snprintf(path, sizeof path, "%s", program);
    else
        snprintf(strrchr(path, '/') + 1, 64, "%s", program);
    dup2(in[0], STDIN_FILENO);
    dup2(out[1], STDOUT_FILENO);
    execl(path, program, case_name, (char *)NULL);
    perror(path);
    _exit(127);
}

bool child_start(child *made, const char *program, const char *case_name)
{
    int in[2], out[2];
    if (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0) /* or one side would hold open the other's */
        return fail("pipe");
    made->pid = fork();
    if (made->pid == 0)
        become(program, case_name, in, out);
    close(in[0]);
    close(out[1]);
    made->to = in[1];
    made->from = out[0];
    char ready[64];
    return made->pid > 0 ? read_line(made, ready, sizeof ready) : fail("fork");
}

bool child_ask(const child *asked, const char *line, char *answer, size_t size)
{
    if (write(asked->to, line, strlen(line)) != (ssize_t)strlen(line))
        return fail("write");
    return read_line(asked, answer, size);
}

void child_end(child *ended)
{
    if (ended->pid <= 0)
        return;
    close(ended->to);
    waitpid(ended->pid, NULL, 0);
    close(ended->from);
    ended->pid = 0;
}
