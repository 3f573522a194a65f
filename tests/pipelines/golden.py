"""What both pipelines compile to, in files to read and to compare: `python -m tests.pipelines.golden` writes them.

What both share stands in a file of its own. Sources of components are left out, and what changes with a release.
"""

import copy
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from aelif_pipelines.deployment import Deployment
from aelif_pipelines.graphs import PIPELINES
from aelif_pipelines.package import compile_package

FOLDER = Path(__file__).parent / "golden"
DEPLOYMENT = Deployment(
    cpu_image=f"registry.example.org/aelif/cpu@sha256:{'c' * 64}",
    gpu_image=f"registry.example.org/aelif/gpu@sha256:{'9' * 64}",
    queue="aelif",
    labels={"team": "shop"},
)
Parts = dict[str, Any]


def compiled(pipeline: str, deployment: Deployment = DEPLOYMENT) -> tuple[Parts, Parts]:
    """Return a pipeline's specification and what Kubernetes is told."""
    with TemporaryDirectory() as folder:
        spec, platform = yaml.safe_load_all(
            compile_package(pipeline, Path(folder) / "package.yaml", deployment).read_text()
        )
    return spec, platform


def golden_texts() -> dict[str, str]:
    """Return file name → text."""
    parts = {name: _parts(*compiled(name)) for name in PIPELINES}
    first, *others = parts.values()
    shared = {key: value for key, value in first.items() if all(other.get(key) == value for other in others)}
    texts = {"shared.yaml": _text(shared)}
    for name, own in parts.items():
        texts[f"{name}.yaml"] = _text({key: value for key, value in own.items() if key not in shared})
    return texts


def _parts(spec: Parts, platform: Parts) -> Parts:
    spec = copy.deepcopy(spec)
    spec.pop("sdkVersion")
    executors = spec.pop("deploymentSpec")["executors"]
    for executor in executors.values():
        executor["container"].pop("command")
        executor["container"].pop("args")
    kubernetes = platform["platforms"]["kubernetes"]
    told = kubernetes["deploymentSpec"]["executors"]
    steps = {name: {**executor["container"], "kubernetes": told[name]} for name, executor in executors.items()}
    return {**spec.pop("components"), **steps, "pipeline": spec, "run": kubernetes["pipelineConfig"]}


def _text(parts: Parts) -> str:
    return yaml.safe_dump(parts, sort_keys=True, width=120, default_flow_style=None)


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in golden_texts().items():
        (FOLDER / name).write_text(text)
        print(f"{FOLDER / name}: {len(text.splitlines())} lines")
