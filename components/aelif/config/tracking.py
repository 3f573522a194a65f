"""Where runs and models are recorded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from aelif.config.reading import require

TRACKING_SCHEMES = ("http", "https", "sqlite", "postgresql", "mysql", "mssql")
"""What a tracking URI may begin with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackingConfig:
    """Where runs and models are recorded: an MLflow server, or a file with a folder beside it."""

    tracking_uri: str
    """``https://…`` of an MLflow server, or ``sqlite:////folder/mlflow.db``."""
    experiment: str = "aelif"
    """MLflow experiment that collects the runs."""
    artifact_location: str = ""
    """URI below which the experiment's files go; "" leaves it to the server, or to the database's folder."""

    def __post_init__(self) -> None:
        scheme = self.tracking_uri.partition(":")[0]
        require(scheme in TRACKING_SCHEMES, "tracking_uri", self.tracking_uri,
                "give an MLflow server (https://…) or a database (sqlite:////folder/mlflow.db)")  # fmt: skip
        require(scheme != "sqlite" or self.tracking_uri.startswith("sqlite:////"), "tracking_uri", self.tracking_uri,
                "name the file by its full path, with four slashes: sqlite:////folder/mlflow.db")  # fmt: skip
        require(bool(self.experiment.strip()), "experiment", self.experiment, "give a name")

    @classmethod
    def local(cls, folder: Path, *, experiment: str = "aelif") -> TrackingConfig:
        """Return the store that lives in `folder`: ``mlflow.db`` with ``mlflow-artifacts`` beside it."""
        folder = folder.resolve()
        return cls(
            tracking_uri=f"sqlite:///{folder / 'mlflow.db'}",
            experiment=experiment,
            artifact_location=(folder / "mlflow-artifacts").as_uri(),
        )
