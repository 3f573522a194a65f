#!/bin/sh
# One step of images/Dockerfile, run inside the build:
#   install.sh cpu|gpu   the locked dependencies of an image into /opt/aelif
#   install.sh package   our own wheel into /lock/dist
#   install.sh ours      that wheel, mounted at /dist, into /opt/aelif
set -eu

readonly ENVIRONMENT=/opt/aelif PIP=/opt/pip/bin
export PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore

# With a folder of wheels mounted, pip may ask no index.
if ls /wheels/*.whl >/dev/null 2>&1; then
    export PIP_NO_INDEX=1 PIP_FIND_LINKS=/wheels
fi

# Bytecode that is never checked against its source: it holds no time stamp, and a read-only
# root could not renew it. Without it every start of a step would compile what it imports.
compile() {
    "$ENVIRONMENT/bin/python" -m compileall -q --invalidation-mode unchecked-hash "$@"
}

into_environment() {
    "$PIP/pip" --python "$ENVIRONMENT/bin/python" install --quiet --no-compile "$@"
}

case "$1" in
cpu | gpu)
    python3 /lock/images/requirements.py "$1" > /lock/requirements.txt
    into_environment --constraint /lock/constraints.txt --requirement /lock/requirements.txt
    compile "$ENVIRONMENT"/lib/python3*/site-packages
    ;;
package)
    "$PIP/pip" install --quiet --constraint /lock/constraints.txt hatchling
    "$PIP/pip" wheel --quiet --no-deps --no-build-isolation --wheel-dir /lock/dist /lock
    ;;
ours)
    into_environment --no-deps --no-index /dist/*.whl
    compile "$ENVIRONMENT"/lib/python3*/site-packages/aelif "$ENVIRONMENT"/lib/python3*/site-packages/aelif_pipelines
    ;;
*)
    echo "install.sh: cpu, gpu, package or ours, not '$1'" >&2
    exit 2
    ;;
esac
