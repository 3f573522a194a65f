"""The report step as the pipeline runs it: artifacts in, one HTML file out."""

from pathlib import Path

import pytest
from kfp import compiler, dsl, local
from tests.unit.report.example import make_example

from aelif.report.component import write_report


@dsl.component(install_kfp_package=False)
def copy_images(folders: list, index: int, images: dsl.Output[dsl.Dataset]) -> None:
    import shutil

    shutil.copytree(folders[int(index)], images.path)


def test_the_step_takes_collected_image_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    example = make_example(tmp_path / "run", seeds=(0,))
    folders = [str(folder) for folder in example.image_folders]
    worst_folders = [str(folder) for folder in example.worst_folders]
    settings, trials, root = example.settings, example.trials, example.folder

    @dsl.pipeline(name="report-alone")
    def report_alone(indices: list[int]) -> None:
        given = {
            name: dsl.importer(artifact_uri=str(root / file), artifact_class=dsl.Dataset).output
            for name, file in {
                "summary": "summary.json", "verdict": "verdict.json", "table": "scores.parquet",
                "prompts": "prompts.parquet", "photos": "photos", "worst": "worst.parquet",
            }.items()
        }  # fmt: skip
        with dsl.ParallelFor(indices) as index:
            copies = copy_images(folders=folders, index=index)
            worst = copy_images(folders=worst_folders, index=index)
        write_report(
            images=dsl.Collected(copies.outputs["images"]), worst_images=dsl.Collected(worst.outputs["images"]),
            trials=trials, settings=settings, code_version="1", **given,
        )  # fmt: skip

    monkeypatch.chdir(tmp_path)
    local.init(runner=local.SubprocessRunner(use_venv=False), pipeline_root=str(tmp_path / "outputs"))
    report_alone(indices=list(range(len(trials))))
    (page,) = (tmp_path / "outputs").rglob("page")
    text = page.read_text()
    assert text.startswith("<!DOCTYPE html>")
    assert "images by aelif_noise_conv for" in text
    assert "worst of 40 tried" in text


def test_the_step_compiles(tmp_path: Path) -> None:
    compiler.Compiler().compile(write_report, str(tmp_path / "report.yaml"))
    assert "exec-write-report" in (tmp_path / "report.yaml").read_text()
