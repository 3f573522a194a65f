"""Hypothesis H3: what a reading of AELIF changes, against the same setting without it, on the first stage's prompts."""

from __future__ import annotations

from typing import Any

from measures import Measured, contrasts

from aelif.config import Variant
from aelif_pipelines.study_plan import HALF

CHANGES = {
    "one half of the batch": (
        (f"aelif_mask:0.1{HALF}", "aelif_mask:0.1"),
        (f"aelif_noise_conv:0.1{HALF}", "aelif_noise_conv:0.1"),
    ),
    "content tokens": (
        ("aelif_mask:0.2@eligible=content", "aelif_mask:0.2"),
        (f"aelif_noise_conv:0.3@eligible=content{HALF}", f"aelif_noise_conv:0.3{HALF}"),
    ),
    "the pooled embedding alike": (
        ("aelif_mask:0.1@pooled=true", "aelif_mask:0.1"),
        (f"aelif_noise_conv:0.3@pooled=true{HALF}", f"aelif_noise_conv:0.3{HALF}"),
    ),
    "both of these": (
        (f"aelif_mask:0.3@eligible=content@pooled=true{HALF}", f"aelif_mask:0.3{HALF}"),
        (f"aelif_noise_conv:0.3@eligible=content@pooled=true{HALF}", f"aelif_noise_conv:0.3{HALF}"),
    ),
    "σ = 0.5": ((f"aelif_noise_conv:0.3@noise_std=0.5{HALF}", f"aelif_noise_conv:0.3{HALF}"),),
    "μ = 0.5": ((f"aelif_noise_conv:0.3@noise_mean=0.5{HALF}", f"aelif_noise_conv:0.3{HALF}"),),
}
"""What is changed → variants that have it, each with the one that differs in nothing else."""
PARTS = ("tuning", "readings")
"""Parts of the first stage that train alike, with the same seeds."""


def compare_readings(measured: Measured) -> list[dict[str, Any]]:
    """Return, for each change and setting that was run, the differences of clean distance and of that on errors."""
    found = [
        {"change": change, "variant": reading, "against": plain}
        for change, pairs in CHANGES.items()
        for reading, plain in ((str(Variant.parse(one)), str(Variant.parse(other))) for one, other in pairs)
        if {reading, plain} <= set(measured.variants)
    ]
    pairs = [(row["variant"], row["against"]) for row in found]
    on = {name: contrasts(measured, pairs, on=name) for name in ("clean", "errors")}
    return [{**row, "clean": clean, "errors": wrong}
            for row, clean, wrong in zip(found, on["clean"], on["errors"], strict=True)]  # fmt: skip
