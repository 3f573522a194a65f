# Sourced by the scripts beside it: which builder there is, and what the images are called.
ROOT=$(cd "$(dirname "$0")" && while [ ! -f pyproject.toml ]; do cd ..; done && pwd)

find_tool() {
    if [ -n "${TOOL:-}" ]; then
        command -v "$TOOL" >/dev/null || fail "TOOL=$TOOL: no such command"
    else
        for TOOL in docker podman buildah none; do
            command -v "$TOOL" >/dev/null && break
        done
        [ "$TOOL" != none ] || fail "no docker, podman or buildah here; install one of them"
    fi
    case "$TOOL" in
    docker | podman | buildah) ;;
    *) fail "TOOL=$TOOL: docker, podman or buildah" ;;
    esac
}

fail() {
    echo "$(basename "$0"): $1" >&2
    exit 1
}

version() {
    sed -n 's/^__version__ = "\(.*\)"/\1/p' "$ROOT/components/aelif/__init__.py"
}

# As components/aelif/images.py names them, below REGISTRY if there is one.
image_name() {
    echo "${REGISTRY:+$REGISTRY/}aelif/$1-python:$(version)"
}
