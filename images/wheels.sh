#!/bin/sh
# Collect every wheel that the images are built from, for a build without a network: wheels.sh [cpu] [gpu]
#
# Run it on a machine of the images' kind (Linux, the same processor, Python 3.11) that reaches an
# index, then take the folder to the machine that builds.
#
# Settings (environment):
#   WHEELS  folder to fill; default: build/wheels
#   PYTHON  Python 3.11 with pip; default: python3.11
set -eu
. "$(dirname "$0")/tool.sh"

WHEELS=${WHEELS:-$ROOT/build/wheels}
PYTHON=${PYTHON:-python3.11}
"$PYTHON" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' ||
    fail "PYTHON=$PYTHON is not Python 3.11, which the images run"

[ $# -gt 0 ] || set -- cpu gpu
for image; do
    mkdir -p "$WHEELS/$image"
    "$PYTHON" "$ROOT/images/requirements.py" "$image" > "$WHEELS/$image.txt"
    "$PYTHON" -m pip wheel --quiet --constraint "$ROOT/constraints.txt" --wheel-dir "$WHEELS/$image" \
        --requirement "$WHEELS/$image.txt" hatchling
    du -sh "$WHEELS/$image"
done
