"""What takes part in an update beside the correction: anchors, probes, earlier corrections."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from continualcode.core import engine
from continualcode.core.config import Config
from continualcode.core.data import Call, Example, Sample
from continualcode.core.errors import ConfigError
from continualcode.core.events import UpdateApplied, UpdateRejected, UpdateStarted, event_registry
from continualcode.core.replay import plan_of
from continualcode.core.review import Answer
from continualcode.core.session import Session
from continualcode.core.testing import ScriptedPolicy, ScriptedUI, open_scripted
from continualcode.eventlog import read
from continualcode.plugins.trainers.anchors import ANCHORS
from continualcode.plugins.trainers.probes import PROBES
from continualcode.plugins.trainers.rehearsal import rehearsed
from continualcode.plugins.trainers.sdpo import Sdpo
from continualcode.plugins.trainers.settings import SdpoSettings

WRITE = Call(tool="write", arguments={"path": "a.py", "content": "x"})


class Counting(ScriptedPolicy):
    """Counts the demonstrations that it is asked for."""

    asked = 0

    def demonstrate(self, teacher_ids: Sequence[int], *given: Any, **settings: Any) -> Sample:
        self.asked += 1
        return super().demonstrate(teacher_ids, *given, **settings)


def taught(folder: Path, *words: str, policy: ScriptedPolicy | None = None, **trainer: Any) -> Session:
    """A session in which every call was denied with the next of `words`, and learned from."""
    ui = ScriptedUI(["go"], [Answer(verdict="deny", reason=each) for each in words])
    config = Config(model={"name": "test:policy"}, trainer={"name": "sdpo", **trainer})
    session = open_scripted(folder, [WRITE] * len(words), ui=ui, policy=policy, config=config)
    engine.run(session)
    return session


def plans(session: Session) -> list[UpdateStarted]:
    records = read(session.log.path, event_registry())
    return [record for record in records if isinstance(record, UpdateStarted)]


# -- Anchors and probes --------------------------------------------------------------------------------


def test_anchors_weigh_together_what_was_asked_and_are_no_ones_correction(tmp_path: Path) -> None:
    opened = taught(tmp_path / "w", "No.", anchors=0.5)
    (plan,) = plans(opened)
    anchors = [ref for ref in plan.examples if ref.part == "anchor"]
    probes = [ref for ref in plan.examples if ref.part == "probe"]
    assert sum(ref.weight for ref in anchors) == pytest.approx(0.5)
    assert (len(anchors), len(probes)) == (len(ANCHORS), len(PROBES))
    assert {ref.correction for ref in (*anchors, *probes)} == {""}


def test_an_anchors_prompt_is_its_own_in_the_sessions_system_message(tmp_path: Path) -> None:
    opened = taught(tmp_path / "w", "No.")
    transcript, (plan,) = opened.transcript, plans(opened)
    number, anchor = next((n, one) for n, one in enumerate(ANCHORS) if not one.path)
    first = [ref for ref in plan.examples if ref.part == "anchor"][number]
    assert first.prompt is not None
    prompt = bytes(transcript.expand(first.prompt)).decode()
    system = next(m.text for m in transcript.sampled(first.sample).messages if m.role == "system")
    assert prompt == f"system: {system}\nuser: {anchor.text}\nassistant: "


def test_what_the_base_model_says_is_drawn_once_a_log(tmp_path: Path) -> None:
    policy = Counting([WRITE] * 3)
    opened = taught(tmp_path / "w", "No.", "Not that.", "Nor that.", policy=policy, rehearsal=0.0)
    assert policy.asked == 3 + len(ANCHORS) + len(PROBES)
    first, *later = (
        [ref.completion for ref in plan.examples if ref.part in ("anchor", "probe")] for plan in plans(opened)
    )
    assert later == [first, first]


def test_no_anchors_no_probes(tmp_path: Path) -> None:
    (plan,) = plans(taught(tmp_path / "w", "No.", anchors=0.0))
    assert [ref.part for ref in plan.examples] == ["demonstration", "retry"]


# -- Rehearsal -----------------------------------------------------------------------------------------


def corrections(plan: UpdateStarted) -> list[str]:
    return list(dict.fromkeys(ref.correction for ref in plan.examples if ref.correction))


def test_with_a_share_of_one_all_earlier_corrections_go_along_oldest_first(tmp_path: Path) -> None:
    opened = taught(tmp_path / "w", "No.", "Not that.", "Nor that.", rehearsal=1.0)
    first, second, third = plans(opened)
    a, b = corrections(first)[0], corrections(second)[0]
    assert corrections(second) == [b, a]
    assert corrections(third)[1:] == [a, b]
    rows = [ref for ref in third.examples if ref.correction == a]
    assert {ref.part for ref in rows} == {"rehearsed"}
    # Where the model was asked again it was corrected again, and the last word counts.
    own = [ref for ref in first.examples if ref.correction == a and ref.part != "retry"]
    assert rows == [msgspec.structs.replace(ref, part="rehearsed") for ref in own]


def test_with_a_share_of_none_none_do(tmp_path: Path) -> None:
    assert [len(corrections(plan)) for plan in plans(taught(tmp_path / "w", "A.", "B.", rehearsal=0.0))] == [
        1,
        1,
    ]


def test_whether_one_goes_along_depends_on_what_the_two_say_and_on_nothing_else(tmp_path: Path) -> None:
    """So leaving out a third one, on another prompt, changes nothing about them."""
    words = [f"Wrong {number}." for number in range(24)]
    with_all = rehearsals(tmp_path / "all", words)
    without = rehearsals(tmp_path / "fewer", words[:5] + words[6:])
    assert without == {pair for pair in with_all if words[5] not in pair}
    assert 0.15 < len(with_all) / (24 * 23 / 2) < 0.55, "about a third"


def rehearsals(folder: Path, words: list[str]) -> set[tuple[str, str]]:
    """Which earlier words were rehearsed with which later ones."""
    opened = session_of_one_context(folder, words)
    said = {id_: given.feedback for id_, given in opened.transcript.corrections.items()}
    return {
        (said[earlier], said[new])
        for plan in plans(opened)
        for new, *others in [corrections(plan)]
        for earlier in others
    }


def session_of_one_context(folder: Path, words: list[str]) -> Session:
    """Each of `words` denies the first call of a conversation of its own, on a prompt of its own."""
    folder.mkdir()
    answers = [Answer(verdict="deny", reason=each) for each in words]
    inputs = [text for each in words for text in (f"What is {each}", "/clear")]
    turns = [turn for _ in words for turn in (WRITE, "done")]
    config = Config(
        model={"name": "test:policy"}, trainer={"name": "sdpo", "anchors": 0.0, "rehearsal": 0.34}
    )
    opened = open_scripted(folder, turns, ui=ScriptedUI(inputs, answers), config=config)
    engine.run(opened)
    return opened


def test_an_undone_update_is_not_rehearsed(tmp_path: Path) -> None:
    opened = taught(tmp_path / "w", "A.", "B.", rehearsal=1.0)
    transcript = opened.transcript
    news = [example(opened)]

    def found() -> list[Example]:
        standing = [plan_of(transcript.updates[u], transcript).examples for u in transcript.standing]
        return rehearsed(news, standing, 1.0)

    assert len({row.correction for row in found()}) == 2
    transcript.standing = transcript.standing[:1]
    assert len({row.correction for row in found()}) == 1


def example(session: Session) -> Example:
    return Example(
        correction="new",
        sample="s",
        prompt_ids=(1,),
        teacher_ids=(1, 2),
        completion_ids=(3,),
        sampled_logprobs=(),
        temperature=1.0,
        grammar=None,
    )


# -- The gate ------------------------------------------------------------------------------------------


def test_what_was_not_learned_is_rejected_and_the_weights_go_back(tmp_path: Path) -> None:
    opened = taught(tmp_path / "w", "No.", gate_learned=0.01, max_steps=1, divergence_floor=0.0)
    (outcome,) = opened.transcript.outcomes.values()
    assert isinstance(outcome, UpdateRejected)
    (plan,) = plans(opened)
    assert outcome.weights == opened.policy.weights() == opened.transcript.weights == plan.weights
    assert "not learned" in outcome.why and "trainer.gate_learned" in outcome.why
    assert outcome.steps == 1 and outcome.metrics["share"] > 0.01
    assert opened.transcript.pending() == () and opened.transcript.standing == ()


def test_what_moves_too_much_else_is_rejected(tmp_path: Path) -> None:
    class Forgetful(ScriptedPolicy):
        steps = 0

        def step(self, batch: Any, *, stop_below: float) -> Any:
            report = super().step(batch, stop_below=stop_below)
            before, self.steps = self.steps, self.steps + report.stepped
            return msgspec.structs.replace(report, kept=0.5 if before else 1.0)

    opened = taught(tmp_path / "w", "No.", policy=Forgetful([WRITE]))
    (outcome,) = opened.transcript.outcomes.values()
    assert isinstance(outcome, UpdateRejected)
    assert "50% of unrelated prompts" in outcome.why and outcome.metrics["kept"] == 0.5


def test_without_the_gate_every_update_stands(tmp_path: Path) -> None:
    opened = taught(tmp_path / "w", "No.", gate_learned=0.01, max_steps=1, gate=False)
    (outcome,) = opened.transcript.outcomes.values()
    assert isinstance(outcome, UpdateApplied)


def test_a_guided_teacher_cannot_be_the_target_of_a_reverse_kl() -> None:
    """It rules tokens out, so KL(S‖T) is infinite wherever the student has them."""
    with pytest.raises(ConfigError, match=r"trainer\.guidance 2\.0 .* reverse_kl"):
        Sdpo(SdpoSettings(divergence="reverse_kl"))
    Sdpo(SdpoSettings(divergence="reverse_kl", guidance=1.0))
