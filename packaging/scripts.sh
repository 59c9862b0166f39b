# shellcheck shell=sh
# For the packages' scripts: the gateway's user with the groups that it needs, and what the gateway has written.

# make_user: mosquitto is the group of the broker's socket, dialout that of a DomU's serial port.
make_user() {
	if command -v useradd >/dev/null; then
		getent group passerelle >/dev/null || groupadd --system passerelle
		getent passwd passerelle >/dev/null ||
			useradd --system --no-create-home --home-dir /nonexistent --shell /sbin/nologin \
				--gid passerelle --comment passerelle passerelle
		join="usermod --append passerelle --groups"
	else
		getent group passerelle >/dev/null || addgroup -S passerelle
		getent passwd passerelle >/dev/null ||
			adduser -S -D -H -h /nonexistent -s /sbin/nologin -G passerelle -g passerelle passerelle
		join="addgroup passerelle"
	fi
	for group in mosquitto dialout; do
		if getent group "$group" >/dev/null; then $join "$group"; fi
	done
} 2>/dev/null

# restart_if_right: under systemd, after an upgrade. With a configuration that is wrong, as the gateway's user finds
# it, the gateway that runs goes on.
restart_if_right() {
	user=$(systemctl show --property User --value passerelle.service)
	if found=$(runuser -u "${user:-root}" -- passerelle check 2>&1); then
		systemctl try-restart passerelle.service
	else
		printf '%s\npasserelle: the gateway goes on as it was: mend that, then systemctl restart passerelle\n' "$found" >&2
	fi
}

# remove_user: and its group.
remove_user() {
	for command in "userdel passerelle" "deluser passerelle" "groupdel passerelle" "delgroup passerelle"; do
		if command -v "${command%% *}" >/dev/null; then $command; fi
	done
	return 0
} 2>/dev/null

# remove_empty_store: before the program goes, which can tell. A gateway that was killed leaves segments that hold nothing.
remove_empty_store() {
	store=/var/lib/passerelle/store
	if kept=$(passerelle store list --dir "$store" 2>/dev/null) &&
		echo "$kept" | awk 'NR > 1 && $2 + $3 + $4 > 0 { full = 1 } END { exit full }'; then
		rm -rf "$store"
	fi
}

# remove_state: the broker has not had all that is in the store if there is a segment in it; then the store stays, and
# that is said.
remove_state() {
	state=/var/lib/passerelle
	rm -f /var/log/passerelle.log /var/log/passerelle.log.[0-9]*
	if [ -n "$(find "$state/store" -name '*.log' 2>/dev/null | head -n 1)" ]; then
		find "$state" -mindepth 1 -maxdepth 1 ! -name store -exec rm -rf {} +
		echo "passerelle: $state/store stays: the broker has not had what is in it" >&2
	else
		rm -rf "$state"
	fi
}
