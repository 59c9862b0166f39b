#!/bin/sh
# xen.sh: `make test-xen`, once the programs are built. Boots Xen in QEMU, all emulated, with a Dom0 that
# starts PV domains; their /dev/hvc2 is a channel. The gateway and its peers of examples/vm run in Dom0
# as they do outside the guest for qemu.sh. Needs Debian 12 on amd64, Mosquitto, and 2 GB of memory.
#
#   init       the first program of a domain, and of a guest of qemu.sh
#   init-dom0  the first program of Dom0
set -eu

here=$(cd "$(dirname "$0")" && pwd)
. "$here/parts.sh"

unpack xen qemu-system-x86 busybox-static linux-image-cloud-amd64 linux-image-amd64 \
    xen-hypervisor-4.17-amd64 xen-utils-4.17 qemu-system-xen
domu=$(ls "$root"/boot/vmlinuz-*-cloud-amd64)
dom0=$(find "$root/boot" -name 'vmlinuz-*' ! -name '*-cloud-*')
version=${dom0##*/vmlinuz-}

# A PV domain's kernel has the drivers of its consoles built in.
image init >"$work/domu"
set -- "$work/domu=domu/initrd" "$domu=domu/vmlinuz"
for file in usr/lib/xen-4.17/bin/xl usr/lib/xen-4.17/bin/xenstored usr/lib/xen-4.17/bin/xenconsoled \
    usr/lib/xen-4.17/bin/xen-init-dom0 usr/libexec/xen-qemu-system-i386 usr/share/qemu/keymaps/en-us; do
    set -- "$@" "$(file "$file")=$file"
done
for file in $(modules "$version" xen-privcmd xen-evtchn xen-gntdev xen-gntalloc xenfs); do
    set -- "$@" "$file"
done
image init-dom0 "$@" >"$work/dom0"
gunzip -c "$(file boot/xen-4.17-amd64.gz)" >"$work/xen"

timeout --kill-after=10 900 "$qemu" -machine q35 -accel tcg -cpu qemu64 -m 2048 \
    -nodefaults -display none -no-reboot -nic none \
    -kernel "$work/xen" -append "com1=115200,8n1 console=com1 dom0_mem=1200M sched=credit" \
    -initrd "$dom0 console=hvc0 quiet,$work/dom0" -serial "file:$work/log" &
machine=$!
trap 'kill $machine 2>/dev/null || :; rm -rf "$work"' EXIT
: >>"$work/log"
tail -n +1 -f --pid=$machine "$work/log" | tr -d '\r' | sed -u -n '/^BEGIN/,/^END/p'
wait $machine || { echo "Xen's machine ended badly; its console:" >&2; cat "$work/log" >&2; exit 1; }
if ! grep -q '^END 0' "$work/log"; then
    cat "$work/log" >&2
    exit 1
fi
