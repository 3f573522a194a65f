#!/bin/sh
# One step of images/Dockerfile, run inside the build:
#   install.sh base      the base's Python without pip, and with bytecode
#   install.sh cpu|gpu   the locked dependencies of an image into /opt/aelif
#   install.sh package   our own code, from /lock, into /opt/aelif
set -eu

readonly ENVIRONMENT=/opt/aelif LOCK=/opt/aelif/lock PIP=/opt/pip/bin
export PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore

# With a folder of wheels mounted, pip may ask no index.
if ls /wheels/*.whl >/dev/null 2>&1; then
    export PIP_NO_INDEX=1 PIP_FIND_LINKS=/wheels
fi

# Bytecode that is never checked against its source: it holds no time stamp, and a read-only
# root could not renew it. Without it every start of a step would compile what it imports.
# Left out: tests that hold broken sources, and what packages bring for a newer Python alone.
compile() {
    python=$1
    shift
    "$python" -B -m compileall -q -f -x '/(lib2to3|tests?)/|/py31[2-9]_' --invalidation-mode unchecked-hash "$@"
}

into_environment() {
    "$PIP/pip" --python "$ENVIRONMENT/bin/python" install --quiet --no-compile "$@"
}

case "$1" in
base)
    if python3 -B -m pip --version >/dev/null 2>&1; then
        python3 -B -m pip uninstall --quiet --yes pip setuptools wheel
    fi
    compile python3 "$(python3 -B -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')"
    ;;
cpu | gpu)
    into_environment --constraint "$LOCK/constraints.txt" --requirement "$LOCK/$1.txt"
    compile "$ENVIRONMENT/bin/python" "$ENVIRONMENT"/lib/python3*/site-packages
    ;;
package)
    "$PIP/pip" install --quiet --constraint /lock/constraints.txt hatchling
    "$PIP/pip" wheel --quiet --no-deps --no-build-isolation --wheel-dir /lock/dist /lock
    into_environment --no-deps --no-index /lock/dist/*.whl
    compile "$ENVIRONMENT/bin/python" "$ENVIRONMENT"/lib/python3*/site-packages
    ;;
*)
    echo "install.sh: base, cpu, gpu or package, not '$1'" >&2
    exit 2
    ;;
esac
