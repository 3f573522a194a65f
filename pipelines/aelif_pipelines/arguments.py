"""From a configuration to the arguments of the `robustness` pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aelif.config import RunConfig, TrackingConfig, to_dict
from aelif_pipelines.versions import code_version, versions


def pipeline_arguments(config: RunConfig, output: Path, *, command: str, store: Path | None = None) -> dict[str, Any]:
    """Return the pipeline's arguments for a run on this machine.

    Args:
        config: what to run.
        output: results go there.
        command: what the user typed; the report says it.
        store: folder of the tracking store; none: beside `output`, shared by all runs there.
    """
    from aelif.artifacts import digest_of
    from aelif.models.resolve import model_kind
    from aelif.storage import fingerprint

    output = output.resolve()
    plain = to_dict(config)
    version = code_version()
    photos = digest_of([fingerprint(subject.instance_images) for subject in config.data.subjects])
    is_mutable = model_kind(config.base_model) in ("local", "s3")
    return {
        "data": plain["data"],
        "fingerprint": photos,
        "base_model": config.base_model,
        "base_fingerprint": fingerprint(config.base_model) if is_mutable else "",
        "trials": [str(trial) for trial in config.trials],
        "prompts": plain["prompts"],
        "train": plain["train"],
        "synthesis": plain["synthesis"],
        "attack": plain["attack"],
        "score": plain["score"],
        "gate": plain["gate"],
        "tracking": to_dict(TrackingConfig.local(store or output.parent)),
        "settings": {
            **plain,
            "command": command,
            "versions": versions(),
            "digests": {"photos": photos, "code": version},
        },
        "destination": str(output),
        "shards": list(range(config.num_shards)),
        "num_shards": config.num_shards,
        "checkpoint_root": str(output / "work" / "checkpoints"),
        "code_version": version,
    }
