"""The step that decides which prompts a run is scored on."""

from kfp import dsl

from aelif import images


@dsl.component(base_image=images.CPU, install_kfp_package=False)
def perturb_prompts(data: dict, prompts: dict, seed: int, table: dsl.Output[dsl.Dataset], code_version: str) -> None:
    """Write `prompts.parquet`: the clean prompts and the errors made in them.

    Args:
        data: section `DataConfig`.
        prompts: section `PromptConfig`.
        seed: seed of the run.
        table: Parquet file with the columns of `prompt_schema`.
        code_version: part of the cache key.
    """
    from aelif.artifacts import prompt_schema, write_table
    from aelif.config import DataConfig, PromptConfig, from_dict
    from aelif.perturb.plan import plan_prompts, subject_of
    from aelif.progress import step_work

    with step_work("perturb_prompts"):
        named = from_dict(DataConfig, data)
        config = from_dict(PromptConfig, prompts)
        rows = plan_prompts(config, subject=subject_of(named), identifier=named.identifier, seed=seed)
        write_table(table.path, rows, prompt_schema())
