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

BIN = $(DESTDIR)$(PREFIX)/bin
DOC = $(DESTDIR)$(PREFIX)/share/doc/passerelle
ETC = $(DESTDIR)$(SYSCONFDIR)/passerelle
INIT = $(DESTDIR)$(SYSCONFDIR)/init.d

.PHONY: all demo test test-faults soak test-vm test-xen lint bench bench-middle install fuzz fuzz-corpus

all:
	$(CARGO) build --release --bin passerelle

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

# One side fails, again and again, and every message is accounted for: some minutes, or with SHORT=1 about
# one. SEED= repeats a run's random numbers, and ROWS=gateway-killed,clock runs some rows.
test-faults:
	@sh demo/setup.sh mosquitto
	$(CARGO) build --quiet --bin passerelle --example faults
	$(CARGO) run --quiet --example faults -- $(if $(SHORT),--short) \
		$(if $(SEED),--seed $(SEED)) $(if $(ROWS),--only $(ROWS))

# Traffic with faults for T seconds, and what it costs: `make soak T=3600` for an hour.
soak: T = 3600
soak:
	@sh demo/setup.sh mosquitto
	$(CARGO) build --quiet --release --bin passerelle
	$(CARGO) run --quiet --example faults -- --soak $(T) $(if $(SEED),--seed $(SEED)) \
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

# Formatting, the house rules (clippy.toml), and the dependencies' licences and advisories.
lint:
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets -- -D warnings
	@set -e; if $(CARGO) deny --version >/dev/null 2>&1; \
	then $(CARGO) deny check bans licenses sources; \
	     if git ls-remote $(ADVISORIES) HEAD >/dev/null 2>&1; \
	     then $(CARGO) deny check advisories; \
	     else echo "$(ADVISORIES) is out of reach: advisories not checked"; fi; \
	else echo "cargo-deny is not installed (cargo install --locked cargo-deny): not checked"; fi

# The gateway beside the direct path; see BENCHMARKS.md. ROUNDS=1 only shows that everything works, and
# ONLY=L,T1 measures some lines.
bench:
	@sh demo/setup.sh mosquitto
	RUSTFLAGS="$(RUSTFLAGS) -C target-feature=+crt-static" \
		$(CARGO) build --quiet --release --bin passerelle --target $(STATIC_TARGET)
	PASSERELLE_STATIC=$(abspath $(TARGET))/$(STATIC_TARGET)/release/passerelle \
		$(CARGO) bench --quiet --bench gateway

# The pure middle alone: nanoseconds and bytes allocated for each message. ROUNDS=1 runs each once.
bench-middle:
	$(CARGO) bench --quiet --bench middle -- $(if $(filter 1,$(ROUNDS)),--test)

# Every fuzz target for T seconds (each), after what is in its corpus; or those of FUZZ. See
# fuzz/README.md. It takes stable Rust and a C++ compiler.
T ?= 60
FUZZ ?= frame carrier tunnel mapping config conversation store middle endurance
fuzz:
	@sh demo/setup.sh c++
	@CARGO="$(CARGO)" sh fuzz/run.sh fuzz $(T) $(FUZZ)

# What the targets found goes into the corpora that are kept, as far as it reaches something new.
fuzz-corpus:
	@CARGO="$(CARGO)" sh fuzz/run.sh keep $(T) $(FUZZ)

# The binary must be there (`make`), so that root need not build it. Configuration that is there
# already is left alone: the example is installed under a name of its own.
install:
	@test -x $(TARGET)/release/passerelle || { echo "run 'make' first" >&2; exit 1; }
	install -D -m 755 $(TARGET)/release/passerelle $(BIN)/passerelle
	install -d $(ETC)/mappings
	install -m 644 mappings/*.toml $(ETC)/mappings/
	install -m 644 packaging/passerelle.toml $(ETC)/passerelle.toml.example
	install -d $(INIT)
	sed 's|/usr/bin/|$(PREFIX)/bin/|; s|/etc/|$(SYSCONFDIR)/|' packaging/passerelle.initd > $(INIT)/passerelle
	chmod 755 $(INIT)/passerelle
	install -d $(DOC)/docs/fr
	install -m 644 *.md LICENSE-MIT LICENSE-APACHE packaging/mosquitto.conf $(DOC)/
	install -m 644 docs/*.md $(DOC)/docs/
	install -m 644 docs/fr/*.md $(DOC)/docs/fr/
