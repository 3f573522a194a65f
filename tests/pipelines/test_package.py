"""Packages for a cluster: what they say, against KFP's protobufs and schemas, policies, and golden files."""

import difflib
import json
import re
from pathlib import Path

import jsonschema
import pytest
import yaml
from google.protobuf import json_format
from kfp.kubernetes import kubernetes_executor_config_pb2
from kfp.pipeline_spec import pipeline_spec_pb2
from tests.pipelines.golden import DEPLOYMENT, FOLDER, compiled, golden_texts
from typer.testing import CliRunner

from aelif import images
from aelif_pipelines import contract
from aelif_pipelines.cli import app
from aelif_pipelines.deployment import Deployment
from aelif_pipelines.graphs import PIPELINES
from aelif_pipelines.package import compile_package, custom_resources, version_of
from aelif_pipelines.placing import NEEDS

SCHEMAS = json.loads((Path(__file__).parents[1] / "manifests/schemas/kubeflow.json").read_text())["kinds"]
SIDE_EFFECTS = {"open-run", "read-fingerprints", "find-champion", "deliver-results", "register-model", "close-run"}
"""Steps that exist for what they do or see elsewhere, and so are never taken from the cache."""


@pytest.fixture(scope="module", params=PIPELINES)
def package(request: pytest.FixtureRequest):
    return compiled(request.param)


def executors(package) -> dict[str, tuple[dict, dict]]:
    """Return component → container and what Kubernetes is told."""
    spec, platform = package
    told = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    return {
        name.removeprefix("exec-"): (executor["container"], told[name])
        for name, executor in spec["deploymentSpec"]["executors"].items()
    }


def tasks(package):
    """Yield the graph's name, its component, the task's name and the task."""
    spec, _ = package
    for name, component in {**spec["components"], "root": spec["root"]}.items():
        for task_name, task in component.get("dag", {}).get("tasks", {}).items():
            yield name, component, task_name, task


def references(value):
    """Yield every reference to an input of the graph around, below `value`."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in ("componentInputParameter", "componentInputArtifact"):
                yield key, inner
            else:
                yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


# ── Golden files ──


@pytest.mark.parametrize("name", ["shared", *PIPELINES])
def test_golden(name: str) -> None:
    is_now = golden_texts()[f"{name}.yaml"]
    was = (FOLDER / f"{name}.yaml").read_text()
    changes = list(difflib.unified_diff(was.splitlines(), is_now.splitlines(), "golden", "compiled", lineterm="", n=4))
    if changes:
        pytest.fail("\n".join(["make golden, if this is what you mean:", *changes[:120]]), pytrace=False)


def test_the_same_code_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = (compile_package("retrain", tmp_path / f"{n}.yaml", DEPLOYMENT) for n in range(2))
    assert first.read_bytes() == second.read_bytes()
    assert version_of(first) != version_of(compile_package("retrain", tmp_path / "other.yaml"))


# ── What the server accepts ──


def test_protobufs(package) -> None:
    spec, platform = package
    json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
    json_format.ParseDict(platform, pipeline_spec_pb2.PlatformSpec())
    for told in platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"].values():
        json_format.ParseDict(told, kubernetes_executor_config_pb2.KubernetesExecutorConfig())


def test_every_reference_has_an_input_in_the_graph_around_it(package) -> None:
    """The SDK 2.17 writes references into loops that nothing fills: a run would fail at its first such task."""
    told = {name: settings for name, (_, settings) in executors(package).items()}
    for graph, component, name, task in tasks(package):
        inputs = component.get("inputDefinitions", {})
        known = {
            "componentInputParameter": set(inputs.get("parameters", {})),
            "componentInputArtifact": set(inputs.get("artifacts", {})),
        }
        settings = told.get(task["componentRef"]["name"].removeprefix("comp-"), {})
        for kind, wanted in [*references(task), *references(settings)]:
            assert wanted in known[kind], f"{graph} → {name}: {wanted}"


def test_every_placeholder_of_resources_is_an_input_of_the_task(package) -> None:
    containers = executors(package)
    for graph, _, name, task in tasks(package):
        container, _ = containers.get(task["componentRef"]["name"].removeprefix("comp-"), ({}, {}))
        for wanted in re.findall(r"inputs\.parameters\['([^']+)'\]", json.dumps(container.get("resources", {}))):
            assert wanted in task["inputs"]["parameters"], f"{graph} → {name}: {wanted}"


def test_resources_come_from_text(package) -> None:
    """The driver 2.17 reads any other type as "", and a pod without accelerators is not noticed until it is slow."""
    containers = executors(package)
    found = 0
    for graph, component, name, task in tasks(package):
        container, _ = containers.get(task["componentRef"]["name"].removeprefix("comp-"), ({}, {}))
        for wanted in re.findall(r"inputs\.parameters\['([^']+)'\]", json.dumps(container.get("resources", {}))):
            source = task["inputs"]["parameters"][wanted]["componentInputParameter"]
            kind = component["inputDefinitions"]["parameters"][source]["parameterType"]
            assert kind == "STRING", f"{graph} → {name}: {source}"
            found += 1
    assert found


def test_collected_artifacts_come_with_one_that_is_as_old(package) -> None:
    """The launcher 2.17 opens folders of earlier runs for the first item of a list; see `aelif_pipelines.study`."""
    spec, _ = package
    lists = 0
    for graph, _, name, task in tasks(package):
        inputs = spec["components"][task["componentRef"]["name"]].get("inputDefinitions", {}).get("artifacts", {})
        listed = {key for key, told in inputs.items() if told.get("isArtifactList")}
        lists += bool(listed)
        assert not listed or {"prompts", "base"} & set(inputs), f"{graph} → {name}"
    assert lists


def test_registration_is_the_last_step(package) -> None:
    """Only so does a run's ``gate.verdict`` say that it is complete."""
    study = package[0]["components"]["comp-study"]["dag"]["tasks"]
    before, todo = set(), ["register-model"]
    while todo:
        new = [name for name in study[todo.pop()].get("dependentTasks", ()) if name not in before]
        before.update(new)
        todo += new
    assert before == set(study) - {"register-model"}


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_custom_resources(pipeline: str, tmp_path: Path) -> None:
    path = compile_package(pipeline, tmp_path / "package.yaml", DEPLOYMENT)
    items = list(yaml.safe_load_all(custom_resources(path, namespace="kubeflow")))
    assert [item["kind"] for item in items] == ["Pipeline", "PipelineVersion"]
    for item in items:
        jsonschema.validate({"spec": item["spec"]}, SCHEMAS[f"{item['apiVersion']}/{item['kind']}"])
        assert item["metadata"]["namespace"] == "kubeflow"
        assert re.fullmatch(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?", item["metadata"]["name"])
    assert items[1]["spec"]["pipelineName"] == items[0]["metadata"]["name"]
    assert items[1]["metadata"]["name"].endswith(version_of(path))
    assert [items[1]["spec"]["pipelineSpec"], items[1]["spec"]["platformSpec"]] == list(
        yaml.safe_load_all(path.read_text())
    )


def test_schemas_refuse_what_the_server_refuses() -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"spec": {"pipelineName": "x"}}, SCHEMAS["pipelines.kubeflow.org/v2beta1/PipelineVersion"])
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"spec": {"display_name": "x"}}, SCHEMAS["pipelines.kubeflow.org/v2beta1/Pipeline"])


# ── Policies ──


def test_every_step_is_in_the_table_and_no_other(package) -> None:
    placed = {name for name, (_, settings) in executors(package).items() if settings}
    assert placed == set(executors(package)) <= set(NEEDS)


def test_the_table_has_no_step_too_many() -> None:
    assert {name for pipeline in PIPELINES for name in executors(compiled(pipeline))} == set(NEEDS)


def test_images_are_pinned_and_known_by_their_digest(package) -> None:
    for name, (container, _) in executors(package).items():
        assert container["image"] in (DEPLOYMENT.cpu_image, DEPLOYMENT.gpu_image), name
        env = {item["name"]: item["value"] for item in container["env"]}
        assert env == {
            "AELIF_IMAGE": container["image"],
            "AELIF_IMAGE_DIGEST": container["image"].partition("@")[2],
        }, name


def test_nothing_is_installed_when_a_step_starts(package) -> None:
    for container, _ in executors(package).values():
        assert "pip install" not in json.dumps(container)


def test_pods_are_bounded_unprivileged_and_labelled(package) -> None:
    for name, (container, settings) in executors(package).items():
        resources = container["resources"]
        for kind in ("CpuRequest", "CpuLimit", "MemoryRequest", "MemoryLimit"):
            assert resources[f"resource{kind}"], name
        assert settings["securityContext"] == {"runAsUser": "10001", "runAsGroup": "10001", "runAsNonRoot": True}
        assert int(settings["activeDeadlineSeconds"]) == NEEDS[name].hours * 3600
        labels = settings["podMetadata"]["labels"]
        assert labels == {
            "app.kubernetes.io/part-of": "aelif",
            "app.kubernetes.io/component": name,
            contract.QUEUE_LABEL: "aelif",
            "team": "shop",
        }


def test_steps_that_run_a_model_go_to_the_pool_and_no_other(package) -> None:
    spec, _ = package
    for name, (container, settings) in executors(package).items():
        in_pool = "nodeSelector" in settings
        assert in_pool == ("accelerator" in container["resources"]) == ("tolerations" in settings)
        assert in_pool == any(mount["mountPath"] == "/dev/shm" for mount in settings.get("emptyDirMounts", [])), name
        assert in_pool <= (container["image"] == DEPLOYMENT.gpu_image), name
    for parameter in ("node_selector", "tolerations", "accelerator", "accelerators", "train_accelerators", "cpu"):
        assert parameter in spec["root"]["inputDefinitions"]["parameters"]


def test_steps_read_what_the_manifests_make(package) -> None:
    for name, (_, settings) in executors(package).items():
        read = {
            entry.get("configMapName") or entry.get("secretName"): {
                pair.get("configMapKey") or pair.get("secretKey"): pair["envVar"] for pair in entry["keyToEnv"]
            }
            for entry in [*settings["configMapAsEnv"], *settings["secretAsEnv"]]
        }
        sources = (*contract.EVERY_STEP, *NEEDS[name].secrets)
        assert read == {source.name: {key.name: key.name for key in source.keys} for source in sources}, name
        mounts = {mount["mountPath"]: mount["constant"] for mount in settings["pvcMount"]}
        assert mounts["/cache"] == contract.MODEL_CACHE
        assert mounts.get("/checkpoints", contract.CHECKPOINTS) == contract.CHECKPOINTS
    webhook = {name for name, needs in NEEDS.items() if contract.NOTIFICATION in needs.secrets}
    assert webhook == {"close-run"}


def test_checkpoints_are_mounted_where_there_is_a_folder_for_them(package) -> None:
    for _, _, _, task in tasks(package):
        name = task["componentRef"]["name"].removeprefix("comp-")
        if name in NEEDS:
            assert ("checkpoint_root" in task["inputs"].get("parameters", {})) == NEEDS[name].checkpoints, name


def test_side_effects_are_never_cached_and_all_else_knows_the_code(package) -> None:
    for _, _, name, task in tasks(package):
        if task["componentRef"]["name"].removeprefix("comp-") not in NEEDS:
            continue
        cached = task["cachingOptions"].get("enableCache", False)
        assert cached == (name not in SIDE_EFFECTS), name
        assert "code_version" in task["inputs"]["parameters"], name


def test_repetitions_leave_time_for_every_attempt(package) -> None:
    for _, _, name, task in tasks(package):
        step = task["componentRef"]["name"].removeprefix("comp-")
        assert ("retryPolicy" in task) == (step in NEEDS), name
        if step in NEEDS:
            policy = task["retryPolicy"]
            attempts = policy["maxRetryCount"] + 1
            assert attempts > 1
            assert int(policy["backoffMaxDuration"].rstrip("s")) > attempts * NEEDS[step].hours * 3600


def test_a_run_ends_and_its_pods_go(package) -> None:
    settings = package[1]["platforms"]["kubernetes"]["pipelineConfig"]
    kept = [settings[f"resourceTtlOn{end}"] for end in ("Completion", "Success", "Failure")]
    assert set(kept) == {3 * 24 * 3600}, "Kubeflow's Argo has defaults of an hour, one by one"
    assert settings["activeDeadlineSeconds"] >= max(needs.hours for needs in NEEDS.values()) * 3600


# ── Options ──


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"cpu_image": "registry.example.org/aelif/cpu"}, "NAME@sha256"),
        ({"gpu_image": "registry.example.org:5000/gpu:latest"}, "NAME@sha256"),
        ({"gpu_image": "registry.example.org:5000/gpu@sha256:12"}, "64 hexadecimal"),
        ({"gpu_image": "a b"}, "gpu-image"),
        ({"labels": {"team": "a shop"}}, "team=a shop"),
        ({"queue": "Our Queue"}, "queue-name"),
    ],
)
def test_what_cannot_be_deployed_is_refused(changes: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Deployment(**changes)


def test_compile_writes_both_files_and_warns_of_tags(tmp_path: Path) -> None:
    out = tmp_path / "made" / "retrain.yaml"
    done = CliRunner().invoke(app, ["compile", "retrain", "--output", str(out), "--label", "team=shop"])
    assert done.exit_code == 0, done.output
    assert "named by tag" in " ".join(done.output.split())
    spec, platform = yaml.safe_load_all(out.read_text())
    assert {item["container"]["image"] for item in spec["deploymentSpec"]["executors"].values()} == {
        images.CPU,
        images.GPU,
    }
    for told in platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"].values():
        assert told["podMetadata"]["labels"]["team"] == "shop"
        assert contract.QUEUE_LABEL not in told["podMetadata"]["labels"]
    version = list(yaml.safe_load_all((tmp_path / "made" / "retrain-resources.yaml").read_text()))[1]
    assert version["spec"]["displayName"] == version_of(out)


def test_compile_takes_images_from_the_environment(tmp_path: Path) -> None:
    env = {"AELIF_CPU_IMAGE": DEPLOYMENT.cpu_image, "AELIF_GPU_IMAGE": DEPLOYMENT.gpu_image}
    done = CliRunner().invoke(app, ["compile", "--output", str(tmp_path / "p.yaml")], env=env)
    assert done.exit_code == 0, done.output
    assert "named by tag" not in " ".join(done.output.split())
    assert DEPLOYMENT.gpu_image in (tmp_path / "p.yaml").read_text()
