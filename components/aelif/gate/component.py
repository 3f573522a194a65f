"""The step that decides which variant, if any, may become champion."""

from kfp import dsl

from aelif import images


@dsl.component(base_image=images.CPU, install_kfp_package=False)
def judge_variants(
    summary: dsl.Input[dsl.Dataset], gate: dict, verdict: dsl.Output[dsl.Dataset], code_version: str
) -> None:
    """Write the verdict as JSON: ``{"champion", "passed", "reasons"}``.

    Args:
        summary: what `compare_variants` wrote.
        gate: section `GateConfig`.
        verdict: JSON file.
        code_version: part of the cache key.
    """
    from dataclasses import asdict

    from aelif.artifacts import read_json, write_json
    from aelif.config import GateConfig, from_dict
    from aelif.gate.verdict import judge
    from aelif.progress import step_work

    with step_work("gate"):
        write_json(verdict.path, asdict(judge(read_json(summary.path), from_dict(GateConfig, gate))))
