"""The step that decides which prompts a run is scored on."""

from kfp import dsl

from aelif import images


@dsl.component(base_image=images.GPU, install_kfp_package=False)
def perturb_prompts(
    base: dsl.Input[dsl.Model],
    data: dict,
    prompts: dict,
    synthesis: dict,
    seed: int,
    table: dsl.Output[dsl.Dataset],
    code_version: str,
) -> None:
    """Write `prompts.parquet`: the clean prompts, the errors made in them, and what these do to the base's text.

    Args:
        base: diffusers folder; its text encoders measure the errors.
        data: section `DataConfig`.
        prompts: section `PromptConfig`.
        synthesis: section `SynthesisConfig`: which draws of stress images will meet.
        seed: seed of the run.
        table: Parquet file with the columns of `prompt_schema`.
        code_version: part of the cache key.
    """
    from pathlib import Path

    from aelif.artifacts import prompt_schema, write_table
    from aelif.config import DataConfig, PromptConfig, SynthesisConfig, from_dict
    from aelif.models.adapter import import_family
    from aelif.perturb.plan import plan_prompts
    from aelif.perturb.severity import measure, open_reader
    from aelif.registry.live import tracked_step

    import_family(Path(base.path))
    with tracked_step("perturb_prompts"):
        named, config = from_dict(DataConfig, data), from_dict(PromptConfig, prompts)
        rows = plan_prompts(config, data=named, seed=seed)
        reader = open_reader(Path(base.path), max_sequence_length=named.max_sequence_length)
        painted = from_dict(SynthesisConfig, synthesis)
        rows = measure(
            reader, rows, stress=config.stress, images_per_prompt=painted.images_per_prompt, seed=painted.seed
        )
        write_table(table.path, rows, prompt_schema())
