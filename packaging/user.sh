# shellcheck shell=sh
# For the packages' scripts to read in: the gateway's user, and the groups that it needs.

# make_user: mosquitto is the group of the broker's socket, dialout that of a DomU's serial port.
make_user() {
	if command -v addgroup >/dev/null && ! command -v groupadd >/dev/null; then
		grep -q '^passerelle:' /etc/group || addgroup -S passerelle
		grep -q '^passerelle:' /etc/passwd ||
			adduser -S -D -H -h /nonexistent -s /sbin/nologin -G passerelle -g passerelle passerelle 2>/dev/null
		join="addgroup passerelle"
	else
		grep -q '^passerelle:' /etc/group || groupadd --system passerelle
		grep -q '^passerelle:' /etc/passwd ||
			useradd --system --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin \
				--gid passerelle --comment passerelle passerelle
		join="usermod --append passerelle --groups"
	fi
	for group in mosquitto dialout; do
		if grep -q "^$group:" /etc/group; then
			$join "$group" 2>/dev/null
		fi
	done
	return 0
}

# remove_user: and its group.
remove_user() {
	if grep -q '^passerelle:' /etc/passwd; then
		if command -v userdel >/dev/null; then userdel passerelle; else deluser passerelle; fi
	fi
	if grep -q '^passerelle:' /etc/group; then
		if command -v groupdel >/dev/null; then groupdel passerelle; else delgroup passerelle; fi
	fi
	return 0
} 2>/dev/null

# remove_state FILE...: what the gateway has written. The broker has not had all that is in the store if there is
# a segment in it: then the store stays, and that is said.
remove_state() {
	state=/var/lib/passerelle
	rm -f /var/log/passerelle.log /var/log/passerelle.log.[0-9]*
	if [ -n "$(find "$state/store" -name '*.log' 2>/dev/null | head -n 1)" ]; then
		echo "passerelle: $state/store stays: the broker has not had what is in it" >&2
	else
		rm -rf "$state"
	fi
	return 0
}
