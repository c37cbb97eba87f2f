/* fuzz_options.c - the command lines of roles and subcommands, as they are.
 *
 * The first byte chooses the command, the rest is argv, a word up to each zero
 * byte. --print-config stands before all of it, so that nothing is ever run:
 * what is accepted is checked, filled in and printed, what is not is one line.
 */
#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"
#include "cli/cli.h"

enum { WORDS_MOST = 64, WORDS_FIRST = 3 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char first_words[][16] = {"--print-config", "-r", "scheduler", "server"};

/* What the command says goes nowhere; a fuzzer has its own standard error. */
static void be_silent(void)
{
    static FILE *nowhere;

    if (nowhere == NULL) {
        nowhere = fopen("/dev/null", "we");
        ASSERT(nowhere != NULL);
        fflush(stdout);
    }
    stdout = nowhere;
    stderr = nowhere;
}

static int split(char *text, size_t size, char **words, int n)
{
    size_t at = 0;

    while (at + 1 < size && n < WORDS_MOST) {
        words[n++] = text + at;
        at += strlen(text + at) + 1;
    }
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    FILE *former_out = stdout;
    FILE *former_err = stderr;
    char *words[WORDS_MOST + 1] = {first_words[0], first_words[1]};
    char *text;
    int status = CLI_OK;
    int n = 1;

    if (size == 0) {
        return 0;
    }
    text = mem_new(size);
    memcpy(text, data + 1, size - 1);
    text[size - 1] = '\0';
    be_silent();
    switch (data[0] % 5) {
    case 0:
    case 1:
        words[2] = first_words[2 + data[0] % 5];
        n = split(text, size, words, WORDS_FIRST);
        status = role_main(n, words);
        break;
    case 2:
        n = split(text, size, words, n);
        status = role_main(n, words);
        break;
    case 3:
        n = split(text, size, words, n);
        status = local_main(n, words);
        break;
    default:
        n = split(text, size, words, n);
        status = status_main(n, words);
        break;
    }
    stdout = former_out;
    stderr = former_err;
    ASSERT(status == CLI_OK || status == CLI_REFUSED);
    log_set_level(LOG_WARNING);
    mem_free(text);
    return 0;
}
