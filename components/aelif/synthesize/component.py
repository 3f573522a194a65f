"""The pipeline steps `synthesize` and `class images`."""

from kfp import dsl

from aelif import images as container_images


@dsl.component(base_image=container_images.GPU, install_kfp_package=False)
def synthesize_images(
    base: dsl.Input[dsl.Model],
    model: dsl.Input[dsl.Model],
    prompts: dsl.Input[dsl.Dataset],
    trial: str,
    settings: dict,
    synthesis: dict,
    shard: int,
    num_shards: int,
    images: dsl.Output[dsl.Dataset],
    code_version: str,
) -> None:
    """Generate one shard of the images of all prompts with one trained model.

    Args:
        base: diffusers folder.
        model: what training wrote.
        prompts: prompt table.
        trial: variant and seed, as `Trial` writes them.
        settings: section `PromptConfig`.
        synthesis: section `SynthesisConfig`.
        shard: which part.
        num_shards: parts in all.
        images: image folder.
        code_version: part of the cache key.
    """
    from pathlib import Path

    from aelif.artifacts import read_prompts
    from aelif.config import PromptConfig, SynthesisConfig, from_dict
    from aelif.models.adapter import import_family
    from aelif.registry.live import tracked_step
    from aelif.synthesize.sampler import generate_images

    import_family(Path(base.path))
    with tracked_step("synthesize", f"{trial}/shard={shard}" if num_shards > 1 else trial) as progress:
        generate_images(
            base=Path(base.path), model=Path(model.path), prompts=read_prompts(prompts.path),
            output=Path(images.path), config=from_dict(SynthesisConfig, synthesis),
            stress=from_dict(PromptConfig, settings).stress, shard=shard, num_shards=num_shards, progress=progress,
        )  # fmt: skip


@dsl.component(base_image=container_images.GPU, install_kfp_package=False)
def synthesize_class_images(
    base: dsl.Input[dsl.Model],
    data: dict,
    train: dict,
    synthesis: dict,
    seed: int,
    checkpoint_root: str,
    images: dsl.Output[dsl.Dataset],
    code_version: str,
) -> None:
    """Generate class images of every subject's class for prior preservation, with the base model.

    Args:
        base: diffusers folder.
        data: section `DataConfig`.
        train: section `TrainConfig`.
        synthesis: section `SynthesisConfig`.
        seed: of the initial latents.
        checkpoint_root: folder that keeps the images one by one, for interrupted and later runs; "": none.
        images: image folder.
        code_version: part of the cache key.
    """
    from pathlib import Path

    from aelif.config import DataConfig, SynthesisConfig, TrainConfig, from_dict
    from aelif.models.adapter import import_family
    from aelif.registry.live import tracked_step
    from aelif.synthesize.class_images import generate_class_images

    import_family(Path(base.path))
    with tracked_step("class_images") as progress:
        generate_class_images(
            base=Path(base.path), data=from_dict(DataConfig, data), train=from_dict(TrainConfig, train),
            synthesis=from_dict(SynthesisConfig, synthesis), seed=seed, output=Path(images.path), progress=progress,
            checkpoint_dir=Path(checkpoint_root) if checkpoint_root else None,
        )  # fmt: skip
