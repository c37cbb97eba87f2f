/* test_client_open.c - a client that comes before its cluster, or to none. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <ftw.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "coord/coord.h"
#include "fs/fs.h"

static char root[64];
static char store[96];

static int set_up(void **state)
{
    (void)state;
    log_set_level(LOG_NONE);
    snprintf(root, sizeof(root), "/tmp/test_client_open.XXXXXX");
    if (mkdtemp(root) == NULL) {
        return -1;
    }
    snprintf(store, sizeof(store), "%s/store", root);
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int type,
                      struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

static int tear_down(void **state)
{
    (void)state;
    return nftw(root, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static int open_client(int timeout_ms, struct ps_error *e)
{
    struct ps_options options;
    ps_client *client = NULL;
    int rc;

    ps_options_init(&options);
    options.scheduler = store;
    options.worker = -1;
    options.timeout_ms = timeout_ms;
    options.quiet = 1;
    rc = ps_open(&client, &options, e);
    assert_null(client);
    return rc;
}

static void a_mistyped_store_is_not_made(void **state)
{
    struct ps_error e = {0};
    struct stat st;

    (void)state;
    assert_int_equal(open_client(120, &e), PS_ETIMEOUT);
    assert_int_equal(e.status, PS_ETIMEOUT);
    assert_non_null(strstr(e.text, "no cluster was ever started in "));
    assert_non_null(strstr(e.text, store));
    assert_non_null(strstr(e.text, "within 120 ms"));
    assert_int_not_equal(stat(store, &st), 0);
}

static void a_folder_that_is_no_store_does_not_become_one(void **state)
{
    struct ps_error e = {0};

    (void)state;
    assert_int_equal(mkdir(store, 0755), 0);
    assert_int_equal(open_client(60, &e), PS_ETIMEOUT);
    assert_non_null(strstr(e.text, "no cluster was ever started in "));
    assert_int_equal(rmdir(store), 0); /* it is empty still */
}

static void *make_store(void *argument)
{
    const struct timespec ms_150 = {.tv_nsec = 150000000};
    struct coord_file *c;

    nanosleep(&ms_150, NULL);
    if (coord_file_open(&c, fs_file(), store, 7, NULL) == PS_OK) {
        coord_file_close(c);
        return argument;
    }
    return NULL;
}

/* It goes on to wait for the scheduler then, and says that it has none. */
static void a_store_that_is_made_meanwhile_is_joined(void **state)
{
    struct ps_error e = {0};
    pthread_t role;
    void *made = NULL;

    (void)state;
    assert_int_equal(pthread_create(&role, NULL, make_store, &e), 0);
    assert_int_equal(open_client(900, &e), PS_ETIMEOUT);
    assert_non_null(strstr(e.text, "no scheduler has come up at "));
    assert_int_equal(pthread_join(role, &made), 0);
    assert_ptr_equal(made, &e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_mistyped_store_is_not_made, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(
            a_folder_that_is_no_store_does_not_become_one, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            a_store_that_is_made_meanwhile_is_joined, set_up, tear_down),
    };

    return cmocka_run_group_tests_name("client_open", tests, NULL, NULL);
}
