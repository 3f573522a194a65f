"""One run on this machine: preflight, the worker process, live progress, the summary."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from aelif.artifacts import read_json, write_json
from aelif.config import RunConfig, TrackingConfig, to_dict
from aelif.progress import EVENTS_VARIABLE
from aelif.versions import versions
from aelif_pipelines.arguments import pipeline_arguments
from aelif_pipelines.display import EventTail, RunDisplay
from aelif_pipelines.errors import CommandError
from aelif_pipelines.timing import timings

GRACE_S = 10.0
"""How long interrupted steps may take to end before they are killed."""


class RunError(CommandError):
    """A step failed; the message names it, the cause and the log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workplace:
    """Where one run keeps its things: all below the output folder, and the tracking store."""

    output: Path
    tracking: TrackingConfig | None = None
    """The tracking store; none: that of the folder which holds `output`, so that neighbours share it."""

    @property
    def work(self) -> Path:
        """Step outputs, cache, checkpoints."""
        return self.output / "work"

    @property
    def events(self) -> Path:
        """Progress events of the present run."""
        return self.work / "events.jsonl"

    @property
    def log(self) -> Path:
        """What kfp and the steps printed."""
        return self.output / "run.log"

    @property
    def summary(self) -> Path:
        """The public result."""
        return self.output / "summary.json"

    @property
    def store(self) -> TrackingConfig:
        """The tracking store."""
        return self.tracking or TrackingConfig.local(self.output.parent)

    def make(self) -> None:
        """Create the folders and prove that they can be written.

        Raises:
            ValueError: if the output folder cannot be created or written.
        """
        try:
            self.work.mkdir(parents=True, exist_ok=True)
            self.events.write_text("")
        except OSError as error:
            raise ValueError(
                f"output = {str(self.output)!r}: cannot write there ({error.strerror}); choose another with --output"
            ) from error


def run_locally(
    config: RunConfig, place: Workplace, *, console: Console, command: str = "", caching: bool = True
) -> dict[str, Any]:
    """Run the configuration's pipeline here and return its summary, also written to `summary.json`.

    Where `retrain` finds nothing new, the summary says so under ``unchanged``, and that file stays as it is.

    Args:
        config: what to run.
        place: where results and intermediate files go.
        console: shows the progress.
        command: what the user typed, for the report.
        caching: reuse the results of steps whose inputs and code did not change; without it, `retrain` does not
            end early.

    Raises:
        ValueError: if the configuration cannot work on this machine; nothing has run then.
        RunError: if a step failed.
        KeyboardInterrupt: after a clean stop; finished steps and checkpoints are kept.
    """
    began = time.time()
    check_inputs(config)
    arguments = pipeline_arguments(config, place.output, tracking=place.store, command=command, force=not caching)
    place.make()
    request = place.work / "request.json"
    write_json(request, {"pipeline": config.pipeline, "arguments": arguments,
                         "pipeline_root": str(place.work / "steps"), "caching": caching})  # fmt: skip
    with place.log.open("w") as log:
        worker = subprocess.Popen(
            [sys.executable, "-m", "aelif_pipelines.worker", str(request)],
            stdout=log,
            stderr=subprocess.STDOUT,
            env=_environment(place),
            start_new_session=True,  # Ctrl-C reaches us alone: we stop the steps in order
        )
        events = _watch(worker, place, console)
    if worker.returncode != 0:
        raise RunError(_cause(events, place))
    took = timings(events, began=began, ended=time.time())
    for event in events:
        if event["event"] == "not_due":
            return {"unchanged": event["message"], "champion": event["champion"], "timings": took}
    summary = read_json(place.summary)
    registered = next((event for event in events if event["event"] == "registered"), {})
    summary["registry"] = {name: registered[name] for name in ("model", "version", "outcome", "message")}
    summary |= {"timings": took, "versions": versions()}
    write_json(place.summary, summary)
    return summary


def check_inputs(config: RunConfig) -> None:
    """Find what is wrong with photos and base model before anything is written or computed.

    Raises:
        ValueError: names the folder, file or name, and the remedy.
    """
    from aelif.models.names import model_kind
    from aelif.prepare.photos import read_subject
    from aelif.prepare.reference import photo_fingerprints
    from aelif.storage import local_path

    model_kind(config.base_model)
    data = config.data
    photo_fingerprints(data)  # names what is missing, in folders and in S3
    measured = [replace(data, instance_images=data.reference_images, more_subjects=())] if data.reference_images else []
    for subject in (*data.subjects, *measured):
        uri = subject.instance_images
        if not uri.startswith("s3://") and (photos := local_path(uri)).is_dir():
            read_subject(photos, subject, image_size=data.image_size)


def _environment(place: Workplace) -> dict[str, str]:
    """Return the worker's environment: this interpreter first, the cores shared by two steps at a time."""
    threads = str(max(1, (os.cpu_count() or 2) // 2))
    return {
        **os.environ,
        EVENTS_VARIABLE: str(place.events),
        "AELIF_SPOOL": str(place.work / "spool"),  # what steps tell MLflow waits there while it is away
        "MLFLOW_TRACKING_URI": place.store.tracking_uri,
        "MLFLOW_EXPERIMENT_NAME": place.store.experiment,
        "AELIF_ARTIFACT_LOCATION": place.store.artifact_location,
        "PATH": str(Path(sys.executable).parent) + os.pathsep + os.environ.get("PATH", ""),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", threads),
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONUNBUFFERED": "1",
    }


def _watch(worker: subprocess.Popen[bytes], place: Workplace, console: Console) -> list[dict[str, Any]]:
    """Show events until the worker ends; on Ctrl-C stop it, close the tracked run and re-raise."""
    tail, events = EventTail(place.events), []
    try:
        with RunDisplay(console) as display:
            while True:
                ended = worker.poll() is not None
                for event in tail.new_events():
                    events.append(event)
                    display.show(event)
                if ended:
                    return events
                time.sleep(0.1)
    except KeyboardInterrupt:
        _stop(worker)
        keys = [event["label"] for event in [*events, *tail.new_events()] if event["step"] == "open_run"]
        if keys:
            from aelif.registry.tracking import close

            close(to_dict(place.store), keys[0], state="KILLED", cause="interrupted", patience_s=GRACE_S)
        raise


def _stop(worker: subprocess.Popen[bytes]) -> None:
    """End the worker and every step it started."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(worker.pid, sign)
            worker.wait(timeout=GRACE_S)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def _cause(events: list[dict[str, Any]], place: Workplace) -> str:
    """Return which step failed, why, and where to read more."""
    for event in events:
        if event["event"] == "failed":
            name = f"{event['step']} {event['label']}".strip()
            return f"{name}: {event['error']}\nLog: {place.log}"
    lines = [line for line in place.log.read_text(errors="replace").splitlines() if "Error" in line]
    return f"{lines[-1].strip() if lines else 'the pipeline failed before its first step'}\nLog: {place.log}"
