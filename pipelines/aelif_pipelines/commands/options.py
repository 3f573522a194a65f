"""Options that several commands take, and the terminal that they write to."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

console = Console()

Output = Annotated[Path | None, typer.Option("--output", "-o", help="Folder for results; else outputs/RECIPE.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
TrackingUri = Annotated[
    str | None,
    typer.Option(
        "--tracking-uri",
        help="MLflow server or database; else MLFLOW_TRACKING_URI; else mlflow.db in the folder of the outputs.",
        show_default=False,
    ),
]
