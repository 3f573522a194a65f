"""A whole diffusers folder out of a base model and what was trained on it."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from aelif.artifacts import link_file, new_folder, read_json


def write_whole(base: Path, trained: Path, output: Path) -> None:
    """Write the base model with the trained weights in it, as stock diffusers loads it.

    A trained denoiser takes the place of the base model's; LoRA is fused into the parts that it is
    for, in float32, whatever precision the base model is stored in. All other files are the base
    model's, linked where possible.

    Args:
        base: diffusers folder.
        trained: folder that training wrote.
        output: the folder to write; it appears whole or not at all.

    Raises:
        ValueError: if `trained` holds no weights, or was trained on another base.
    """
    import torch

    from aelif.models.completeness import family_of
    from aelif.models.loading import load_part
    from aelif.models.lora import LORA_FILE, lora_components, merge_lora, trained_files

    index = read_json(base / "model_index.json")
    denoiser = "unet" if "unet" in index else "transformer"
    has_lora, has_denoiser = trained_files(trained, denoiser=denoiser, family=family_of(index, uri=str(base)))
    fused = lora_components(trained / LORA_FILE) if has_lora else set()
    if missing := fused - index.keys():
        raise ValueError(f"{trained / LORA_FILE}: adapters for {', '.join(sorted(missing))}, which {base} lacks; "
                         "was it trained on another base?")  # fmt: skip
    replaced = fused | ({denoiser} if has_denoiser else set())
    with new_folder(output) as folder:
        _link_all(base, folder, without=replaced)
        for part in sorted(replaced):
            stored = trained / part if part == denoiser and has_denoiser else base / part
            if part not in fused:
                _link_all(stored, folder / part)
                continue
            module = load_part(str(index[part][1]), stored, dtype=torch.float32)
            merge_lora(module, trained / LORA_FILE, component=part)
            module.save_pretrained(folder / part, safe_serialization=True, max_shard_size="100GB")
            (folder / part / "config.json").unlink()  # it names the library's version and folders of this machine
            link_file((stored / "config.json").resolve(), folder / part / "config.json")


def _link_all(source: Path, target: Path, *, without: Collection[str] = ()) -> None:
    """Put all files below `source` at `target`, but those of the folders left out."""
    for path in sorted(path for path in source.rglob("*") if path.is_file()):
        place = path.relative_to(source)
        if place.parts[0] not in without:
            (target / place).parent.mkdir(parents=True, exist_ok=True)
            link_file(path.resolve(), target / place)
