#!/bin/sh
# brokers.sh NAME: gets a broker under target/brokers/NAME, and prints the program to start it with. Nothing is
# installed: apt works on lists and a status of its own there.
#
# bookworm, trixie, forky: the Mosquitto of that Debian release, for MOSQUITTO=.
# rabbitmq, ejabberd: those of Debian 13; rumqttd: from crates.io. For BROKER=: they are started with a port of
# 127.0.0.1 and a folder. The first two run in a folder of their own as the root of all (chroot), which takes root.
set -eu

name=$1
project=$(cd "$(dirname "$0")/.." && pwd)
target=$(cd "${CARGO_TARGET_DIR:-$project/target}" && pwd)
place=$target/brokers/$name
root=$place/root
keys=/usr/share/keyrings/debian-archive-keyring.gpg

# With an empty status everything is absent, the C library too: it is the release's own that is unpacked.
debian() {
    apt-get -qq -o Dir::State="$place/state" -o Dir::State::status="$place/state/status" \
        -o Dir::Cache="$place/cache" -o Dir::Etc::sourcelist="$place/sources.list" \
        -o Dir::Etc::sourceparts=/dev/null -o APT::Sandbox::User="$(id -un)" "$@"
}

# unpack SUITE PACKAGE...: with all that they need, in $root.
unpack() {
    if [ ! -e "$keys" ]; then
        echo "other releases' packages are fetched by apt: run this on Debian" >&2
        exit 1
    fi
    rm -rf "$place"
    mkdir -p "$place/state/lists/partial" "$place/cache/archives/partial" "$root"
    : >"$place/state/status"
    # From where this machine has its own packages.
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Identifier: Packages' | grep -v security | head -n 1)
    echo "deb [signed-by=$keys] $mirror $1 main" >"$place/sources.list"
    shift
    debian update
    debian install --download-only --no-install-recommends -y "$@"
    for archive in "$place"/cache/archives/*.deb; do
        dpkg -x "$archive" "$root"
    done
    debian clean
}

mosquitto() {
    unpack "$name" mosquitto
    libraries=
    for folder in "$root"/usr/lib/*-linux-gnu* "$root"/lib/*-linux-gnu*; do
        [ ! -d "$folder" ] || libraries=$libraries${libraries:+:}$folder
    done
    # Installing would have made the links of libraries.
    echo "$libraries" | tr : '\n' | xargs /sbin/ldconfig -n
    loader=$(find "$root" -name 'ld-linux*.so.*' ! -type d | head -n 1)
    printf '#!/bin/sh\nexec "%s" --library-path "%s" "%s" "$@"\n' "$loader" "$libraries" \
        "$root/usr/sbin/mosquitto" >"$place/starts"
}

# A program of Erlang: with a shell and its tools, and what it expects of a machine. What starts it begins with a
# folder in there, which is that of the folder it is given.
erlang() {
    if [ "$(id -u)" -ne 0 ]; then
        echo "$name is run in a root of its own: that takes root" >&2
        exit 1
    fi
    unpack trixie "$1" dash bash coreutils sed grep mawk findutils procps hostname util-linux libc-bin
    mknod -m 666 "$root/dev/null" c 1 3
    mknod -m 666 "$root/dev/random" c 1 8
    mknod -m 666 "$root/dev/urandom" c 1 9
    cp /etc/hosts "$root/etc/hosts"
    # Installing would have made the links of libraries.
    /sbin/ldconfig -r "$root"
    cat >"$place/starts" <<END
#!/bin/sh
set -eu
root=$root
[ -e "\$2/place" ] || echo "/broker/\$1-\$\$" >"\$2/place"
here=\$(cat "\$2/place")
mkdir -p "\$root\$here"
export HOME="\$here" PATH=/usr/bin:/usr/sbin LANG=C.UTF-8
END
}

rabbitmq() {
    erlang rabbitmq-server
    cat >>"$place/starts" <<'END'
cat >"$root$here/rabbitmq.conf" <<CONF
listeners.tcp = none
mqtt.listeners.tcp.1 = 127.0.0.1:$1
mqtt.allow_anonymous = true
max_message_size = 33816576
log.console = true
log.console.level = warning
log.file = false
CONF
echo '[rabbitmq_mqtt].' >"$root$here/plugins"
export RABBITMQ_NODENAME="r$(basename "$here")@localhost" RABBITMQ_DIST_PORT=$(($1 - 20000))
# Else its shell stays, and is what a signal reaches.
export RUNNING_UNDER_SYSTEMD=true
export RABBITMQ_CONFIG_FILE="$here/rabbitmq.conf" RABBITMQ_ENABLED_PLUGINS_FILE="$here/plugins"
export RABBITMQ_MNESIA_BASE="$here/db" RABBITMQ_LOG_BASE="$here/log" RABBITMQ_SERVER_ERL_ARGS="+sbwt none"
# One that was killed is forgotten a little later.
while chroot "$root" epmd -names 2>/dev/null | grep -q "name ${RABBITMQ_NODENAME%@*} "; do sleep 0.1; done
exec chroot "$root" /usr/lib/rabbitmq/bin/rabbitmq-server
END
}

ejabberd() {
    erlang ejabberd
    cat >>"$place/starts" <<'END'
cat >"$root$here/ejabberd.yml" <<CONF
hosts: [localhost]
loglevel: warning
auth_method: [anonymous]
anonymous_protocol: both
allow_multiple_connections: true
listen:
  - { port: $1, ip: 127.0.0.1, module: mod_mqtt, backlog: 1000, max_payload_size: 33816576 }
modules:
  mod_mqtt: { max_queue: 100000 }
CONF
export EJABBERD_CONFIG_PATH="$here/ejabberd.yml" EJABBERD_LOG_PATH="$here/ejabberd.log" SPOOL_DIR="$here/db"
ERL_LIBS=/usr/lib/$(cd "$root/usr/lib" && echo *-linux-gnu)
export ERL_LIBS
exec chroot "$root" /bin/sh -c "cd $here && exec erl -noinput -sname e$(basename "$here")@localhost \
    -mnesia dir '\"$here/db\"' -s ejabberd +sbwt none"
END
}

# Cargo builds what is not Debian's.
rumqttd() {
    mkdir -p "$place"
    [ -x "$place/bin/rumqttd" ] || "${CARGO:-cargo}" install --quiet --root "$place" --target-dir "$place/build" --no-default-features rumqttd@0.20.0
    cat >"$place/starts" <<END
#!/bin/sh
set -eu
cat >"\$2/rumqttd.toml" <<CONF
id = 0
[router]
id = 0
max_connections = 1000
max_outgoing_packet_count = 200
max_segment_size = 104857600
max_segment_count = 10
[v5.1]
name = "v5"
listen = "127.0.0.1:\$1"
next_connection_delay_ms = 1
[v5.1.connections]
connection_timeout_ms = 60000
max_payload_size = 33816576
max_inflight_count = 100
dynamic_filters = true
CONF
exec $place/bin/rumqttd -c "\$2/rumqttd.toml"
END
}

if [ ! -x "$place/program" ]; then
    case $name in
        rabbitmq | ejabberd | rumqttd) "$name" >&2 ;;
        *) mosquitto >&2 ;;
    esac
    chmod 755 "$place/starts"
    mv "$place/starts" "$place/program"
fi
echo "$place/program"
