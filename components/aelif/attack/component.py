"""The step that looks for each trained model's worst case."""

from kfp import dsl

from aelif import images as container_images


@dsl.component(base_image=container_images.GPU, install_kfp_package=False)
def search_worst_case(
    base: dsl.Input[dsl.Model],
    model: dsl.Input[dsl.Model],
    prompts: dsl.Input[dsl.Dataset],
    reference: dsl.Input[dsl.Dataset],
    trial: str,
    data: dict,
    settings: dict,
    synthesis: dict,
    attack: dict,
    score: dict,
    worst: dsl.Output[dsl.Dataset],
    images: dsl.Output[dsl.Dataset],
    code_version: str,
) -> None:
    """Write the edits of a few characters that raise one model's distance most; nothing where the budget is 0.

    Args:
        base: diffusers folder of the base model.
        model: folder that training wrote.
        prompts: `prompts.parquet`.
        reference: embeddings of the training images.
        trial: ``aelif_mask:0.3/seed=1``.
        data: section `DataConfig`.
        settings: section `PromptConfig`; says what of the subject may be hit.
        synthesis: section `SynthesisConfig`.
        attack: section `AttackConfig`.
        score: section `ScoreConfig`.
        worst: Parquet file with the columns of `worst_schema`.
        images: image folder: the worst prompts' images on fresh noise; prompt_id is the clean prompt's.
        code_version: part of the cache key.
    """
    from pathlib import Path

    from aelif.attack.run import attack_model, import_attack
    from aelif.config import AttackConfig, DataConfig, PromptConfig, ScoreConfig, SynthesisConfig, from_dict
    from aelif.registry.live import tracked_step

    config = from_dict(AttackConfig, attack)
    import_attack(config, Path(base.path))
    with tracked_step("attack", trial) as progress:
        attack_model(
            base=Path(base.path), model=Path(model.path), prompts=Path(prompts.path), reference=Path(reference.path),
            trial=trial, data=from_dict(DataConfig, data), settings=from_dict(PromptConfig, settings), config=config,
            synthesis=from_dict(SynthesisConfig, synthesis), scorer=from_dict(ScoreConfig, score).scorer,
            worst=Path(worst.path), images=Path(images.path), progress=progress,
        )  # fmt: skip
