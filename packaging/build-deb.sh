#!/bin/sh
# Builds the Debian package into target/debian/. `make deb` calls it.
#
#   packaging/build-deb.sh [PROFILE]      release if none is given; dev is for the test of the package
set -eu
cd "$(dirname "$0")/.."

profile=${1:-release}
case $profile in
release) folder=release ;;
dev) folder=debug ;;
*) echo "deb    no profile $profile; write release or dev" >&2; exit 2 ;;
esac
target=${CARGO_TARGET_DIR:-target}
# The tool is built once, beside our own; it is nothing of the machine's.
tools=$target/tools
PATH=$tools/bin:$PATH
if ! command -v cargo-deb >/dev/null; then
    echo "deb    building cargo-deb into $tools (once)" >&2
    cargo install cargo-deb --version '^3' --locked --debug --quiet --root "$tools" --target-dir "$tools/build"
fi

# A release is built here and packed small; the binary of the tests is there already, and is packed fast.
fast=--fast
if [ "$profile" = release ]; then
    fast=
    cargo build --release --bin fieldpost
fi

binary=$target/$folder/fieldpost
made=$target/$folder/package
rm -rf "$made"
mkdir -p "$made"
"$binary" man --out "$made/man"
gzip -9n "$made"/man/*.1
"$binary" completions bash >"$made/fieldpost.bash"
"$binary" completions zsh >"$made/_fieldpost"
"$binary" completions fish >"$made/fieldpost.fish"
# The services' user is not root, whose default these paths are: here they must be said.
for face in agent hub; do
    folder=/var/lib/fieldpost
    [ $face = agent ] || folder=$folder/hub
    sed "s|^  #path: $folder\$|  path: $folder|" config/$face.yaml >"$made/$face.yaml"
    grep -q "^  path: $folder\$" "$made/$face.yaml" ||
        { echo "deb    config/$face.yaml no longer has the line of store.path" >&2; exit 1; }
done
mkdir -p "$target/debian"
cargo deb --no-build --profile "$profile" --strip $fast --quiet --output "$target/debian/"
