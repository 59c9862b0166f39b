#!/bin/sh
# image.sh BUSYBOX INIT FILE=PATH... >IMAGE: an initial file system. It has busybox, INIT as /init, every
# FILE at PATH, and the shared libraries that the programs among them need. LIBRARIES is where to look
# for libraries that this machine has not installed.
set -eu

busybox=$1
init=$2
shift 2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tree=$work/tree
needed=$work/needed

mkdir -p "$tree/bin" "$tree/dev" "$tree/etc" "$tree/proc" "$tree/sys" "$tree/tmp" "$tree/run"
cp "$busybox" "$tree/bin/busybox"
ln -s busybox "$tree/bin/sh"
install -m 755 "$init" "$tree/init"
# Mosquitto looks up its user.
echo 'root:x:0:0::/:/bin/sh' >"$tree/etc/passwd"
echo 'root:x:0:' >"$tree/etc/group"

for file; do
    from=${file%%=*}
    to=$tree/${file#*=}
    mkdir -p "${to%/*}"
    cp -L "$from" "$to"
    # Debug information would only fill the guest's memory. (strip would also take a kernel, and spoil it.)
    if [ "$(head -c 4 "$from" | tr -d '\0')" = "$(printf '\177ELF')" ]; then
        strip --strip-debug "$to"
    fi
    LD_LIBRARY_PATH=${LIBRARIES:-} ldd "$from" 2>/dev/null || :
done >"$needed"
if grep 'not found' "$needed" >&2; then
    exit 1
fi

# They go where the loader looks without being told; the loader goes where its name says.
libraries=$tree/usr/lib/x86_64-linux-gnu
mkdir -p "$libraries" "$tree/lib64"
awk '$2 == "=>" { print $3 } $1 ~ /^\// { print $1 }' "$needed" | sort -u | while read -r library; do
    case $library in
        */ld-linux*) cp -L "$library" "$tree/lib64/" ;;
        *) cp -L "$library" "$libraries/" ;;
    esac
done
[ -e "$tree/lib" ] || ln -s usr/lib "$tree/lib"

cd "$tree"
find . | "$tree/bin/busybox" cpio -o -H newc 2>/dev/null
