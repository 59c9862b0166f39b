#!/bin/sh
# packages.sh DIRECTORY PACKAGE...: unpacks Debian packages, and what they need that this machine lacks,
# into DIRECTORY/root. The archives stay in DIRECTORY/archives for the next time. Nothing is installed,
# and nothing but `apt-get update` needs root.
# The unquoted variables are lists.
# shellcheck disable=SC2086
set -eu

directory=$1
shift

if [ "$(dpkg --print-architecture 2>/dev/null)" != amd64 ]; then
    echo "the virtual machines are made of Debian's packages for amd64: run this on Debian, on amd64" >&2
    exit 1
fi
mkdir -p "$directory/archives"
cd "$directory"

# A kernel comes without its dependencies: they would build an initial file system for this machine.
# "linux-image-amd64" only names the package of the day.
fetch() {
    wanted=
    kernels=
    for package; do
        case $package in
            linux-image-*) kernels="$kernels $package" ;;
            *) wanted="$wanted $package" ;;
        esac
    done
    # One by one, because what is not installed need not go together with what is. What is installed
    # is not fetched in a newer version ("Inst NAME [OLD] (NEW ...)"): it is used as it is.
    names=
    for package in $wanted; do
        plan=$(apt-get install --simulate -qq --no-install-recommends "$package" 2>errors) || return
        names="$names $(echo "$plan" | sed -n 's/^Inst \([^ ]*\) (.*/\1/p')"
    done
    for package in $kernels; do
        real=$(apt-cache depends "$package" | sed -n 's/^ *Depends: \(linux-image-.*\)/\1/p') || return
        names="$names ${real:-$package}"
    done
    names=$(printf '%s\n' $names | sort -u)
    (cd archives && apt-get download -qq $names 2>../errors) || return
    # Nothing else may be unpacked: a kernel of yesterday may be there still.
    for name in $names; do
        (cd archives && ls -t "${name%%:*}"_*.deb) | head -n 1
    done >unpack
}

# The lists may be absent, or name packages that the mirrors have replaced.
if ! fetch "$@"; then
    as_root=
    [ "$(id -u)" -eq 0 ] || as_root=$(command -v sudo) || as_root=
    $as_root apt-get update -qq
    fetch "$@" || { cat errors >&2; exit 1; }
fi

if ! cmp -s unpack unpacked; then
    rm -rf root unpacked
    mkdir root
    while read -r archive; do
        dpkg -x "archives/$archive" root
    done <unpack
    mv unpack unpacked
fi
