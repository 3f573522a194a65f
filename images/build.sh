#!/bin/sh
# Build the images of the pipeline with docker, podman or buildah: build.sh [cpu] [gpu]
#
# Settings (environment):
#   BASE      base image with Python 3.11, pinned by digest; default: that of images/Dockerfile
#   REGISTRY  host and folder that names start with: registry.example.org/team
#   WHEELS    folder that holds cpu/ and gpu/ with every wheel (`make wheels`): pip then asks no index
#   PIP_CONF  pip configuration for the build, for an index of your own; it stays out of the image
#   TOOL      docker, podman or buildah; default: the first of them there is
#   NO_CACHE  1: build every layer anew, as to compare its digest
#   PUSH      1: push, and print each image by its digest
#   SOURCE_DATE_EPOCH  time stamp of all files and of the image
set -eu
. "$(dirname "$0")/tool.sh"

find_tool
case "${BASE:-@sha256:}" in
*@sha256:*) ;;
*) fail "BASE=$BASE is not pinned: write NAME@sha256:DIGEST" ;;
esac

in_git() { git -C "$ROOT" "$@" 2>/dev/null; }
REVISION=$(in_git rev-parse HEAD || echo unknown)
[ -z "$(in_git status --porcelain -- components pipelines images pyproject.toml constraints.txt)" ] || REVISION=$REVISION-dirty
CREATED=$(in_git log -1 --format=%cI || echo unknown)
SOURCE=${SOURCE:-$(in_git remote get-url origin | sed 's#//[^/@]*@#//#' || true)}
# All files are of one day in 1980, whenever they are built: a layer changes with what is in it alone. When the
# commit was made, the label says.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-315532800}

build() {
    name=$(image_name "$1")
    target=$1
    set -- --file "$ROOT/images/Dockerfile" --target "$target" --tag "$name" \
        --build-arg REVISION="$REVISION" --build-arg VERSION="$(version)" \
        --build-arg CREATED="$CREATED" --build-arg SOURCE="$SOURCE" ${BASE:+--build-arg BASE="$BASE"}
    if [ -n "${WHEELS:-}" ]; then
        ls "$WHEELS/$target"/*.whl >/dev/null 2>&1 || fail "WHEELS=$WHEELS: no wheels in $target/; run 'make wheels'"
        set -- "$@" --build-context wheels="$WHEELS/$target"
    fi
    [ "${NO_CACHE:-}" != 1 ] || set -- "$@" --no-cache
    [ -z "${PIP_CONF:-}" ] || set -- "$@" --secret "id=pip.conf,src=$PIP_CONF"
    case "$TOOL" in
    docker)
        docker buildx build "$@" --build-arg SOURCE_DATE_EPOCH="$SOURCE_DATE_EPOCH" --provenance=false \
            --output "type=docker,rewrite-timestamp=true" "$ROOT"
        ;;
    podman) podman build "$@" --layers --timestamp "$SOURCE_DATE_EPOCH" "$ROOT" ;;
    buildah) buildah build "$@" --layers --timestamp "$SOURCE_DATE_EPOCH" "$ROOT" ;;
    esac
    [ "${PUSH:-}" != 1 ] || push "$name"
}

push() {
    if [ "$TOOL" = docker ]; then
        docker push --quiet "$1"
        docker image inspect --format '{{index .RepoDigests 0}}' "$1"
    else
        digest=$(mktemp)
        "$TOOL" push --digestfile "$digest" "$1"
        echo "${1%:*}@$(cat "$digest")"
        rm "$digest"
    fi
}

[ $# -gt 0 ] || set -- cpu gpu
for image; do
    build "$image"
done
