#!/bin/sh
# install.sh install|uninstall: `make install` and `make uninstall`. The environment says where: DESTDIR, PREFIX,
# SYSCONFDIR; what: PROGRAM, PAGES (manual pages and completions, if there are any); and INIT, which is openrc or
# systemd.
#
# What an operator may edit is installed beside the original, in share/passerelle/etc. Where the two are the same,
# nobody has edited it: the next installation replaces it, and the removal takes it away. Anything else stays.
set -eu

# shellcheck disable=SC2153 # the environment has it
prefix=$DESTDIR$PREFIX
etc=$DESTDIR$SYSCONFDIR
share=$prefix/share
originals=$share/passerelle/etc
unit=$DESTDIR$PREFIX/lib/systemd/system
[ "$PREFIX" != /usr/local ] || unit=$DESTDIR/etc/systemd/system

# original FILE NAME MODE: installs etc/NAME, unless somebody has edited it.
original() {
	new=$(mktemp)
	sed "s|/usr/bin/|$PREFIX/bin/|; s|/etc/passerelle|$SYSCONFDIR/passerelle|g
		s|^#:schema .*/|#:schema $PREFIX/share/passerelle/|" "$1" >"$new"
	place=$etc/$2
	if [ ! -e "$place" ] || cmp -s "$place" "$originals/$2"; then
		install -D -m "$3" "$new" "$place"
	elif ! cmp -s "$place" "$new"; then
		echo "$place has been edited and stays; the new one is $originals/$2"
	fi
	install -D -m 644 "$new" "$originals/$2"
	rm "$new"
}

# each COMMAND: COMMAND FILE NAME MODE, for whatever an operator may edit.
each() {
	for mapping in mappings/*.toml; do
		"$1" "$mapping" "passerelle/$mapping" 644
	done
	"$1" packaging/passerelle.toml passerelle/passerelle.toml 644
	"$1" packaging/passerelle.logrotate logrotate.d/passerelle 644
	if [ "$INIT" = openrc ]; then
		"$1" packaging/passerelle.confd conf.d/passerelle 644
		"$1" packaging/passerelle.initd init.d/passerelle 755
	fi
}

install_all() {
	test -x "$PROGRAM" || { echo "there is no $PROGRAM: run 'make' first" >&2; exit 1; }
	install -D -m 755 "$PROGRAM" "$prefix/bin/passerelle"
	each original
	if [ "$INIT" = systemd ]; then
		install -d "$unit"
		sed "s|/usr/bin/|$PREFIX/bin/|" packaging/passerelle.service >"$unit/passerelle.service"
		chmod 644 "$unit/passerelle.service"
	fi
	install -d "$share/passerelle" "$share/doc/passerelle/docs/fr"
	install -m 644 schemas/*.json "$share/passerelle/"
	install -m 644 ./*.md LICENSE-MIT LICENSE-APACHE packaging/mosquitto.conf "$share/doc/passerelle/"
	install -m 644 docs/*.md "$share/doc/passerelle/docs/"
	install -m 644 docs/fr/*.md "$share/doc/passerelle/docs/fr/"
	if [ -d "$PAGES" ]; then
		install -d "$share/man/man1"
		for page in "$PAGES"/man/*.1; do
			gzip -9nc "$page" >"$share/man/man1/${page##*/}.gz"
		done
		chmod 644 "$share"/man/man1/passerelle*.1.gz
		install -D -m 644 "$PAGES/completions/passerelle.bash" "$share/bash-completion/completions/passerelle"
		install -D -m 644 "$PAGES/completions/_passerelle" "$share/zsh/site-functions/_passerelle"
		install -D -m 644 "$PAGES/completions/passerelle.fish" "$share/fish/vendor_completions.d/passerelle.fish"
	fi
}

# unedited FILE NAME MODE: removes etc/NAME, unless somebody has edited it.
unedited() {
	place=$etc/$2
	if cmp -s "$place" "$originals/$2"; then
		rm "$place"
	elif [ -e "$place" ]; then
		echo "$place has been edited and stays"
	fi
}

uninstall_all() {
	each unedited
	rm -rf "$share/passerelle" "$share/doc/passerelle"
	rm -f "$prefix/bin/passerelle" "$unit/passerelle.service" "$share"/man/man1/passerelle.1.gz \
		"$share"/man/man1/passerelle-*.1.gz "$share/bash-completion/completions/passerelle" \
		"$share/zsh/site-functions/_passerelle" "$share/fish/vendor_completions.d/passerelle.fish"
	# Those that are empty now; one that was empty before is no loss.
	for folder in passerelle/mappings passerelle logrotate.d conf.d; do
		rmdir "$etc/$folder" 2>/dev/null || :
	done
	for folder in man/man1 man bash-completion/completions bash-completion zsh/site-functions zsh \
		fish/vendor_completions.d fish; do
		rmdir "$share/$folder" 2>/dev/null || :
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
