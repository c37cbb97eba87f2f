/* status.c - words and names of the statuses, and the version. */
#include "base.h"

/* The build says it; this is for files compiled without the build. */
#ifndef PS_VERSION
#define PS_VERSION "0.1.0"
#endif

const char *ps_status_text(int status)
{
    switch (status) {
#define STATUS_TEXT(name, value, words) \
    case value:                         \
        return words;
        PS_STATUS_MAP(STATUS_TEXT)
#undef STATUS_TEXT
    default:
        return "a status this version does not know";
    }
}

const char *ps_status_name(int status)
{
    switch (status) {
#define STATUS_NAME(name, value, words) \
    case value:                         \
        return #name;
        PS_STATUS_MAP(STATUS_NAME)
#undef STATUS_NAME
    default:
        return "PS_?";
    }
}

const char *ps_version(void)
{
    return PS_VERSION;
}
