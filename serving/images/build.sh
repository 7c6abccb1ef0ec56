#!/usr/bin/env bash
# Build the images and print their sizes; `make images` calls this. Everything is set by environment variables:
#   ROLES="transformer ranker"   which images (default: all)
#   BUILDER=docker|buildah       who builds
#   ACCELERATOR=cpu|cuda         cuda adds -cuda to the tag
#   TAG, PREFIX, PLATFORM        default: the project's version, sightline, this machine's
#   BASE, SYSTEM_BASE            other base images, such as one made by base-image.sh
#   TORCH_INDEX, PIP_CONFIG      another index for the CPU's torch; a pip.conf that the build sees and no image keeps
#   UPDATES=no                   without Debian's security updates on top of the bases
#   BUILD_FLAGS                  more flags for the builder, such as --network=host
#   SAVE                         a folder for one archive per image, to load into nodes without a registry
set -euo pipefail
cd "$(dirname "$0")/../.."

builder=${BUILDER:-docker}
accelerator=${ACCELERATOR:-cpu}
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml)
tag=${TAG:-$version$([ "$accelerator" = cpu ] || echo "-$accelerator")}
# The last commit that changed what is in the images: another one trains no demo again and starts no job from its beginning.
sources=(README.md models training serving pyproject.toml requirements.lock)
revision=$(git log -1 --format=%H -- "${sources[@]}" 2>/dev/null || true)
revision=${revision:-unknown}
[ -z "$(git status --porcelain -- "${sources[@]}" 2>/dev/null)" ] || revision+=-changed

case $builder in
  docker) build=(docker build) ;;
  buildah) build=(buildah build --layers --format docker) ;;
  *) echo "BUILDER is '$builder'; expected docker or buildah" >&2 && exit 2 ;;
esac
command -v "$builder" >/dev/null || { echo "$builder is not installed; set BUILDER=docker or BUILDER=buildah" >&2 && exit 2; }

flags=(--file serving/Dockerfile --build-arg "ACCELERATOR=$accelerator" --build-arg "REVISION=$revision")
for name in BASE SYSTEM_BASE TORCH_INDEX UPDATES; do
  [ -z "${!name+set}" ] || flags+=(--build-arg "$name=${!name}")
done
label() { flags+=(--label "org.opencontainers.image.$1=$2"); }
label version "$version"
label revision "$revision"
# The commit's time, so that the same sources say the same; layers take it too where the builder can.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct -- "${sources[@]}" 2>/dev/null || true)}
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(date +%s)}
label created "$(date --utc --date "@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)"
label licenses "${LICENSES:-NOASSERTION}"
source_url=${SOURCE:-$(git remote get-url origin 2>/dev/null || true)}
[ -z "$source_url" ] || label source "$source_url"
[ -z "${PLATFORM:-}" ] || flags+=(--platform "$PLATFORM")
[ -z "${PIP_CONFIG:-}" ] || flags+=(--secret "id=pip,src=$PIP_CONFIG")
read -ra more <<<"${BUILD_FLAGS:-}"

# What an image's base is: its build argument, or the Dockerfile's default.
base_labels() {
  local argument=BASE base
  [ "$1" != items ] || argument=SYSTEM_BASE
  base=${!argument:-$(sed -n "s/^ARG $argument=//p" serving/Dockerfile)}
  printf '%s\n' --label "org.opencontainers.image.base.name=${base%@*}"
  case $base in *@sha256:*) printf '%s\n' --label "org.opencontainers.image.base.digest=${base#*@}" ;; esac
}

names=()
for role in ${ROLES:-captioner transformer ranker trainer rollout items}; do
  name=${PREFIX:-sightline}/$role:$tag
  echo "== $name" >&2
  mapfile -t base < <(base_labels "$role")
  "${build[@]}" "${flags[@]}" "${base[@]}" "${more[@]}" --target "$role" --tag "$name" .
  names+=("$name")
done

# Kubernetes reads sightline/ranker:1 as docker.io/sightline/ranker:1, so that is what an archive calls it; buildah's own
# name for it is localhost/sightline/ranker:1, which a node would never find.
save() {
  local name=$1 file=$2 host=${1%%/*}
  case $host in *.* | *:* | localhost) ;; *) name=docker.io/$name ;; esac
  rm -f "$file.part"
  if [ "$builder" = docker ]; then
    docker save --output "$file.part" "$1"
  else
    buildah push --quiet "$1" "docker-archive:$file.part:$name"
  fi
  mv "$file.part" "$file"
}
if [ -n "${SAVE:-}" ]; then
  mkdir -p "$SAVE"
  for name in "${names[@]}"; do
    file=$SAVE/${name##*/}
    save "$name" "${file%:*}-${name##*:}.tar"
  done
fi

for name in "${names[@]}"; do
  printf '%-40s %s\n' "$name" "$("$builder" images --format '{{.Size}}' "$name")"
done
