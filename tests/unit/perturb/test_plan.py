import itertools

import pytest

from aelif.artifacts import prompt_schema, read_table, sha256_of, write_table
from aelif.config import FAMILIES, HELD_OUT, TUNING, DataConfig, PromptConfig, StressConfig
from aelif.perturb import Edit, Scope, apply_edits
from aelif.perturb.contexts import CONTEXTS
from aelif.perturb.human import has_codespell
from aelif.perturb.plan import plan_prompts, preview

SUBJECT = {"instance_prompt": "a photo of sks backpack", "class_prompt": "a photo of a backpack"}
INSTALLED = tuple(family for family in FAMILIES if family != "codespell" or has_codespell())


def plan(seed=0, data=None, **settings):
    named = DataConfig(instance_images="photos", **(data or SUBJECT))
    return plan_prompts(PromptConfig(**{"ask_class": False, **settings}), data=named, seed=seed)


def of_set(rows, prompt_set):
    return [row for row in rows if row["prompt_set"] == prompt_set]


def edit_distance(a, b):
    """Levenshtein distance as its recurrence reads, apart from rapidfuzz."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        last, row = row, [i]
        for j, y in enumerate(b, 1):
            row.append(min(last[j] + 1, row[-1] + 1, last[j - 1] + (x != y)))
    return row[-1]


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
    rows = plan(families=INSTALLED, severities=(0.1, 0.4), draws=3)
    clean = of_set(rows, "clean")
    for row in clean:
        assert (row["family"], row["severity"], row["draw"], row["edits"]) == ("clean", 0.0, 0, [])
        assert row["clean_id"] == row["prompt_id"]
        assert row["character_error_rate"] == 0
    for row in [*of_set(rows, "perturbed"), *of_set(rows, "out_of_distribution")]:
        assert row["clean_prompt"] == rows[row["clean_id"]]["prompt"] != row["prompt"]
        assert apply_edits(row["clean_prompt"], [Edit(**edit) for edit in row["edits"]]) == row["prompt"]
        distance = edit_distance(row["clean_prompt"], row["prompt"])
        assert row["character_error_rate"] == pytest.approx(distance / len(row["clean_prompt"]))
        assert (row["prompt_set"] == "out_of_distribution") == (row["family"] == "context")
        assert row["reason"] == ""


def test_groups_stand_for_their_families():
    assert {row["family"] for row in plan(families=("tuning",))} == {"clean", *TUNING}
    held_out = {row["family"] for row in plan(families=("held_out", "paper"))}
    assert held_out == {"clean", *HELD_OUT} - {"codespell"}


def test_what_cannot_be_perturbed_says_why():
    rows = plan(families=("tense", "paper"), severities=(0.1, 0.2), draws=2, templates=("{subject}", "a {subject} sat"))
    assert [row["prompt_id"] for row in rows] == list(range(len(rows)))
    skipped = of_set(rows, "skipped")
    assert rows[-len(skipped) :] == skipped
    assert [(row["clean_id"], row["family"], row["severity"]) for row in skipped if row["family"] == "tense"] == [
        (0, "tense", 0.1), (0, "tense", 0.2), (1, "tense", 0.2),
    ]  # fmt: skip
    assert skipped[0]["reason"] == "The prompt has no verb to change."
    assert skipped[0]["prompt"] == "sks backpack"
    assert skipped[0]["edits"] == []
    last = plan(families=("paper",), draws=4, templates=("a photo of {subject}",), target=("identifier",), data={
        "instance_prompt": "a photo of olis backpack", "class_prompt": "a photo of a backpack"})[-1]  # fmt: skip
    assert (last["prompt_set"], last["draw"]) == ("skipped", 2)
    assert last["reason"] == "Every version drawn (32) is in the table already. 2 of 4 could be made."


def test_contexts_are_dreambooths_in_their_order():
    rows = of_set(plan(contexts=25, families=("paper", "context"), draws=3), "out_of_distribution")
    asked, drawn = rows[-25:], rows[:-25]
    assert [row["prompt"] for row in asked[:20]] == [f"a photo of sks backpack {place}" for place in CONTEXTS[:20]]
    assert asked[20]["prompt"] == "a photo of red sks backpack"
    assert [(row["family"], row["severity"], row["draw"], row["clean_id"]) for row in asked] == [
        ("context", 0.0, number, 0) for number in range(25)
    ]
    assert {row["severity"] for row in drawn} == {0.1}
    assert {row["clean_id"] for row in drawn} == {1, 2}, "the first prompt's 25 are all asked for already"
    assert [row["prompt"] for row in of_set(plan(contexts=1), "out_of_distribution")] == [asked[0]["prompt"]]


def test_the_class_is_asked_for_by_its_own_prompt():
    row = of_set(plan(ask_class=True), "class")[0]
    assert row["prompt"] == row["clean_prompt"] == "a photo of a backpack"
    assert row["prompt_id"] == row["clean_id"] > 2
    assert (row["family"], row["severity"], row["edits"]) == ("class", 0.0, [])


def test_the_class_prompt_with_errors_is_asked_once_for_each_family_of_errors():
    settings = {"families": ("delete", "swap", "homoglyph"), "severities": (0.1, 0.3), "draws": 2}
    rows = plan(**settings, ask_class=True, class_errors=True, contexts=2)
    asked = of_set(rows, "class")[0]
    wrong = of_set(rows, "class_perturbed")
    assert [(row["family"], row["severity"], row["draw"]) for row in wrong] == [
        (family, 0.1, 0) for family in settings["families"]
    ]
    for row in wrong:
        assert row["clean_id"] == asked["prompt_id"]
        assert row["clean_prompt"] == asked["prompt"] != row["prompt"]
        assert apply_edits(row["clean_prompt"], [Edit(**edit) for edit in row["edits"]]) == row["prompt"]
    others = plan(**settings, ask_class=True, contexts=2)
    assert [row["prompt"] for row in rows if row not in wrong] == [row["prompt"] for row in others]


def test_errors_of_the_class_need_the_class_beside_them():
    with pytest.raises(ValueError, match="class_errors = True: set ask_class, too"):
        PromptConfig(ask_class=False, class_errors=True)


def test_stress_repeats_the_clean_prompts():
    stress = StressConfig(augmentations=("cep", "aelif_mask"), magnitudes=(0.1, 0.5))
    rows = of_set(plan(stress=stress, ask_class=True), "stress")
    assert [(row["clean_id"], row["family"], row["severity"]) for row in rows] == list(
        itertools.product(range(3), ("cep", "aelif_mask"), (0.1, 0.5))
    )
    assert all(row["prompt"] == row["clean_prompt"] for row in rows)
    assert all(row["character_error_rate"] == 0 for row in rows)


def test_no_prompt_occurs_twice_even_where_few_are_possible():
    rows = plan(families=("word_swap", "paper", "word_drop", "spacing"), draws=60, templates=("photo {subject}",))
    rows = [row for row in rows if row["prompt_set"] != "skipped"]
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
    among = plan(families=("ocr", "keyboard", "swap"), draws=2)
    assert alone == {(r["clean_prompt"], r["draw"]): r["prompt"] for r in among if r["family"] in ("keyboard", "clean")}


@pytest.mark.parametrize(
    ("settings", "spared"),
    [
        ({"protect": ("identifier",)}, {"olis"}),
        ({"protect": ("class_word",)}, {"stuffed", "animal"}),
        ({"protect": ("identifier", "class_word")}, {"olis", "stuffed", "animal"}),
        ({"target": ("class_word",)}, {"a", "photo", "of", "olis"}),
        ({"target": ("identifier",)}, {"a", "photo", "of", "stuffed", "animal"}),
    ],
)
def test_parts_of_the_subject_are_hit_or_spared_as_configured(settings, spared):
    data = {"instance_prompt": "a photo of olis stuffed animal", "class_prompt": "a photo of a stuffed animal"}
    options = {"families": ("keyboard", "swap", "ocr", "casing"), "severities": (0.8,), "draws": 5,
               "templates": ("a photo of {subject}",)}  # fmt: skip
    rows = of_set(plan(data=data, **options, **settings), "perturbed")
    assert rows
    assert all(spared <= set(row["prompt"].split()) for row in rows)
    others = {"a", "photo", "of", "olis", "stuffed", "animal"} - spared - {"a"}
    assert all(any(word not in row["prompt"].split() for row in rows) for word in others)


def test_families_that_change_nothing_are_refused():
    with pytest.raises(ValueError, match=r"families = 'keyboard'.*add another"):
        plan(templates=("{subject}",), families=("keyboard",), data={
            "instance_prompt": "фото пкс рюкзак", "class_prompt": "фото рюкзак"})  # fmt: skip


def test_broken_unicode_is_refused():
    with pytest.raises(ValueError, match="no valid Unicode"):
        plan(templates=("\udc80 {subject}",))


def test_table_survives_parquet_byte_for_byte(tmp_path):
    data = {"instance_prompt": "a photo of sks e\u0301te\u0301 🎒", "class_prompt": "a photo of e\u0301te\u0301 🎒"}
    stress = StressConfig(magnitudes=(0.5,))
    rows = plan(families=INSTALLED, contexts=25, ask_class=True, stress=stress, data=data)
    for name in ("first", "second"):
        write_table(tmp_path / name, rows, prompt_schema())
    assert read_table(tmp_path / "first", prompt_schema()) == rows
    assert sha256_of(tmp_path / "first") == sha256_of(tmp_path / "second")


def test_thousands_of_prompts_stay_distinct():
    rows = plan(families=INSTALLED, severities=(0.1, 0.2, 0.4), draws=40)
    prompts = [row["prompt"] for row in rows if row["prompt_set"] != "skipped"]
    assert len(prompts) == len(set(prompts)) > 4000


def test_preview_draws_like_a_run():
    options = {"families": ("keyboard", "paper", "tense"), "draws": 2}
    rows = preview("a photo of sks backpack", severity=0.1, seed=3, scope=Scope(subject="sks backpack"), **options)
    assert rows == plan(seed=3, templates=("a photo of {subject}",), **options)
    assert rows[-1]["reason"] == "The prompt has no verb to change."
    scope = Scope(protected=frozenset({"sks"}))
    for row in preview("a photo of SKS dog", families=INSTALLED, severity=0.5, scope=scope):
        assert "SKS" in row["prompt"].split()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"text": " "}, "the prompt is empty"),
        ({"families": ["keybord"]}, "did you mean 'keyboard'"),
        ({"severity": 0.0}, "severity = 0.0"),
        ({"draws": 0}, "draws = 0"),
        ({"scope": Scope(target=frozenset({"sks"}))}, "target = 'sks': the prompt 'a photo' does not hold it"),
        ({"scope": Scope(protected=frozenset({"sks"}))}, "protect = 'sks'"),
        ({"scope": Scope(subject="sks dog")}, "subject = 'sks dog'"),
    ],
)
def test_preview_refuses_bad_input(options, message):
    arguments = {"text": "a photo", "families": ["paper"], **options}
    with pytest.raises(ValueError, match=message):
        preview(arguments.pop("text"), **arguments)
