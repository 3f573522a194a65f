from aelif_pipelines.timing import Span, orchestration_seconds, spans_of, timings


def span(launched: float, start: float, end: float, step: str = "train", label: str = "") -> Span:
    return Span(step=step, label=label, launched=launched, start=start, end=end)


def test_everything_outside_a_single_step_is_orchestration():
    # 1 s before the process, 2 s of imports, 5 s of work, 2 s after it
    assert orchestration_seconds([span(1, 3, 8)], began=0, ended=10) == 5.0


def test_an_importing_step_beside_a_working_one_shares_the_clock():
    working, importing = span(0, 0, 4), span(2, 4, 4)
    # from 2 to 4 one of two processes imports: half of that time is orchestration
    assert orchestration_seconds([working, importing], began=0, ended=4) == 1.0


def test_no_step_at_all_is_orchestration_wholly():
    assert orchestration_seconds([], began=5, ended=9) == 4.0


def test_two_fully_busy_lanes_cost_nothing():
    assert orchestration_seconds([span(0, 0, 4), span(0, 0, 4)], began=0, ended=4) == 0.0


def event(kind: str, time: float, step: str, label: str = "", **fields: float) -> dict:
    return {"event": kind, "time": time, "step": step, "label": label, **fields}


def test_timings_sum_the_own_work_of_each_step():
    events = [
        event("start", 1, "train", "a", launched=0),
        event("start", 2, "train", "b", launched=1),
        event("progress", 3, "train", "a", done=1, total=2),
        event("end", 4, "train", "a"),
        event("failed", 6, "train", "b"),
        event("start", 6, "score", "b", launched=6),
        event("end", 8, "score", "b"),
    ]
    result = timings(events, began=0, ended=9)
    assert result["steps_s"] == {"train": 7.0, "score": 2.0}
    assert result["total_s"] == 9
    assert [found.failed for found in spans_of(events)] == [False, True, False]


def test_a_step_that_never_ended_is_left_out():
    assert spans_of([event("start", 1, "train", launched=0)]) == []
