"""Pipeline packages on a server: each content is uploaded once, as a version named after it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from kfp_server_api import V2beta1Experiment, V2beta1Pipeline

import aelif
from aelif.artifacts import sha256_of
from aelif_pipelines.cluster import Cluster
from aelif_pipelines.deployment import Deployment
from aelif_pipelines.graphs import load_pipeline

_PAGE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Uploaded:
    """A version of a pipeline on a server."""

    pipeline_id: str
    version_id: str
    version: str
    """Its name: aelif's version and the first digits of the package's digest."""
    new: bool
    """Whether it was not there before."""
    newest: str
    """Name of the version created last, which a schedule on the latest one runs."""


def compile_package(pipeline: str, path: Path, deployment: Deployment | None = None) -> Path:
    """Write a pipeline's package to `path` (.yaml); the same code and deployment give the same bytes.

    Args:
        pipeline: ``"robustness"`` or ``"retrain"``.
        path: file to write.
        deployment: the installation; none: images by the names that `aelif.images` gives them.
    """
    from kfp.compiler import Compiler

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        Compiler().compile(load_pipeline(pipeline), str(path))
    text = path.read_text()
    spec, platform = yaml.safe_load_all(text)
    (deployment or Deployment()).write_into(spec, platform)
    comments = "".join(line for line in text.splitlines(keepends=True) if line.startswith("#"))
    path.write_text(comments + yaml.safe_dump_all([spec, platform], sort_keys=True))
    return path


def version_of(package: Path) -> str:
    """Return the name of a package's version: that of aelif, and the first digits of the content's digest."""
    return f"{aelif.__version__}-{sha256_of(package)[:12]}"


def custom_resources(package: Path, *, namespace: str = "") -> str:
    """Return a package as `Pipeline` and `PipelineVersion`, for servers that keep pipelines as Kubernetes objects.

    As `kfp.compiler.Compiler` writes them, whose version it cannot name after the content. A version cannot be
    changed; the content is in its name.
    """
    spec, platform = yaml.safe_load_all(package.read_text())
    pipeline, version = f"aelif-{spec['pipelineInfo']['name']}", version_of(package)
    place = {"namespace": namespace} if namespace else {}
    described = {"description": spec["pipelineInfo"]["description"]}
    resources = [
        ("Pipeline", pipeline, {"displayName": pipeline, **described}),
        ("PipelineVersion", f"{pipeline}-{version}",
         {"displayName": version, "pipelineName": pipeline, "pipelineSpec": spec, "platformSpec": platform,
          **described}),
    ]  # fmt: skip
    documents = [
        {
            "apiVersion": "pipelines.kubeflow.org/v2beta1",
            "kind": kind,
            "metadata": {"name": name, **place},
            "spec": body,
        }
        for kind, name, body in resources
    ]
    return yaml.safe_dump_all(documents, sort_keys=True)


def ensure_version(cluster: Cluster, name: str, package: Path) -> Uploaded:
    """Return the version with this content of the pipeline `name`, uploaded if it is not there.

    The pipeline is created empty: the server names the first version of an uploaded one after the
    pipeline, which says nothing about its content.
    """
    version_name = version_of(package)
    pipelines = cluster.client.pipelines
    found = [
        item
        for item in pages(pipelines.pipeline_service_list_pipelines, "pipelines", **_namespace(cluster))
        if name in (item.display_name, item.name)
    ]
    if found:
        pipeline_id = found[0].pipeline_id
    else:
        body = V2beta1Pipeline(name=name, display_name=name, namespace=cluster.namespace,
                               description="Made by aelif; see docs/operations.md")  # fmt: skip
        pipeline_id = pipelines.pipeline_service_create_pipeline(body).pipeline_id
    versions = _versions(cluster, pipeline_id)
    mine = next((item for item in versions if version_name in (item.display_name, item.name)), None)
    if mine is None:
        uploads = cluster.client.pipeline_uploads
        made = uploads.upload_pipeline_version(str(package), name=version_name, pipelineid=pipeline_id)
        return Uploaded(pipeline_id=pipeline_id, version_id=made.pipeline_version_id, version=version_name, new=True,
                        newest=version_name)  # fmt: skip
    newest = versions[-1].display_name
    return Uploaded(pipeline_id=pipeline_id, version_id=mine.pipeline_version_id, version=version_name, new=False,
                    newest=newest)  # fmt: skip


def version_name(cluster: Cluster, pipeline_id: str, version_id: str) -> str:
    """Return the name of a pinned version; without one, "latest" and the name of the version that is it now."""
    versions = _versions(cluster, pipeline_id)
    if version_id:
        return next((item.display_name for item in versions if item.pipeline_version_id == version_id), "deleted")
    return f"latest ({versions[-1].display_name})" if versions else "none"


def ensure_experiment(cluster: Cluster, name: str) -> str:
    """Return the id of an experiment, created if there is none.

    Raises:
        ValueError: if it is archived: its schedules would never run.
    """
    service = cluster.client.experiments
    listed = pages(service.experiment_service_list_experiments, "experiments", **_namespace(cluster))
    found = next((item for item in listed if item.display_name == name), None)
    if found is None:
        body = V2beta1Experiment(display_name=name, namespace=cluster.namespace, description="Made by aelif")
        return str(service.experiment_service_create_experiment(body).experiment_id)
    if found.storage_state == "ARCHIVED":
        raise ValueError(f"kfp-experiment = {name!r}: it is archived; restore it in Kubeflow, or name another")
    return str(found.experiment_id)


def pages(listing: Callable[..., Any], field: str, **arguments: Any) -> Iterator[Any]:
    """Yield every item of a paged listing of the generated API."""
    token = ""
    while True:
        page = listing(page_token=token, page_size=_PAGE, **arguments)
        yield from getattr(page, field) or ()
        token = page.next_page_token or ""
        if not token:
            return


def _versions(cluster: Cluster, pipeline_id: str) -> list[Any]:
    """Return a pipeline's versions, oldest first."""
    listing = cluster.client.pipelines.pipeline_service_list_pipeline_versions
    return sorted(pages(listing, "pipeline_versions", pipeline_id=pipeline_id), key=lambda item: item.created_at)


def _namespace(cluster: Cluster) -> dict[str, str]:
    return {"namespace": cluster.namespace} if cluster.namespace else {}
