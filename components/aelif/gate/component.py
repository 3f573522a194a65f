"""The step that decides which model, if any, may become champion."""

from kfp import dsl

from aelif import images


@dsl.component(base_image=images.CPU, install_kfp_package=False)
def judge_variants(
    summary: dsl.Input[dsl.Dataset], gate: dict, verdict: dsl.Output[dsl.Dataset], code_version: str
) -> None:
    """Write the verdict as JSON: ``{"champion", "passed", "reasons", "trial", "action", "against"}``.

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
    from aelif.registry.live import tracked_step

    with tracked_step("gate"):
        write_json(verdict.path, asdict(judge(read_json(summary.path), from_dict(GateConfig, gate))))
