# The few commands of the house; `make help` lists them.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help run build test fmt clippy peers browser web dist screens pages bench soak fuzz deb static toolchain compiler

VERSION := $(shell sed -n '/^\[workspace.package\]/,/^$$/s/^version = "\(.*\)"/\1/p' Cargo.toml)
TARGET := $(or $(CARGO_TARGET_DIR),target)
BINARY := $(TARGET)/release/fieldpost

# The peers that tests and benchmarks stand beside: Debian packages, unpacked there, never installed.
PEERS := prometheus-node-exporter prometheus collectd-core netdata-core victoria-metrics iproute2 nginx-light libfaketime \
	chromium chromium-common fonts-liberation
PEERS_DIR := $(abspath $(TARGET))/peers
export FIELDPOST_PEERS_DIR = $(PEERS_DIR)

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

run: build ## build, then run a hub and an agent in the foreground with ./config/agent.yaml and ./data
	@exec $(BINARY) up --data ./data --config config/agent.yaml

# The first build shows cargo's own lines, for it takes minutes; later ones only what went wrong.
build: toolchain compiler
	@before=$$(stat -c %Y.%i $(BINARY) 2>/dev/null || true); start=$$(date +%s); \
	cargo build --release --bin fieldpost $${before:+--quiet} || exit $$?; \
	after=$$(stat -c %Y.%i $(BINARY)); took=$$(($$(date +%s) - start)); \
	if [ "$$before" = "$$after" ]; then echo "build  fieldpost $(VERSION) (release) up to date"; \
	elif [ $$took -lt 60 ]; then echo "build  fieldpost $(VERSION) (release) in $$took s"; \
	else printf 'build  fieldpost %s (release) in %d min %02d s\n' $(VERSION) $$((took / 60)) $$((took % 60)); fi

# Many tests wait, for programs that they killed or cut off: more run at a time than there are cores.
test: toolchain compiler peers browser dist fmt clippy ## everything the build machine checks: format, lints, every test
	@if command -v cargo-nextest >/dev/null; then \
	RUST_LIB_BACKTRACE=0 cargo nextest run --workspace --no-fail-fast --test-threads $$((2 * $$(nproc))); \
	else echo "test   cargo-nextest is missing (cargo install cargo-nextest --locked): using cargo test" >&2; \
	cargo test --workspace --no-fail-fast; fi

fmt:
	@cargo fmt --all --check

clippy:
	@cargo clippy --workspace --all-targets --quiet -- -D warnings

peers: ## bring the programs that tests and benchmarks compare with
	@tests/bed/fetch-peers.sh $(PEERS_DIR) $(PEERS)

# The dashboard is built with Node.js; what comes of it is committed, so that cargo needs none. Its
# packages are also those by which the tests drive a browser.
browser:
	@command -v npm >/dev/null || { echo "error: npm is missing: the dashboard and its tests need Node.js 20 or later" >&2; exit 1; }
	@cd web && { cmp -s package-lock.json node_modules/.fetched || { echo "web    fetching the packages of web/package-lock.json" >&2; \
	npm ci --no-audit --no-fund --ignore-scripts --loglevel=error >&2 && cp package-lock.json node_modules/.fetched; }; } \
	|| { echo "error: the packages of web/ cannot be fetched; is the network up?" >&2; exit 1; }

web: browser ## build the dashboard: web/dist from web/
	@cd web && npm run --silent build

dist: browser
	@before=$(abspath $(TARGET))/dist-before; rm -rf $$before && mkdir -p $$before && cp -r web/dist web/src/api/schema.ts $$before/ && \
	(cd web && npm run --silent build) >$$before.log 2>&1 || { cat $$before.log >&2; exit 1; }; \
	diff -r $$before/dist web/dist >/dev/null && cmp -s $$before/schema.ts web/src/api/schema.ts || \
	{ echo "error: web/dist was not what web/ gives; it has been built anew: commit it" >&2; exit 1; }

# In namespaces of their own: pictures show what the test runs, and nothing of who takes them.
screens: toolchain compiler peers browser ## pictures of the dashboard, in docs/screens/ (as root)
	@cargo test --quiet --test it --no-run && FIELDPOST_SCREENS=docs/screens unshare --pid --fork --mount-proc --uts --cgroup \
	cargo test --quiet --test it -- --ignored pictures_of_all_views_are_taken

# FIELDPOST_BENCH_SECONDS: how long a live page is watched; an hour tells whether its heap stays flat.
pages: toolchain compiler peers browser ## how fast the dashboard is, and what it costs the hub; asserts nothing
	@cargo test --release --quiet --test it -- --ignored --nocapture numbers_of_the_dashboard_are_taken

# The same tests with larger numbers: hours instead of minutes. FIELDPOST_SOAK multiplies what they count; with 10
# those of jobs come to the numbers that are promised (200 kills of an agent, 100 of shims, 10 000 short runs, ...).
SOAK ?= 10
soak: toolchain compiler peers ## the long tests: 1000 kills, power cuts, millions of fuzzed inputs
	@tests/bed/fetch-peers.sh $(PEERS_DIR) xfsprogs libeatmydata1
	@FIELDPOST_SOAK=$(SOAK) cargo test --release --test it -- --nocapture --test-threads=1 kill9
	@FIELDPOST_SOAK=$(SOAK) cargo test --release --test it -- --nocapture --test-threads=1 hub_faults
	@FIELDPOST_SOAK=$(SOAK) cargo test --release --test it -- --nocapture --test-threads=1 jobs::
	@FIELDPOST_SOAK=$(SOAK) cargo test --release -p fieldpost-store --test it -- --nocapture --test-threads=1
	@FIELDPOST_SOAK=$(SOAK) cargo test --release --test it -- --nocapture --test-threads=1 --ignored
	@FIELDPOST_BENCH_ONLY=running FIELDPOST_BENCH_SECONDS=28800 cargo bench --quiet --bench peers
	@$(MAKE) --no-print-directory fuzz FUZZ_INPUTS=10000000

# FIELDPOST_BENCH_SECONDS, FIELDPOST_BENCH_RECORDING and FIELDPOST_BENCH_ONLY: see benches/peers/main.rs.
bench: toolchain compiler peers ## the benchmarks against the peers; prints the tables of BENCHMARKS.md
	@cargo bench --quiet --bench peers

FUZZ_INPUTS ?= 1000000
fuzz: toolchain compiler ## every fuzz target for FUZZ_INPUTS inputs (needs cargo-fuzz)
	@command -v cargo-fuzz >/dev/null || { echo "fuzz   cargo-fuzz is missing; run: cargo install cargo-fuzz --locked" >&2; exit 1; }
	@for target in $$(cargo fuzz list); do echo "fuzz   $$target"; \
	RUSTC_BOOTSTRAP=1 cargo fuzz run -s none $$target -- -runs=$(FUZZ_INPUTS) -max_len=65536 || exit 1; done

deb: toolchain compiler ## the Debian package, in target/debian/
	@packaging/build-deb.sh

static: toolchain compiler ## one static binary on musl, where its target can be had
	@packaging/build-static.sh

toolchain:
	@command -v cargo >/dev/null || { echo "error: no Rust toolchain; run: curl -sSf https://sh.rustup.rs | sh" >&2; exit 1; }

# SQLite and zstd are C. As root the compiler is installed, after saying so; else the command is shown.
compiler:
	@command -v cc >/dev/null && exit 0; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	echo "build  no C compiler: installing gcc and libc6-dev with apt-get" >&2; \
	{ apt-get -qq update && apt-get -qq install --no-install-recommends --yes gcc libc6-dev; } >&2; \
	else echo "error: no C compiler; run: sudo apt-get install gcc libc6-dev" >&2; exit 1; fi
