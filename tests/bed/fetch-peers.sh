#!/bin/sh
# Brings Debian packages, and those they need that this machine lacks, and unpacks them in a folder.
# Nothing is installed: the packages' own scripts would start services.
#
#   tests/bed/fetch-peers.sh FOLDER PACKAGE...
#
# Each package that is there already (stamped) is left alone, so a second call costs nothing.
set -eu
umask 022

folder=$1
shift
stamps=$folder/.unpacked
downloads=$folder/.downloads
mkdir -p "$stamps" "$downloads"

say() { echo "peers  $*" >&2; }

fail() {
    say "$*"
    exit 1
}

missing=
for package in "$@"; do
    [ -e "$stamps/$package" ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

for tool in apt-get apt-cache dpkg-deb; do
    command -v $tool >/dev/null || fail "cannot bring$missing: $tool is missing; the tests need Debian or Ubuntu"
done

update_lists() {
    [ "$(id -u)" = 0 ] || fail "the package lists are missing or old; run: sudo apt-get update"
    say "updating the package lists"
    apt-get -qq -o Acquire::Retries=3 update >&2 || say "apt-get update failed; trying with the lists there are"
}

known() {
    for package in $missing; do
        apt-cache show "$package" 2>/dev/null | grep -q '^Filename:' || return 1
    done
}

# What a real installation would add, by the solver's own word; fonts and web pages are of no use here.
with_needs() {
    echo "$missing" | tr ' ' '\n' | sed '/^$/d'
    # shellcheck disable=SC2086
    LC_ALL=C apt-get -s --no-install-recommends install $missing 2>/dev/null |
        sed -n 's/^Inst \([^ ]*\) .*/\1/p' | grep -Ev '^(fonts-|libjs-|node-|javascript-)' || true
}

download() {
    # One call for all: apt fetches them in parallel. As root apt warns about its sandbox; that is harmless here.
    # shellcheck disable=SC2046
    (cd "$downloads" && apt-get -qq -o Acquire::Retries=3 -o APT::Sandbox::User=root download $(sort -u wanted) >&2)
}

known || update_lists
for package in $missing; do
    apt-cache show "$package" 2>/dev/null | grep -q '^Filename:' ||
        fail "no package $package in this machine's sources; add a source that has it (Debian 12: main)"
done

attempt=1
attempts=3
while :; do
    with_needs >"$downloads/wanted"
    say "downloading$missing and what they need ($(sort -u "$downloads/wanted" | wc -l) packages)"
    download && break
    [ $attempt -lt $attempts ] || fail "cannot download$missing after $attempts attempts; is the network up?"
    attempt=$((attempt + 1))
    sleep $((attempt * 5))
    # A version that has left the mirror is the usual cause.
    update_lists
done

for archive in "$downloads"/*.deb; do
    dpkg-deb -x "$archive" "$folder" || fail "cannot unpack $archive; delete $folder and try again"
done
for package in $missing; do
    : >"$stamps/$package"
done
rm -f "$downloads"/*.deb
