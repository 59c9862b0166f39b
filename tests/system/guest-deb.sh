#!/bin/sh
# guest-deb.sh: what an operator does with the package on a Debian with systemd, and whether it is so. deb.sh boots the
# machine that runs this as root; what it prints between BEGIN and END is the result.
set -u
cd /test || exit 1
. ./checks.sh
version=$(cat version)
echo "BEGIN"
. /etc/os-release
ok "$PRETTY_NAME, $(systemctl --version | head -n 1)"

process() { systemctl show --property MainPID --value passerelle; }
other_than() { systemctl is-active --quiet passerelle && [ "$(process)" != "$1" ]; }
log_says() { journalctl --quiet --unit passerelle --output cat | grep -q "$1"; }
the_same() { systemctl is-active --quiet passerelle && [ "$(process)" = "$1" ]; }

files before 2>/dev/null
dpkg --install passerelle_0.0.1_amd64.deb >dpkg.out 2>&1 || { fail "install"; cat dpkg.out; }
check "its user is in the groups that it needs" sh -c 'id -nG passerelle | grep -w mosquitto'
check "its completions are where the shells look" ls /usr/share/zsh/vendor-completions/_passerelle \
	/usr/share/bash-completion/completions/passerelle /usr/share/fish/vendor_completions.d/passerelle.fish
check "it does not start of itself" sh -c '! systemctl is-active passerelle'
cp /usr/share/doc/passerelle/mosquitto.conf /etc/mosquitto/mosquitto.conf
cp /etc/passerelle/passerelle.toml shipped.toml
sed -i 's|^ *#* *dir = |dir = |' /etc/passerelle/passerelle.toml
systemctl stop mosquitto
check "check" passerelle check
systemctl start passerelle || { fail "start"; journalctl --quiet --unit passerelle --no-pager | tail -n 20; }
check "it starts without the broker and before the domains" systemctl is-active passerelle
# Debian's Mosquitto keeps its group out of the folder of its socket: docs/packages.md.
mkdir -p /etc/systemd/system/mosquitto.service.d
printf '[Service]\nExecStartPre=/usr/bin/install -d -o mosquitto -g mosquitto -m 750 /run/mosquitto\n' >/etc/systemd/system/mosquitto.service.d/socket.conf
systemctl daemon-reload
systemctl start mosquitto || { fail "mosquitto"; journalctl --quiet --unit mosquitto --no-pager | tail -n 20; }
./traffic /run/sys-usb-msg.sock sys-usb &
./traffic /run/vm-gui-msg.sock vm-gui 3 >gui.out &
open_to passerelle /run/sys-usb-msg.sock
open_to passerelle /run/vm-gui-msg.sock
check "a legacy domain's calls are answered" grep -q answered=3 gui.out
check "a legacy domain is called from MQTT" mosquitto_rr --unix /run/mosquitto/mqtt.sock -V 5 -W 10 \
	-t system/disks/list_disks/request -e system/disks/list_disks/response/operator -m '{"source":"operator"}'
check "status" passerelle status

before=$(process)
cp /etc/passerelle/passerelle.toml good.toml
echo 'wrong = 1' | cat - good.toml >/etc/passerelle/passerelle.toml
refused "reload does not take a wrong configuration" systemctl reload passerelle
check "and the gateway goes on" the_same "$before"
refused "nor does reload-or-restart" systemctl reload-or-restart passerelle
check "and the gateway goes on" the_same "$before"
cp good.toml /etc/passerelle/passerelle.toml
check "reload takes a right one" systemctl reload passerelle
check "which it says in its log" log_says reloaded
# What docs/packages.md says of a plain restart: it asks nobody, and mends itself.
echo 'wrong = 1' | cat - good.toml >/etc/passerelle/passerelle.toml
refused "restart says that a configuration is wrong" systemctl restart passerelle
check "and what is wrong" log_says 'unknown key'
cp good.toml /etc/passerelle/passerelle.toml
check "once that is mended, the gateway is there again" passerelle status

before=$(process)
kill -9 "$before" || fail "there is nothing to kill"
check "kill -9: it is started anew" other_than "$before"
before=$(process)
kill -STOP "$before"
echo "      stopped: the watchdog has 30 s"
tries=0
until other_than "$before" || [ $tries -gt 90 ]; do
	tries=$((tries + 1))
	sleep 1
done
check "one that hangs is started anew" other_than "$before"

echo '# mine' >>/etc/passerelle/mappings/psec.toml
mosquitto_sub --unix /run/mosquitto/mqtt.sock -V 5 -q 1 -i ledger -c -t 'system/events/error/notification' >events.out &
sub=$!
rm -f /run/vm-gui-msg.sock
./traffic /run/vm-gui-msg.sock vm-gui 2000 >gui.out 2>&1 &
gui=$!
open_to passerelle /run/vm-gui-msg.sock
until_true sh -c '[ "$(wc -l <events.out)" -gt 200 ]' || fail "the domain says nothing"
before=$(process)
dpkg --install "passerelle_${version}_amd64.deb" >dpkg.out 2>&1 || { fail "upgrade"; cat dpkg.out; }
check "an upgrade starts the gateway anew" other_than "$before"
check "what was edited stays" grep -q '^# mine' /etc/passerelle/mappings/psec.toml
wait "$gui" || fail "calls were lost"
cat gui.out
check "an upgrade ends no call before its time" grep -q ' told=0 ' gui.out
check "every event arrives" sh -c '[ "$(grep -o "event-[0-9]*-" events.out | sort -u | wc -l)" = 2000 ]'
kill "$sub"

systemd-analyze security --no-pager passerelle 2>/dev/null | tail -n 1
dpkg --purge passerelle >dpkg.out 2>&1 || { fail "purge"; cat dpkg.out; }
files after 2>/dev/null
grep -q passerelle /etc/passwd /etc/group /etc/shadow && fail "its user is left"
pgrep passerelle >/dev/null && fail "it still runs"
same_as_before ' (/etc/mosquitto(/mosquitto.conf)?|/etc/systemd/system(/mosquitto.service.d.*)?|/var/lib/mosquitto(/.*)?|/var/log(/.*)?|/var/tmp/systemd-private-.*|/var/lib/dpkg(/.*)?|/var/lib/systemd(/.*)?|/var/cache(/.*)?|/etc/(passwd|group|shadow|gshadow|subuid|subgid)-)( |$)'

[ "$failed" -eq 0 ] || systemctl status --no-pager mosquitto
[ "$failed" -eq 0 ] || journalctl --quiet --unit passerelle --no-pager | tail -n 60
echo "END $failed"
systemctl poweroff --force --force
