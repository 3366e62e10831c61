/* SPDX-License-Identifier: MIT */
/* Runs a target once over files and the files in folders, without libFuzzer. So any compiler can check that the seeds
 * do no harm, and a finding can be looked at with a debugger. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t count;

static void run_file(const char *path)
{
    enum { LARGEST_INPUT = 1 << 20 };
    FILE *file = fopen(path, "rb");
    uint8_t *data = malloc(LARGEST_INPUT);
    if (!file || !data) {
        fprintf(stderr, "cannot read %s\n", path);
        exit(1);
    }
    size_t size = fread(data, 1, LARGEST_INPUT, file);
    fclose(file);
    uint8_t *exact = realloc(data, size ? size : 1); /* so that a sanitizer notices reading past the end */
    LLVMFuzzerTestOneInput(exact, size);
    free(exact);
    count++;
}

static void run(const char *path)
{
    DIR *folder = opendir(path);
    if (!folder) {
        run_file(path);
        return;
    }
    for (const struct dirent *entry; (entry = readdir(folder));) {
        char inner[4096];
        snprintf(inner, sizeof inner, "%s/%s", path, entry->d_name);
        if (entry->d_name[0] != '.')
            run_file(inner);
    }
    closedir(folder);
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        run(argv[i]);
    printf("%zu inputs\n", count);
    return count > 0 ? 0 : 1;
}
