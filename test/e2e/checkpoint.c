/* checkpoint.c - writes the checkpoint of ckpt_stage.h, for other readers.
 *
 *     ps-checkpoint URL CUT NAME USERS
 *
 * Prints the folder's name.
 */
#include <stdio.h>
#include <stdlib.h>

#include "unit/ckpt/ckpt_stage.h"

int main(int argc, char **argv)
{
    char folder[CKPT_NAME_MAX + 1];
    struct err e = {0};
    struct fs *fs;
    int rc;

    if (argc != 5) {
        fprintf(stderr, "usage: ps-checkpoint URL CUT NAME USERS\n");
        return 2;
    }
    rc = fs_url_open(&fs, argv[1], &e);
    if (rc == PS_OK) {
        rc = stage_write(fs, strtoull(argv[2], NULL, 10), 0, argv[3],
                         strtoull(argv[4], NULL, 10), STAGE_TABLE, folder, &e);
        fs_url_close(fs);
    }
    if (rc != PS_OK) {
        fprintf(stderr, "ps-checkpoint: %s\n", e.text);
        return 1;
    }
    printf("%s\n", folder);
    return 0;
}
