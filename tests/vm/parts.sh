# shellcheck shell=sh disable=SC2154
# parts.sh, for qemu.sh and xen.sh to read in: what both make their machines of. $here is its directory.
# The packages are kept in target/vm for the next time; everything else is in $work, and goes.
#
#   packages.sh  fetches and unpacks Debian packages
#   image.sh     makes an initial file system

project=$(cd "$here/../.." && pwd)
target=$(cd "${CARGO_TARGET_DIR:-$project/target}" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

# unpack NAME PACKAGE...: sets $root to where they are.
unpack() {
    packages=$target/vm/$1
    shift
    root=$packages/root
    sh "$here/packages.sh" "$packages" "$@"
    libraries=$root/usr/lib/x86_64-linux-gnu:$root/lib/x86_64-linux-gnu
    busybox=$(program busybox bin/busybox)
    # QEMU's libraries are for nobody else.
    qemu=$work/qemu
    printf '#!/bin/sh\nexport LD_LIBRARY_PATH=%s\nexec %s "$@"\n' "$libraries" \
        "$(program qemu-system-x86_64 usr/bin/qemu-system-x86_64)" >"$qemu"
    chmod 755 "$qemu"
}

# program NAME FILE: where it is. One that this machine has was not unpacked.
program() {
    if [ -x "$root/$2" ]; then echo "$root/$2"; else command -v "$1"; fi
}

# file PATH: where a package's file is. What this machine has installed was not unpacked.
file() {
    if [ -e "$root/$1" ]; then echo "$root/$1"; else echo "/$1"; fi
}

# modules KERNEL NAME...: FILE=PATH of those modules that the kernel has not built in.
modules() {
    version=$1
    shift
    mkdir -p "$work/modules-$version"
    for module; do
        find "$root/lib/modules/$version" "$root/usr/lib/modules/$version" \
            -name "$module.ko*" -exec cp {} "$work/modules-$version/" \; 2>/dev/null || :
    done
    for file in "$work/modules-$version"/*.xz; do
        [ ! -e "$file" ] || xz -d "$file"
    done
    for file in "$work/modules-$version"/*.ko; do
        echo "$file=modules/${file##*/}"
    done
}

# image INIT FILE=PATH...: an initial file system with the gateway, what belongs to it, and the test.
image() {
    init=$1
    shift
    for mapping in "$project"/mappings/*.toml; do
        set -- "$@" "$mapping=mappings/${mapping##*/}"
    done
    mosquitto=$(command -v mosquitto || echo /usr/sbin/mosquitto)
    LIBRARIES=$libraries sh "$here/image.sh" "$busybox" "$here/$init" \
        "$target/debug/passerelle=bin/passerelle" "$target/debug/examples/vm=bin/vm" \
        "$mosquitto=usr/sbin/mosquitto" "$@"
}
