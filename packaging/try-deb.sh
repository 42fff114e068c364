#!/bin/sh
# Installs a package, starts the agent by hand, removes and purges it again: in a copy-on-write view
# of this machine, so that nothing of the machine itself changes. Needs root, for the view is a mount.
#
#   packaging/try-deb.sh PACKAGE.deb PORT
set -eu

deb=$(realpath "$1")
port=$2

fail() {
    echo "try-deb  $*" >&2
    exit 1
}

# In mounts of its own, which are gone when it ends.
if [ "${TRY_DEB_INSIDE:-}" = "" ]; then
    [ "$(id -u)" = 0 ] || fail "needs root: it mounts a view of this machine"
    exec env TRY_DEB_INSIDE=1 unshare --mount --propagation private "$0" "$deb" "$port"
fi

layer=$(mktemp -d /tmp/try-deb.XXXXXX)
trap 'umount -R "$layer" 2>/dev/null; rmdir "$layer"' EXIT
mount -t tmpfs -o size=2g,mode=755 tmpfs "$layer"
mkdir "$layer/upper" "$layer/work" "$layer/root"
mount -t overlay -o "lowerdir=/,upperdir=$layer/upper,workdir=$layer/work" overlay "$layer/root" ||
    fail "cannot mount an overlay of /"
root=$layer/root
for folder in proc sys dev; do mount --rbind /$folder "$root/$folder"; done
mount -t tmpfs tmpfs "$root/run"
mount -t tmpfs tmpfs "$root/tmp"
cp "$deb" "$root/tmp/fieldpost.deb"
cp /etc/resolv.conf "$root/run/" 2>/dev/null || true

inside() { DEBIAN_FRONTEND=noninteractive chroot "$root" "$@"; }
# As the unit would run it, but for its capabilities.
as_service() { inside setpriv --reuid fieldpost --regid fieldpost --clear-groups env HOME=/nonexistent "$@"; }

echo "try-deb  lintian"
if ! command -v lintian >/dev/null; then
    inside sh -c 'apt-get -qq update; apt-get -qq install --yes --no-install-recommends lintian' >"$layer/apt.log" 2>&1 ||
        { cat "$layer/apt.log" >&2; fail "cannot bring lintian"; }
fi
inside lintian --allow-root --fail-on error /tmp/fieldpost.deb || fail "lintian finds errors"

echo "try-deb  install"
inside sh -c 'apt-get -qq install --yes --no-install-recommends /tmp/fieldpost.deb' >"$layer/apt.log" 2>&1 ||
    { cat "$layer/apt.log" >&2; fail "cannot install"; }
inside getent passwd fieldpost >/dev/null || fail "no user fieldpost after the installation"
for file in /usr/bin/fieldpost /etc/fieldpost/agent.yaml /lib/systemd/system/fieldpost-agent.service \
    /etc/fieldpost/hub.yaml /lib/systemd/system/fieldpost-hub.service \
    /usr/share/man/man1/fieldpost.1.gz /usr/share/bash-completion/completions/fieldpost \
    /usr/share/doc/fieldpost/root.conf; do
    [ -e "$root$file" ] || [ -e "$root/usr$file" ] || fail "no $file after the installation"
done
inside fieldpost --version

echo "try-deb  start, status, metrics, stop"
# What StateDirectory= would make.
inside install -d -o fieldpost -g fieldpost -m 0700 /var/lib/fieldpost
agent() { as_service fieldpost agent "$@" --config-dir /etc/fieldpost --set "metrics.listen=127.0.0.1:$port"; }
agent --start || fail "the installed agent does not start"
agent --status || fail "the installed agent is not running after its start"
inside fieldpost series --config-dir /etc/fieldpost >/dev/null || fail "root cannot read the installed agent's store"
hub() { as_service fieldpost hub "$@" --config-dir /etc/fieldpost --set listen=127.0.0.1:0; }
hub --start || fail "the installed hub does not start"
inside fieldpost hub token create --config-dir /etc/fieldpost >"$root/tmp/word" || fail "no join string"
inside sh -c 'fieldpost join - --config-dir /etc/fieldpost </tmp/word' || fail "the agent cannot join the hub beside it"
inside fieldpost hub agents --config-dir /etc/fieldpost || fail "the hub does not list its agents"
agent --stop || fail "the installed agent does not stop"
hub --stop || fail "the installed hub does not stop"

echo "try-deb  remove, purge"
inside dpkg --remove fieldpost >/dev/null
[ ! -e "$root/usr/bin/fieldpost" ] || fail "the program is still there after the removal"
[ -e "$root/etc/fieldpost/agent.yaml" ] || fail "the removal has taken the config along"
[ -d "$root/var/lib/fieldpost" ] || fail "the removal has taken the samples along"
inside dpkg --purge fieldpost >/dev/null
[ ! -e "$root/etc/fieldpost" ] || fail "the config is still there after the purge"
[ ! -e "$root/var/lib/fieldpost" ] || fail "the samples are still there after the purge"
echo "try-deb  ok"
