/* udf_plugin.h - updaters from shared objects (psplus_plugin.h).
 *
 * At the start of a role only, before there are threads: nothing that comes
 * over the network loads anything. A plugin stays until the process ends.
 */
#ifndef UDF_PLUGIN_H
#define UDF_PLUGIN_H

#include "base/err.h"

/* Loads a plugin and adds its updaters, all of them or none. PS_EIO (it cannot
 * be loaded), PS_EVERSION, PS_EARGUMENT (it is none, or its table is wrong),
 * PS_EEXIST (a name is taken), PS_ELIMIT; with the reason. */
int udf_plugin_load(const char *path, struct err *e) MUST_USE;

#endif
