#!/bin/sh
# Builds one static binary on musl, where the target and a C compiler for it can be had.
# `make static` calls it.
set -eu
cd "$(dirname "$0")/.."

machine=$(uname -m)
triple=$machine-unknown-linux-musl

cannot() {
    echo "static cannot build for $triple: $1" >&2
    exit 1
}

if [ ! -d "$(rustc --print sysroot)/lib/rustlib/$triple/lib" ]; then
    command -v rustup >/dev/null || cannot "its standard library is missing and there is no rustup to bring it"
    rustup target add "$triple" || cannot "rustup cannot bring its standard library (see above)"
fi
# SQLite and zstd are C and must be built against musl too.
command -v musl-gcc >/dev/null || cannot "musl-gcc is missing; run: sudo apt-get install musl-tools"

under=$(echo "$triple" | tr - _)
export "CC_$under=musl-gcc"
cargo build --release --bin fieldpost --target "$triple"
binary=${CARGO_TARGET_DIR:-target}/$triple/release/fieldpost
echo "static $binary, $(stat -c %s "$binary" | numfmt --to=iec)"
