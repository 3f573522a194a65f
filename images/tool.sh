# Sourced by the scripts beside it: which builder there is, and what the images are called.
ROOT=$(cd "$(dirname "$0")" && while [ ! -f pyproject.toml ]; do cd ..; done && pwd)

# find_tool [NAME]…: set TOOL to the first of these that is here.
find_tool() {
    [ $# -gt 0 ] || set -- docker podman buildah
    known=$*
    if [ -z "${TOOL:-}" ]; then
        for TOOL in "$@" ''; do
            command -v "$TOOL" >/dev/null && break
        done
        [ -n "$TOOL" ] || fail "none of $known is here; install one of them"
    fi
    case " $known " in
    *" $TOOL "*) command -v "$TOOL" >/dev/null || fail "TOOL=$TOOL: no such command" ;;
    *) fail "TOOL=$TOOL: one of $known" ;;
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
