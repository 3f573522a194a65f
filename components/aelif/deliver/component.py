"""The `deliver_results` step."""

from kfp import dsl
from kfp.dsl import HTML, Dataset, Input, Model

from aelif import images as container_images


@dsl.component(base_image=container_images.CPU, install_kfp_package=False)
def deliver_results(
    destination: str,
    summary: Input[Dataset],
    verdict: Input[Dataset],
    table: Input[Dataset],
    page: Input[HTML],
    prompts: Input[Dataset],
    worst: Input[Dataset],
    photos: Input[Dataset],
    base: Input[Model],
    images: Input[list[Dataset]],
    trials: list,
    code_version: str,
) -> None:
    """Copy the results of a run to `destination`: a folder, an ``s3://`` prefix, or "" for nowhere but MLflow."""
    from pathlib import Path

    from aelif.deliver.results import deliver, input_digests
    from aelif.registry.live import tracked_step
    from aelif.storage import local_copy

    if not destination:
        return
    with tracked_step("deliver_results"), local_copy(destination) as folder:
        deliver(
            folder,
            summary=Path(summary.path),
            verdict=Path(verdict.path),
            table=Path(table.path),
            page=Path(page.path),
            prompts=Path(prompts.path),
            worst=Path(worst.path),
            images=[Path(folder.path) for folder in images],
            trials=trials,
            digests=input_digests(
                photos=Path(photos.path), base=Path(base.path), prompts=Path(prompts.path), code_version=code_version
            ),
        )
