"""The script that MLflow runs to load a registered model (models from code); a copy goes into every version.

All it knows is where MLflow put the files: what a version can do is in `aelif.registry.serving`, of
the pinned version of aelif.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd  # here, for MLflow reads the types of `predict`
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext

if TYPE_CHECKING:
    from aelif.registry.serving import ServedModel


class ImageModel(PythonModel):
    """Prompts to images, by the fine-tuned model on its own base model."""

    _served: ServedModel

    def load_context(self, context: PythonModelContext) -> None:
        """Open the model; it stays open between requests."""
        from pathlib import Path

        from aelif.registry.serving import open_served

        self._served = open_served(Path(context.artifacts["trained"]), Path(context.artifacts["serving"]))

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: Mapping[str, Any] | None = None
    ) -> pd.DataFrame:
        """Return one row per image: `prompt`, `image_index`, and `image`, a PNG in base64."""
        return pd.DataFrame(self._served.generate(model_input.to_dict("records"), params or {}))


set_model(ImageModel())  # what MLflow asks of such a script
