"""The step that measures the champion."""

from kfp import dsl

from aelif import images as container


@dsl.component(base_image=container.GPU, install_kfp_package=False)
def evaluate_champion(
    champion: str,
    tracking: dict,
    gate: dict,
    prompts: dsl.Input[dsl.Dataset],
    reference: dsl.Input[dsl.Dataset],
    settings: dict,
    synthesis: dict,
    score: dict,
    images: dsl.Output[dsl.Dataset],
    scores: dsl.Output[dsl.Dataset],
    code_version: str,
) -> None:
    """Generate the champion's images of all prompts, with its own base model, and score them; nothing without one.

    One step, for it is one model: fetching, generating, embedding and scoring need no fan-out.

    Args:
        champion: version of the registered model, "" where there is none.
        tracking: a `TrackingConfig` in plain values.
        gate: section `GateConfig`, for the model's name.
        prompts: `prompts.parquet`.
        reference: embeddings of the photos.
        settings: section `PromptConfig`.
        synthesis: section `SynthesisConfig`.
        score: section `ScoreConfig`.
        images: image folder; empty without a champion.
        scores: Parquet file with the columns of `score_schema`, variant ``champion@VERSION``; empty likewise.
        code_version: part of the cache key.
    """
    from pathlib import Path

    from aelif.artifacts import read_embeddings, read_prompts
    from aelif.champion.evaluate import evaluate, write_nothing
    from aelif.config import GateConfig, PromptConfig, ScoreConfig, SynthesisConfig, from_dict
    from aelif.registry.live import tracked_step

    if not champion:
        write_nothing(Path(images.path), Path(scores.path))
        return
    with tracked_step("champion", f"version {champion}") as progress:
        evaluate(
            f"models:/{from_dict(GateConfig, gate).model_name}/{champion}", tracking_uri=tracking["tracking_uri"],
            prompts=read_prompts(prompts.path), reference=read_embeddings(reference.path),
            stress=from_dict(PromptConfig, settings).stress, synthesis=from_dict(SynthesisConfig, synthesis),
            score=from_dict(ScoreConfig, score), images=Path(images.path), scores=Path(scores.path),
            progress=progress,
        )  # fmt: skip
