#!/bin/sh
# qemu.sh [--only SCENE]: `make test-vm`, once the programs are built. Boots Linux guests in QEMU, all emulated, whose
# /dev/hvc2 is a virtio console; see examples/vm. Needs Debian on amd64 and Mosquitto. The packages are
# kept in target/vm for the next time; what is made of them is in a temporary directory and goes.
#
#   packages.sh  fetches and unpacks Debian packages
#   image.sh     makes an initial file system
#   init         is its first program
set -eu

here=$(cd "$(dirname "$0")" && pwd)
project=$here/../..
target=${CARGO_TARGET_DIR:-$project/target}
mkdir -p "$target/vm"
packages=$(cd "$target/vm" && pwd)/qemu
root=$packages/root

sh "$here/packages.sh" "$packages" qemu-system-x86 busybox-static linux-image-cloud-amd64

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

# A program that is installed already was not fetched.
find_program() {
    if [ -x "$root/$2" ]; then echo "$root/$2"; else command -v "$1"; fi
}
busybox=$(find_program busybox bin/busybox)
qemu=$(find_program qemu-system-x86_64 usr/bin/qemu-system-x86_64)
kernel=$(ls "$root"/boot/vmlinuz-*)

mkdir "$work/modules"
find "$root/lib/modules" "$root/usr/lib/modules" -name 'virtio*.ko*' 2>/dev/null | while read -r module; do
    cp "$module" "$work/modules/"
done
for module in "$work"/modules/*.xz; do
    [ ! -e "$module" ] || xz -d "$module"
done

files=
for file in "$work"/modules/*.ko; do
    files="$files $file=modules/${file##*/}"
done
for file in "$project"/mappings/*.toml; do
    files="$files $file=mappings/${file##*/}"
done
mosquitto=$(command -v mosquitto || echo /usr/sbin/mosquitto)
# $files is a list.
# shellcheck disable=SC2086
sh "$here/image.sh" "$busybox" "$here/init" "$target/debug/passerelle=bin/passerelle" \
    "$target/debug/examples/vm=bin/vm" "$mosquitto=usr/sbin/mosquitto" $files >"$work/initrd"

LD_LIBRARY_PATH=$root/usr/lib/x86_64-linux-gnu:$root/lib/x86_64-linux-gnu
export LD_LIBRARY_PATH
timeout --kill-after=10 300 "$target/debug/examples/vm" drive \
    --passerelle "$target/debug/passerelle" --mappings "$project/mappings" \
    --qemu "$qemu" --kernel "$kernel" --initrd "$work/initrd" "$@"
