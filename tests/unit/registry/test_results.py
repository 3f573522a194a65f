"""What a run leaves in MLflow, read back from a real store."""

import csv
import dataclasses
import json
from pathlib import Path

import pytest
from PIL import Image

from aelif.artifacts import prompt_schema, read_json, read_table, score_schema, write_json
from aelif.config import TrackingConfig, Trial
from aelif.registry import results as module
from aelif.registry.grids import CELL, fitting, photo_rows, sheet_name, trial_rows, write_sheet
from aelif.registry.inputs import COLUMNS, write_perturbations
from aelif.registry.lineage import best_trial, evaluation_digest, trial_metrics
from aelif.registry.results import Results, log_results, log_trial, public_uri
from aelif.registry.runs import child_run, parent_run
from aelif.registry.store import TrackingError

from .small_run import BEST, TRIALS, interval, score_rows, write_results

FILES = {
    "summary.json", "verdict.json", "scores.parquet", "prompts.parquet", "report.html", "perturbations.csv",
    "grids/photos.png", *(f"grids/{sheet_name(trial)}" for trial in TRIALS),
}  # fmt: skip


@pytest.fixture
def results(tmp_path) -> Results:
    return write_results(tmp_path / "results")


@pytest.fixture
def run(client, tracking):
    found = parent_run(client, TrackingConfig(**tracking), "job-1")
    client.set_tag(found.info.run_id, "git.sha", "abc")
    return client.get_run(found.info.run_id)


def log_it(client, run, results, rows=None):
    rows = read_table(results.table, score_schema()) if rows is None else rows
    log_results(client, run, results, rows)
    for trial, folder in results.models.items():
        log_trial(client, run, "job-1", trial, folder, rows)


def files_of(client, run, path=""):
    found = set()
    for file in client.list_artifacts(run.info.run_id, path or None):
        found |= files_of(client, run, file.path) if file.is_dir else {file.path}
    return found


def own_run(client, trial=BEST):
    return client.search_runs(["1"], f"tags.`kfp.step` = 'trial {trial}'")[0]


def test_the_run_holds_tables_report_and_grids(client, run, results):
    log_it(client, run, results)
    assert files_of(client, run) == FILES
    assert files_of(client, own_run(client)) == {f"grids/{sheet_name(BEST)}"}


def test_a_repetition_changes_nothing(client, run, results):
    log_it(client, run, results)
    before = [client.get_run(found.info.run_id).to_dictionary() for found in client.search_runs(["1"])]
    log_it(client, client.get_run(run.info.run_id), results)
    assert [client.get_run(found.info.run_id).to_dictionary() for found in client.search_runs(["1"])] == before
    assert files_of(client, run) == FILES


def test_data_sets_say_digest_source_and_count(client, run, results):
    prompts = read_table(results.prompts, prompt_schema())
    log_it(client, run, dataclasses.replace(results, reference=results.photos))
    found = client.get_run(run.info.run_id).inputs.dataset_inputs
    by_context = {item.tags[0].value: item.dataset for item in found}
    assert json.loads(by_context["training"].source)["uri"] == 's3://photos/dog "1"'
    assert json.loads(by_context["training"].profile) == {"num_images": 5}
    assert by_context["training"].digest == "d" * 32
    assert json.loads(by_context["evaluation"].profile)["num_prompts"] == len(prompts)
    assert by_context["evaluation"].digest == evaluation_digest(score_rows())[:32]
    assert json.loads(by_context["evaluation"].source)["uri"].endswith("/prompts.parquet")
    assert "reference" in by_context or len(found) == 2  # the same photos are the same data set


def test_lineage_stands_on_every_run(client, run, results, monkeypatch):
    monkeypatch.setenv("AELIF_IMAGE_DIGEST", "sha256:1234")
    log_it(client, run, results)
    shared = {
        "dataset.digest": "d" * 64, "base.uri": "builtin:miniature-sdxl", "base.digest": "b" * 64, "git.sha": "abc",
        "image.digest": "sha256:1234", "eval.digest": evaluation_digest(score_rows()), "kfp.run_id": "job-1",
    }  # fmt: skip
    own = own_run(client).data.tags
    assert shared.items() <= client.get_run(run.info.run_id).data.tags.items()
    assert shared.items() <= own.items()
    assert (own["seed"], own["variant"]) == ("1", "aelif_mask:0.3")
    assert own["weights.sha256"] == read_json(results.models[BEST] / "aelif.json")["weights_sha256"]
    assert own["model.folder"] == str(results.models[BEST])


def test_the_champion_is_measured_but_no_trial(client, run, results):
    duel = {"improvement": interval(0.2), "families": {"paper": {"loss": interval(0.01)}}}
    figures = {"version": "3", "clean": interval(0.4), "families": {"paper": interval(0.7)}}
    summary = {**read_json(results.summary), "champion": figures, "duels": {BEST: duel}}
    write_json(results.summary, summary)
    rows = [*score_rows(), *({**row, "variant": "champion@3", "seed": 0, "value": 0.01} for row in score_rows()[:3])]

    log_it(client, run, results, rows)

    metrics = client.get_run(run.info.run_id).data.metrics
    assert metrics["champion/clean"] == pytest.approx(0.4)
    assert metrics["champion/families/paper/high"] == pytest.approx(0.8)
    assert not any(name.startswith("champion/version") for name in metrics)
    assert own_run(client).data.metrics["against_champion/improvement/low"] == pytest.approx(0.1)
    assert len(client.search_runs(["1"])) == 4
    assert str(best_trial("aelif_mask", map(Trial.parse, TRIALS), rows)) == BEST
    assert trial_metrics(rows, Trial.parse("champion@3/seed=0"))["clean/w1"] == pytest.approx(0.01)


def test_losses_that_were_told_live_are_not_told_again(client, run, results):
    child = child_run(client, run, "job-1", BEST)
    client.log_metric(child.info.run_id, "train/loss", 2.5, step=10)
    log_it(client, run, results)
    history = client.get_metric_history(child.info.run_id, "train/loss")
    assert sorted((point.step, point.value) for point in history) == [(10, 2.5), (20, 0.25)]


def test_a_store_that_refuses_is_told_with_the_copy(client, run, results, monkeypatch):
    def refuse(*_arguments):
        raise ConnectionError("refused on purpose")

    monkeypatch.setattr("aelif.registry.upload.time.sleep", lambda _: None)
    monkeypatch.setattr(module.MlflowClient, "log_artifact", refuse)
    with pytest.raises(TrackingError, match=rf"refused on purpose.*kept in {results.page.parent}$"):
        log_it(client, run, results)


def test_the_perturbation_table(tmp_path, results):
    rows = read_table(results.prompts, prompt_schema())
    perturbed = next(row for row in rows if row["prompt_set"] == "perturbed")
    edits = [{"kind": "delete", "start": 3, "before": "o", "after": ""}]
    skipped = {**perturbed, "prompt_set": "skipped", "reason": "too short", "embedding_cosine": None}
    write_perturbations(tmp_path / "table.csv", [rows[0], {**perturbed, "edits": edits}, skipped])
    with (tmp_path / "table.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert tuple(table[0]) == COLUMNS
    assert [row["prompt"] for row in table] == [perturbed["prompt"]] * 2
    assert table[0]["edits"] == 'delete at 3: "o" → ""'
    assert (table[1]["skipped"], table[1]["cosine"]) == ("too short", "")


def test_sheets_show_what_there_is(tmp_path, results):
    prompts = read_table(results.prompts, prompt_schema())
    rows = trial_rows(results.images[BEST], prompts)
    assert [tile.label for tile in rows[0]][0] == "clean"
    assert len(rows[0]) > 1
    rows[0][-1].image.unlink()
    assert len(trial_rows(results.images[BEST], prompts)[0]) == len(rows[0]) - 1
    assert trial_rows(tmp_path, prompts) == []
    with pytest.raises(ValueError, match="no picture"):
        write_sheet(tmp_path / "sheet.png", [], title="nothing")


def test_a_sheet_is_the_same_every_time_and_holds_every_picture(tmp_path, results):
    tiles = photo_rows(results.photos)
    for name in ("a", "b"):
        write_sheet(tmp_path / f"{name}.png", tiles, title="Photos")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    with Image.open(tmp_path / "a.png") as sheet:
        colours = dict((colour, count) for count, colour in sheet.getcolors(100_000))
    assert colours[(200, 150, 0)] == CELL * CELL


@pytest.mark.parametrize("text", ["a photo of sks dog", "word " * 60, "joined" * 40, "фото собаки ü " * 9, ""])
def test_captions_fit(text):
    from aelif.registry.grids import _width

    lines = fitting(text, lines=3)
    assert len(lines) <= 3
    assert all(_width(line) <= CELL for line in lines)
    whole = " ".join(text.split()).replace(" ", "")
    assert "".join(lines).replace(" ", "").rstrip("…") == whole[: len("".join(lines).replace(" ", "").rstrip("…"))]


@pytest.mark.parametrize(
    ("path", "uri"),
    [("/minio/mlpipeline/v2/m", "minio://mlpipeline/v2/m"), ("/s3/b/m", "s3://b/m"), ("/data/m", "/data/m")],
)
def test_addresses_outside_a_step(path, uri):
    assert public_uri(Path(path)) == uri
