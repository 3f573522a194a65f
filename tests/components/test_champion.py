"""The champion, measured again, is what it was when it was a trial: the same images, the same scores."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mlflow import MlflowClient
from tests.registered import register, write_base, write_model, write_trained
from tests.tiny import write_photos, write_tiny_sdxl

from aelif.artifacts import prompt_schema, read_image_records, read_table, score_schema, write_table
from aelif.champion.component import evaluate_champion
from aelif.config import (
    GateConfig,
    PromptConfig,
    ScoreConfig,
    StressConfig,
    SynthesisConfig,
    TrackingConfig,
    to_dict,
)
from aelif.embed.component import embed_images, embed_photos
from aelif.registry.lineage import weights_digest
from aelif.registry.store import run_with_store
from aelif.score.component import score_robustness
from aelif.synthesize.component import synthesize_images

NAME, TRIAL = "dog", "aelif_mask:0.3/seed=0"
PROMPTS = [("a photo of sks dog", "clean", "clean", 0.0), ("a poto of sks dog", "perturbed", "paper", 0.1),
           ("a photo of sks dog", "stress", "aelif_mask", 0.5)]  # fmt: skip
SETTINGS = {
    "settings": to_dict(PromptConfig(stress=StressConfig(magnitudes=(0.5,)))),
    "synthesis": to_dict(SynthesisConfig(steps=2, images_per_prompt=2, batch_size=4, seed=3)),
}
SCORE = to_dict(ScoreConfig(resamples=100))


class Run:
    """Artifacts below a folder, and the champion's step with this run's."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.tracking = folder, to_dict(TrackingConfig.local(folder / "store"))
        (folder / "store").mkdir()

    def __call__(self, name: str) -> Any:
        return SimpleNamespace(path=str(self.folder / name))

    def evaluate(self, champion: str) -> None:
        evaluate_champion.python_func(
            champion=champion, tracking=self.tracking, gate=to_dict(GateConfig(model_name=NAME)),
            prompts=self("prompts"), reference=self("reference"), score=SCORE, images=self("held-images"),
            scores=self("held-scores"), code_version="test", **SETTINGS,
        )  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = Run(tmp_path)
    rows = [
        {"prompt_id": number, "clean_id": 0, "prompt": prompt, "clean_prompt": PROMPTS[0][0], "prompt_set": kind,
         "family": family, "severity": severity, "draw": 0, "character_error_rate": 0.0, "tokens_changed": None,
         "embedding_cosine": None, "embedding_shift": None, "reason": "", "edits": []}
        for number, (prompt, kind, family, severity) in enumerate(PROMPTS)
    ]  # fmt: skip
    write_table(tmp_path / "prompts", rows, prompt_schema())
    write_photos(tmp_path / "photos", count=3, text="a photo of sks dog")
    embed_photos.python_func(photos=run("photos"), score=SCORE, embeddings=run("reference"), code_version="test")
    return run


def without_name(rows: list[dict]) -> list[dict]:
    return [{key: value for key, value in row.items() if key not in ("variant", "seed")} for row in rows]


@pytest.mark.parametrize("method", ["lora", "full"])
def test_the_champion_has_the_images_and_scores_of_its_trial(run: Run, method: Any):
    base = write_base(write_tiny_sdxl(run.folder / "raw"), run.folder / "base")
    trained = write_trained(base, run.folder / "trained", method=method)
    for shard in (0, 1):
        synthesize_images.python_func(
            base=run("base"), model=run("trained"), prompts=run("prompts"), trial=TRIAL, shard=shard, num_shards=2,
            images=run(f"shard-{shard}"), code_version="test", **SETTINGS,
        )  # fmt: skip
    embed_images.python_func(
        images=[run("shard-0"), run("shard-1")], prompts=run("prompts"), score=SCORE, label=TRIAL,
        embeddings=run("own"), whole=run("whole"), code_version="test",
    )  # fmt: skip
    score_robustness.python_func(
        reference=run("reference"), generated=run("own"), prompts=run("prompts"), trial=TRIAL, scores=run("scores"),
        code_version="test",
    )  # fmt: skip

    def store(client: MlflowClient, _config: TrackingConfig) -> None:
        model = write_model(trained, base, run.folder / "model")
        register(client, NAME, model, weights__sha256=weights_digest(trained))

    run_with_store(run.tracking, store, patience_s=10)
    run.evaluate("1")

    own, held = (read_table(run.folder / name, score_schema()) for name in ("scores", "held-scores"))
    assert {(row["variant"], row["seed"]) for row in held} == {("champion@1", 0)}
    assert without_name(held) == without_name(own)
    assert len(held) > 0
    images = [read_image_records(run.folder / name) for name in ("whole", "held-images")]
    assert images[0] == images[1]
    for record in images[0]:
        one, other = ((run.folder / name / record.file_name).read_bytes() for name in ("whole", "held-images"))
        assert one == other
    assert not list(run.folder.glob(".champion-*"))


def test_without_a_champion_nothing_is_written_but_empty_artifacts(run: Run):
    run.evaluate("")
    assert read_image_records(run.folder / "held-images") == []
    assert read_table(run.folder / "held-scores", score_schema()) == []


def test_a_champion_on_a_base_that_is_gone_says_so(run: Run):
    raw = write_tiny_sdxl(run.folder / "raw")
    base = write_base(raw, run.folder / "base")
    model = write_model(write_trained(base, run.folder / "trained"), base, run.folder / "model")
    run_with_store(run.tracking, lambda client, _: register(client, NAME, model), patience_s=10)
    raw.rename(run.folder / "elsewhere")
    with pytest.raises(ValueError, match=r"models:/dog/1: its base model cannot be had: .*raw"):
        run.evaluate("1")
    assert not (run.folder / "held-images").exists()
