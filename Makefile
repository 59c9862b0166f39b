# `make demo` needs nothing but Rust: it installs Mosquitto where it is absent.

CARGO ?= cargo

.PHONY: demo

# A private broker, the gateway and domains of both generations: every command, both ways.
demo:
	@sh demo/setup.sh
	$(CARGO) build --quiet --bin passerelle --example demo
	$(CARGO) run --quiet --example demo
