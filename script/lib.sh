# lib.sh - what the scripts share: installing what is missing, and builds.
# To be sourced by bash with `set -euo pipefail`, from the top of the tree.

export LC_ALL=C.UTF-8
export DEBIAN_FRONTEND=noninteractive

# What a build needs, and what the demo and the tests need beside.
packages_build=(gcc libc6-dev binutils meson ninja-build pkg-config
    libuv1-dev libjansson-dev libhwloc-dev libxxhash-dev librandom123-dev
    python3)
packages_python=(python3-venv)
packages_test=(g++ libcmocka-dev)
# A suite whose tool is one of these and cannot be had skips.
packages_check=(clang-14 libclang-rt-14-dev clang-format-14 clang-tidy-14
    cppcheck iproute2 mandoc valgrind)

say() {
    printf '%s\n' "$*"
}

die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# A tool of Debian goes before another of its name earlier in the path.
tool() {
    if [ -x "/usr/bin/$1" ]; then
        printf '/usr/bin/%s\n' "$1"
    else
        command -v "$1"
    fi
}

has() {
    tool "$1" >/dev/null 2>&1
}

# Those of the named packages that are not installed.
missing_packages() {
    local package status
    for package in "$@"; do
        status=$(dpkg-query -W -f '${db:Status-Status}' "$package" \
            2>/dev/null || true)
        [ "$status" = installed ] || printf '%s\n' "$package"
    done
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null 2>&1; then
        sudo env DEBIAN_FRONTEND=noninteractive "$@"
    else
        say "neither root nor sudo; as root, run: $*"
        return 1
    fi
}

# install_packages NAME...: installs what is missing and says what. Says
# nothing and is fast where nothing is.
install_packages() {
    local missing
    command -v dpkg-query >/dev/null 2>&1 || {
        say "not a Debian system: these must be there: $*"
        return 0
    }
    mapfile -t missing < <(missing_packages "$@")
    [ "${#missing[@]}" -gt 0 ] || return 0
    say "installing with apt: ${missing[*]}"
    mkdir -p build
    if ! { as_root timeout 300 apt-get -q update &&
        as_root timeout 900 apt-get -q install -y --no-install-recommends \
            "${missing[@]}"; } >build/apt.log 2>&1 </dev/null; then
        tail -n 20 build/apt.log
        say "could not install: ${missing[*]} (whole log: build/apt.log)"
        return 1
    fi
}

# need_venv: a Python of its own in build/venv, where pip can be used.
need_venv() {
    install_packages "${packages_python[@]}"
    if [ ! -x build/venv/bin/pip ]; then
        say "making a virtual environment in build/venv"
        rm -rf build/venv
        "$(tool python3)" -m venv build/venv
    fi
}

# configure DIR ARGUMENT...: makes or remakes a build directory; nothing to do
# where it was made with the same arguments. CC is the caller's.
configure() {
    local dir=$1
    shift
    local wanted="CC=${CC:-} $*"
    NINJA=$(tool ninja)
    export NINJA
    if [ -f "$dir/build.ninja" ] &&
        [ "$(cat "$dir/configured" 2>/dev/null)" = "$wanted" ]; then
        return 0
    fi
    rm -rf "$dir"
    "$(tool meson)" setup "$dir" -Db_colorout=auto "$@"
    printf '%s' "$wanted" >"$dir/configured"
}

# build NAME TARGET...: makes build/NAME and in it what is named, or all.
#   demo     what script/demo runs: no tests, so nothing that they need
#   release  what is installed
#   hooks    with PROBE and PLANT, for the simulator
#   clang    the second opinion
#   asan     with the address and undefined-behaviour sanitizers
#   tsan     with the thread sanitizer
#   fuzz     the fuzz targets, clang
build() {
    local name=$1 dir=build/$1
    shift
    case $name in
    demo) CC=gcc configure "$dir" -Dwerror=true -Dtests=false ;;
    release) CC=gcc configure "$dir" -Dwerror=true ;;
    hooks) CC=gcc configure "$dir" -Dwerror=true -Dtest_hooks=true ;;
    clang) CC=clang-14 configure "$dir" -Dwerror=true -Dtest_hooks=true ;;
    asan)
        # No -Werror: sanitizers make gcc see paths that are not there.
        CC=gcc configure "$dir" -Dtest_hooks=true -Db_lundef=false \
            -Db_sanitize=address,undefined \
            -Dc_args=-fno-sanitize-recover=all
        ;;
    tsan)
        CC=gcc configure "$dir" -Dtest_hooks=true -Db_lundef=false \
            -Db_sanitize=thread
        ;;
    fuzz)
        CC=clang-14 configure "$dir" -Dfuzz=true -Db_lundef=false \
            -Db_sanitize=address,undefined \
            -Dc_args=-fno-sanitize-recover=all
        ;;
    coverage)
        CC=gcc configure "$dir" -Dbuildtype=debug -Db_coverage=true
        ;;
    *) die "no build is called $name" ;;
    esac
    "$(tool ninja)" -C "$dir" "$@"
}
