/* hello.c - the twenty lines of the README: pull two rows, push gradients. */
#include <psplus.h>
#include <stdio.h>

int main(void)
{
    ps_client *ps;
    ps_variable *user;
    struct ps_error why;
    struct ps_declaration what;
    uint64_t keys[2] = {7, 42};
    float rows[2][4], gradients[2][4] = {{1, 1, 1, 1}, {2, 2, 2, 2}};

    ps_declaration_init(&what);
    what.name = "user";
    what.kind = PS_HASH64;
    what.dim = 4;
    what.init = (struct ps_init){PS_INIT_TRUNCATED_NORMAL, 0, 0.01F, 1};
    what.updater = (struct ps_updater){"AdagradUpdater", {0.05, 0.1}, 2};
    if (ps_open(&ps, NULL, &why) != PS_OK ||
        ps_declare(ps, &what, &user, 0, &why) != PS_OK) {
        fprintf(stderr, "%s\n", why.text);
        return 1;
    }
    ps_pull(user, keys, 2, rows[0], 0);      /* float32 [2, 4] */
    ps_push(user, keys, 2, gradients[0], 0); /* applied exactly once */
    ps_pull(user, keys, 2, rows[0], 0);
    printf("user 42: %f %f ...\n", (double)rows[1][0], (double)rows[1][1]);
    return ps_close(ps, 1000) != PS_OK;
}
