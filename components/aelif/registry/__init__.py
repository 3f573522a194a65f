"""MLflow: runs, results, and the model registry with its champion. The only importer of mlflow.

Importing mlflow and its database store takes some 2.5 s of processor time, so `component.py` and
whoever else needs a function from here imports it inside a function.
"""

import os

# mlflow reads it at import: fine-tuning on a customer's photos reports to nobody unless asked to.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
# `aelif.registry.store` repeats whole actions itself, and says when it gives up; MLflow would go on for minutes.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
