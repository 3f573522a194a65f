"""From a configuration to the arguments of a pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aelif.config import RunConfig, TrackingConfig, to_dict
from aelif.versions import code_version, git_sha, versions


def pipeline_arguments(
    config: RunConfig, output: Path, *, tracking: TrackingConfig, command: str, force: bool = False
) -> dict[str, Any]:
    """Return the pipeline's arguments for a run on this machine.

    Args:
        config: what to run.
        output: results go there.
        tracking: where the run and its model are recorded.
        command: what the user typed; the report says it.
        force: retrain even where nothing is new.
    """
    output = output.resolve()
    plain = to_dict(config)
    version = code_version()
    retraining = {"force": force} if config.pipeline == "retrain" else {}
    cluster = config.cluster
    return {
        **retraining,
        "node_selector": cluster.selector,
        "tolerations": cluster.tolerated,
        "accelerator": cluster.accelerator,
        "accelerators": _count(min(1, cluster.accelerators)),
        "train_accelerators": _count(cluster.accelerators if cluster.nodes == 1 else 0),
        "cpu": cluster.cpu,
        "memory": cluster.memory,
        "distributed": {},
        "data": plain["data"],
        "base_model": config.base_model,
        "trials": [str(trial) for trial in config.trials],
        "prompts": plain["prompts"],
        "train": plain["train"],
        "synthesis": plain["synthesis"],
        "attack": plain["attack"],
        "score": plain["score"],
        "gate": plain["gate"],
        "tracking": to_dict(tracking),
        "settings": {
            **plain,
            "command": command,
            "git_sha": git_sha(),
            "versions": versions(),
            "digests": {"code": version},
        },
        "destination": str(output),
        "shards": list(range(config.num_shards)),
        "num_shards": config.num_shards,
        "checkpoint_root": str(output / "work" / "checkpoints"),
        "code_version": version,
    }


def _count(accelerators: int) -> str:
    """Return a number of accelerators as a step's resources take it: in digits, "" for none (see `Pool`)."""
    return str(accelerators) if accelerators else ""
