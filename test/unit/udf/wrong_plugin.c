/* wrong_plugin.c - plugins that are refused: one mistake for each WRONG. */
#include <psplus_plugin.h>

enum {
    NONE,
    ABI,
    EMPTY,
    NAME,
    TAKEN,
    PARAMS,
    SLOTS,
    INIT,
    APPLY,
    TWICE,
    SLASH,
    SAME
};

static void apply(const struct ps_plugin_rows *rows)
{
    (void)rows;
}

static const struct ps_plugin_updater updaters[] = {
    {
        .name = WRONG == NAME    ? "Good>Updater"
                : WRONG == TAKEN ? "AdagradUpdater"
                                 : "GoodUpdater",
        .n_params = WRONG == PARAMS ? PS_PLUGIN_PARAMS_MAX + 1 : 2,
        .n_slots = WRONG == SLOTS ? PS_PLUGIN_SLOTS_MAX + 1 : 2,
        .slots = {{"good", WRONG == INIT ? 2 : 1},
                  {WRONG == SLASH  ? "good/better"
                   : WRONG == SAME ? "good"
                                   : "better",
                   -1}},
        .apply = WRONG == APPLY ? NULL : apply,
    },
    {
        .name = WRONG == TWICE ? "GoodUpdater" : "BetterUpdater",
        .apply = apply,
    },
};

const struct ps_plugin ps_plugin = {
    .abi = WRONG == ABI ? PS_PLUGIN_ABI + 1 : PS_PLUGIN_ABI,
    .n_updaters = WRONG == EMPTY ? 0 : 2,
    .updaters = updaters,
};
