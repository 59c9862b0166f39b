# Everything here needs Rust. `make demo` and `make test` install Mosquitto where it is absent.

CARGO ?= cargo
PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
DESTDIR ?=
ADVISORIES = https://github.com/RustSec/advisory-db
TARGET = $(or $(CARGO_TARGET_DIR),target)
# For a static program, unless said otherwise: musl, as on Alpine, if Rust has it here.
HOST := $(shell rustc -vV | sed -n 's/^host: //p')
MUSL := $(HOST:gnu=musl)
STATIC_TARGET ?= $(if $(wildcard $(shell rustc --print sysroot)/lib/rustlib/$(MUSL)/lib),$(MUSL),$(HOST))

# ring, of which TLS is made, has some C in it that needs no C library: the machine's own compiler does for musl too.
export CC_$(subst -,_,$(MUSL)) ?= cc

.PHONY: all demo test test-brokers test-others test-faults soak test-vm test-xen lint bench bench-engine fuzz fuzz-corpus \
	tools test-musl lint-packages pages install uninstall dist dist-packages test-alpine test-deb

# What --version says. A source archive has its commit in a file.
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
COMMIT := $(or $(shell cut -d" " -f1 COMMIT 2>/dev/null),$(shell git rev-parse --short=12 HEAD 2>/dev/null))
SAYS = $(VERSION)$(if $(COMMIT), ($(COMMIT)))

all:
	PASSERELLE_VERSION="$(SAYS)" $(CARGO) build --release --bin passerelle

# A private broker, the gateway and domains of both generations: every command, both ways.
demo:
	@sh demo/setup.sh mosquitto
	$(CARGO) build --quiet --bin passerelle --example demo
	$(CARGO) run --quiet --example demo

# Every test, with a real Mosquitto. The command line's last lines are the runner's summary.
test:
	@sh demo/setup.sh mosquitto mosquitto_sub
	@if $(CARGO) nextest --version >/dev/null 2>&1; \
	then echo "$(CARGO) nextest run"; $(CARGO) nextest run --no-fail-fast; \
	else echo "$(CARGO) test"; $(CARGO) test --no-fail-fast; fi

# The same with the Mosquittos of other Debian releases, unpacked under target/ and not installed: 2.0.11,
# 2.0.21 and what forky has, 2.1.2 so far. MOSQUITTO= names the broker of any target here.
BROKERS = bookworm trixie forky
test-brokers:
	@for suite in $(BROKERS); do \
		program=$$(sh tests/brokers.sh $$suite) && echo "$$suite: $$($$program -h | sed -n 1p)" \
			&& MOSQUITTO=$$program $(MAKE) --no-print-directory test || exit; done
	@$(MAKE) --no-print-directory test-others

# What matters of it on brokers of other kinds: every row both ways, retained state, a domain's restart, large
# messages, nobody there, and a broker that is killed under load. What each cannot do is in docs/brokers.md.
OTHERS = rabbitmq ejabberd rumqttd
ON_ALL = /^rows::/ =hostile::bytes::a_large_message_leaves_nothing_behind_in_its_session \
	=broker::a_broker_that_persists_is_killed_under_load =broker::after_a_broker_that_forgot_calls_go_both_ways_again \
	=store::a_gateway_that_is_killed_while_the_broker_is_away_loses_nothing \
	=store::a_restart_costs_no_call_and_no_half_line \
	=hostile::payloads::large_messages_for_many_are_not_all_in_memory_at_once
SAYS_NOBODY = =routing::who_asks_nobody_is_told_at_once =status::a_domain_is_silent_then_legacy_then_absent
FINDS_RETAINED = =status::a_killed_gateway_is_offline_and_what_it_left_is_cleared_by_the_next \
	=status::the_table_fits_and_the_json_is_whole
ON_rabbitmq = $(ON_ALL) $(SAYS_NOBODY)
ON_ejabberd = $(ON_ALL) $(SAYS_NOBODY) $(FINDS_RETAINED)
ON_rumqttd = $(ON_ALL)
test-others: $(OTHERS:%=test-on-%)
test-on-%:
	@if program=$$(sh tests/brokers.sh $*); then echo "$*"; \
	BROKER=$$program $(CARGO) nextest run --no-fail-fast -j 2 \
		-E "binary(it) & ($(patsubst %,test(%) |,$(ON_$*)) none())"; \
	else echo "$* cannot be had here: not tested"; fi

# One side fails, again and again, and every message is accounted for: some minutes, or with SHORT=1 about
# one. SEED= repeats a run's random numbers, and ROWS=gateway-killed,clock runs some rows.
test-faults:
	@sh demo/setup.sh mosquitto
	$(CARGO) build --quiet --bin passerelle --example faults
	$(CARGO) run --quiet --example faults -- $(if $(SHORT),--short) \
		$(if $(SEED),--seed $(SEED)) $(if $(ROWS),--only $(ROWS))

# Traffic with faults for T seconds, and what it costs: `make soak T=3600` for an hour. With RECORD=1 it is recorded, and
# played again: the same must come of it.
soak: T = 3600
soak:
	@sh demo/setup.sh mosquitto
	$(CARGO) build --quiet --release --bin passerelle
	$(CARGO) run --quiet --example faults -- --soak $(T) $(if $(RECORD),--record) $(if $(SEED),--seed $(SEED)) \
		--program $(abspath $(TARGET))/release/passerelle

# The gateway at a real /dev/hvc2, on either side of it: Linux guests in QEMU, emulated. Half a minute,
# and 45 MB of Debian packages, which are unpacked under target/ and not installed.
test-vm:
	@sh demo/setup.sh mosquitto
	$(CARGO) build --quiet --bin passerelle --example vm
	@sh tests/vm/qemu.sh

# The same on a real Xen, emulated too: two to three minutes, 2 GB of memory, Debian 12.
test-xen:
	@sh demo/setup.sh mosquitto
	$(CARGO) build --quiet --bin passerelle --example vm
	@sh tests/vm/xen.sh

# The same, with everything built for musl, as it is released: what differs is the allocator, the loader and the
# C library. SHORT=1 takes the binary's own tests.
test-musl:
	@sh demo/setup.sh mosquitto mosquitto_sub
	@if ! rustup target list --installed | grep -q $(MUSL) && ! timeout 300 rustup target add $(MUSL); \
	then echo "$(MUSL) cannot be had: not tested"; else \
	export PASSERELLE_VERSION="$(SAYS)" CARGO_TARGET_$(shell echo $(MUSL) | tr 'a-z-' 'A-Z_')_LINKER=rust-lld; \
	if $(CARGO) nextest --version >/dev/null 2>&1; \
	then $(CARGO) nextest run --no-fail-fast --target $(MUSL) $(if $(SHORT),--test cli --test output --test migration); \
	else $(CARGO) test --no-fail-fast --target $(MUSL) $(if $(SHORT),--test cli --test output --test migration); fi; fi

# What `make lint` has to compile: minutes, once.
tools:
	@$(CARGO) deny --version >/dev/null 2>&1 || $(CARGO) install --quiet --locked cargo-deny@0.20.2 \
		|| echo "cargo-deny cannot be had here"

# Formatting, the house rules (clippy.toml), shell, TOML, the schemas, the pages, the CI's own files; and the
# dependencies' licences and advisories. Checkers that are absent are installed, by apt or under target/tools.
PYTHON = $(TARGET)/tools/python/bin
SHELLS = $(shell git ls-files '*.sh') .ci/run tests/vm/init tests/vm/init-dom0
lint: pages
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets -- -D warnings
	rustfmt --check --edition 2024 tests/system/traffic.rs
	@sh demo/setup.sh shellcheck mandoc
	shellcheck -x -P SCRIPTDIR -S warning $(SHELLS)
	shellcheck -s sh -S warning -e SC2034 packaging/passerelle.initd packaging/passerelle.confd
	shellcheck -s sh -S warning packaging/apk/* packaging/deb/p* packaging/rpm/*
	mandoc -T lint -W warning $(TARGET)/pages/man/*.1
	@if command -v systemd-analyze >/dev/null; \
	then judged=$$(systemd-analyze security --offline=yes --threshold=20 --no-pager packaging/passerelle.service 2>&1) \
	     || { echo "$$judged"; exit 1; }; \
	else echo "systemd-analyze is not here: how the unit confines the gateway is not checked"; fi
	@[ -x $(PYTHON)/taplo ] && [ -x $(PYTHON)/check-jsonschema ] || { python3 -m venv $(TARGET)/tools/python \
		&& $(PYTHON)/python -m pip install --quiet --disable-pip-version-check taplo==0.9.3 check-jsonschema==0.39.0; } || :
	@set -e; if [ -x $(PYTHON)/taplo ] && [ -x $(PYTHON)/check-jsonschema ]; \
	then RUST_LOG=error $(PYTHON)/taplo lint; \
	     $(PYTHON)/check-jsonschema --check-metaschema schemas/*.json; \
	     $(PYTHON)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml; \
	     $(PYTHON)/check-jsonschema --builtin-schema vendor.gitlab-ci .gitlab-ci.yml; \
	else echo "taplo and check-jsonschema cannot be had here: TOML, schemas and workflows not checked"; fi
	@set -e; tools=$(TARGET)/tools/asyncapi; \
	if command -v npm >/dev/null && { [ -d $$tools/node_modules ] || npm install --silent --prefix $$tools @asyncapi/parser@3.6.6; }; \
	then cp tests/asyncapi.mjs $$tools && for files in mappings/psec.toml mappings; do \
	     $(CARGO) run --quiet --bin passerelle -- api --asyncapi $$files >$$tools/document.json && node $$tools/asyncapi.mjs $$tools/document.json; done; \
	else echo "npm is not here: what passerelle api writes is not checked by AsyncAPI's parser"; fi
	@set -e; if $(CARGO) deny --version >/dev/null 2>&1; \
	then $(CARGO) deny check bans licenses sources; \
	     if git ls-remote $(ADVISORIES) HEAD >/dev/null 2>&1; \
	     then $(CARGO) deny check advisories; \
	     else echo "$(ADVISORIES) is out of reach: advisories not checked"; fi; \
	else echo "cargo-deny is not installed (make tools): licences and advisories not checked"; fi

# What Debian's own checker says of the package.
lint-packages: dist-packages
	@sh demo/setup.sh lintian || echo "lintian cannot be had here: the package is not checked"
	@command -v lintian >/dev/null || exit 0; set -e; for deb in $(TARGET)/dist/*.deb; do \
		if [ -f "$$deb" ]; then lintian --allow-root --fail-on error,warning "$$deb"; else echo "there is no deb"; fi; \
	done

# The gateway beside the direct path; see BENCHMARKS.md. ROUNDS=1 only shows that everything works, and
# ONLY=L,T1 measures some lines.
bench:
	@sh demo/setup.sh mosquitto
	RUSTFLAGS="$(RUSTFLAGS) -C target-feature=+crt-static" \
		$(CARGO) build --quiet --release --bin passerelle --target $(STATIC_TARGET)
	PASSERELLE_STATIC=$(abspath $(TARGET))/$(STATIC_TARGET)/release/passerelle \
		$(CARGO) bench --quiet --bench gateway

# The engine alone: nanoseconds and bytes allocated for each message. ROUNDS=1 runs each once.
bench-engine:
	$(CARGO) bench --quiet --bench engine -- $(if $(filter 1,$(ROUNDS)),--test)

# Every fuzz target for T seconds (each), after what is in its corpus; or those of FUZZ. See
# fuzz/README.md. It takes stable Rust and a C++ compiler.
T ?= 60
FUZZ ?= frame carrier tunnel mapping config conversation store gateway endurance steps hostile
fuzz:
	@sh demo/setup.sh c++
	@CARGO="$(CARGO)" sh fuzz/run.sh fuzz $(T) $(FUZZ)

# What the targets found goes into the corpora that are kept, as far as it reaches something new.
fuzz-corpus:
	@CARGO="$(CARGO)" sh fuzz/run.sh keep $(T) $(FUZZ)

# The day of this version, by the changelog.
RELEASED = $(shell sed -n 's/^\#\# \[$(VERSION)\] - //p' CHANGELOG.md)

# Manual pages and completions, as the program describes itself. A source archive brings them.
PAGES = $(or $(wildcard pages),$(TARGET)/pages)
pages:
	$(CARGO) run --quiet --example pages -- $(TARGET)/pages $(RELEASED)

# The binary must be there (`make`), so that root need not build it. What has been edited stays, and what is taken
# away again by `make uninstall` is what was installed. INIT is openrc or systemd.
INIT ?= $(if $(wildcard /run/systemd/system),systemd,openrc)
PROGRAM ?= $(TARGET)/release/passerelle
install uninstall:
	@DESTDIR="$(DESTDIR)" PREFIX="$(PREFIX)" SYSCONFDIR="$(SYSCONFDIR)" INIT="$(INIT)" \
		PROGRAM="$(PROGRAM)" PAGES="$(PAGES)" sh packaging/install.sh $@

# What is released, in target/dist: see packaging/dist.sh. `make dist-packages` leaves out what takes longest.
dist dist-packages:
	@CARGO="$(CARGO)" sh packaging/dist.sh $@

# The packages on a real Alpine, and on a Debian with systemd, both in QEMU: installed, started, upgraded under
# traffic, removed, and the disk compared with that before. With PROGRAM they are packages of that binary, which must be
# static; else of one that is built as it is released.
test-alpine test-deb:
	@CARGO="$(CARGO)" sh tests/system/$(@:test-%=%).sh
