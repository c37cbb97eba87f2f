/* import_text.h - a variable of a checkpoint of ours as text, in the format of
 * the original's convert_ps_variable.
 *
 *     hash64   KEY,V1,...,VN        a line for each key, as a signed number
 *     hash128  A,B,V1,...,VN
 *     index    V1,...,VN            all rows on one line
 *
 * Numbers have 6 significant digits and no exponent. A variable's file has its
 * name, with `&` for `/`; a slot's is VARIABLE&SLOT. Blocking. Increments are
 * PS_ENOTIMPL. Status as ckpt_folder.h.
 */
#ifndef IMPORT_TEXT_H
#define IMPORT_TEXT_H

#include "base/map.h"
#include "ckpt/ckpt_folder.h"

struct import_text {
    struct fs *fs; /* where the checkpoint is */
    const char *folder;
    const struct ckpt *ckpt;
    struct fs *to; /* the folder of the texts */
    bool with_slots;
    bool with_lines;  /* index: a line for each row */
    uint32_t n_files; /* written so far */
    uint64_t n_bytes;
    struct map names; /* of the files, with their variables (texts) */
    struct arena arena;
};

/* fs and so on are the caller's; they outlive it. */
void import_text_init(struct import_text *x);
void import_text_fini(struct import_text *x);
/* Files that were there before are replaced. PS_ENOTFOUND: no such variable.
 * PS_EEXIST: another one was written under the name of a file of this. */
int import_text_write(struct import_text *x, const char *variable,
                      struct err *e) MUST_USE;

enum { IMPORT_TEXT_NUMBER = 400 };
/* One number; out has IMPORT_TEXT_NUMBER bytes. Returns its length. */
size_t import_text_number(double x, char *out);

#endif
