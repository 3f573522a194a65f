"""The job that makes the recurring run: its command line is one that `aelif` takes, its settings are valid."""

from __future__ import annotations

import re
from typing import Any

import pytest
import typer.main
from tests.manifests.rendering import MANIFESTS, Object, find, needs_kubectl, pod_of, render

from aelif import images
from aelif_pipelines import contract
from aelif_pipelines.cluster import cluster_arguments
from aelif_pipelines.commands.schedule import app
from aelif_pipelines.cron import parse_cluster_cron
from aelif_pipelines.settings import load_config

pytestmark = needs_kubectl
SETTINGS = MANIFESTS / "overlays" / "production" / "runs" / "retrain.yaml"


@pytest.fixture
def objects() -> tuple[Object, ...]:
    return render("production")


def options(objects: tuple[Object, ...]) -> dict[str, Any]:
    """Return what `aelif schedule create` makes of the job's command line."""
    job = find(objects, "Job", "aelif-schedule")
    (container,) = pod_of(job)["spec"]["containers"]
    values = find(objects, "ConfigMap", "aelif")["data"] | find(objects, "ConfigMap", "aelif-schedule")["data"]
    values["NAMESPACE"] = job["metadata"]["namespace"]
    words = [re.sub(r"\$\((\w+)\)", lambda found: values[found[1]], word)
             for word in [*container["command"], *container["args"]]]  # fmt: skip
    assert words[:3] == ["aelif", "schedule", "create"]
    create = typer.main.get_command(app).commands["create"]  # type: ignore[attr-defined]
    words = [word.replace("/etc/aelif/settings.yaml", str(SETTINGS)) for word in words[3:]]
    parsed: dict[str, Any] = create.make_context("create", words).params
    return parsed


def test_command_line_is_taken(objects: tuple[Object, ...]) -> None:
    parsed = options(objects)
    parse_cluster_cron(parsed["cron"])
    assert parsed["service_account"] == contract.RUNNER
    assert parsed["namespace"] == "aelif-runs"
    assert parsed["host"].startswith("http://ml-pipeline.kubeflow")
    assert parsed["queue"] == contract.QUEUE
    assert parsed["checkpoint_root"].startswith(contract.CHECKPOINT_FOLDER + "/")


def test_steps_of_the_recurring_run_have_the_images_of_this_version(objects: tuple[Object, ...]) -> None:
    """Until somebody writes the digests of theirs."""
    named = find(objects, "ConfigMap", "aelif-schedule")["data"]
    assert (named["AELIF_CPU_IMAGE"], named["AELIF_GPU_IMAGE"]) == (images.CPU, images.GPU)
    (container,) = pod_of(find(objects, "Job", "aelif-schedule"))["spec"]["containers"]
    assert container["image"] == images.CPU
    assert {"configMapRef": {"name": "aelif-schedule"}} in container["envFrom"]  # where the command looks for them


def test_settings_are_valid_on_a_cluster(objects: tuple[Object, ...]) -> None:
    from aelif.config import TrackingConfig

    parsed = options(objects)
    uri = find(objects, "ConfigMap", "aelif")["data"]["MLFLOW_TRACKING_URI"]
    settings = load_config(parsed["recipe"], file=SETTINGS, changes={})
    arguments = cluster_arguments(
        settings,
        tracking=TrackingConfig(tracking_uri=uri, experiment=parsed["experiment"]),
        destination=parsed["destination"],
        checkpoint_root=parsed["checkpoint_root"],
        command="aelif schedule create",
    )
    assert arguments["data"]["instance_images"] == "s3://example-photos/backpack"


def test_settings_of_dev_ask_for_no_gpu_and_fit_its_node() -> None:
    config = load_config("quickstart", file=MANIFESTS / "overlays" / "dev" / "run.yaml", changes={})
    assert (config.cluster.accelerators, config.cluster.memory) == (0, "4Gi")
    assert config.base_model.startswith("builtin:")
