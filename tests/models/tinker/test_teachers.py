"""Teachers that are not the base model: weights that were kept, checkpoints, other models. Kinds of rows."""

from pathlib import Path
from typing import Any

import pytest

from continualcode.core.data import Call, Example, Message, Objective, Optimiser, Part, SamplingParams
from continualcode.core.engine import run
from continualcode.core.errors import ModelUnavailable, UpdateError
from continualcode.core.events import UpdateApplied, UpdateStarted
from continualcode.core.plugins import Plugins
from continualcode.core.replay import replay_log
from continualcode.core.review import Answer
from continualcode.core.testing import ScriptedUI
from tests.models.tinker.arithmetic import Model
from tests.models.tinker.conftest import MakePolicy, Open, says
from tests.models.tinker.served import Served

BASH = Call(tool="bash", arguments={"command": "ls"})
READ = Call(tool="read", arguments={"path": "."})
REPLY = Call(tool="reply", arguments={"text": "I see."})
DENY = Answer(verdict="deny", reason="Use bash to read the folder instead.")
LOOK = float("inf")


def prompt(policy: Any, text: str = "Show calc.py.") -> tuple[int, ...]:
    """Some prompt."""
    ids: tuple[int, ...] = policy.render([Message(role="user", text=text)], [])
    return ids


def row(policy: Any, part: Part = "demonstration", completion: tuple[int, ...] = (5, 6, 7)) -> Example:
    """A row whose teacher saw another prompt, unless it shall stay."""
    stays = part in ("anchor", "probe")
    return Example(
        correction="" if stays else "c",
        sample="s",
        part=part,
        prompt_ids=prompt(policy),
        teacher_ids=prompt(policy) if stays else prompt(policy, "Show calc.py. Use bash."),
        completion_ids=completion,
        sampled_logprobs=(),
        temperature=0.0,
        grammar=None,
    )


def scored(policy: Any, teacher: str, **objective: Any) -> tuple[float, ...]:
    """log T of the row's tokens, by a teacher."""
    wanted = Objective(divergence="sampled", teacher=teacher, **objective)  # type: ignore[arg-type]  # any name
    found: tuple[float, ...] = policy.prepare([row(policy)], wanted, Optimiser()).rows[0].teacher
    return found


def trained(policy: Any, steps: int = 2) -> None:
    """Steps away from where it is."""
    batch = policy.prepare([row(policy)], Objective(divergence="sampled", teacher="base"), Optimiser(lr=0.05))
    for _ in range(steps):
        assert policy.step(batch, stop_below=0.0).stepped


# -- Frozen ------------------------------------------------------------------------------------------


def test_a_frozen_teacher_scores_as_the_weights_did(policy: MakePolicy) -> None:
    made = policy(distributions=False)
    base = scored(made, "base")
    assert scored(made, "frozen", frozen_teacher=made.weights()) == base, "nothing was learned yet"
    trained(made)
    then, digest = scored(made, "live"), made.weights()
    made.snapshot()
    trained(made)
    assert scored(made, "live") != then != base
    assert scored(made, "frozen", frozen_teacher=digest) == then
    made._weights._samplers.clear()  # as if others had taken its place: it is loaded where it is kept
    assert scored(made, "frozen", frozen_teacher=digest) == then


def test_weights_that_were_not_kept_are_no_teacher(policy: MakePolicy) -> None:
    with pytest.raises(UpdateError, match=r"frozen teacher ffff.*no such weights were kept"):
        scored(policy(distributions=False), "frozen", frozen_teacher="f" * 64)


def test_a_session_with_a_frozen_teacher_goes_on_and_replays(
    opened: Open, served: Served, tmp_path: Path
) -> None:
    frozen = {"teacher": "frozen"}
    session = opened(ScriptedUI(["show it", "again"], [DENY, DENY]), trainer=frozen)
    for call in (BASH, READ, REPLY, BASH, READ, REPLY):
        served.say(says(session.policy, call))
    run(session)
    session.close("quit")
    ui = ScriptedUI(["once more"], [DENY])
    resumed = opened(ui, resume=True, trainer=frozen)
    for call in (BASH, READ, REPLY):
        served.say(says(resumed.policy, call))
    run(resumed)
    resumed.close("quit")
    (applied,) = [event for event in ui.events if isinstance(event, UpdateApplied)]
    (started,) = [event for event in ui.events if isinstance(event, UpdateStarted)]
    began = resumed.transcript.started
    assert began is not None and applied.steps
    assert started.objective.frozen_teacher == began.weights
    assert replay_log(tmp_path / "log.jsonl", Plugins(installed=False)).ok


# -- Another model, or a checkpoint ------------------------------------------------------------------


def test_another_model_teaches(
    policy: MakePolicy, served: Served, make_tokenizer: Any, tmp_path: Path
) -> None:
    make_tokenizer("smollm").save_pretrained(tmp_path / "larger")
    name = str(tmp_path / "larger")
    served.others[name] = Model(served.model.vocabulary, seed=8)
    made = policy(distributions=False, teacher=name)
    assert "teacher:other" in made.capabilities
    ids, tokens = row(made).teacher_ids, row(made).completion_ids
    rows = served.others[name].logprobs([*ids, *tokens], served.others[name].untrained())
    wanted = [rows[len(ids) + t - 1, token] for t, token in enumerate(tokens)]
    assert scored(made, "other") == pytest.approx(wanted, abs=1e-5)
    assert scored(made, "base") != pytest.approx(wanted, abs=0.1)
    shown = made.demonstrate(ids, (), None, teacher="other", guidance=1.0, max_tokens=5)
    params = SamplingParams(max_tokens=5)
    assert shown.logprobs != made.sample(ids, None, params).logprobs


def test_a_checkpoint_teaches(policy: MakePolicy) -> None:
    first = policy(distributions=False)
    trained(first)
    second = policy(distributions=False, teacher=first.checkpoint())
    assert scored(second, "other") == scored(first, "live") != scored(second, "base")


def test_a_teacher_that_is_not_there_is_said_so_before_the_session(
    policy: MakePolicy, tokenizer: Path
) -> None:
    with pytest.raises(ModelUnavailable, match="has no model '/no/such'; it has tiny/model"):
        policy(teacher="/no/such")
    with pytest.raises(ModelUnavailable, match="checkpoint tinker://gone has expired"):
        policy(teacher="tinker://gone")


# -- Rows --------------------------------------------------------------------------------------------


def test_siblings_are_about_the_correction(policy: MakePolicy) -> None:
    made = policy(distributions=False)
    wanted = Objective(divergence="sampled", teacher="base")
    alone = made.step(made.prepare([row(made)], wanted, Optimiser()), stop_below=LOOK)
    rows = [row(made), row(made, "sibling", (9, 8))]
    both = made.step(made.prepare(rows, wanted, Optimiser()), stop_below=LOOK)
    assert both.divergence != alone.divergence and both.drift == 0.0


def test_anchors_go_in_turn_and_are_scored_once(policy: MakePolicy, served: Served) -> None:
    made = policy(distributions=False)
    rows = [row(made), *(row(made, "anchor", (token,)) for token in range(20, 30))]
    wanted = Objective(divergence="sampled", teacher="base", in_turn=4, aggregation="example_sum")
    served.log.clear()
    batch = made.prepare(rows, wanted, Optimiser(lr=0.01))
    assert served.log.count("asample") == 11
    made.prepare(rows, wanted, Optimiser(lr=0.01))
    assert served.log.count("asample") == 12, "what the base model says of an anchor does not change"
    report = made.step(batch, stop_below=0.0)
    assert sum(bool(seen) for seen in report.advantages) == 1 + 4


def test_what_only_whole_distributions_allow_is_refused(policy: MakePolicy) -> None:
    made = policy(distributions=False)
    with pytest.raises(UpdateError, match=r"trainer.sharpness 2: a Tinker server cannot do that"):
        scored(made, "base", sharpness=2.0)
    with pytest.raises(UpdateError, match=r"trainer.whiten 0.03"):
        made.prepare([row(made)], Objective(divergence="sampled", teacher="base"), Optimiser(whiten=0.03))
