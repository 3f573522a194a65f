import itertools

import pytest

from aelif.artifacts import prompt_schema, read_table, sha256_of, write_table
from aelif.config import FAMILIES, DataConfig, PromptConfig
from aelif.perturb import Edit, apply_edits
from aelif.perturb.plan import plan_prompts, preview, subject_of


def plan(seed=0, subject="sks backpack", **settings):
    return plan_prompts(PromptConfig(**settings), subject=subject, identifier="sks", seed=seed)


def edit_distance(a, b):
    """Levenshtein distance as its recurrence reads, apart from rapidfuzz."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        last, row = row, [i]
        for j, y in enumerate(b, 1):
            row.append(min(last[j] + 1, row[-1] + 1, last[j - 1] + (x != y)))
    return row[-1]


@pytest.mark.parametrize(
    ("instance", "class_prompt", "subject"),
    [
        ("a photo of sks backpack", "a photo of a backpack", "sks backpack"),
        ("A photo of a SKS red dog.", "a photo of a red dog", "SKS red dog"),
        ("sks backpack", "a photo of a backpack", "sks backpack"),
        ("photo of <s1> <s2> dog", "a photo of a dog", "<s1> <s2> dog"),
        ("a photo of backpack sks", "a photo of a backpack", "backpack sks"),
        ("a photo of sks", "a photo of a backpack", "sks"),
    ],
)
def test_subject_of_the_instance_prompt(instance, class_prompt, subject):
    data = DataConfig(instance_images="photos", instance_prompt=instance, class_prompt=class_prompt)
    assert subject_of(data) == subject


def test_clean_prompts_come_first_then_every_combination_in_order():
    rows = plan(families=("paper", "delete"), severities=(0.1, 0.3), draws=2)
    assert [row["prompt_id"] for row in rows] == list(range(len(rows)))
    assert [row["prompt"] for row in rows[:3]] == [
        "a photo of sks backpack", "a picture of sks backpack", "an image of sks backpack",
    ]  # fmt: skip
    assert [(row["clean_id"], row["family"], row["severity"], row["draw"]) for row in rows[3:]] == list(
        itertools.product(range(3), ("paper", "delete"), (0.1, 0.3), range(2))
    )


def test_rows_say_what_was_done():
    rows = plan(families=FAMILIES, severities=(0.1, 0.4), draws=3)
    clean = [row for row in rows if row["prompt_set"] == "clean"]
    for row in clean:
        assert (row["family"], row["severity"], row["draw"], row["edits"]) == ("clean", 0.0, 0, [])
        assert row["clean_id"] == row["prompt_id"]
        assert row["character_error_rate"] == 0
    for row in rows[len(clean) :]:
        assert row["clean_prompt"] == rows[row["clean_id"]]["prompt"]
        assert apply_edits(row["clean_prompt"], [Edit(**edit) for edit in row["edits"]]) == row["prompt"]
        distance = edit_distance(row["clean_prompt"], row["prompt"])
        assert row["character_error_rate"] == pytest.approx(distance / len(row["clean_prompt"]))


def test_no_prompt_occurs_twice_even_where_few_are_possible():
    rows = plan(families=("word_swap", "paper", "word_drop", "spacing"), draws=60, templates=("photo {subject}",))
    prompts = [row["prompt"] for row in rows]
    assert len(set(prompts)) == len(prompts)
    assert [row["prompt"] for row in rows if row["family"] == "word_swap"] in (
        ["sks photo backpack", "photo backpack sks"], ["photo backpack sks", "sks photo backpack"],
    )  # fmt: skip
    assert all(prompt.strip() for prompt in prompts)


def test_repeated_templates_count_once():
    assert len([r for r in plan(templates=("a {subject}", "a {subject}")) if r["prompt_set"] == "clean"]) == 1


def test_braces_other_than_the_subject_stand():
    assert plan(templates=("{subject} {x} {}",))[0]["prompt"] == "sks backpack {x} {}"


def test_the_seed_decides_and_a_prompt_depends_on_its_own_key_alone():
    assert plan(seed=1) == plan(seed=1)
    assert plan(seed=1) != plan(seed=2)
    alone = {(r["clean_prompt"], r["draw"]): r["prompt"] for r in plan(families=("keyboard",), draws=2)}
    among = {(r["clean_prompt"], r["draw"]): r["prompt"] for r in plan(draws=2) if r["family"] in ("keyboard", "clean")}
    assert alone == among


def test_the_identifier_is_hit_or_spared_as_configured():
    settings = {"families": ("keyboard", "word_drop", "casing"), "severities": (0.8,), "draws": 5}
    assert all("sks" in row["prompt"].split() for row in plan(protect_identifier=True, **settings))
    assert not all("sks" in row["prompt"].split() for row in plan(**settings))


def test_families_that_change_nothing_are_refused():
    with pytest.raises(ValueError, match=r"families = 'keyboard'.*add another"):
        plan(templates=("{subject}",), subject="рюкзак", families=("keyboard",))


def test_broken_unicode_is_refused():
    with pytest.raises(ValueError, match="no valid Unicode"):
        plan(templates=("\udc80 {subject}",))


def test_table_survives_parquet_byte_for_byte(tmp_path):
    rows = plan(families=FAMILIES, subject="sks e\u0301te\u0301 🎒")
    for name in ("first", "second"):
        write_table(tmp_path / name, rows, prompt_schema())
    assert read_table(tmp_path / "first", prompt_schema()) == rows
    assert sha256_of(tmp_path / "first") == sha256_of(tmp_path / "second")


def test_thousands_of_prompts_stay_distinct():
    rows = plan(families=FAMILIES, severities=(0.1, 0.2, 0.4), draws=40)
    prompts = [row["prompt"] for row in rows]
    assert len(prompts) == len(set(prompts)) > 2500


def test_preview_draws_like_a_run():
    rows = preview("a photo of sks backpack", families=["keyboard", "paper"], severity=0.1, draws=2, seed=3)
    run = plan(seed=3, families=("keyboard", "paper"), draws=2, templates=("a photo of {subject}",))
    assert [row["prompt"] for row in rows] == [row["prompt"] for row in run[1:]]
    assert rows[0].keys() == {"family", "prompt", "edits", "character_error_rate"}
    for row in preview("a photo of SKS dog", families=FAMILIES, severity=0.5, protect=["sks"]):
        assert "SKS" in row["prompt"].split()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"text": " "}, "the prompt is empty"),
        ({"families": ["keybord"]}, "did you mean 'keyboard'"),
        ({"severity": 0.0}, "severity = 0.0"),
        ({"draws": 0}, "draws = 0"),
    ],
)
def test_preview_refuses_bad_input(options, message):
    arguments = {"text": "a photo", "families": ["paper"], **options}
    with pytest.raises(ValueError, match=message):
        preview(arguments.pop("text"), **arguments)
