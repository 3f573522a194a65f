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
    """Copy the results of a run into the folder `destination`."""
    from pathlib import Path

    from aelif.deliver.results import deliver, input_digests
    from aelif.registry.live import tracked_step

    with tracked_step("deliver_results"):
        deliver(
            Path(destination),
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
