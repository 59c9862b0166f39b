#!/bin/sh
# deb.sh: `make test-deb`. Boots a Debian with systemd in QEMU, and does there what an operator would with the package:
# see guest-deb.sh. The Debian is made with mmdebstrap, and all of it is in the machine's memory: 1.5 GB.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
project=$(cd "$here/../.." && pwd)
cd "$project"
target=$(mkdir -p "${CARGO_TARGET_DIR:-target}" && cd "${CARGO_TARGET_DIR:-target}" && pwd)
kept=$target/system
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
mkdir -p "$kept" "$work/root"

if [ "$(id -u)" -ne 0 ]; then
	echo "test-deb: it makes a Debian, for which it has to be root: not tested" >&2
	exit 0
fi
wanted=
for pair in qemu-system-x86_64=qemu-system-x86 mmdebstrap=mmdebstrap cpio=cpio; do
	command -v "${pair%=*}" >/dev/null || wanted="$wanted ${pair#*=}"
done
if [ -n "$wanted" ]; then
	# $wanted is a list.
	# shellcheck disable=SC2086
	if ! { apt-get update -qq &&
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $wanted >/dev/null; }; then
		echo "test-deb:$wanted cannot be had here: not tested" >&2
		exit 0
	fi
fi

# --- The machine, and the package and one before it ------------------------------------------------------------------

if ! [ -f "$kept/debian.tar" ]; then
	mmdebstrap --quiet --variant=minbase --include=systemd-sysv,mosquitto,mosquitto-clients,procps \
		bookworm "$kept/debian.tar.new.tar" || { echo "test-deb: Debian's packages are out of reach: not tested" >&2; exit 0; }
	mv "$kept/debian.tar.new.tar" "$kept/debian.tar"
fi
sh tests/vm/packages.sh "$kept/debian-kernel" linux-image-cloud-amd64
kernel=$(find "$kept/debian-kernel/root/boot" -name 'vmlinuz-*')
tar -C "$work/root" -xf "$kept/debian.tar"

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
mkdir "$work/root/test"
sh packaging/dist.sh dist-packages >/dev/null
if ! [ -f "$target/dist/passerelle_${version}_amd64.deb" ]; then
	echo "test-deb: there is no package: not tested" >&2
	exit 0
fi
cp "$target/dist/passerelle_${version}_amd64.deb" "$work/root/test/"
VERSION=0.0.1 PROGRAM=${PROGRAM:-$target/x86_64-unknown-linux-musl/release/passerelle} sh packaging/dist.sh dist-packages >/dev/null
cp "$target/dist/passerelle_0.0.1_amd64.deb" "$work/root/test/"
rustc --edition 2024 -O --target x86_64-unknown-linux-musl -C linker=rust-lld -o "$work/root/test/traffic" "$here/traffic.rs"
cp "$here/guest-deb.sh" "$here/checks.sh" "$work/root/test/"
echo "$version" >"$work/root/test/version"
cat >"$work/root/etc/systemd/system/guest.service" <<'UNIT'
[Service]
Type=exec
ExecStart=/bin/sh /test/guest-deb.sh
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS0
UNIT
mkdir -p "$work/root/etc/systemd/system/multi-user.target.wants"
ln -s ../guest.service "$work/root/etc/systemd/system/multi-user.target.wants/guest.service"
ln -sf /usr/lib/systemd/systemd "$work/root/init"
(cd "$work/root" && find . | cpio -o -H newc --quiet) >"$work/initrd"

# --- It runs ---------------------------------------------------------------------------------------------------------

ended=0
timeout --foreground --kill-after=10 "${LIMIT:-600}" qemu-system-x86_64 -machine q35 -accel tcg -m 1536 -smp 2 \
	-nodefaults -display none -no-reboot -nic none -kernel "$kernel" -initrd "$work/initrd" \
	-append "console=ttyS0 quiet no_timer_check systemd.show_status=no systemd.log_target=null" \
	-serial "file:$work/log" || ended=$?
lines=$(tr -d '\r' <"$work/log")
echo "$lines" | sed -n '/^BEGIN/,/^END/p'
[ "$ended" -eq 0 ] || echo "test-deb: the machine did not end by itself" >&2
# It was still at work, and all was well: that is no fault of what is tested.
if [ "$ended" -eq 124 ] && ! echo "$lines" | grep -q '^END\|^FAIL' && [ -n "$(find "$work/log" -mmin -2)" ]; then
	echo "test-deb: ${LIMIT:-600} s were too short here: not tested to the end" >&2
elif ! echo "$lines" | grep -q '^END 0'; then
	echo "test-deb: failed; the machine's console:" >&2
	cat "$work/log" >&2
	exit 1
fi
