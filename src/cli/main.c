/* main.c - ps-plus: which of the roles and subcommands is wanted. */
#include <stdio.h>

#include "cli/cli.h"

/* Every word that ps-plus knows. Those without a function are not built yet:
 * they are refused, so that no script believes that they did something. */
static const struct command {
    const char *word;
    int (*run)(int argc, char **argv);
    const char *help;
} commands[] = {
    {"local", local_main, "a whole cluster on this machine, and workers in it"},
    {"status", status_main, "servers, shards, variables, what they have done"},
    {"top", NULL, "the same, live"},
    {"save", save_main, "takes a checkpoint while training goes on"},
    {"restore", restore_main, "goes back to a checkpoint"},
    {"move", move_main, "a part of a variable goes to another shard"},
    {"checkpoints", checkpoint_main, "lists the checkpoints"},
    {"variables", NULL, "lists the variables"},
    {"inspect", checkpoint_inspect_main, "shows what is in a checkpoint"},
    {"verify", checkpoint_verify_main, "reads a checkpoint and checks it"},
    {"compact", compact_main, "increments become a whole checkpoint"},
    {"import", import_main, "a checkpoint of the original becomes ours"},
    {"export", export_main, "variables of a checkpoint as text"},
    {"placement", NULL, "shows what a plan would be"},
    {"bench", bench_main, "pulls and pushes against the machine's limits"},
    {"doctor", NULL, "finds what is wrong with a cluster"},
};

static const char about[] =
    "A parameter server for sparse deep learning. Servers hold the rows of a\n"
    "model; workers pull the rows of a batch and push gradients, and each "
    "push\n"
    "is applied exactly once. A scheduler decides which server holds what. "
    "They\n"
    "find each other through a store, which is a folder on one host.\n"
    "\n"
    "Everything at once on this machine, and a trainer run twice in it:\n"
    "    ps-plus local --servers 2 --workers 2 -- ./train\n"
    "\n"
    "The same by hand, a process each, in any order:\n"
    "    ps-plus -r scheduler -sp file:///run/ps -sn 2\n"
    "    ps-plus -r server -sp file:///run/ps -si 0\n"
    "    ps-plus -r server -sp file:///run/ps -si 1\n"
    "    ps-plus status -sp file:///run/ps\n";

static void print_help(void)
{
    printf("usage: ps-plus -r ROLE OPTION...\n"
           "       ps-plus SUBCOMMAND OPTION...\n\n%s\nRoles:\n"
           "  -r scheduler  decides which server holds what\n"
           "  -r server     holds rows and runs the updaters on them\n\n"
           "Subcommands:\n",
           about);
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        if (commands[i].run != NULL) {
            printf("  %-12s  %s\n", commands[i].word, commands[i].help);
        }
    }
    printf("\nNot built yet:\n");
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        if (commands[i].run == NULL) {
            printf("  %-12s  %s\n", commands[i].word, commands[i].help);
        }
    }
    printf("\nOptions of a role or subcommand: ps-plus -r ROLE --help, "
           "ps-plus SUBCOMMAND --help.\n"
           "  --version  prints the version, and ends\n");
}

static int run_command(int argc, char **argv)
{
    const char *word = argv[0];
    struct err e;

    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        if (strcmp(commands[i].word, word) != 0) {
            continue;
        }
        if (commands[i].run == NULL) {
            err_set(&e, PS_ENOTIMPL,
                    "%s is not built yet; ps-plus --help lists what is", word);
            return cli_refuse(&e);
        }
        return commands[i].run(argc - 1, argv + 1);
    }
    err_set(&e, PS_EARGUMENT,
            "unknown subcommand \"%.64s\"; ps-plus --help lists them", word);
    return cli_refuse(&e);
}

/* --help and --version, where nothing else stands on the line. */
static bool is_alone(int argc, char **argv, const char *name)
{
    const char *word = argc == 1 && argv[0][0] == '-' ? argv[0] + 1 : "";

    return strcmp(word[0] == '-' ? word + 1 : word, name) == 0;
}

/* What could not be written must not look as if it had been. */
static int end(int status)
{
    struct err e;

    if (fflush(stdout) != 0 || ferror(stdout)) {
        err_set(&e, PS_EIO, "cannot write to stdout");
        return status == CLI_OK ? cli_fail(&e) : status;
    }
    return status;
}

int main(int argc, char **argv)
{
    int n = argc > 0 ? argc - 1 : 0;
    char **words = argv + (argc - n);

    if (is_alone(n, words, "help") || is_alone(n, words, "h")) {
        print_help();
        return end(CLI_OK);
    }
    if (is_alone(n, words, "version")) {
        cli_print_version();
        return end(CLI_OK);
    }
    return end(n > 0 && words[0][0] != '-' ? run_command(n, words)
                                           : role_main(n, words));
}
