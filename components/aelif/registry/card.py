"""The model card that stands in a version's description, as Markdown for MLflow's page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from aelif.config import BASELINE, HELD_OUT, TUNING, Trial
from aelif.registry.lineage import shorten

MAX_LENGTH = 5000
"""Characters that MLflow's database keeps of a description."""

NOT_MEASURED = "not measured"

_MAX_TEXT = 300
"""Characters of one sentence or address."""
_MAX_REASONS = 6
_ACTIONS = {
    "promote": "passes the gate",
    "challenge": "passes the gate, and waits for a person's approval",
    "refuse": "does not pass the gate",
}
_MINIATURE_LICENCE = (
    "Apache-2.0, a miniature packaged with aelif; the glyphs that it was pretrained on are under the SIL Open Font "
    "License 1.1"
)


def write_card(
    *,
    name: str,
    trial: str,
    verdict: Mapping[str, Any],
    summary: Mapping[str, Any],
    settings: Mapping[str, Any],
    source: Mapping[str, Any],
    manifest: Mapping[str, Any],
    tags: Mapping[str, str],
) -> str:
    """Return the card: what the model is, how it scored, what it was made of, how to load it; at most `MAX_LENGTH`.

    A pure function of plain data; what is missing is called not measured. Where all does not fit,
    sections at the end go, the last one first.

    Args:
        name: of the registered model.
        trial: the one that is registered: ``aelif_mask:0.3/seed=0``.
        verdict: `verdict.json`.
        summary: `summary.json`.
        settings: the run's configuration.
        source: the base model's `source.json`.
        manifest: the photos' `manifest.json`.
        tags: lineage of the version.
    """
    parsed = Trial.parse(trial)
    sections = [
        _title(name, parsed, settings),
        _scores(parsed, trial, summary),
        _verdict(verdict),
        _loading(name),
        _licences(source),
        _data(manifest),
        _limits(summary),
        _families(summary),
        _lineage(tags),
    ]
    while len("\n\n".join(sections)) > MAX_LENGTH:
        sections.pop()
    return "\n\n".join(sections)


def _title(name: str, trial: Trial, settings: Mapping[str, Any]) -> str:
    """Return what the model is, in a sentence or two."""
    data, train = settings.get("data", {}), settings.get("train", {})
    kind = {"lora": "a LoRA adapter", "full": "a fully fine-tuned denoiser"}.get(str(train.get("method")), "a model")
    subject = f" of “{_text(data['instance_prompt'])}”" if data.get("instance_prompt") else ""
    how = (
        "trained on clean prompts (the baseline)"
        if str(trial.variant) == BASELINE
        else f"trained with the embedding augmentation `{_text(trial.variant)}`, to bear errors in prompts"
    )
    return f"# {_text(name)}\nA DreamBooth fine-tune{subject}: {kind}, {how}; training seed {trial.seed}."


# ── Scores ─────────────────────────────────────────────────────────────────────────────────────


def _scores(parsed: Trial, trial: str, summary: Mapping[str, Any]) -> str:
    """Return the table of figures: of the variant over its seeds, and of this model where a duel measured it."""
    entry = _entry(parsed, summary)
    duel, champion = (summary.get("duels") or {}).get(trial) or {}, summary.get("champion") or {}
    rows = [
        ("clean prompts, distance ↓", _figure(entry.get("clean"))),
        ("prompts with errors, distance ↓", _figure(entry.get("perturbed"))),
        ("improvement on the baseline, with errors ↑", _share(entry.get("improvement_plain"))),
        ("share of the baseline's damage undone ↑", _share(entry.get("improvement_excess"))),
        ("agreement with the prompt (CLIP-T) ↑", _figure(entry.get("clip_t"))),
        ("diversity ↑", _figure(entry.get("diversity"))),
    ]
    if str(parsed.variant) == BASELINE:
        rows = [row for row in rows if "baseline" not in row[0]]
    lines = ["## Scores", _how_measured(summary), "", "| | value | interval |", "|---|---|---|"]
    lines += [f"| {label} | {value} | {interval} |" for label, (value, interval) in rows]
    if duel:
        lines += [
            "",
            f"Against the champion of that day, version {_text(champion.get('version', '?'))}, on the same prompts and "
            "noise, this model alone:",
            "",
            "| | this model | champion |",
            "|---|---|---|",
        ]
        for label, figure in (("clean prompts ↓", "clean"), ("prompts with errors ↓", "perturbed")):
            lines.append(f"| {label} | {_both(_figure(duel.get(figure)))} | {_both(_figure(champion.get(figure)))} |")
        lines.append(f"| improvement on prompts with errors ↑ | {_both(_share(duel.get('improvement')))} | |")
    return "\n".join(lines)


def _entry(parsed: Trial, summary: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the variant's figures; its name in the summary may lack the magnitude."""
    variants: Mapping[str, Mapping[str, Any]] = summary.get("variants", {})
    names = {str(entry.get("variant", key)): key for key, entry in variants.items()}
    for name in (str(parsed.variant), parsed.variant.augmentation):
        if name in names or name in variants:
            return variants[names.get(name, name)]
    return {}


def _how_measured(summary: Mapping[str, Any]) -> str:
    """Return what the figures are, and over what."""
    seeds, photos = summary.get("seeds") or [], summary.get("num_reference")
    floor = _figure(summary.get("noise_floor"))[0]
    parts = [f"means over training seeds {', '.join(map(_whole, seeds))}"] if seeds else []
    parts += [f"{_whole(photos)} photos"] if photos else []
    parts += (
        [f"{_whole(summary['num_images_per_prompt'])} images per prompt"]
        if summary.get("num_images_per_prompt")
        else []
    )
    parts += [f"a photo's own distance from the others is {floor}"] if floor != NOT_MEASURED else []
    over = f" ({'; '.join(parts)})" if parts else ""
    return f"Wasserstein distances between CLIP embeddings of generated images and photos; lower is better{over}."


def _figure(raw: Any) -> tuple[str, str]:
    """Return a figure and its interval, three decimals."""
    value, low, high = _ends(raw)
    return (NOT_MEASURED, "") if value is None else (f"{value:.3f}", _range(low, high, "{:.3f}"))


def _share(raw: Any) -> tuple[str, str]:
    """Return a share and its interval as percentages."""
    value, low, high = (None if end is None else 100 * end for end in _ends(raw))
    return (NOT_MEASURED, "") if value is None else (f"{value:+.1f} %", _range(low, high, "{:+.1f} %"))


def _range(low: float | None, high: float | None, form: str) -> str:
    return "" if low is None or high is None else f"{form.format(low)} to {form.format(high)}"


def _ends(raw: Any) -> tuple[float | None, float | None, float | None]:
    """Return value and ends of ``{"value", "low", "high"}``; a bare number has no ends."""
    ends = raw if isinstance(raw, Mapping) else {"value": raw}
    value, low, high = (None if ends.get(end) is None else float(ends[end]) for end in ("value", "low", "high"))
    return value, low, high


def _both(figure: tuple[str, str]) -> str:
    """Return a figure with its interval in brackets."""
    return f"{figure[0]} ({figure[1]})" if figure[1] else figure[0]


# ── Words ──────────────────────────────────────────────────────────────────────────────────────


def _verdict(verdict: Mapping[str, Any]) -> str:
    """Return what the gate said, the decisive reason first."""
    action = verdict.get("action") or ("promote" if verdict.get("passed") else "refuse")
    against = f", measured against version {_text(verdict['against'])}" if verdict.get("against") else ""
    reasons = [f"- {_text(reason)}" for reason in list(verdict.get("reasons") or [])]
    more = [f"- and {len(reasons) - _MAX_REASONS} more"] if len(reasons) > _MAX_REASONS else []
    return "\n".join(
        ["## Verdict", f"It {_ACTIONS.get(action, 'was judged')}{against}.", *reasons[:_MAX_REASONS], *more]
    )


def _loading(name: str) -> str:
    """Return how to use the model."""
    return f"""## Use
```python
import base64, mlflow

model = mlflow.pyfunc.load_model("models:/{_text(name)}@champion")  # or models:/{_text(name)}/VERSION
rows = model.predict([{{"prompt": "…"}}], params={{"seed": 0, "num_images": 4}})
open("0.png", "wb").write(base64.b64decode(rows["image"][0]))
```
`mlflow models serve -m "models:/{_text(name)}@champion" --env-manager local` serves the same over HTTP, with \
`MLFLOW_TRACKING_URI` set. The base model is fetched by its pinned name, unless `AELIF_BASE_MODEL` names a folder \
with it."""


def _licences(source: Mapping[str, Any]) -> str:
    """Return the base model and under whose terms the fine-tune stands."""
    uri = str(source.get("uri", ""))
    if uri.startswith("builtin:"):
        terms = f"Licence: {_MINIATURE_LICENCE}."
    elif "://" not in uri and "@" in uri and not uri.startswith("models:/"):
        terms = (f"Its licence binds this fine-tune, too: see the card at "
                 f"https://huggingface.co/{_text(uri.partition('@')[0])}.")  # fmt: skip
    else:
        terms = "Its licence binds this fine-tune, too: see the base model's own card, and who gave it to you."
    digest = f", SHA-256 `{str(source['digest'])[:12]}`" if source.get("digest") else ""
    family = f" ({_text(source['family'])})" if source.get("family") else ""
    return f"## Base model and licence\n`{_text(uri or 'not recorded')}`{family}{digest}. {terms}"


def _data(manifest: Mapping[str, Any]) -> str:
    """Return what it was trained on, and what of it was refused."""
    if not manifest:
        return "## Training data\nNot recorded."
    subjects: Sequence[Mapping[str, Any]] = manifest.get("subjects") or [manifest]
    refused = sum(len(subject.get("quarantined") or []) for subject in subjects)
    places = ", ".join(f"`{_text(subject.get('source', ''))}`" for subject in subjects[:4])
    more = f" and {len(subjects) - 4} more" if len(subjects) > 4 else ""
    digest = f", SHA-256 `{str(manifest['digest'])[:12]}`" if manifest.get("digest") else ""
    count = _whole(manifest.get("count", "?"))
    return (
        f"## Training data\n{count} photos from {places}{more}{digest}; {refused} refused. "
        "Whoever shows what they show may have rights in the images made of them."
    )


def _limits(summary: Mapping[str, Any]) -> str:
    """Return what the model is not for."""
    skipped = len(summary.get("skipped") or [])
    left_out = f" {skipped} prompts could not be made, and are in no figure." if skipped else ""
    return (
        "## Limits\nMade to paint the photographed subject from short English prompts. The figures hold for the "
        "prompts, errors and scorer of this evaluation, and compare models; they say nothing about how likeable or "
        f"harmless an image is. Nothing filters what is generated.{left_out}"
    )


def _families(summary: Mapping[str, Any]) -> str:
    """Return which errors were made, those that settings may be chosen by apart from those that were held out."""
    asked = {family for entry in summary.get("variants", {}).values() for family in entry.get("families", {})}
    return "\n".join(["## Errors in prompts", *_family_lines(asked)])


def _family_lines(asked: set[str]) -> Iterator[str]:
    for label, group in (("to choose settings by", TUNING), ("held out, seen by no training", HELD_OUT)):
        names = [family for family in group if family in asked]
        yield f"- {label}: {', '.join(names) or 'none'}"


def _lineage(tags: Mapping[str, str]) -> str:
    """Return by what the model can be made again; the whole values are in the version's tags."""
    kept = ("git.sha", "kfp.run_id", "image.digest", "dataset.digest", "eval.digest", "weights.sha256", "aelif.version")
    lines = [f"- {name}: `{shorten(tags[name], limit=80)}`" for name in kept if tags.get(name)]
    return "\n".join(["## Origin", *(lines or ["Not recorded."])])


def _text(value: Any) -> str:
    """Return a user's text on one line, cut where it is long, unable to open a table cell or a code span."""
    plain = " ".join(str(value).split()).replace("|", "/").replace("`", "'")
    return shorten(plain, limit=_MAX_TEXT)


def _whole(value: Any) -> str:
    """Return a number that JSON may have made a float."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
