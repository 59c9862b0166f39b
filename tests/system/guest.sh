#!/bin/sh
# guest.sh: what an operator does with a package on Alpine, and whether it is so. alpine.sh boots the machine that
# runs this as root; what it prints between BEGIN and END is the result.
set -u
cd /mnt || exit 1
. ./checks.sh
version=$(cat version)
echo "BEGIN"

# document HEADING: carries out the `sh run` blocks of a section of MIGRATION.md, each until it has said what the
# `text` block behind it says.
document() {
	rm -rf steps
	mkdir steps
	awk -v heading="$1" '
		/^## / { inside = index($0, heading) > 0 }
		inside && /^```sh run$/ { n++; out = "steps/" n ".sh"; printf "" > ("steps/" n ".text"); next }
		inside && /^```text$/ { out = "steps/" n ".text"; next }
		/^```/ { out = ""; next }
		out != "" { print > out }
	' MIGRATION.md
	for step in $(ls steps | sed -n 's/\.sh$//p' | sort -n); do
		check "MIGRATION.md, $1: $(head -n 1 "steps/$step.sh")" said "steps/$step"
	done
}

# said STEP
said() {
	sh -eu "$1.sh" >"$1.out" 2>&1 || { cat "$1.out"; return 1; }
	while read -r line; do
		grep -qF -- "$line" "$1.out" || { cat "$1.out"; return 1; }
	done <"$1.text"
}

is_running() { rc-service -q passerelle status; }
process() { pgrep -f '^/usr/bin/passerelle run'; }
other_than() { [ -n "$(process)" ] && [ "$(process)" != "$1" ]; }
log_says() { grep -q "$1" /var/log/passerelle.log; }

# --- The machine before ----------------------------------------------------------------------------------------------

. /etc/os-release
ok "$PRETTY_NAME, $(rc-service --version | head -n 1), $(apk --version)"
apk add --no-network --allow-untrusted ./mosquitto.apk ./mosquitto-clients.apk ./logrotate.apk >apk.out 2>&1 || cat apk.out
# The document says `apk add` for these; they are here, and there is no network to look for newer ones.
: >/etc/apk/repositories
cp /usr/share/doc/passerelle/mosquitto.conf /etc/mosquitto/ 2>/dev/null
files before

# --- Installed and started, as the document has it -------------------------------------------------------------------

cp "passerelle_${version}_x86_64.apk" new.apk
# The first one is the version before: it is upgraded below.
cp passerelle_0.0.1_x86_64.apk "passerelle_${version}_x86_64.apk"
document "1. Install"
check "its user is in the groups that it needs" sh -c 'id -nG passerelle | grep -w mosquitto'
ls -l /var/run/*-msg.sock >/dev/null 2>&1 && fail "there are domains before they start"

# It starts before the domains, and without the broker.
rc-service -q mosquitto stop
rc-service passerelle start >service.out 2>&1 || cat service.out
check "it starts without the broker and before the domains" is_running
check "healthcheck says that it does its work" rc-service passerelle healthcheck
rc-service -q mosquitto start
./traffic /var/run/sys-usb-msg.sock sys-usb &
./traffic /var/run/vm-gui-msg.sock vm-gui 3 >gui.out &
gui=$!
open_to passerelle /var/run/sys-usb-msg.sock
open_to passerelle /var/run/vm-gui-msg.sock
check "a legacy domain's calls are answered" sh -c 'grep -q answered=3 gui.out'
wait "$gui"
./traffic /var/run/vm-gui-msg.sock vm-gui 1 >gui.out &
open_to passerelle /var/run/vm-gui-msg.sock
check "and when it is started anew" sh -c 'grep -q answered=1 gui.out'
./traffic /run/passerelle/sys-usb-msg.sock &
document "Take the router"
document "When something is wrong"
check "it runs as its own user" sh -c "[ \"\$(stat -c %U /proc/$(process))\" = passerelle ]"
check "its binary says the commit" sh -c "passerelle --version | grep -qE '\([0-9a-f]{12}'"
everybody=$(find /var/lib/passerelle /var/log/passerelle.log -perm -o=r -o -perm -o=w -o -perm -o=x 2>/dev/null)
if [ -z "$everybody" ]; then ok "nothing that it writes is for everybody"; else fail "for everybody: $everybody"; fi

# --- A wrong configuration -------------------------------------------------------------------------------------------

before=$(process)
cp /etc/passerelle/passerelle.toml good.toml
echo 'wrong = 1' | cat - good.toml >/etc/passerelle/passerelle.toml
refused "restart does not take a wrong configuration" rc-service passerelle restart
check "and says what is wrong" grep -q 'unknown key' refused.out
check "and the gateway goes on" sh -c "[ '$before' = \"\$(pgrep -f '^/usr/bin/passerelle run')\" ]"
refused "nor does reload" rc-service passerelle reload
refused "nor checkconfig" rc-service passerelle checkconfig
check "which says what is wrong" grep -q 'unknown key' refused.out
cp good.toml /etc/passerelle/passerelle.toml
chmod 600 /etc/passerelle/passerelle.toml
refused "checkconfig finds what the gateway's user cannot read" rc-service passerelle checkconfig
check "and says so" grep -q 'Permission denied' refused.out
chmod 644 /etc/passerelle/passerelle.toml
cp good.toml /etc/passerelle/passerelle.toml
check "reload takes a right one" rc-service passerelle reload
check "which it says in its log" log_says reloaded

# --- It is killed ----------------------------------------------------------------------------------------------------

before=$(process)
kill -9 "$before" || fail "there is nothing to kill"
check "kill -9: it is started anew" other_than "$before"
check "and does its work" rc-service passerelle healthcheck

# --- Its log is rotated ----------------------------------------------------------------------------------------------

logrotate --state /mnt/logrotate.state --force /etc/logrotate.d/passerelle || fail "logrotate"
check "the log's old part is beside it" test -s /var/log/passerelle.log.1
rc-service passerelle counters
check "and the gateway goes on in the new one" log_says "counters in all"
if tr -d '\000' </var/log/passerelle.log | cmp -s - /var/log/passerelle.log; then ok "without a hole"; else fail "with a hole"; fi

# --- An upgrade, while domains talk ----------------------------------------------------------------------------------

# Nothing is to be lost: so there is a store. And something is edited.
sed -i 's|^ *#* *dir = |dir = |' /etc/passerelle/passerelle.toml
echo '# mine' >>/etc/passerelle/mappings/psec.toml
rc-service passerelle restart >service.out 2>&1 || { fail "restart"; cat service.out; }
mosquitto_sub --unix /run/mosquitto/mqtt.sock -V 5 -q 1 -i ledger -c -t 'system/events/error/notification' >events.out &
sub=$!
rm -f /var/run/vm-gui-msg.sock
./traffic /var/run/vm-gui-msg.sock vm-gui 2000 >gui.out 2>&1 &
gui=$!
open_to passerelle /var/run/vm-gui-msg.sock
until_true sh -c '[ "$(wc -l <events.out)" -gt 200 ]' || fail "the domain says nothing"
before=$(process)
apk add --no-network --allow-untrusted ./new.apk >apk.out 2>&1 || { fail "upgrade"; cat apk.out; }
check "an upgrade starts the gateway anew" other_than "$before"
check "and it is the new one" apk info -e "passerelle=$version"
check "what was edited stays" grep -q '^# mine' /etc/passerelle/mappings/psec.toml
wait "$gui" || fail "calls were lost"
cat gui.out
check "every event arrives" sh -c '[ "$(grep -o "event-[0-9]*-" events.out | sort -u | wc -l)" = 2000 ]'
echo "      events: $(grep -o 'event-[0-9]*-' events.out | sort | uniq -d | wc -l) came twice"
kill "$sub"
check "status" passerelle status

cp /var/log/passerelle.log last.log

# --- Removed ---------------------------------------------------------------------------------------------------------

document "Remove"
files after
grep -q passerelle /etc/passwd /etc/group /etc/shadow && fail "its user is left"
# What the broker has, the machine's own log and clock, what apk knows, and the copies that are made of the users' files.
same_as_before ' (/etc/mosquitto/mosquitto.conf|/var/lib/mosquitto(/.*)?|/var/log(/messages)?|/etc/runlevels/default(/mosquitto)?|(/usr)?/lib/apk/db(/.*)?|/etc/(passwd|group|shadow)-|/etc/mosquitto|/var/log/apk.log)( |$)'
pgrep passerelle >/dev/null && fail "it still runs"

[ "$failed" -eq 0 ] || { echo "--- its log:"; tail -n 60 last.log; }
echo "END $failed"
sync
poweroff -f
