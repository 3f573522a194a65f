# Sourced by the scripts beside it: which builder there is, and what the images are called.
ROOT=$(cd "$(dirname "$0")" && while [ ! -f pyproject.toml ]; do cd ..; done && pwd)

# find_tool [NAME]…: set TOOL to the first of these that is here.
find_tool() {
    [ $# -gt 0 ] || set -- docker podman buildah
    known=$*
    if [ -z "${TOOL:-}" ]; then
        for TOOL in "$@" ''; do
            is_usable "$TOOL" && break
        done
        [ -n "$TOOL" ] || fail "none of $known is here; install one of them"
    fi
    case " $known " in
    *" $TOOL "*) is_usable "$TOOL" || fail "TOOL=$TOOL: not installed; docker needs its buildx plugin, too" ;;
    *) fail "TOOL=$TOOL: one of $known" ;;
    esac
}

is_usable() {
    command -v "$1" >/dev/null && { [ "$1" != docker ] || docker buildx version >/dev/null 2>&1; }
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
