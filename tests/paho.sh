#!/bin/sh
# Prints a folder that has paho-mqtt 2 for Python: under target/, from its package, if it is not there yet.
set -eu
cd "$(dirname "$0")/.."

target=${CARGO_TARGET_DIR:-$PWD/target}
folder=$target/tools/paho
[ -d "$folder/paho" ] || {
    new=$(mktemp -d)
    trap 'rm -rf "$new"' EXIT
    pip=$target/tools/pip
    [ -x "$pip"/bin/pip ] || python3 -m venv "$pip" >&2
    "$pip"/bin/pip install --quiet --disable-pip-version-check --target "$new/paho" paho-mqtt==2.1.0 >&2
    mkdir -p "$(dirname "$folder")"
    mv "$new/paho" "$folder"
}
echo "$folder"
