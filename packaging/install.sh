#!/bin/sh
# install.sh install|uninstall: `make install` and `make uninstall`. The environment says where: DESTDIR, PREFIX,
# SYSCONFDIR; what: PROGRAM, and PAGES (manual pages, completions, and the licences of what is built in, as far as
# they are there); and INIT, which is openrc or systemd.
#
# What an operator may edit is installed beside the original, in share/passerelle/etc. Where the two are the same,
# nobody has edited it: the next installation replaces it, and the removal takes it away. Anything else stays.
# share/passerelle/folders has the folders that were not there before: the removal takes them away, if they are empty.
set -eu

# shellcheck disable=SC2153 # the environment has it
prefix=$DESTDIR$PREFIX
etc=$DESTDIR$SYSCONFDIR
share=$prefix/share
doc=$share/doc/passerelle
originals=$share/passerelle/etc
folders=$share/passerelle/folders
unit=$DESTDIR$PREFIX/lib/systemd/system
[ "$PREFIX" != /usr/local ] || unit=$DESTDIR/etc/systemd/system

# folder PATH: makes it, and notes it.
made=
folder() {
	[ ! -d "$1" ] || return 0
	folder "$(dirname "$1")"
	mkdir -m 755 "$1"
	made="${1#"$DESTDIR"}
$made"
}

# put MODE FILE PLACE
put() {
	folder "$(dirname "$3")"
	install -m "$1" "$2" "$3"
}

# original FILE NAME MODE: installs etc/NAME, unless somebody has edited it.
original() {
	new=$(mktemp)
	sed "s|/usr/bin/|$PREFIX/bin/|; s|/etc/passerelle|$SYSCONFDIR/passerelle|g
		s|^#:schema .*/|#:schema $PREFIX/share/passerelle/|" "$1" >"$new"
	place=$etc/$2
	if [ ! -e "$place" ] || cmp -s "$place" "$originals/$2"; then
		put "$3" "$new" "$place"
	elif ! cmp -s "$place" "$new"; then
		echo "$place has been edited and stays; the new one is $originals/$2"
	fi
	put 644 "$new" "$originals/$2"
	rm "$new"
}

# originals: whatever an operator may edit.
originals() {
	for mapping in mappings/*.toml; do
		original "$mapping" "passerelle/$mapping" 644
	done
	original packaging/passerelle.toml passerelle/passerelle.toml 644
	original packaging/passerelle.logrotate logrotate.d/passerelle 644
	if [ "$INIT" = openrc ]; then
		original packaging/passerelle.confd conf.d/passerelle 644
		original packaging/passerelle.initd init.d/passerelle 755
	fi
}

# pages: manual pages, completions, licences.
pages() {
	for page in "$PAGES"/man/*.1; do
		new=$(mktemp)
		gzip -9nc "$page" >"$new"
		put 644 "$new" "$share/man/man1/${page##*/}.gz"
		rm "$new"
	done
	put 644 "$PAGES/completions/passerelle.bash" "$share/bash-completion/completions/passerelle"
	put 644 "$PAGES/completions/_passerelle" "$share/zsh/site-functions/_passerelle"
	put 644 "$PAGES/completions/passerelle.fish" "$share/fish/vendor_completions.d/passerelle.fish"
	[ ! -f "$PAGES/THIRD-PARTY-LICENSES.txt" ] || put 644 "$PAGES/THIRD-PARTY-LICENSES.txt" "$doc/THIRD-PARTY-LICENSES.txt"
}

install_all() {
	test -x "$PROGRAM" || { echo "there is no $PROGRAM: run 'make' first" >&2; exit 1; }
	put 755 "$PROGRAM" "$prefix/bin/passerelle"
	originals
	if [ "$INIT" = systemd ]; then
		folder "$unit"
		sed "s|/usr/bin/|$PREFIX/bin/|" packaging/passerelle.service >"$unit/passerelle.service"
		chmod 644 "$unit/passerelle.service"
	fi
	for file in schemas/*.json; do put 644 "$file" "$share/passerelle/${file##*/}"; done
	for file in *.md docs/*.md docs/fr/*.md docs/*.png LICENSE-MIT LICENSE-APACHE; do put 644 "$file" "$doc/$file"; done
	for file in mosquitto.conf prometheus/passerelle.rules.yml prometheus/passerelle.dashboard.json; do
		put 644 "packaging/$file" "$doc/$file"
	done
	[ ! -d "$PAGES" ] || pages
	[ -z "$made" ] || printf %s "$made" >>"$folders"
	if [ -z "$DESTDIR" ] && ! getent passwd passerelle >/dev/null; then
		echo "there is no user passerelle yet, which the service runs as: $doc/docs/packages.md says how to make it"
	fi
}

# unedited NAME: removes etc/NAME, unless somebody has edited it.
unedited() {
	place=$etc/$1
	if cmp -s "$place" "$originals/$1"; then
		rm "$place"
	elif [ -e "$place" ]; then
		echo "$place has been edited and stays"
	fi
}

uninstall_all() {
	# Those of another version, or for another INIT, among them.
	find "$originals" -type f 2>/dev/null | sort | while read -r file; do unedited "${file#"$originals/"}"; done
	made=$(cat "$folders" 2>/dev/null) || :
	rm -rf "$share/passerelle" "$doc"
	rm -f "$prefix/bin/passerelle" "$unit/passerelle.service" "$share"/man/man1/passerelle.1.gz \
		"$share"/man/man1/passerelle-*.1.gz "$share/bash-completion/completions/passerelle" \
		"$share/zsh/site-functions/_passerelle" "$share/fish/vendor_completions.d/passerelle.fish"
	# Those in others first.
	echo "$made" | sort -r | while read -r folder; do
		[ -z "$folder" ] || rmdir "$DESTDIR$folder" 2>/dev/null || :
	done
}

case $1 in
install) install_all ;;
uninstall) uninstall_all ;;
*)
	echo "usage: install.sh install|uninstall" >&2
	exit 2
	;;
esac
