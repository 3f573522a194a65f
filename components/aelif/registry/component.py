"""The steps that write to MLflow; never cached, for they exist by their side effects."""

from typing import NamedTuple

from kfp import dsl
from kfp.dsl import HTML, Dataset, Input, Model

from aelif import images


@dsl.component(base_image=images.CPU, install_kfp_package=False)
def open_run(tracking: dict, run_key: str, settings: dict, trials: list, code_version: str) -> str:
    """Open or resume the MLflow run of this execution, with a child for each trial; returns its id."""
    from aelif.registry.live import tracked_step
    from aelif.registry.tracking import open_parent

    with tracked_step("open_run", run_key):
        return open_parent(tracking, run_key, settings=settings, trials=trials, code_version=code_version)


# kfp reads the names of several outputs from an inline NamedTuple alone: it embeds the function without its module.
@dsl.component(base_image=images.CPU, install_kfp_package=False)
def find_champion(
    tracking: dict,
    run_key: str,
    photos: Input[Dataset],
    reference: str,
    base: Input[Model],
    settings: dict,
    force: bool,
    code_version: str,
) -> NamedTuple("Champion", [("due", bool), ("champion", str), ("key", str)]):  # type: ignore[valid-type]
    """Look up the champion, and tell whether there is anything new to train on.

    Args:
        tracking: a `TrackingConfig` in plain values.
        run_key: names the execution.
        photos: what `prepare_data` wrote.
        reference: fingerprint of the reference photos, "" without any.
        base: what `resolve_model` wrote.
        settings: the run's configuration.
        force: retrain even where nothing is new.
        code_version: part of the cache key.

    Returns:
        due: whether to retrain; champion: its version, "" where there is none; key: digest of what would be
        trained on, so that a later run knows whether it was tried.
    """
    from collections import namedtuple

    from aelif.artifacts import read_json
    from aelif.registry.due import look_up
    from aelif.registry.live import tracked_step

    with tracked_step("find_champion") as progress:
        manifest, source = read_json(f"{photos.path}/manifest.json"), read_json(f"{base.path}/source.json")
        inputs = {"photos": manifest["digest"], "reference": reference, "base": source["digest"]}
        found = look_up(tracking, run_key, inputs=inputs, settings=settings, force=force)
        progress.emit("due" if found.due else "not_due", message=found.reason, champion=found.champion)
    Champion = namedtuple("Champion", ["due", "champion", "key"])
    return Champion(found.due, found.champion, found.key)


@dsl.component(base_image=images.GPU, install_kfp_package=False)
def register_model(
    tracking: dict,
    run_key: str,
    key: str,
    summary: Input[Dataset],
    verdict: Input[Dataset],
    table: Input[Dataset],
    prompts: Input[Dataset],
    page: Input[HTML],
    photos: Input[Dataset],
    reference: Input[Dataset],
    base: Input[Model],
    models: Input[list[Model]],
    images: Input[list[Dataset]],
    trials: list,
    settings: dict,
    code_version: str,
) -> str:
    """Log the results, register the gate's choice and do what it decided; returns ``NAME/VERSION``.

    Args:
        tracking: a `TrackingConfig` in plain values.
        run_key: names the execution.
        key: what `find_champion` returned, "" without it.
        summary: `summary.json`; like `verdict`, `table`, `prompts` and `page` an earlier step's output.
        verdict: the gate's verdict.
        table: merged `scores.parquet`.
        prompts: `prompts.parquet`.
        page: the report.
        photos: prepared photos.
        reference: those that images were measured against.
        base: resolved base model.
        models: trained models, one per entry of `trials`.
        images: image folders, likewise.
        trials: such as ``aelif_mask:0.3/seed=0``.
        settings: the run's configuration.
        code_version: part of the cache key.
    """
    from pathlib import Path

    from aelif.config import GateConfig, from_dict
    from aelif.registry.live import tracked_step
    from aelif.registry.publish import Results, publish

    files = {"summary": summary, "verdict": verdict, "table": table, "prompts": prompts, "page": page,
             "photos": photos, "base": base}  # fmt: skip
    with tracked_step("register") as progress:
        results = Results(
            **{name: Path(file.path) for name, file in files.items()},
            reference=Path(reference.path) if settings["data"].get("reference_images") else None,
            models={trial: Path(model.path) for trial, model in zip(trials, models, strict=True)},
            images={trial: Path(folder.path) for trial, folder in zip(trials, images, strict=True)},
        )
        done = publish(tracking, run_key, results=results, gate=from_dict(GateConfig, settings["gate"]),
                       settings=settings, key=key, code_version=code_version)  # fmt: skip
        progress.emit("registered", model=done.model, version=done.version, outcome=done.outcome, message=done.reason)
    return f"{done.model}/{done.version}"


@dsl.component(base_image=images.CPU, install_kfp_package=False)
def close_run(tracking: dict, run_key: str, code_version: str, status: dsl.PipelineTaskFinalStatus) -> None:
    """End the MLflow run in the pipeline's true state, and notify AELIF_WEBHOOK_URL; neither can fail the run."""
    import os

    from aelif.notify import notify
    from aelif.registry.live import tracked_step
    from aelif.registry.spool import spool_folder
    from aelif.registry.store import TrackingError
    from aelif.registry.tracking import close_by_status
    from aelif.retries import forget_failures

    with tracked_step("close_run") as progress:
        state, message = status.state, status.error_message or ""
        try:
            facts = close_by_status(tracking, run_key, state=state, message=message)
        except TrackingError as error:
            print(f"The run was not closed in MLflow: {error}")
            progress.emit("warning", message=str(error))
            facts = {"state": state, "cause": message or str(error)}
        if folder := spool_folder():
            forget_failures(folder, run_key)
        url = os.environ.get("AELIF_WEBHOOK_URL", "")
        if url and (fault := notify(facts, url=url)):
            progress.emit("warning", message=f"nobody was notified: {fault}")
