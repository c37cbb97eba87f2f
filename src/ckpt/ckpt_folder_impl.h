/* ckpt_folder_impl.h - what the blocking files of this folder share. */
#ifndef CKPT_FOLDER_IMPL_H
#define CKPT_FOLDER_IMPL_H

#include "ckpt/ckpt_folder.h"

/* A folder's name, a slash, a file's name, the NUL. */
enum { CKPT_PATH_BYTES = 2 * CKPT_NAME_MAX + 2 };
void ckpt_folder_path(const char *folder, const char *file, char *out);

/* A whole file of the folder: one that is not there is PS_EDATALOSS. */
int ckpt_folder_read(struct fs *fs, const char *folder, const char *name,
                     uint64_t limit, struct buf *out, struct err *e) MUST_USE;

/* A file of a checkpoint, open for reading. */
struct ckpt_reader {
    struct fs *fs;
    struct fs_open_file *open; /* NULL: closed */
    const struct ckpt_file *file;
};

/* Checks that its size is that of the index. close takes a closed one too. */
int ckpt_reader_open(struct ckpt_reader *r, struct fs *fs, const char *folder,
                     const struct ckpt_file *file, struct err *e) MUST_USE;
void ckpt_reader_close(struct ckpt_reader *r);
/* One block, checked, in place of what is in `out`. */
int ckpt_reader_block(struct ckpt_reader *r, const struct ckpt_tensor *t,
                      uint32_t block, struct buf *out, struct err *e) MUST_USE;
/* The header, checked. */
int ckpt_reader_header(struct ckpt_reader *r, struct buf *out,
                       struct err *e) MUST_USE;

#endif
