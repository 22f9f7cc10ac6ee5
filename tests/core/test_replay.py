"""Replay and resume: the weights are a function of the log."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from continualcode.core import engine
from continualcode.core.data import Call, Part, SamplingParams, StepReport, UpdateOutcome, UpdatePlan
from continualcode.core.errors import ReplayError
from continualcode.core.events import SampleTaken, SessionResumed, UpdateApplied, UpdateFailed, event_registry
from continualcode.core.plugins import Plugins
from continualcode.core.protocols import Trainer
from continualcode.core.replay import Replayer, example_of, plan_of, reference, trainers_of
from continualcode.core.review import Answer
from continualcode.core.testing import ScriptedPolicy, ScriptedUI, open_scripted
from continualcode.core.transcript import SampledTurn, Transcript, fold
from continualcode.eventlog import Record, pack_f32, pack_u32, read

WRITE = Call(tool="write", arguments={"path": "b.txt", "content": "x"})
NO = Answer(verdict="deny", reason="No.")


def recorded(tmp_path: Path, denials: int = 3) -> tuple[Path, str]:
    """A log with that many updates, and the digest that it ended in."""
    session = open_scripted(tmp_path / "p", [WRITE] * denials, ui=ScriptedUI(["go"], [NO] * denials))
    engine.run(session)
    session.close("quit")
    return session.log.path, session.policy.weights()


def records(log: Path) -> list[Record]:
    return list(read(log, event_registry()))


def trainer_of(name: str, settings: object) -> Trainer:
    return trainers_of(Plugins(installed=False))(name, settings)  # type: ignore[arg-type]  # a mapping


def test_every_update_comes_out_as_logged(tmp_path: Path) -> None:
    log, weights = recorded(tmp_path)
    report = Replayer(ScriptedPolicy(), trainer_of).run(records(log))
    assert (report.updates, report.matched, report.weights) == (3, 3, weights)
    assert report.ok and report.first_divergence is None


def test_replay_up_to_an_event_gives_the_weights_of_then(tmp_path: Path) -> None:
    log, _ = recorded(tmp_path)
    updates = [r for r in records(log) if isinstance(r, UpdateApplied)]
    report = Replayer(ScriptedPolicy(), trainer_of).run(records(log), until=updates[1].seq)
    assert report.weights == updates[1].weights


def test_progress_says_how_many_updates_there_will_be(tmp_path: Path) -> None:
    log, _ = recorded(tmp_path)
    until = [r for r in records(log) if isinstance(r, UpdateApplied)][1].seq
    said: list[str] = []

    def show(label: str, done: int, total: int) -> None:
        said.append(label)

    Replayer(ScriptedPolicy(), trainer_of, progress=show).run(records(log), until=until)
    assert list(dict.fromkeys(said)) == ["update 1 of 2", "update 2 of 2"]
    said.clear()
    resumed = open_scripted(tmp_path / "p", ui=(ui := ScriptedUI()), log=log, resume=True)
    resumed.close("quit")
    assert ui.progressed[0] == "making the weights again, update 1 of 3"


def test_the_first_update_that_differs_is_named(tmp_path: Path) -> None:
    class Other(ScriptedPolicy):
        def step(self, batch: Any, *, stop_below: float) -> StepReport:
            return super().step(batch, stop_below=0.6)

    log, _ = recorded(tmp_path)
    report = Replayer(Other(), trainer_of).run(records(log))
    assert report.updates == 3 and report.matched == 0 and not report.ok
    assert report.first_divergence is not None
    first = next(r for r in records(log) if isinstance(r, UpdateApplied))
    assert (report.first_divergence.seq, report.first_divergence.logged) == (first.seq, first.weights)


class Rounded(ScriptedPolicy):
    """The same figures but for some nats, and other bits: what another stack may give."""

    def __init__(self, nats: float) -> None:
        super().__init__()
        self._nats = nats
        self.stack = {"policy": "scripted", "threads": "2"}

    def step(self, batch: Any, *, stop_below: float) -> StepReport:
        report = super().step(batch, stop_below=stop_below)
        self._weights = self._weights[::-1]
        rows = tuple(tuple(a + self._nats for a in row) for row in report.advantages)
        return msgspec.structs.replace(report, advantages=rows)


@pytest.mark.parametrize(("nats", "ok"), [(0.001, True), (0.1, False)])
def test_on_another_stack_it_says_how_far_off_the_figures_are(tmp_path: Path, nats: float, ok: bool) -> None:
    log, _ = recorded(tmp_path)
    by_bits = Replayer(Rounded(nats), trainer_of).run(records(log))
    assert (by_bits.matched, by_bits.ok, by_bits.other_steps) == (0, False, 0)
    assert by_bits.nats == pytest.approx(nats, rel=1e-3) and by_bits.metric == 0.0
    assert (by_bits.recorded, by_bits.here) == (ScriptedPolicy().stack, Rounded(nats).stack)
    by_figures = Replayer(Rounded(nats), trainer_of, tolerance=0.01).run(records(log))
    assert by_figures.ok == ok
    assert by_figures.matched == (3 if ok else 0)


def test_another_number_of_steps_is_never_within_the_tolerance(tmp_path: Path) -> None:
    class Eager(ScriptedPolicy):
        def step(self, batch: Any, *, stop_below: float) -> StepReport:
            return super().step(batch, stop_below=min(stop_below, 0.01))

    log, _ = recorded(tmp_path)
    report = Replayer(Eager(), trainer_of, tolerance=1e9).run(records(log))
    assert (report.ok, report.other_steps) == (False, 3)
    assert report.first_divergence is not None
    logged, here = report.first_divergence.steps
    assert here > logged


def test_another_base_model_is_refused_by_name(tmp_path: Path) -> None:
    log, _ = recorded(tmp_path, 1)
    policy = ScriptedPolicy()
    policy.model = msgspec.structs.replace(policy.model, base="0" * 64)
    with pytest.raises(ReplayError, match="base 000000000000"):
        Replayer(policy, trainer_of).run(records(log))


def test_a_plan_survives_the_log(tmp_path: Path) -> None:
    log, _ = recorded(tmp_path)
    transcript = fold(records(log))
    for started in transcript.updates.values():
        plan = plan_of(started, transcript)
        assert tuple(reference(example, transcript) for example in plan.examples) == started.examples
        example = plan.examples[0]
        turn = transcript.sampled(example.sample)
        assert example.prompt_ids == turn.prompt_ids
        assert bytes(example.teacher_ids[: len(turn.prompt_ids) - 20]) == bytes(turn.prompt_ids[:-20])
        assert b"No." in bytes(example.teacher_ids)


GRAMMARS = st.sampled_from(["one tool", "one folder"])


class UnderAGrammar(Transcript):
    """A log of turns that were under a grammar."""

    def sampled(self, sample_id: str) -> SampledTurn:
        return super().sampled(sample_id)._replace(grammar="one tool")


@pytest.fixture(scope="module")
def corrected(tmp_path_factory: pytest.TempPathFactory) -> Transcript:
    """What a log holds, with an update."""
    transcript = UnderAGrammar()
    for record in records(recorded(tmp_path_factory.mktemp("corrected"))[0]):
        transcript.apply(record)
    return transcript


@given(GRAMMARS, st.none() | GRAMMARS, st.booleans(), st.floats(0, 4), st.sampled_from(["sibling", "probe"]))
def test_an_example_survives_the_log(
    corrected: Transcript, grammar: str, student: str | None, forced: bool, weight: float, part: Part
) -> None:
    """A student's grammar that was neither the teacher's nor the sample's came back as the sample's."""
    (started, *_) = corrected.updates.values()
    example = msgspec.structs.replace(
        plan_of(started, corrected).examples[0],
        part=part,
        prompt_ids=(1, 9),
        completion_ids=(4, 5),
        sampled_logprobs=(),
        grammar=grammar,
        student_grammar=student,
        forced=forced,
        weight=weight,
    )
    assert example_of(reference(example, corrected), corrected) == example


def test_what_is_learned_is_what_was_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the log cannot say of a plan, as a temperature of its own, is not learned either."""
    ui = ScriptedUI(["go"], [Answer(verdict="deny", reason="No.")])
    session = open_scripted(tmp_path / "p", [WRITE, "done"], ui=ui)
    trainer: Any = session.trainer
    planned, carried_out, seen = trainer.plan, trainer.update, list[UpdatePlan]()

    def plan(*args: Any) -> UpdatePlan:
        made = planned(*args)
        rows = tuple(msgspec.structs.replace(each, temperature=9.0) for each in made.examples)
        return msgspec.structs.replace(made, examples=rows)

    def update(plan: UpdatePlan, *args: Any) -> UpdateOutcome:
        seen.append(plan)
        return carried_out(plan, *args)

    monkeypatch.setattr(trainer, "plan", plan)
    monkeypatch.setattr(trainer, "update", update)
    engine.run(session)
    (started,) = session.transcript.updates.values()
    assert seen == [plan_of(started, session.transcript)]
    assert all(row.temperature != 9.0 for row in seen[0].examples)


def test_a_resumed_session_goes_on_from_the_same_weights_and_conversation(tmp_path: Path) -> None:
    log, weights = recorded(tmp_path)
    ui = ScriptedUI(["more"])
    session = open_scripted(tmp_path / "p", ["done"], ui=ui, log=log, resume=True)
    messages = list(session.transcript.messages)
    engine.run(session)
    session.close("quit")
    assert session.policy.weights() == weights
    assert messages and session.transcript.messages[: len(messages)] == messages
    assert any(isinstance(r, SessionResumed) for r in records(log))
    assert Replayer(ScriptedPolicy(), trainer_of).run(records(log)).ok


def test_an_update_that_the_crash_cut_off_is_done_once_after_resuming(tmp_path: Path) -> None:
    log, _ = recorded(tmp_path, 2)
    kept = records(log)
    last = max(i for i, r in enumerate(kept) if isinstance(r, UpdateApplied))
    lines = log.read_bytes().splitlines(keepends=True)
    log.unlink()
    for sidecar in tmp_path.glob(f"{log.name}.*"):
        sidecar.unlink()
    log.write_bytes(b"".join(lines[: last + 1]))  # the header and what a kill in the second update leaves
    session = open_scripted(tmp_path / "p", log=log, resume=True)
    engine.run(session)
    session.close("quit")
    after = records(log)
    assert sum(isinstance(r, UpdateApplied) for r in after) == 2
    assert sum(isinstance(r, UpdateFailed) for r in after) == 1
    assert Replayer(ScriptedPolicy(), trainer_of).run(after).ok


@given(
    st.lists(
        st.tuples(st.lists(st.integers(0, 3), max_size=8), st.lists(st.integers(0, 3), max_size=4)),
        max_size=6,
    )
)
def test_prompts_stored_by_reference_expand_to_themselves(turns: list[tuple[list[int], list[int]]]) -> None:
    transcript = Transcript()
    for number, (prompt, completion) in enumerate(turns):
        stored = transcript.shorten(tuple(prompt))
        assert transcript.expand(stored) == tuple(prompt)
        transcript.apply(
            SampleTaken(
                id=f"s{number}",
                weights="w",
                offer="o",
                prompt=stored,
                params=SamplingParams(),
                token_ids=pack_u32(completion),
                logprobs=pack_f32([0.0] * len(completion)),
                text="",
                stop="end",
            )
        )
        assert transcript.sequence(f"s{number}") == tuple(prompt + completion)
