"""Runs a pipeline with kfp.local in a process of its own, whose output is the log.

`aelif run` starts it: `python -m aelif_pipelines.worker REQUEST.json`. The parent shows progress
from the steps' events; what kfp and the steps print goes to the log file that is this stdout.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

from kfp import local
from kfp.local import subprocess_task_handler

from aelif.artifacts import read_json
from aelif_pipelines.graphs import load_pipeline
from aelif_pipelines.warm import warm_interpreter


def main(request_path: str) -> None:
    """Run the requested pipeline; a failing step raises."""
    request = read_json(Path(request_path))
    warnings.filterwarnings("ignore", category=RuntimeWarning, module="kfp")
    warnings.filterwarnings("ignore", message=r"Task '.*' have no effect in the current local runner")
    # kfp rewrites every "python3" in a command, also inside paths and values. The parent puts this
    # interpreter first on PATH instead, so that commands run as they are.
    subprocess_task_handler.replace_python_executable = lambda full_command, new_executable: full_command
    local.init(
        local.SubprocessRunner(use_venv=False),
        pipeline_root=request["pipeline_root"],
        enable_caching=request["caching"],
    )
    with warm_interpreter():
        pipeline = load_pipeline(request["pipeline"])
        pipeline(**request["arguments"])


if __name__ == "__main__":
    main(sys.argv[1])
