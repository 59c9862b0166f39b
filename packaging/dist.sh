#!/bin/sh
# dist.sh dist|dist-packages: what is released, in target/dist. `dist-packages` is the part that CI installs: this
# machine's binary and its packages. TARGETS says for which processors else; VERSION another version, and PROGRAM another
# binary.
#
# All of it is the same on every run: times are the commit's, paths are not in the binaries, and the tools' versions
# are fixed here. They are kept in target/tools.
set -eu

what=$1
project=$(cd "$(dirname "$0")/.." && pwd)
cd "$project"
target=$(mkdir -p "${CARGO_TARGET_DIR:-target}" && cd "${CARGO_TARGET_DIR:-target}" && pwd)
tools=$target/tools
dist=$target/dist
work=$target/dist-work
CARGO=${CARGO:-cargo}
version=${VERSION:-$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)}
TARGETS=${TARGETS:-$([ "$what" = dist ] && echo x86_64 aarch64 || uname -m)}

if [ -f COMMIT ]; then
	commit=$(cut -d' ' -f1 COMMIT)
	SOURCE_DATE_EPOCH=$(cut -d' ' -f2 COMMIT)
else
	commit=$(git rev-parse --short=12 HEAD)
	SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
	[ -z "$(git status --porcelain --untracked-files=no)" ] || commit=$commit+changes
fi
export SOURCE_DATE_EPOCH LC_ALL=C TZ=UTC
mtime=$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)

say() { echo "dist: $*" >&2; }

# python_tool NAME VERSION: a program that a Python package brings.
python_tool() {
	[ -x "$tools/python/bin/$1" ] && return
	[ -d "$tools/python" ] || python3 -m venv "$tools/python"
	"$tools/python/bin/python" -m pip install --quiet --disable-pip-version-check "$1==$2"
}

# cargo_tool NAME VERSION OPTION...
cargo_tool() {
	[ -x "$tools/bin/$1" ] && return
	name=$1 number=$2
	shift 2
	"$CARGO" install --quiet --locked --root "$tools" "$name@$number" "$@"
}

# binary PROCESSOR: sets $binary. Where its target cannot be had, it says so and fails.
binary() {
	binary=${PROGRAM:-}
	if [ -n "$binary" ]; then
		[ ! -x "$binary" ] || return 0
		say "no $1: there is no $binary"
		return 1
	fi
	triple=$1-unknown-linux-musl
	if ! [ -d "$(rustc --print sysroot)/lib/rustlib/$triple/lib" ] && ! timeout 300 rustup target add "$triple" 2>"$work/rustup"; then
		say "no $1: Rust's target $triple cannot be had: $(tail -n 1 "$work/rustup")"
		return 1
	fi
	# rust-lld comes with Rust, and links for every processor.
	linker=CARGO_TARGET_$(echo "$triple" | tr 'a-z-' 'A-Z_')_LINKER
	# ring, of which TLS is made, has some C in it that needs no C library.
	compiler=CC_$(echo "$triple" | tr - _)
	c=cc flags=
	if [ "$1" != "$(uname -m)" ]; then
		c=$1-linux-gnu-gcc flags="-ffreestanding -DRING_CORE_NOSTDLIBINC"
		sh demo/setup.sh "$c" >&2 || {
			say "no $1: its C compiler $c cannot be had"
			return 1
		}
	fi
	# The standard library's own paths are Rust's, unless its sources are installed: then they would be of this machine.
	sources=$(rustc --print sysroot)/lib/rustlib/src/rust
	of_rust=/rustc/$(rustc -vV | sed -n 's/^commit-hash: //p')
	env "$linker=rust-lld" "$compiler=$c" "CFLAGS${compiler#CC}=$flags" PASSERELLE_VERSION="$version ($commit)" \
		RUSTFLAGS="--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo --remap-path-prefix=$project=/passerelle --remap-path-prefix=$sources=$of_rust" \
		"$CARGO" build --quiet --release --locked --bin passerelle --target "$triple"
	binary=$target/$triple/release/passerelle
}

# tree PROGRAM KIND: what a package of this kind installs, in $work/tree.
tree() {
	rm -rf "$work/tree"
	mkdir -p "$work/tree"
	init=$(case $2 in apk) echo openrc ;; *) echo systemd ;; esac)
	DESTDIR=$work/tree PREFIX=/usr SYSCONFDIR=/etc INIT=$init PROGRAM=$1 PAGES=$pages sh packaging/install.sh install
	# It is the package that knows which folders are its own.
	rm "$work/tree/usr/share/passerelle/folders"
	if [ "$2" = deb ]; then
		doc=$work/tree/usr/share/doc/passerelle
		printf 'passerelle (%s) unstable; urgency=medium\n\n  * See CHANGELOG.md.\n\n -- The passerelle maintainers <maintainers@passerelle.invalid>  %s\n' \
			"$version" "$(date -u -R -d "@$SOURCE_DATE_EPOCH")" | gzip -9n >"$doc/changelog.gz"
		cp packaging/deb/copyright "$doc/copyright"
		install -D -m 644 packaging/deb/lintian-overrides "$work/tree/usr/share/lintian/overrides/passerelle"
		rm "$doc/LICENSE-MIT" "$doc/LICENSE-APACHE"
		# Debian's zsh looks nowhere else.
		mv "$work/tree/usr/share/zsh/site-functions" "$work/tree/usr/share/zsh/vendor-completions"
	fi
	find "$work/tree" -type d -exec chmod 755 {} +
	find "$work/tree" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
}

# script FILE: what a package runs, with the functions that it uses.
script() {
	echo '#!/bin/sh'
	if grep -qE '^[[:space:]]*(make_user|remove_user|remove_state|remove_empty_store|restart_if_right)' "$1"; then cat packaging/scripts.sh; fi
	cat "$1"
}

# scripts: all of them, in $work/tree/scripts.
scripts() {
	mkdir -p "$work/tree/scripts"
	for script in packaging/apk/* packaging/deb/post* packaging/deb/pre* packaging/rpm/*; do
		script "$script" >"$work/tree/scripts/$(echo "${script#packaging/}" | tr / -)"
	done
	chmod 755 "$work"/tree/scripts/*
	touch -d "@$SOURCE_DATE_EPOCH" "$work"/tree/scripts/*
}

# package KIND PROCESSOR: of $binary.
package() {
	tree "$binary" "$1"
	scripts
	arch=$(case $2 in x86_64) echo amd64 ;; aarch64) echo arm64 ;; esac)
	sed "s/@ARCH@/$arch/; s/@VERSION@/$version/; s/@MTIME@/$mtime/" packaging/nfpm.yaml >"$work/nfpm.yaml"
	(cd "$work/tree" && "$tools/python/bin/nfpm" package --config "$work/nfpm.yaml" --packager "$1" --target "$dist/") >/dev/null
}

# sources: what is in the repository, the pages, the dependencies, and the commit.
sources() {
	name=passerelle-$version
	rm -rf "${work:?}/$name"
	mkdir -p "$work/$name"
	git archive HEAD | tar -x -C "$work/$name"
	echo "$commit $SOURCE_DATE_EPOCH" >"$work/$name/COMMIT"
	cp -r "$pages" "$work/$name/pages"
	mkdir -p "$work/$name/.cargo"
	(cd "$work/$name" && "$CARGO" vendor --quiet --locked vendor)
	cat >"$work/$name/.cargo/config.toml" <<-'CONFIG'
		[source.crates-io]
		replace-with = "vendored"

		[source.vendored]
		directory = "vendor"
	CONFIG
	tar --sort=name --owner=0 --group=0 --numeric-owner --mode=go=rX,u+rw --mtime="@$SOURCE_DATE_EPOCH" \
		--format=gnu -C "$work" -c "$name" | xz -T1 -6 >"$dist/$name.tar.xz"
	sum=$(sha512sum "$dist/$name.tar.xz" | cut -d' ' -f1)
	# abuild wants the package's scripts beside its APKBUILD.
	mkdir "$dist/alpine"
	sed "s/@VERSION@/$version/; s/@SHA512@/$sum/" packaging/alpine/APKBUILD >"$dist/alpine/APKBUILD"
	for script in packaging/apk/*; do
		script "$script" >"$dist/alpine/passerelle.${script##*/}"
	done
}

# papers: the dependencies' licences, which go with the binaries too, and the bill of materials.
papers() {
	cargo_tool cargo-about 0.9.3 --features cli
	cargo_tool cargo-cyclonedx 0.5.9
	"$tools/bin/cargo-about" generate --locked --offline --fail --config packaging/about.toml packaging/about.hbs \
		>"$dist/THIRD-PARTY-LICENSES.txt"
	cp "$dist/THIRD-PARTY-LICENSES.txt" "$pages/"
	"$tools/bin/cargo-cyclonedx" cyclonedx --format json --spec-version 1.5 --no-build-deps \
		--override-filename passerelle-sbom --quiet --target x86_64-unknown-linux-musl
	sed "s|$project|/passerelle|g" passerelle-sbom.json >"$dist/passerelle-$version.cdx.json"
	rm passerelle-sbom.json
}

rm -rf "$dist" "$work"
mkdir -p "$dist" "$work"
if ! python_tool nfpm 2.48.0; then
	say "nfpm, which makes the packages, cannot be had here"
	# Whoever releases has to have it; whoever tests can say that it is not there.
	[ "$what" = dist-packages ] && exit 0 || exit 1
fi
released=$(sed -n 's/^## \[.*\] - //p' CHANGELOG.md | head -n 1)
"$CARGO" run --quiet --example pages -- "$work/pages" "$released"
pages=$work/pages
[ "$what" = dist-packages ] || papers
for processor in $TARGETS; do
	binary "$processor" || continue
	cp "$binary" "$dist/passerelle-$version-$processor"
	touch -d "@$SOURCE_DATE_EPOCH" "$dist/passerelle-$version-$processor"
	for kind in apk deb rpm; do
		package "$kind" "$processor"
	done
done
[ "$what" = dist-packages ] || sources
(cd "$dist" && find . -type f | cut -c 3- | sort | xargs sha256sum >"$work/sums" && mv "$work/sums" SHA256SUMS)
ls -l "$dist"
