#!/bin/sh
# Run real steps in the built images, as pods do: try.sh [cpu] [gpu]
#
# As user 10001, on a read-only root, with mounts for what a pod may write: /cache, /tmp, /minio.
# No GPU is needed: the steps are those of the recipe `smoke`, on the packaged miniature models.
#
# Settings (environment): TOOL and REGISTRY as build.sh takes them. With buildah it needs root.
set -eu
. "$(dirname "$0")/tool.sh"

find_tool docker podman buildah
script=$ROOT/images/try_steps.py

in_buildah() {
    container=$(buildah from --pull-never "$1")
    root=$(buildah mount "$container")
    trap 'buildah rm "$container" >/dev/null' EXIT
    mkdir -p "$root/minio"
    buildah inspect --format '{{range .OCIv1.Config.Env}}{{println .}}{{end}}' "$container" > "$root/try.env"
    cp "$script" "$root/try_steps.py"
    unshare --mount sh -euc '
        root=$1
        mount --bind "$root" "$root"
        for folder in tmp cache minio; do
            mount -t tmpfs -o mode=1777 tmpfs "$root/$folder"
        done
        mount -t proc proc "$root/proc"
        mount -t devtmpfs -o ro devtmpfs "$root/dev"
        mkdir -p /dev/shm && mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
        mount -o remount,ro,bind "$root"
        exec env -i $(cat "$root/try.env") chroot --userspec=10001:10001 "$root" python3 /try_steps.py "$2"
    ' sh "$root" "$2"
    buildah rm "$container" >/dev/null
    trap - EXIT
}

[ $# -gt 0 ] || set -- cpu gpu
for image; do
    name=$(image_name "$image")
    echo "── $name ──"
    case "$TOOL" in
    docker | podman)
        "$TOOL" run --rm --read-only --user 10001:10001 --cap-drop ALL --security-opt no-new-privileges \
            --network none --shm-size 1g \
            --mount type=tmpfs,destination=/tmp,tmpfs-mode=1777 --mount type=tmpfs,destination=/cache,tmpfs-mode=1777 \
            --mount type=tmpfs,destination=/minio,tmpfs-mode=1777 \
            --volume "$script:/try_steps.py:ro" "$name" python3 /try_steps.py "$image"
        ;;
    buildah) in_buildah "$name" "$image" ;;
    esac
done
