# shellcheck shell=sh
# checks.sh, for what runs in the machines to read in: how it is said what is so.

failed=0
ok() { echo "ok    $*"; }
fail() { echo "FAIL  $*"; failed=$((failed + 1)); }

# until_true COMMAND...: again and again, for two minutes: all is emulated, and beside others' work.
until_true() {
	limit=$(($(date +%s) + 120))
	until "$@" >/dev/null 2>&1; do
		[ "$(date +%s)" -lt $limit ] || return 1
		sleep 0.2
	done
}

# check WHAT COMMAND...
check() {
	what=$1
	shift
	if until_true "$@"; then ok "$what"; else fail "$what"; "$@" 2>&1 | tail -n 20; fi
}

# refused WHAT COMMAND...: it fails, and what it says is in refused.out.
refused() {
	what=$1
	shift
	if "$@" >refused.out 2>&1; then fail "$what"; else ok "$what"; fi
}

# open_to USER SOCKET: a domain's socket belongs to root, and the gateway is let in by its group.
open_to() {
	until_true test -S "$2"
	chgrp "$1" "$2"
	chmod 660 "$2"
}

# files NAME: everything on the disk, with its kind, mode, owner and content, in NAME.list and NAME.sums.
files() {
	set -- "$1" \( -path /mnt -o -path /test -o -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp \)
	name=$1
	shift
	find / -xdev "$@" -prune -o -exec stat -c '%n %F %a %U:%G' {} + | sort >"$name.list"
	find / -xdev "$@" -prune -o -type f -exec sha256sum {} + | sort -k 2 >"$name.sums"
}

# same_as_before OTHERS: the disk is as it was in before.*, but for what matches.
same_as_before() {
	for kind in list sums; do
		diff "before.$kind" "after.$kind" | grep '^[<>]' | grep -vE "$1" >"diff.$kind"
		if [ -s "diff.$kind" ]; then fail "the disk is not as before:"; cat "diff.$kind"; else ok "the disk is as before ($kind)"; fi
	done
}
