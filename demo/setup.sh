#!/bin/sh
# setup.sh PROGRAM...: installs Mosquitto, its command-line clients, a C or C++ compiler, a browser, or a checker, where these
# programs are absent. The demo and the tests run brokers of their own; Debian's package also starts a
# system-wide one, on localhost only, which is not used.
set -eu

packages=
for program in "$@"; do
    command -v "$program" >/dev/null || [ -x "/usr/sbin/$program" ] || case $program in
        mosquitto) packages="$packages mosquitto" ;;
        c++) packages="$packages g++" ;;
        *-linux-gnu-gcc) packages="$packages gcc-${program%-gcc}" ;;
        shellcheck | mandoc | lintian | chromium) packages="$packages $program" ;;
        *) packages="$packages mosquitto-clients" ;;
    esac
done
[ -n "$packages" ] || exit 0

as_root=
[ "$(id -u)" -eq 0 ] || as_root=$(command -v sudo || command -v doas) || {
    echo "this needs$packages, and installing them needs root" >&2
    exit 1
}

# $packages is a list.
# shellcheck disable=SC2086
if command -v apt-get >/dev/null; then
    $as_root apt-get update -qq
    $as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends $packages
elif command -v apk >/dev/null; then
    $as_root apk add --quiet $packages
else
    echo "neither apt-get nor apk is here: install$packages, and try again" >&2
    exit 1
fi
