"""Options of the commands that give work to a cluster: which server, what to run, where its results go."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aelif_pipelines import contract

if TYPE_CHECKING:
    from aelif.config import TrackingConfig

Host = Annotated[
    str,
    typer.Option(
        help="Kubeflow Pipelines API or a port-forward to it; else KF_PIPELINES_ENDPOINT, the service inside a "
        "cluster, or the kubeconfig's proxy.",
        show_default=False,
    ),
]
Namespace = Annotated[str, typer.Option(help="On a server with many users: that of the runs.", show_default=False)]
TokenFile = Annotated[
    str,
    typer.Option(
        help="File with a token, read before each request; else KF_PIPELINES_SA_TOKEN_PATH.", show_default=False
    ),
]

InstanceImages = Annotated[
    str | None, typer.Option(help="Photos of the subject: s3://…, or builtin:backpack, dog, car.")
]
ConfigFile = Annotated[Path | None, typer.Option("--config", "-c", help="YAML or TOML file with settings.")]
Set = Annotated[list[str] | None, typer.Option("--set", "-s", help="Any setting, as in aelif run.")]
TrackingUri = Annotated[
    str | None, typer.Option(help="MLflow server, as the pods reach it; else MLFLOW_TRACKING_URI.", show_default=False)
]
Experiment = Annotated[str, typer.Option(help="MLflow experiment that collects the runs.")]
KfpExperiment = Annotated[str, typer.Option(help="Kubeflow experiment; created if there is none.")]
Destination = Annotated[str, typer.Option(help="s3:// prefix for the results; none: MLflow keeps them.")]
CheckpointRoot = Annotated[
    str, typer.Option(help="Folder of the checkpoints' volume; empty: an interrupted training begins anew.")
]
ServiceAccount = Annotated[
    str, typer.Option(help="Kubernetes service account of the steps; empty: the server's default.")
]
PipelineRoot = Annotated[
    str, typer.Option(help="Where Kubeflow keeps artifacts; else the server's default.", show_default=False)
]
ManyPods = Annotated[bool, typer.Option("--many-pods", help="Let a run make more pods than is good for most clusters.")]

RUNNER, CHECKPOINTS = contract.RUNNER, contract.CHECKPOINT_FOLDER


def read_tracking(uri: str | None, experiment: str) -> TrackingConfig:
    """Return the MLflow server that is named, or that of the environment.

    Raises:
        ValueError: if there is neither.
    """
    import os

    from aelif.config import TrackingConfig

    given = uri or os.environ.get("MLFLOW_TRACKING_URI", "")
    if not given:
        raise ValueError(
            "tracking-uri: give --tracking-uri or MLFLOW_TRACKING_URI, as the pods reach the MLflow server"
        )
    return TrackingConfig(tracking_uri=given, experiment=experiment)
