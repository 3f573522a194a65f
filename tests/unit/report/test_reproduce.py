from aelif.report.reproduce import flatten, setting_tables


def test_flatten_writes_settings_as_a_person_does() -> None:
    nested = {"train": {"steps": 300.0, "rate": 5e-4, "prior": True, "gamma": None}, "seeds": [0.0, 1.0],
              "files": [{"name": "a"}, {"name": "b"}]}  # fmt: skip
    assert dict(flatten(nested)) == {
        "train.steps": "300", "train.rate": "0.0005", "train.prior": "yes", "train.gamma": "none", "seeds": "0, 1",
        "files[0].name": "a", "files[1].name": "b",
    }  # fmt: skip


def test_what_identifies_a_run_has_tables_of_its_own() -> None:
    settings = {"train": {"steps": 3}, "command": "aelif run", "versions": {"torch": "2"}}
    tables = dict(setting_tables(settings, {"digests": {"photos": "ab"}, "versions": {"aelif": "1"}}))
    assert tables == {
        "Settings": [("train.steps", "3")], "Digests": [("photos", "ab")],
        "Versions": [("aelif", "1"), ("torch", "2")],
    }  # fmt: skip
