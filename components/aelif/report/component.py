"""Pipeline step `report`."""

from kfp import dsl

from aelif import images as container_images


@dsl.component(base_image=container_images.CPU, install_kfp_package=False)
def write_report(
    summary: dsl.Input[dsl.Dataset],
    verdict: dsl.Input[dsl.Dataset],
    table: dsl.Input[dsl.Dataset],
    prompts: dsl.Input[dsl.Dataset],
    photos: dsl.Input[dsl.Dataset],
    images: dsl.Input[list[dsl.Dataset]],
    champion_images: dsl.Input[dsl.Dataset],
    worst: dsl.Input[dsl.Dataset],
    worst_images: dsl.Input[list[dsl.Dataset]],
    trials: list,
    settings: dict,
    page: dsl.Output[dsl.HTML],
    code_version: str,
) -> None:
    """Write the page that shows verdict, table, plots and images of a run.

    Args:
        summary: `summary.json`.
        verdict: the gate's verdict.
        table: merged `scores.parquet`.
        prompts: `prompts.parquet`.
        photos: image folder of the training photos.
        images: image folders, one per entry of `trials`.
        champion_images: the champion's; empty where it was not measured.
        worst: `worst.parquet`; empty where no search was asked.
        worst_images: image folders of what the search found, one per entry of `trials`.
        trials: trial of each folder: ``"aelif_mask:0.3/seed=0"``.
        settings: the run's configuration; see `render_report`.
        page: the HTML file.
        code_version: part of the cache key.
    """
    from aelif.registry.live import tracked_step
    from aelif.report.page import write_page

    with tracked_step("report"):
        write_page(
            page.path, summary=summary.path, verdict=verdict.path, table=table.path, prompts=prompts.path,
            photos=photos.path, images=[folder.path for folder in images], worst=worst.path,
            worst_images=[folder.path for folder in worst_images], champion_images=champion_images.path,
            trials=trials, settings=settings,
        )  # fmt: skip
