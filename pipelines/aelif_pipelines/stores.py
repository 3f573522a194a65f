"""Which MLflow store a command means."""

from __future__ import annotations

import os
from pathlib import Path

from aelif.config import TrackingConfig

EXPERIMENT = "aelif"


def choose_store(uri: str | None, folder: Path, *, experiment: str = EXPERIMENT) -> TrackingConfig:
    """Return the store that is named, else that of ``MLFLOW_TRACKING_URI``, else the one that lives in `folder`.

    Args:
        uri: what the user gave, if anything.
        folder: holds `mlflow.db`, or will.
        experiment: MLflow experiment that collects the runs.

    Raises:
        ValueError: if the address is none.
    """
    given = uri or os.environ.get("MLFLOW_TRACKING_URI")
    if given:
        return TrackingConfig(tracking_uri=given, experiment=experiment)
    return TrackingConfig.local(folder, experiment=experiment)
