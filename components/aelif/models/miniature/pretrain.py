"""Pretrain the miniatures: `python -m aelif.models.miniature.pretrain all --work build/miniature`.

Stages, each resumable and seeded: data, autoencoder, decoder, scorer, second-scorer, text, then unet (SDXL) and
transformer (SD3); `export` writes the packaged fp16 folders and measures them on held-out scenes. Losses go to
log.jsonl of each stage's folder, and to MLflow.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from aelif.artifacts import read_json, write_json
from aelif.models.miniature.architecture import SCORER, SECOND_SCORER
from aelif.models.miniature.data import NUM_HELD_OUT, NUM_TRAIN, draw_scenes, read_scenes, write_scenes
from aelif.models.miniature.pretrain_autoencoder import pretrain_autoencoder, pretrain_decoder
from aelif.models.miniature.pretrain_denoisers import pretrain_transformer, pretrain_unet
from aelif.models.miniature.pretrain_scorers import pretrain_scorer
from aelif.models.miniature.pretrain_text import pretrain_text

SEED = 20260
STEPS = {
    "autoencoder": 4200, "decoder": 2000, "scorer": 1200, "second-scorer": 1200, "text": 2200, "unet": 3800,
    "transformer": 4500,
}  # fmt: skip


def stage_data(work: Path) -> None:
    """Render training and held-out scenes."""
    for split, count in (("train", NUM_TRAIN), ("held_out", NUM_HELD_OUT)):
        if not (work / split / "images.safetensors").exists():
            write_scenes(work / split, draw_scenes(count, seed=SEED, split=split))


def stage_export(work: Path) -> None:
    """Write the packaged folders of what is pretrained, and measure them on held-out scenes."""
    from aelif.models.miniature.export import EXPORTS, WEIGHTS
    from aelif.models.miniature.quality import measure

    for name, (made_of, write) in EXPORTS.items():
        if (work / made_of).exists():
            write(work, WEIGHTS / name)
    figures = measure(read_scenes(work / "held_out"), seed=SEED, sheets=work / "sheets")
    write_json(WEIGHTS / "quality.json", figures)
    print(figures)


STAGES: dict[str, Callable[[Path], None]] = {
    "data": stage_data,
    "autoencoder": lambda work: pretrain_autoencoder(work, steps=STEPS["autoencoder"], seed=SEED),
    "decoder": lambda work: pretrain_decoder(work, steps=STEPS["decoder"], seed=SEED),
    "scorer": lambda work: pretrain_scorer(work, name="scorer", shape=SCORER, steps=STEPS["scorer"], seed=SEED + 1),
    "second-scorer": lambda work: pretrain_scorer(
        work, name="second-scorer", shape=SECOND_SCORER, steps=STEPS["second-scorer"], seed=SEED + 2
    ),
    "text": lambda work: pretrain_text(work, steps=STEPS["text"], seed=SEED),
    "unet": lambda work: pretrain_unet(work, steps=STEPS["unet"], seed=SEED),
    "transformer": lambda work: pretrain_transformer(work, steps=STEPS["transformer"], seed=SEED),
    "export": stage_export,
}
FAMILIES = {
    "all": tuple(STAGES),
    "sdxl": tuple(name for name in STAGES if name != "transformer"),
    "sd3": tuple(name for name in STAGES if name != "unet"),
}
"""What to pretrain → its stages, in order."""


def run_stages(names: Sequence[str], work: Path) -> None:
    """Run stages that are not finished yet, each a run of MLflow's where `AELIF_SPOOL` and a store are set."""
    from aelif.registry.live import tracked_step

    finished = work / "finished.json"
    done = read_json(finished)["stages"] if finished.exists() else []
    for name in names:
        if name in done and name != "export":
            print(f"{name}: finished before", flush=True)
            continue
        with tracked_step("pretrain", name):
            STAGES[name](work)
        done = [*dict.fromkeys([*done, name])]
        write_json(finished, {"stages": done})


if __name__ == "__main__":
    import argparse

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=[*FAMILIES, *STAGES], help="a family, or one stage")
    parser.add_argument("--work", type=Path, default=Path("build/miniature"), help="folder of checkpoints")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="threads of PyTorch's")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.set_flush_denormal(True)  # squared gradients decay into denormals, which cost a hundredfold on CPUs
    arguments.work.mkdir(parents=True, exist_ok=True)
    spool = (arguments.work / "spool").resolve()
    spool.mkdir(exist_ok=True)
    os.environ.setdefault("MLFLOW_TRACKING_URI", f"sqlite:///{(arguments.work / 'mlflow.db').resolve()}")
    os.environ.setdefault("AELIF_SPOOL", str(spool))
    os.environ.setdefault("AELIF_RUN_KEY", f"pretrain-{SEED}")
    run_stages(FAMILIES.get(arguments.what, (arguments.what,)), arguments.work)
