#!/usr/bin/env bash
# script/install_test.sh BUILD: installs a build into a folder of its own and
# uses what is there as a stranger would. Last line: N passed, N failed.
set -euo pipefail
build=$1
stage=$PWD/build/stage
passed=0
failed=0

check() { # WHAT COMMAND...
    local what=$1
    shift
    if "$@"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        printf 'failed: %s\n' "$what"
    fi
}

is() { # WANTED GOT
    [ "$1" = "$2" ] || {
        printf 'wanted %s, got %s\n' "$1" "$2"
        return 1
    }
}

rm -rf "$stage"
meson=/usr/bin/meson
[ -x "$meson" ] || meson=meson
DESTDIR=$stage "$meson" install -C "$build" --no-rebuild >/dev/null
prefix=$stage/usr/local
library=$(find "$prefix" -name 'libpsplus.so.0' | head -n 1)
export PKG_CONFIG_PATH LD_LIBRARY_PATH
LD_LIBRARY_PATH=$(dirname "$library")
PKG_CONFIG_PATH=$LD_LIBRARY_PATH/pkgconfig
export PKG_CONFIG_SYSROOT_DIR=$stage

version=$(sed -n "s/^ *version: '\(.*\)',/\1/p" meson.build | head -n 1)
soname=$(readelf -d "$library" |
    sed -n 's/.*(SONAME).*\[\(.*\)\].*/\1/p')
check "the library's name" is libpsplus.so.0 "$soname"
check "pkg-config --modversion" is "$version" \
    "$(pkg-config --modversion psplus)"

# Only what the header declares is visible.
nm -D --defined-only "$library" | awk '{print $3}' | sort >build/visible
grep -o '\bps_[a-z_0-9]*(' "$prefix/include/psplus.h" | tr -d '(' |
    sort -u >build/declared
foreign=$(grep -v '^ps_' build/visible || true)
check "the library shows only ps_ symbols" is "" "$foreign"
missing=$(grep '^PS_API' -A1 "$prefix/include/psplus.h" |
    grep -o '\bps_[a-z_0-9]*(' | tr -d '(' | sort -u |
    comm -23 - build/visible)
check "the library has each function of the header" is "" "$missing"
extra=$(comm -13 build/declared build/visible)
check "the header declares each symbol of the library" is "" "$extra"

cat >build/stranger.c <<'END'
#include <psplus.h>
#include <stdio.h>

int main(void)
{
    printf("%s %s\n", ps_version(), ps_status_name(PS_ETIMEOUT));
    return 0;
}
END
# shellcheck disable=SC2046
check "a program builds with pkg-config" gcc -Wall -Werror \
    build/stranger.c -o build/stranger $(pkg-config --cflags --libs psplus)
check "and runs" is "$version PS_ETIMEOUT" "$(build/stranger)"
check "ps-plus runs from where it is installed" is "ps-plus $version" \
    "$("$prefix/bin/ps-plus" --version)"
for page in man1/ps-plus.1 man3/psplus.3; do
    check "the manual has $page" test -f "$prefix/share/man/$page"
done

printf '%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" = 0 ]
