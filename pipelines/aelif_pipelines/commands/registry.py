"""Commands on the model registry: promote, roll back, look back, compare."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from aelif_pipelines.commands.options import Debug, TrackingUri, console

Result = TypeVar("Result")

PATIENCE_S = 10.0
"""A person waits less long than a pipeline."""

Name = Annotated[str, typer.Argument(help="Name of the registered model, such as aelif-miniature.", show_default=False)]
Store = Annotated[Path, typer.Option("--store", help="Folder that holds mlflow.db, where no server is named.")]
By = Annotated[str | None, typer.Option("--by", help="Who decides; else your login name.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def promote(
    name: Name,
    version: Annotated[str, typer.Argument(help="Number of the version, or challenger.", show_default=False)],
    force: Annotated[bool, typer.Option("--force", help="Whatever the gate said; needs --reason.")] = False,
    reason: Annotated[str, typer.Option("--reason", help="Why it is forced; kept with the version.")] = "",
    by: By = None,
    tracking_uri: TrackingUri = None,
    store: Store = Path("outputs"),
    debug: Debug = False,
) -> None:
    """Make a registered version champion: models:/NAME@champion then loads it.

    What passed the gate against the present champion, and waits for approval, needs no more; anything
    else, what was refused or rolled back as well, needs --force and --reason.

    Example: aelif promote aelif-miniature challenger

    Example: aelif promote aelif-miniature 4 --force --reason "the limit on diversity was too strict"
    """
    from aelif.registry.by_hand import promote_by_hand

    person = by or login_name()
    done = _with_store(
        lambda client: promote_by_hand(client, name, version, by=person, force=force, reason=reason),
        tracking_uri,
        store,
    )
    replaced = done.tags.get("champion.replaced", "none")
    before = f", in place of version {replaced}" if replaced != "none" else ""
    console.print(f"{name}: version [bold]{done.version}[/] is champion{before}", highlight=False)
    undo = f"Back again: aelif rollback {name} --expect {done.version}"
    if replaced != "none":
        console.print(f"[dim]{undo}[/]", highlight=False)


def rollback(
    name: Name,
    expect: Annotated[str, typer.Option("--expect", help="Version that is champion now.", show_default=False)],
    by: By = None,
    tracking_uri: TrackingUri = None,
    store: Store = Path("outputs"),
    debug: Debug = False,
) -> None:
    """Take the champion back: the version that it replaced is champion again, and no retry brings it back.

    --expect names the champion that you have seen: if it is another by now, nothing happens.

    Example: aelif rollback aelif-miniature --expect 4
    """
    from aelif.registry.addresses import find_model
    from aelif.registry.promote import rollback as roll_back

    person = by or login_name()

    def action(client: Any) -> Any:
        find_model(client, name)
        return roll_back(client, name, expect=expect, by=person)

    done = _with_store(action, tracking_uri, store)
    console.print(f"{name}: version {expect} is rolled back, version [bold]{done.version}[/] is champion",
                  highlight=False)  # fmt: skip


def history(
    name: Name,
    as_json: Json = False,
    tracking_uri: TrackingUri = None,
    store: Store = Path("outputs"),
    debug: Debug = False,
) -> None:
    """List a model's versions, newest first: verdict, figures, data, who decided, and why.

    Example: aelif history aelif-miniature
    """
    from aelif.registry.history import history as read_history
    from aelif_pipelines.commands.versions import print_history

    entries = _with_store(lambda client: read_history(client, name), tracking_uri, store)
    if as_json:
        typer.echo(json.dumps([asdict(entry) for entry in entries], indent=1, ensure_ascii=False))
    else:
        print_history(console, name, entries)


def compare(
    name: Name,
    a: Annotated[str, typer.Argument(help="Number of a version, or an alias: champion.", show_default=False)],
    b: Annotated[str, typer.Argument(help="Another, which is compared with the first.", show_default=False)],
    as_json: Json = False,
    tracking_uri: TrackingUri = None,
    store: Store = Path("outputs"),
    debug: Debug = False,
) -> None:
    """Put two versions side by side: origin, figures, and B's improvement on A where both were measured alike.

    Measured alike means: on the same prompts, photos, noise and settings. Otherwise
    `aelif run retrain` measures a new candidate and the champion together.

    Example: aelif compare aelif-miniature champion challenger
    """
    from aelif.registry.compare import compare as read_pair
    from aelif_pipelines.commands.versions import paired_figures, print_pair

    pair = _with_store(lambda client: read_pair(client, name, a, b), tracking_uri, store)
    duel, obstacle = paired_figures(pair)
    if as_json:
        plain = {"a": asdict(pair.a), "b": asdict(pair.b), "differences": pair.differences, "duel": duel,
                 "obstacle": obstacle}  # fmt: skip
        typer.echo(json.dumps(plain, indent=1, ensure_ascii=False))
    else:
        print_pair(console, name, pair, duel=duel, obstacle=obstacle)


def login_name() -> str:
    """Return who is at the keyboard.

    Raises:
        ValueError: if this machine does not say, as in some containers.
    """
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError) as error:
        raise ValueError("by = '': this machine does not know who you are; give --by NAME") from error


def _with_store(action: Callable[[Any], Result], tracking_uri: str | None, folder: Path) -> Result:
    """Return what `action` returns for a client of the store that is meant.

    Raises:
        ValueError: if that is a database that does not exist.
        TrackingError: if it cannot be reached.
    """
    from aelif.config import to_dict
    from aelif.registry.store import database_file, run_with_store
    from aelif_pipelines.stores import choose_store

    tracking = choose_store(tracking_uri, folder)
    if (path := database_file(tracking)) is not None and not path.is_file():
        raise ValueError(f"{path}: no MLflow store there; name its folder by --store, or a server by --tracking-uri, "
                         "or make one: `aelif run quickstart`")  # fmt: skip
    return run_with_store(to_dict(tracking), lambda client, _config: action(client), patience_s=PATIENCE_S)
