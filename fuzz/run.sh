#!/bin/sh
# run.sh fuzz SECONDS TARGET...: builds the targets and runs each for so many seconds.
# run.sh keep SECONDS TARGET...: puts into fuzz/corpus what the runs so far have found (no run: 0).
#
# Stable Rust can do it: rustc's own flags have LLVM count what is reached, and libfuzzer-sys brings
# libFuzzer. Sanitizers would take nightly, and have nothing to find where no code is `unsafe`.
set -eu
doing=$1 seconds=$2
shift 2
root=$(cd "$(dirname "$0")/.." && pwd)
cargo=${CARGO:-cargo}
host=$(rustc -vV | sed -n 's/^host: //p')
target=${CARGO_TARGET_DIR:-$root/fuzz/target}
work=$target/fuzz

RUSTFLAGS="${RUSTFLAGS:-} --cfg fuzzing -C passes=sancov-module"
for option in level=4 inline-8bit-counters pc-table trace-compares; do
	RUSTFLAGS="$RUSTFLAGS -C llvm-args=-sanitizer-coverage-$option"
done
export RUSTFLAGS CARGO_TARGET_DIR="$target"

# With --target the flags are not for build scripts and macros.
bins=$(printf ' --bin %s' "$@")
(cd "$root/fuzz" && $cargo build --locked --release --quiet --target "$host" $bins)

# What a target begins with besides its own corpus, and its words.
seeds() {
	case $1 in
	mapping) echo "$root/fixtures/mappings $root/mappings" ;;
	config) echo "$root/fixtures/mappings/invalid $root/packaging" ;;
	conversation) echo "$root/fixtures/conversations" ;;
	steps) echo "$root/fuzz/corpus/carrier $root/fuzz/corpus/frame $root/fuzz/corpus/tunnel" ;;
	endurance | hostile) echo "$root/fuzz/corpus/gateway" ;;
	esac
}
words() {
	case $1 in
	mapping | config) echo "$root/fuzz/words/toml.dict" ;;
	conversation) echo "$root/fuzz/words/conversation.dict" ;;
	carrier | steps) echo "$root/fuzz/words/mqtt.dict" ;;
	esac
}

failed=
for name in "$@"; do
	run=$target/$host/release/$name
	kept=$root/fuzz/corpus/$name
	found=$work/$name
	mkdir -p "$found"
	if [ "$doing" = keep ]; then
		# Where the fixtures are the seeds nothing else is kept, and of others the longest are enough.
		[ -z "$(seeds "$name")" ] || continue
		mkdir -p "$kept"
		"$run" -merge=1 -use_counters=0 "$kept" "$found" >"$found.log" 2>&1
		(cd "$kept" && ls -S | tail -n +41 | xargs -r rm --)
		printf '%-14s %s files are kept\n' "$name" "$(ls "$kept" | wc -l)"
		continue
	fi
	dict=$(words "$name")
	# The seeds and what is kept are lists.
	# shellcheck disable=SC2046
	if "$run" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=512 -print_final_stats=1 \
		${dict:+-dict="$dict"} -artifact_prefix="$found-" \
		"$found" $(seeds "$name") $(ls -d "$kept" 2>/dev/null) >"$found.log" 2>&1; then
		outcome=ok
	else
		outcome=FAILED failed="$failed $name"
		sed -n '/panicked at/,/^stack backtrace/p; /ERROR: libFuzzer/p; /Test unit written/p' "$found.log" | head -n 40
	fi
	printf '%-14s %-6s %10s inputs, %6s MB, %s\n' "$name" "$outcome" \
		"$(sed -n 's/^stat::number_of_executed_units: *//p' "$found.log")" \
		"$(sed -n 's/^stat::peak_rss_mb: *//p' "$found.log")" \
		"$(sed -n 's/^#[0-9].* \(cov: [0-9]* ft: [0-9]*\).*/\1/p' "$found.log" | tail -n 1)"
done
if [ -n "$failed" ]; then
	echo "failed:$failed (the logs and inputs are in $work)" >&2
	exit 1
fi
