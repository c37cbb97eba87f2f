/* replay.c - a main for fuzz targets without a fuzzer: runs every file of the
 * folders on its command line. One test; its last line is that of cmocka, which
 * script/unit_count.py counts.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PATH_BYTES = 4096 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fail(const char *what, const char *path)
{
    fprintf(stderr, "cannot %s %s\n", what, path);
    exit(EXIT_FAILURE);
}

static void run_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    uint8_t *data;
    size_t size;

    if (f == NULL || fseek(f, 0, SEEK_END) != 0) {
        fail("open", path);
        return;
    }
    size = (size_t)ftell(f);
    rewind(f);
    data = malloc(size + 1);
    if (data == NULL || fread(data, 1, size, f) != size) {
        fail("read", path);
    }
    fclose(f);
    printf("%s\n", path);
    fflush(stdout); /* a crash shows which it was */
    (void)LLVMFuzzerTestOneInput(data, size);
    free(data);
}

static size_t run_folder(const char *folder)
{
    DIR *d = opendir(folder);
    struct dirent *entry;
    size_t n = 0;

    if (d == NULL) {
        fail("open", folder);
        return 0;
    }
    while ((entry = readdir(d)) != NULL) {
        char path[PATH_BYTES];

        if (entry->d_name[0] != '.') {
            snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
            run_file(path);
            n++;
        }
    }
    closedir(d);
    return n;
}

int main(int argc, char **argv)
{
    size_t n = 0;

    for (int i = 1; i < argc; i++) {
        n += run_folder(argv[i]);
    }
    if (n == 0) {
        fail("find inputs in", argc > 1 ? argv[1] : "nothing");
    }
    printf("[  PASSED  ] 1 test(s).\n");
    return EXIT_SUCCESS;
}
