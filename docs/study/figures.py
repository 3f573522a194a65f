"""The study's figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import wrap
from typing import Any

import numpy as np
from measures import CLEAN_LIMIT, Measured
from PIL import Image, ImageDraw, ImageFont

from aelif.artifacts import read_image_records
from aelif.config import BASELINE
from aelif_pipelines.study_plan import HELD_OUT_ERRORS

INK, MUTED, RULE = "#1c2430", "#5b6675", "#d5dae1"
COLORS = {"ours": "#0b6e4f", "aelif": "#b3541e", "rival": "#5b6675"}
NAMES = {"sdxl": "miniature SDXL", "sd3": "miniature SD3"}
OURS = ("typo_shift", "typo_noise")
_WORDS = {
    "class_prompts=false": "one half", "timesteps=low": "low noise", "eligible=content": "content",
    "pooled=true": "pooled", "string_scope=identifier": "identifier", "string_scope=subject": "subject",
}  # fmt: skip

_FARTHEST = 1.12
"""Share of the baseline's distance beyond which a point stands at the edge, with its place in words."""

Descriptions = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""Model → variant → what `measures.describe` says."""


def kind_of(variant: str) -> str:
    """Return whether a variant is ours, the paper's, or a rival's."""
    name = variant.partition(":")[0]
    return "ours" if name in OURS or "timesteps=" in variant else "aelif" if name.startswith("aelif") else "rival"


def label_of(variant: str) -> str:
    """Return a variant's name with its options in words."""
    terms = [term.split("@") for term in variant.split("+")]
    return " + ".join(
        ", ".join([name, *(_WORDS.get(option, option) for option in options)]) for name, *options in terms
    )


def _wrapped(variant: str, width: int = 36) -> str:
    return "\n".join(wrap(label_of(variant), width))


def plot_improvements(first: Descriptions, second: Descriptions, path: Path) -> None:
    """Draw the improvement on held-out errors of every variant, by both scorers, and its clean distance."""
    from matplotlib.figure import Figure

    models = [model for model in NAMES if model in first]
    names = [name for name in first[models[0]] if name != BASELINE]
    names.sort(key=lambda name: np.mean([first[model][name]["plain"]["value"] for model in models]))
    figure = Figure(figsize=(4.6 * len(models) + 2.2, 0.5 * len(names) + 1.5), layout="constrained")
    axes = figure.subplots(1, len(models), sharey=True, squeeze=False)[0]
    for ax, model in zip(axes, models, strict=True):
        _style(ax, f"{NAMES[model]}")
        for y, name in enumerate(names):
            color = COLORS[kind_of(name)]
            _interval(ax, first[model][name]["plain"], y + 0.12, color=color, filled=True)
            if model in second:
                _interval(ax, second[model][name]["plain"], y - 0.2, color=color, filled=False)
        ax.axvline(0, color=INK, linewidth=1)
        ax.set_xlabel("improvement on held-out errors, %")
        ax.set_yticks(range(len(names)), map(_wrapped, names))
    figure.suptitle("filled: scorer, 95 % interval; hollow: second scorer", fontsize=9, color=MUTED)
    figure.savefig(path, dpi=150)


def plot_trade_off(described: Descriptions, path: Path, *, title: str) -> None:
    """Draw clean against perturbed distance of every variant, as shares of the baseline's; numbers name the points."""
    from matplotlib.figure import Figure

    models = [model for model in NAMES if model in described]
    names = [name for name in described[models[0]] if name != BASELINE]
    figure = Figure(figsize=(4.6 * len(models) + 3.6, max(4.6, 0.235 * len(names) + 1)), layout="constrained")
    *axes, key = figure.subplots(1, len(models) + 1, squeeze=False, width_ratios=[4.6] * len(models) + [3.6])[0]
    for ax, model in zip(axes, models, strict=True):
        _style(ax, f"{NAMES[model]}: {title}")
        base = described[model][BASELINE]
        ax.axvspan(CLEAN_LIMIT, 3, color=RULE, alpha=0.45, linewidth=0)
        ax.axhline(1, color=RULE)
        ax.plot(1, 1, "o", color=INK, markersize=7)
        ax.annotate("baseline", (1, 1), xytext=(5, 4), textcoords="offset points", fontsize=8, color=INK)
        shares = [
            tuple(described[model][name][of]["value"] / base[of]["value"] for of in ("clean", "perturbed"))
            for name in names
        ]
        right, top = (min(max(values), _FARTHEST) for values in zip(*shares, strict=True))
        for number, (name, share) in enumerate(zip(names, shares, strict=True), 1):
            x, y = (min(value, _FARTHEST) for value in share)
            beyond = "" if (x, y) == share else f" (at {share[0]:.2f}, {share[1]:.2f})"
            color = COLORS[kind_of(name)]
            ax.plot(x, y, "o", color=color, markersize=5)
            ax.annotate(f"{number}{beyond}", (x, y), xytext=(4, 3), textcoords="offset points", fontsize=8, color=color,
                        ha="right" if beyond else "left")  # fmt: skip
        ax.set_xlim(min([1.0, *(x for x, _ in shares)]) - 0.02, max(right, CLEAN_LIMIT) + 0.03)
        ax.set_ylim(min([1.0, *(y for _, y in shares)]) - 0.02, max(top, 1.0) + 0.02)
        ax.set_xlabel("clean distance, baseline = 1 (grey: beyond the limit)")
        ax.set_ylabel("distance on errors, baseline = 1")
    key.axis("off")
    for number, name in enumerate(names, 1):
        key.text(0, 1 - (number - 0.5) / len(names), f"{number}  {label_of(name)}", fontsize=7.5, va="center",
                 color=COLORS[kind_of(name)], transform=key.transAxes)  # fmt: skip
    figure.savefig(path, dpi=150)


def plot_families(measured: Mapping[str, Measured], path: Path) -> None:
    """Draw the improvement of every variant on each held-out family of errors, averaged over the models."""
    from matplotlib.figure import Figure

    first = next(iter(measured.values()))
    names = [name for name in first.variants if name != BASELINE]
    families = [family for family in HELD_OUT_ERRORS if family in first.values]
    shares = np.mean([_family_shares(one, names, families) for one in measured.values()], axis=0)
    figure = Figure(figsize=(9.5, 0.42 * len(names) + 1.8), layout="constrained")
    ax = figure.subplots()
    limit = max(5.0, float(np.nanmax(np.abs(shares))))
    image = ax.imshow(shares, cmap="BrBG", vmin=-limit, vmax=limit, aspect="auto")
    for y, row in enumerate(shares):
        for x, share in enumerate(row):
            strong = abs(share) > 0.6 * limit
            ax.text(x, y, f"{share:+.0f}", ha="center", va="center", fontsize=8, color="white" if strong else INK)
    ax.set_xticks(range(len(families)), families, fontsize=8)
    ax.set_yticks(range(len(names)), map(_wrapped, names), fontsize=8)
    figure.colorbar(image, label="improvement, %")
    whose = "mean of both models" if len(measured) > 1 else NAMES[next(iter(measured))]
    ax.set_title(f"Improvement by family of held-out errors, {whose}", fontsize=10, color=INK)
    figure.savefig(path, dpi=150)


def _family_shares(measured: Measured, names: Sequence[str], families: Sequence[str]) -> np.ndarray:
    """Return (variants, families): the improvement over the baseline, in percent."""
    base = measured.variants.index(BASELINE)
    rows = []
    for name in names:
        means = [np.nanmean(measured.values[family], axis=(1, 2)) for family in families]
        v = measured.variants.index(name)
        rows.append([100 * (mean_V[base] - mean_V[v]) / mean_V[base] for mean_V in means])
    return np.array(rows)


def picture_grid(part: Path, variants: Sequence[str], path: Path, *, seed: int, prompts: int = 4) -> None:
    """Draw what a part's variants paint for a clean prompt and for misspelt ones, one column each.

    Args:
        part: output folder of a run.
        variants: the columns.
        path: where the picture goes.
        seed: whose models paint.
        prompts: how many misspelt ones.
    """
    size, gap, left, per_cell = 64, 6, 190, 3
    font = ImageFont.load_default(size=12)
    cell = size * per_cell + gap
    titles = [_wrapped(name, 32) for name in variants]
    head = 10 + 15 * max(title.count("\n") + 1 for title in titles)
    folders = [part / "images" / name.replace(":", "-") / f"seed-{seed}" for name in variants]
    records = [read_image_records(folder) for folder in folders]
    asked = _spread(records[0], prompts)
    sheet = Image.new("RGB", (left + cell * len(variants), head + (size + gap) * len(asked)), "white")
    draw = ImageDraw.Draw(sheet)
    for column, title in enumerate(titles):
        draw.text((left + column * cell, 4), title, fill=INK, font=font)
    for row, (prompt_id, text) in enumerate(asked):
        y = head + row * (size + gap)
        draw.text((4, y + 18), "\n".join(wrap(text, 30)), fill=INK, font=font)
        for column, (folder, own) in enumerate(zip(folders, records, strict=True)):
            files = [record.file_name for record in own if record.prompt_id == prompt_id][:per_cell]
            for number, file in enumerate(files):
                with Image.open(folder / file) as image:
                    sheet.paste(image.convert("RGB"), (left + column * cell + number * size, y))
    sheet.quantize(256).save(path, optimize=True)  # a quarter of the size, and the same to the eye


def _spread(records: Sequence[Any], count: int) -> list[tuple[int, str]]:
    """Return the first prompt, which is clean, and `count` of the others, evenly."""
    first, *others = sorted({(record.prompt_id, record.text) for record in records})
    others = others[3:] or others  # the study has four clean prompts, a smoke test fewer
    picks = np.linspace(0, len(others) - 1, count).round().astype(int)
    return [first, *(others[index] for index in dict.fromkeys(picks.tolist()))]


def _interval(ax: Any, interval: Mapping[str, float | None], y: float, *, color: str, filled: bool) -> None:
    """Draw a value, and its interval where there is one: a single cell or prompt has none."""
    low, value, high = (interval[name] for name in ("low", "value", "high"))
    if value is None:
        return
    if low is not None and high is not None:
        ax.plot([100 * low, 100 * high], [y, y], color=color, linewidth=2 if filled else 1)
    face = color if filled else "white"
    ax.plot(100 * value, y, "o", color=color, markerfacecolor=face, markersize=6 if filled else 4.5)


def _style(ax: Any, title: str) -> None:
    ax.set_title(title, fontsize=10, color=INK, loc="left")
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        ax.spines[side].set_color(RULE)
    ax.tick_params(colors=MUTED, labelsize=8)
    ax.xaxis.label.set_size(8)
    ax.yaxis.label.set_size(8)
    ax.grid(axis="x", color=RULE, linewidth=0.6)
    ax.set_axisbelow(True)
