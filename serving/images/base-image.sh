#!/usr/bin/env bash
# A base image from Debian's own packages, for machines that reach a Debian mirror but no registry:
#   serving/images/base-image.sh localhost/sightline-base:bookworm
#   make images BUILDER=buildah BASE=localhost/sightline-base:bookworm SYSTEM_BASE=localhost/sightline-base:bookworm
# Needs root, debootstrap and buildah (apt-get install debootstrap buildah). MIRROR= names another Debian mirror, UPDATES=no leaves the updates out.
set -euo pipefail

name=${1:?usage: base-image.sh NAME}
mirror=${MIRROR:-http://deb.debian.org/debian}
packages=(python3.11 python3.11-venv libpython3.11 ca-certificates)

root=$(mktemp -d)
container=
cleanup() {
  [ -z "$container" ] || buildah rm "$container" >/dev/null
  rm -rf --one-file-system "$root"
}
trap cleanup EXIT

debootstrap --variant=minbase bookworm "$root" "$mirror"
# Security updates, as Debian's own image has them; then Python, which debootstrap's own order of configuring fails on.
cat >"$root/etc/apt/sources.list" <<SOURCES
deb $mirror bookworm main
deb $mirror bookworm-updates main
deb ${SECURITY_MIRROR:-http://deb.debian.org/debian-security} bookworm-security main
SOURCES
# shellcheck disable=SC2016  # the inner shell's variables
chroot "$root" env DEBIAN_FRONTEND=noninteractive UPDATES="${UPDATES:-yes}" sh -ec '
  apt-get update
  if [ "$UPDATES" = yes ]; then apt-get upgrade -y; fi
  apt-get install -y --no-install-recommends "$@"
  apt-get clean' sh "${packages[@]}"
rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/debconf/*-old "$root"/var/log/* \
  "$root"/usr/share/man/* "$root"/usr/share/info/* "$root"/usr/share/locale/*
find "$root/usr/share/doc" -type f ! -name copyright -delete

container=$(buildah from scratch)
buildah add --quiet "$container" "$root" / >/dev/null
buildah config --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin --cmd '["bash"]' "$container"
buildah commit --quiet "$container" "$name" >/dev/null
buildah images "$name"
