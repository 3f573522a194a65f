cd /tmp/h4; PYTHONPATH=/tmp/h4/components:/tmp/h4/pipelines OMP_NUM_THREADS=1 nice -n 15 /work/main/.venv/bin/python -m pytest -q --durations=5 "$@"
