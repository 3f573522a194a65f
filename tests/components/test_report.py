"""The report step as the pipeline runs it: artifacts in, one HTML file out."""

from pathlib import Path

import numpy as np
import pytest
from kfp import compiler, dsl, local
from markupsafe import escape
from tests.unit.report.example import make_example

from aelif.config import ScoreConfig
from aelif.report.component import write_report
from aelif.report.page import render_report
from aelif.score.summary import summarize


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
                "champion_images": "champion",
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


def test_the_page_reads_what_the_scores_make(tmp_path: Path) -> None:
    example = make_example(tmp_path, seeds=(0, 1))
    summary = summarize(
        example.scores,
        reference_distances_N=np.array([0.4, 0.5, 0.6]),
        seed_distances_KP=np.array([[0.3, 0.4, 0.35]]),
        num_reference=3,
        config=ScoreConfig(resamples=200),
        prompts=example.prompts,
        worst=example.worst,
    )
    for name, entry in example.summary["variants"].items():
        assert entry.keys() == summary["variants"][name].keys(), "the made-up summary has the layout of a real one"
        for part in ("sets", "stress", "split", "worst_case", "cross_checks", "families"):
            assert entry[part].keys() == summary["variants"][name][part].keys(), part
    page = render_report(
        summary=summary, verdict=example.verdict, scores=example.scores, prompts=example.prompts, images={}, photos=[],
        settings=example.settings, worst=example.worst,
    )  # fmt: skip
    for words in (summary["interval_method"].split(".")[0], "Whose damage it is", "Worst cases", *summary["notes"]):
        assert str(escape(words)) in page


def test_the_step_compiles(tmp_path: Path) -> None:
    compiler.Compiler().compile(write_report, str(tmp_path / "report.yaml"))
    assert "exec-write-report" in (tmp_path / "report.yaml").read_text()
