/* fuzz_import.c - a checkpoint of the original, as small files, imported.
 *
 * The input is a list of files: a byte that says which, two bytes of size, the
 * bytes. What can be read must give a checkpoint of ours that verifies, and
 * can be exported.
 */
#include "base/mem.h"
#include "ckpt/import.h"
#include "ckpt/import_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const names[] = {
    "checkpoints", "__meta__", "v^0",   "v^1",
    "w^0",         "w^1",      ".meta", "global_queue_meta"};

static void put_files(struct fs *fs, const uint8_t *data, size_t size)
{
    while (size >= 3) {
        const char *name = names[data[0] % ARRAY_LEN(names)];
        size_t n = (size_t)data[1] | (size_t)data[2] << 8;
        int rc;

        data += 3;
        size -= 3;
        n = n < size ? n : size;
        /* A second file of a name is passed over. */
        rc = fs->ops->write_new(fs, name, data, n, false, NULL);
        ASSERT(rc == PS_OK || rc == PS_EEXIST);
        data += n;
        size -= n;
    }
}

static void export(struct fs *fs, const char *folder, const struct import *x)
{
    struct import_text text = {
        .fs = fs, .folder = folder, .to = fs, .with_slots = true};
    struct ckpt *c;
    struct err e;

    ASSERT(ckpt_open(fs, folder, &c, &e) == PS_OK);
    ASSERT(ckpt_verify(fs, folder, c, NULL, &e) == PS_OK);
    text.ckpt = c;
    import_text_init(&text);
    for (uint32_t i = 0; i < x->n; i++) {
        const struct import_variable *v = &x->variables[i];
        int rc = import_text_write(&text, v->rows.variable->name, &e);

        /* Names that no file can have. */
        ASSERT(rc == PS_OK || v->fate == IMPORT_ABSENT || rc != PS_EDATALOSS);
    }
    import_text_fini(&text);
    ckpt_free(c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fs *from = fs_memory_new();
    struct fs *to = fs_memory_new();
    char folder[CKPT_NAME_MAX + 1];
    struct import *x;
    struct err e = {0};

    put_files(from, data, size);
    if (import_new(&x, from, &e) == PS_OK) {
        if (import_write(x, to, "", 1, NULL, folder, &e) == PS_OK) {
            export(to, folder, x);
        } else {
            ASSERT(e.text[0] != '\0');
        }
        import_free(x);
    } else {
        ASSERT(e.status != PS_OK && e.text[0] != '\0');
    }
    fs_memory_free(from);
    fs_memory_free(to);
    return 0;
}
