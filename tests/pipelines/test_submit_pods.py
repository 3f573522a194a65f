"""How many pods a run makes is counted from the compiled pipeline; what stands in the way of too many."""

from dataclasses import replace
from pathlib import Path

import pytest
from tests.pipelines.photos import ON_S3

from aelif.config import RunConfig, TrackingConfig
from aelif_pipelines.cluster import cluster_arguments
from aelif_pipelines.package import compile_package
from aelif_pipelines.pods import MOST_PODS, PodPlan, check_pods, pod_plan
from aelif_pipelines.recipes import recipe
from aelif_pipelines.settings import load_config, load_runs
from aelif_pipelines.steps import Task, expand, read_package
from aelif_pipelines.submit import without_caching

SERVER = TrackingConfig(tracking_uri="http://mlflow:5000")
TRIAL = ("train-dreambooth", "synthesize-images", "embed-images", "score-robustness", "search-worst-case")


@pytest.fixture(scope="module")
def specs(tmp_path_factory) -> dict:
    folder: Path = tmp_path_factory.mktemp("packages")
    names = ("robustness", "retrain")
    return {name: read_package(compile_package(name, folder / f"{name}.yaml"))[0] for name in names}


def arguments_of(config: RunConfig, **changes) -> dict:
    return cluster_arguments(config, tracking=SERVER) | changes


def on_s3(name: str, **changes) -> RunConfig:
    return load_config(name, changes={**ON_S3, **changes})


def plan(specs, config: RunConfig, **changes) -> PodPlan:
    return pod_plan(specs[config.pipeline], arguments_of(config, **changes))


@pytest.mark.parametrize("shards", [1, 3])
def test_each_trial_and_shard_has_its_steps(specs, shards):
    config = on_s3("sdxl", num_shards=shards)
    steps = list(expand(specs["robustness"], arguments_of(config)).leaves())
    names = [step.name for step in steps]
    trials = [str(trial) for trial in config.trials]
    assert [step.label for step in steps if step.name == "train-dreambooth"] == trials
    assert names.count("synthesize-images") == len(trials) * shards
    per_trial = len(TRIAL) - 1 + shards
    assert plan(specs, config).pods == len(steps) == len([name for name in names if name not in TRIAL]) + per_trial * 6
    assert len({step.node for step in steps}) == len({(step.name, step.label) for step in steps}) == len(steps)


def test_every_component_of_the_package_is_counted(specs):
    """A step that the walk missed would be in no plan."""
    for name in ("robustness", "retrain"):
        steps = expand(specs[name], arguments_of(on_s3("retrain" if name == "retrain" else "sdxl"))).leaves()
        made = {step.name for step in steps}
        components = {key.removeprefix("comp-") for key, body in specs[name]["components"].items() if "dag" not in body}
        assert made == components


def test_accelerators_follow_the_settings(specs):
    one, four = plan(specs, on_s3("sdxl")), plan(specs, on_s3("sdxl", **{"cluster.accelerators": 4}))
    none = plan(specs, on_s3("sdxl", **{"cluster.accelerators": 0}))
    assert one.accelerator_pods == four.accelerator_pods > none.accelerator_pods == 0
    # each of six trials generates and searches at once, or trains; the champion is measured beside them
    assert one.most_accelerators == 6 * 2 + 1
    assert four.most_accelerators == 6 * 4 + 1
    assert none.most_accelerators == 0
    assert "none with accelerators" in str(none)


def test_pods_of_a_training_on_several_nodes_are_counted():
    """As the walk reads them: a step that is given `distributed` starts that many pods."""
    task = Task(name="train", label="", node=".root.train", workers=2, worker_accelerators=4)
    spec = {
        "pipelineInfo": {"name": "p"},
        "root": {
            "inputDefinitions": {"parameters": {"distributed": {}}},
            "dag": {"tasks": {"train": {
                "componentRef": {"name": "comp-train"},
                "inputs": {"parameters": {"distributed": {"componentInputParameter": "distributed"}}},
            }}},
        },
        "components": {"comp-train": {"executorLabel": "exec-train"}},
        "deploymentSpec": {"executors": {"exec-train": {"container": {}}}},
    }  # fmt: skip
    given = {"distributed": {"nodes": 2, "accelerators": 4}}
    assert list(expand(spec, given).leaves()) == [task]
    found = pod_plan(spec, given)
    assert (found.pods, found.accelerator_pods, found.most_pods, found.most_accelerators) == (3, 2, 3, 8)


def test_at_once_is_the_widest_set_of_which_none_waits_for_another():
    """a → b → d, a → c → d, and e beside them: at most b, c and e."""
    names = {"a": (), "b": ("a",), "c": ("a",), "d": ("b", "c"), "e": ()}
    spec = {
        "pipelineInfo": {"name": "p"},
        "root": {"dag": {"tasks": {
            name: {"componentRef": {"name": "comp"}, "dependentTasks": list(after)} for name, after in names.items()
        }}},
        "components": {"comp": {"executorLabel": "exec"}},
        "deploymentSpec": {"executors": {"exec": {"container": {"resources": {"accelerator": {"count": "2"}}}}}},
    }  # fmt: skip
    found = pod_plan(spec, {})
    assert (found.pods, found.drivers, found.most_pods, found.most_accelerators) == (5, 6, 3, 6)


def test_nodes_are_named_as_kubeflows_compiler_for_argo_names_them(specs):
    """Written out by hand from its source: a loop, its turn, the sub-pipeline in it, and the exit step."""
    config = on_s3("retrain")
    steps = {(step.name, step.label): step.node for step in expand(specs["retrain"], arguments_of(config)).leaves()}
    study = ".root.exit-handler-1.when-due.condition-1.study"
    turn = f"{study}.for-loop-1.iteration-iterations(1:1).iteration-item.trial"
    label = str(config.trials[1])
    assert steps["train-dreambooth", label] == f"{turn}.train-dreambooth"
    shard = "for-loop-1.iteration-iterations(0:0).iteration-item"
    assert steps["synthesize-images", label] == f"{turn}.{shard}.synthesize-images"
    assert steps["close-run", ""] == ".root.exit-handler-1.onExit.close-run"


def test_figures_of_the_guide(specs):
    guide = " ".join((Path(__file__).parents[2] / "docs/operations.md").read_text().split())
    small = {plan(specs, on_s3(name)).pods for name in ("quickstart", "sdxl")}
    parts = load_runs("paper-full", changes=ON_S3)
    large = {plan(specs, part).pods for part in parts.values()}
    assert (
        f"`quickstart` and `sdxl` make {small.pop()} pods of steps, `paper-full` {large.pop()} for each part" in guide
    )
    assert not small | large


def test_too_many_pods_are_refused_with_what_to_do_instead(specs):
    config = recipe("ablation")
    config = replace(config, data=replace(config.data, instance_images="s3://photos/backpack"))
    big = plan(specs, config)
    assert big.pods > MOST_PODS
    with pytest.raises(
        ValueError, match=rf"pods = {big.pods}: .* fewer variants or seeds, num_shards = 1.*--many-pods"
    ):
        check_pods(big)
    check_pods(big, many=True)
    check_pods(plan(specs, on_s3("sdxl")))


def test_without_caching_every_step_runs(specs):
    changed = without_caching(specs["robustness"])
    tasks = [task for body in (changed["root"], *changed["components"].values())
             for task in body.get("dag", {}).get("tasks", {}).values()]  # fmt: skip
    assert tasks
    assert all(task["cachingOptions"] == {} for task in tasks)
    assert any("enableCache" in str(body) for body in specs["robustness"]["components"].values()), "the original stays"
