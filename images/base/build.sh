#!/bin/sh
# Make a base image from Debian's packages, where no image registry can be reached. Run it as root.
#
# Debian bookworm with Python 3.11 and CA certificates, and no more; the same packages give the same
# digest. What it prints is what images/build.sh takes: BASE=localhost/aelif-base@sha256:…
#
# Settings (environment):
#   MIRROR  Debian mirror; default: debootstrap's. A dated snapshot makes the build repeatable for years
#   TOOL    buildah or podman; docker gives no digest to an image that was never pushed
set -eu
. "$(dirname "$0")/../tool.sh"

readonly SUITE=bookworm PACKAGES=python3,python3-venv,ca-certificates NAME=localhost/aelif-base:bookworm

[ "$(id -u)" -eq 0 ] || fail "debootstrap makes device files and changes root: run this as root"
command -v debootstrap >/dev/null || fail "no debootstrap here; on Debian: apt-get install debootstrap"
find_tool buildah podman

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
debootstrap --variant=minbase --include="$PACKAGES" "$SUITE" "$work/root" ${MIRROR:+"$MIRROR"} > "$work/log" 2>&1 || {
    tail -20 "$work/log" >&2
    fail "debootstrap did not finish"
}

# What differs from one run to the next, and what only a machine that installs packages needs.
cd "$work/root"
rm -rf var/cache/* var/log/* var/lib/apt/lists/* var/lib/dpkg/*-old var/lib/systemd run/* tmp/* dev/* \
    usr/share/doc usr/share/man usr/share/info usr/share/locale usr/share/lintian \
    etc/machine-id etc/hostname etc/resolv.conf etc/passwd- etc/group- etc/shadow- etc/gshadow-
find . -name '*.pyc' -delete
# Days since 1970 of the last change of each password, of which there are none.
sed -i -E 's/^([^:]*:[^:]*):[0-9]+:/\1:0:/' etc/shadow
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-315532800}
tar --create --sort=name --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" --file "$work/root.tar" .

if [ "$TOOL" = podman ]; then
    podman import --quiet --change 'CMD ["python3"]' "$work/root.tar" "$NAME" >/dev/null
    digest=$(podman image inspect --format '{{.Digest}}' "$NAME")
else
    container=$(buildah from scratch)
    buildah add --quiet "$container" "$work/root.tar" / >/dev/null
    buildah config --cmd python3 "$container"
    buildah commit --quiet --timestamp "$SOURCE_DATE_EPOCH" --rm "$container" "$NAME" >/dev/null
    digest=$(buildah inspect --type image --format '{{.FromImageDigest}}' "$NAME")
fi
echo "BASE=${NAME%:*}@$digest"
