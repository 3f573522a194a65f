"""The steps that write to MLflow; never cached, for they exist by their side effects."""

from kfp import dsl
from kfp.dsl import HTML, Dataset, Input, Model

from aelif import images


@dsl.component(base_image=images.CPU, install_kfp_package=False)
def open_run(tracking: dict, run_key: str, settings: dict, trials: list, code_version: str) -> str:
    """Open or resume the MLflow run of this execution, with a child for each trial; returns its id."""
    from aelif.progress import step_work
    from aelif.registry.tracking import open_parent

    with step_work("open_run", run_key):
        return open_parent(tracking, run_key, settings=settings, trials=trials, code_version=code_version)


@dsl.component(base_image=images.CPU, install_kfp_package=False)
def register_champion(
    tracking: dict,
    run_key: str,
    summary: Input[Dataset],
    verdict: Input[Dataset],
    table: Input[Dataset],
    page: Input[HTML],
    photos: Input[Dataset],
    models: Input[list[Model]],
    trials: list,
    gate: dict,
    code_version: str,
) -> str:
    """Log the results and make the gate's choice champion; returns ``NAME/VERSION``, "" where there is none."""
    from pathlib import Path

    from aelif.config import GateConfig, from_dict
    from aelif.progress import step_work
    from aelif.registry.publish import Results, publish

    with step_work("register"):
        files = {"summary": summary, "verdict": verdict, "table": table, "page": page, "photos": photos}
        paths = {name: Path(file.path) for name, file in files.items()}
        folders = {trial: Path(model.path) for trial, model in zip(trials, models, strict=True)}
        results = Results(**paths, models=folders)
        names = from_dict(GateConfig, gate)
        return publish(tracking, run_key, results=results, gate=names, code_version=code_version)


@dsl.component(base_image=images.CPU, install_kfp_package=False)
def close_run(tracking: dict, run_key: str, code_version: str, status: dsl.PipelineTaskFinalStatus) -> None:
    """End the MLflow run in the pipeline's true state; a store that fails is told, and hides no other failure."""
    from aelif.progress import step_work
    from aelif.registry.store import TrackingError
    from aelif.registry.tracking import close_by_status

    with step_work("close_run") as progress:
        try:
            close_by_status(tracking, run_key, state=status.state, message=status.error_message or "")
        except TrackingError as error:
            print(f"The run was not closed in MLflow: {error}")
            progress.emit("warning", message=str(error))
