#!/bin/sh
# brokers.sh SUITE: unpacks the Mosquitto of a Debian release, with all that it needs, under
# target/brokers/SUITE, and prints the program to start it with, for MOSQUITTO=. Nothing is installed: apt
# works on lists and a status of its own there.
set -eu

suite=$1
project=$(cd "$(dirname "$0")/.." && pwd)
target=$(cd "${CARGO_TARGET_DIR:-$project/target}" && pwd)
place=$target/brokers/$suite
keys=/usr/share/keyrings/debian-archive-keyring.gpg

if [ ! -e "$keys" ]; then
    echo "other releases' packages are fetched by apt: run this on Debian" >&2
    exit 1
fi

# With an empty status everything is absent, the C library too: it is the release's own that is unpacked.
debian() {
    apt-get -qq -o Dir::State="$place/state" -o Dir::State::status="$place/state/status" \
        -o Dir::Cache="$place/cache" -o Dir::Etc::sourcelist="$place/sources.list" \
        -o Dir::Etc::sourceparts=/dev/null -o APT::Sandbox::User="$(id -un)" "$@"
}

if [ ! -x "$place/mosquitto" ]; then
    rm -rf "$place"
    mkdir -p "$place/state/lists/partial" "$place/cache/archives/partial" "$place/root"
    : >"$place/state/status"
    # From where this machine has its own packages.
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Identifier: Packages' | grep -v security | head -n 1)
    echo "deb [signed-by=$keys] $mirror $suite main" >"$place/sources.list"
    {
        debian update
        debian install --download-only --no-install-recommends -y mosquitto
        for archive in "$place"/cache/archives/*.deb; do
            dpkg -x "$archive" "$place/root"
        done
        libraries=
        for folder in "$place"/root/usr/lib/*-linux-gnu* "$place"/root/lib/*-linux-gnu*; do
            [ ! -d "$folder" ] || libraries=$libraries${libraries:+:}$folder
        done
        # Installing would have made the links of libraries.
        echo "$libraries" | tr : '\n' | xargs /sbin/ldconfig -n
    } >&2
    loader=$(find "$place/root" -name 'ld-linux*.so.*' ! -type d | head -n 1)
    printf '#!/bin/sh\nexec "%s" --library-path "%s" "%s" "$@"\n' "$loader" "$libraries" \
        "$place/root/usr/sbin/mosquitto" >"$place/starts"
    chmod 755 "$place/starts"
    mv "$place/starts" "$place/mosquitto"
fi
echo "$place/mosquitto"
