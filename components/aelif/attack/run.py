"""One trial's attack from files to files; heavy libraries are imported where there is one at all."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from aelif.artifacts import (
    new_folder,
    read_embeddings,
    read_prompts,
    worst_schema,
    write_image_records,
    write_table,
)
from aelif.config import AttackConfig, DataConfig, PromptConfig, SynthesisConfig, Trial
from aelif.progress import StepProgress


def import_attack(config: AttackConfig, base: Path) -> None:
    """Import what the attack needs, if there is one: these imports take seconds, and are no work of its own."""
    if config.budget:
        from aelif.models.adapter import import_family

        import_module("aelif.attack.worst")
        import_family(base)


def attack_model(
    *,
    base: Path,
    model: Path,
    prompts: Path,
    reference: Path,
    trial: str,
    data: DataConfig,
    settings: PromptConfig,
    synthesis: SynthesisConfig,
    config: AttackConfig,
    scorer: str,
    worst: Path,
    images: Path,
    progress: StepProgress,
) -> None:
    """Write `worst.parquet` and the folder of the worst prompts' images; both empty where the budget is 0."""
    if not config.budget:
        write_table(worst, [], worst_schema())
        with new_folder(images) as folder:
            write_image_records(folder, [])
        return
    from aelif.attack.worst import find_worst_cases
    from aelif.perturb.subject import scope_of

    rows = find_worst_cases(
        base=base, model=model, prompts=read_prompts(prompts), reference=read_embeddings(reference),
        trial=Trial.parse(trial), scope=scope_of(settings, data), synthesis=synthesis, config=config, scorer=scorer,
        images=images, progress=progress,
    )  # fmt: skip
    write_table(worst, rows, worst_schema())
