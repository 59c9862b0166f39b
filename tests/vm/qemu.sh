#!/bin/sh
# qemu.sh [--only SCENE]: `make test-vm`, once the programs are built. Boots Linux guests in QEMU, all
# emulated, whose /dev/hvc2 is a virtio console; see examples/vm for what happens there. Needs Debian on
# amd64, and Mosquitto.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
. "$here/parts.sh"

unpack qemu qemu-system-x86 busybox-static linux-image-cloud-amd64
kernel=$(ls "$root"/boot/vmlinuz-*)
virtio=$(modules "${kernel##*/vmlinuz-}" virtio virtio_ring virtio_pci_legacy_dev virtio_pci_modern_dev \
    virtio_pci virtio_console)
# $virtio is a list.
# shellcheck disable=SC2086
image init $virtio >"$work/initrd"

# The program ends in time of itself; this is for one that hangs.
timeout --foreground --kill-after=10 330 "$target/debug/examples/vm" drive --limit 300 \
    --passerelle "$target/debug/passerelle" --mappings "$project/mappings" \
    --qemu "$qemu" --kernel "$kernel" --initrd "$work/initrd" "$@"
