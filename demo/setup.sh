#!/bin/sh
# Installs Mosquitto where it is absent. The demo runs a broker of its own; Debian's package also
# starts a system-wide one, on localhost only, which the demo does not use.
set -eu

if command -v mosquitto >/dev/null || [ -x /usr/sbin/mosquitto ]; then
    exit 0
fi

as_root=
[ "$(id -u)" -eq 0 ] || as_root=$(command -v sudo || command -v doas) || {
    echo "demo: mosquitto is absent, and installing it needs root" >&2
    exit 1
}

if command -v apt-get >/dev/null; then
    $as_root apt-get update -qq
    $as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends mosquitto
elif command -v apk >/dev/null; then
    $as_root apk add --quiet mosquitto
else
    echo "demo: neither apt-get nor apk is here: install mosquitto, then run 'make demo' again" >&2
    exit 1
fi
