/* test_ckpt_manifest.c - manifests and indexes whose checksums are right and
 * whose content is not: nothing of it is believed.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <inttypes.h>
#include <stdio.h>

#include "base/hash.h"
#include "base/mem.h"
#include "unit/ckpt/ckpt_stage.h"

enum { TAIL = 29 };

struct stage {
    struct buf manifest;
    struct buf index; /* of lane 7 */
};

static int set_up(void **state)
{
    struct stage *s = mem_new(sizeof(*s));
    struct fs *fs = fs_memory_new();
    char folder[CKPT_NAME_MAX + 1];
    int rc = stage_write(fs, 12, 0, "monday", 40, 6, folder, NULL);

    *s = (struct stage){0};
    *state = s;
    if (rc == PS_OK) {
        rc = fs->ops->read(fs, "ckpt-000000000012-3/manifest.json", 1 << 20,
                           &s->manifest, NULL);
    }
    if (rc == PS_OK) {
        rc = fs->ops->read(fs, "ckpt-000000000012-3/lane-7.json", 1 << 20,
                           &s->index, NULL);
    }
    fs_memory_free(fs);
    return rc;
}

static int tear_down(void **state)
{
    struct stage *s = *state;

    buf_fini(&s->manifest);
    buf_fini(&s->index);
    mem_free(s);
    return 0;
}

/* A copy with the first `from` as `to`. */
static void replace(const struct buf *in, const char *from, const char *to,
                    struct buf *out)
{
    const uint8_t *at = memmem(in->data, in->size, from, strlen(from));
    size_t before;

    if (at == NULL) {
        fail_msg("no %s", from);
    }
    before = (size_t)(at - in->data);
    buf_clear(out);
    (void)buf_append(out, in->data, before);
    (void)buf_append(out, to, strlen(to));
    before += strlen(from);
    (void)buf_append(out, in->data + before, in->size - before);
    assert_false(out->failed);
}

/* Puts the checksum of a manifest right. */
static void sign(struct buf *b)
{
    char tail[TAIL + 1];

    b->size -= TAIL;
    snprintf(tail, sizeof(tail), ",\n\"xxh3\":\"%016" PRIx64 "\"}\n",
             hash_bytes(b->data, b->size));
    assert_int_equal(buf_append(b, tail, TAIL), PS_OK);
}

struct change {
    const char *from;
    const char *to;
    int status;
    const char *why;
};

static void manifests_that_contradict_themselves_are_refused(void **state)
{
    static const struct change changes[] = {
        {"\"format\":1", "\"format\":2", PS_EVERSION, "format is 2"},
        {"\"format\":1", "\"format\":1 ", PS_OK, ""},
        {"\"format\":1", "\"format\":1,\"new\":[{\"a\":[1,\"]\"]},-1.5e3]",
         PS_OK, ""},
        {"\"format\":1", "\"format\":1,\"format\":1", PS_EDATALOSS, "twice"},
        {"\"format\":1", "\"format\":01", PS_EDATALOSS, "whole number"},
        {"\"format\":1", "\"format\":-1", PS_EDATALOSS, "whole number"},
        {"\"format\":1", "\"format\":1.0", PS_EDATALOSS, "comma"},
        {"\"plan\":6", "\"plan\":18446744073709551615", PS_OK, ""},
        {"\"plan\":6", "\"plan\":18446744073709551616", PS_EDATALOSS,
         "too large"},
        {"\"plan\":6,", "", PS_EDATALOSS, "missing"},
        {"\"monday\"", "\"mon\\u000aday\"", PS_EDATALOSS, "no text"},
        {"\"monday\"", "\"mon\\ud800day\"", PS_EDATALOSS, "no text"},
        {"\"monday\"", "\"mon\\qday\"", PS_EDATALOSS, "no text"},
        {"\"monday\"", "\"mon\xff\"", PS_EDATALOSS, "no text"},
        {"\"monday\"", "\"\\ud83d\\ude00\\/\"", PS_OK, ""},
        {"\"monday\"", "\"monday", PS_EDATALOSS, "byte"},
        {"\"00ff70\"", "\"00ff7\"", PS_EDATALOSS, "pairs"},
        {"\"00ff70\"", "\"00fg70\"", PS_EDATALOSS, "hexadecimal"},
        {"\"fedcba9876543210\"", "\"fedcba987654321\"", PS_EDATALOSS, "16"},
        {"1e-300", "1e300x", PS_EDATALOSS, "byte"},
        {"1e-300", "1e999", PS_EDATALOSS, "number"},
        {"1e-300", "\"inf\"", PS_OK, ""},
        {"\"kind\":2", "\"kind\":3", PS_EVERSION, "kind 3"},
        {"\"dim\":3", "\"dim\":0", PS_EDATALOSS, "cannot be"},
        {"\"dim\":3", "\"dim\":65537", PS_EDATALOSS, "cannot be"},
        {"\"n_params\":2", "\"n_params\":9", PS_EDATALOSS, "cannot be"},
        {"\"id\":2", "\"id\":1", PS_EDATALOSS, "cannot be"},
        {"\"name\":\"table\"", "\"name\":\"bias\"", PS_EDATALOSS,
         "two variables"},
        {"{\"variable\":1,\"begin\":0", "{\"variable\":1,\"begin\":1",
         PS_EDATALOSS, "cover"},
        {"\"end\":32768", "\"end\":32769", PS_EDATALOSS, "cover"},
        {"\"begin\":32768,\"end\":65536", "\"begin\":32768,\"end\":65535",
         PS_EDATALOSS, "cover"},
        {"{\"variable\":2,", "{\"variable\":3,", PS_EDATALOSS, "not listed"},
        {"\"end\":65536,\"lane\":9", "\"end\":65536,\"lane\":8", PS_EDATALOSS,
         "lane 8"},
        {"{\"lane\":7,\"i", "{\"lane\":0,\"i", PS_EDATALOSS, "lanes"},
        {"{\"lane\":7,\"i", "{\"lane\":9,\"i", PS_EDATALOSS, "lanes"},
        {"\"variables\":[", "\"variables\":[{},", PS_EDATALOSS, "cannot be"},
        {"\"sessions\":[", "\"sessions\":[[", PS_EDATALOSS, "byte"},
        {"\"sessions\":[", "\"sessions\":[,,,,,,,,,,", PS_EDATALOSS, "byte"},
        {"\"sessions\":[", "\"sessions\":", PS_EDATALOSS, "byte"},
    };
    struct stage *s = *state;
    struct buf b = {0};

    for (size_t i = 0; i < ARRAY_LEN(changes); i++) {
        const struct change *x = &changes[i];
        struct ckpt *c;
        struct err e = {0};
        int rc;

        replace(&s->manifest, x->from, x->to, &b);
        sign(&b);
        rc = ckpt_new(&c, b.data, b.size, &e);
        ckpt_free(c);
        if (rc != x->status || strstr(e.text, x->why) == NULL) {
            fail_msg("%s -> %s: %d, \"%s\"", x->from, x->to, rc, e.text);
        }
    }
    buf_fini(&b);
}

static void indexes_that_contradict_the_manifest_are_refused(void **state)
{
    static const struct change changes[] = {
        {"\"cut\":12", "\"cut\":12", PS_OK, ""},
        {"\"cut\":12", "\"cut\":13", PS_EDATALOSS, "another"},
        {"\"term\":3", "\"term\":4", PS_EDATALOSS, "another"},
        {"\"lane\":7", "\"lane\":9", PS_EDATALOSS, "lane-9"},
        {"\"kind\":2", "\"kind\":9", PS_EVERSION, "kind 9"},
        {"\"kind\":2", "\"kind\":0", PS_EDATALOSS, "manifest"},
        {"\"dim\":3", "\"dim\":2", PS_EDATALOSS, "not that of its part"},
        {"\"id\":1", "\"id\":3", PS_EDATALOSS, "manifest"},
        {"\"content\":0", "\"content\":2", PS_EVERSION, "content 2"},
        {"\"content\":0", "\"content\":1", PS_EDATALOSS, "cannot be"},
        {"\"has_keys\":true", "\"has_keys\":false", PS_EDATALOSS, "cannot be"},
        {"\"slots\":[\"acc\",", "\"slots\":[", PS_EDATALOSS, "its part"},
        {"\"slots\":[\"acc\",", "\"slots\":[\"1\",\"2\",\"3\",\"4\",",
         PS_EDATALOSS, "too long"},
        {"\"end\":32768", "\"end\":32767", PS_EDATALOSS, "its part"},
        {"\"end\":32768", "\"end\":65537", PS_EDATALOSS, "cannot be"},
        {"\"rows\":5,\"dim\":1", "\"rows\":6,\"dim\":1", PS_EDATALOSS,
         "its part"},
        {"\"row_begin\":0", "\"row_begin\":18446744073709551615", PS_EDATALOSS,
         "cannot be"},
        {"\"name\":\"lane-7.safetensors\"", "\"name\":\"../x\"", PS_EDATALOSS,
         "should be lane-7"},
        {"\"header_bytes\":", "\"header_bytes\":1", PS_EDATALOSS, "sizes"},
        {"\"size\":", "\"size\":1", PS_EDATALOSS, "the file at"},
        {"\"dtype\":\"U64\"", "\"dtype\":\"F65\"", PS_EDATALOSS, "type"},
        {"\"dtype\":\"U64\"", "\"dtype\":\"F32\"", PS_EDATALOSS, "ends"},
        {"\"block_rows\":87381", "\"block_rows\":0", PS_EDATALOSS, "blocks"},
        {"\"block_rows\":87381", "\"block_rows\":87380", PS_EDATALOSS,
         "its part"},
        {"\"block_rows\":87381", "\"block_rows\":1", PS_EDATALOSS, "blocks"},
        {"\"shape\":[", "\"shape\":[2305843009213693952,8,", PS_EDATALOSS,
         "shape"},
        {"\"shape\":[", "\"shape\":[1,1,1,1,1,1,1,1,", PS_EDATALOSS,
         "too long"},
        {"\"shape\":[", "\"shape\":[2", PS_EDATALOSS, "file"},
        {"\"xxh3\":[", "\"xxh3\":[\"0123456789abcdef\",", PS_EDATALOSS,
         "blocks"},
        {"\"files\":[", "\"files\":[],\"old\":[", PS_EDATALOSS, "two files"},
        {"\"parts\":[", "\"parts\":[],\"old\":[", PS_EDATALOSS, "no part"},
    };
    struct stage *s = *state;
    struct buf b = {0};

    for (size_t i = 0; i < ARRAY_LEN(changes); i++) {
        const struct change *x = &changes[i];
        struct ckpt *c;
        struct err e = {0};
        int rc;

        replace(&s->index, x->from, x->to, &b);
        assert_int_equal(ckpt_new(&c, s->manifest.data, s->manifest.size, NULL),
                         PS_OK);
        c->manifest.lanes[0].index_bytes = b.size;
        c->manifest.lanes[0].index_sum = hash_bytes(b.data, b.size);
        rc = ckpt_add_index(c, 0, b.data, b.size, &e);
        ckpt_free(c);
        if (rc != x->status || strstr(e.text, x->why) == NULL ||
            (rc != PS_OK && strstr(e.text, "lane-7.json") == NULL)) {
            fail_msg("%s -> %s: %d, \"%s\"", x->from, x->to, rc, e.text);
        }
    }
    buf_fini(&b);
}

/* No input makes the stack grow, or more memory than a multiple of it. */
static void depth_and_size_are_bounded(void **state)
{
    struct stage *s = *state;
    struct buf deep = {0};
    struct buf b = {0};
    struct ckpt *c;

    assert_int_equal(buf_append(&deep, "\"z\":", 4), PS_OK);
    for (size_t i = 0; i < 100000; i++) {
        assert_int_equal(buf_append(&deep, "[", 1), PS_OK);
    }
    assert_int_equal(buf_append(&deep, "", 1), PS_OK);
    replace(&s->manifest, "\"plan\":6", (const char *)deep.data, &b);
    sign(&b);
    assert_int_equal(ckpt_new(&c, b.data, b.size, NULL), PS_EDATALOSS);
    buf_clear(&deep);
    assert_int_equal(buf_append(&deep, "\"variables\":[0", 14), PS_OK);
    for (size_t i = 0; i < 100000; i++) {
        assert_int_equal(buf_append(&deep, ",0", 2), PS_OK);
    }
    assert_int_equal(buf_append(&deep, ",", 2), PS_OK);
    replace(&s->manifest, "\"variables\":[", (const char *)deep.data, &b);
    sign(&b);
    assert_int_equal(ckpt_new(&c, b.data, b.size, NULL), PS_EDATALOSS);
    buf_fini(&deep);
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            manifests_that_contradict_themselves_are_refused, set_up,
            tear_down),
        cmocka_unit_test_setup_teardown(
            indexes_that_contradict_the_manifest_are_refused, set_up,
            tear_down),
        cmocka_unit_test_setup_teardown(depth_and_size_are_bounded, set_up,
                                        tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
