"""The trainer sdpo: settings, the plan it makes from a log, the loop it runs on a policy."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from continualcode.core.config import options
from continualcode.core.data import Call, Capability, Example, Objective, Optimiser, StepReport, UpdatePlan
from continualcode.core.engine import run
from continualcode.core.errors import ConfigError, UpdateError
from continualcode.core.review import Answer
from continualcode.core.session import Session
from continualcode.core.testing import ScriptedPolicy, ScriptedUI, open_scripted
from continualcode.plugins.models.local.batch import Batch
from continualcode.plugins.models.local.learner import Learner
from continualcode.plugins.trainers.in_question import grammar_of, tools_in_question
from continualcode.plugins.trainers.sdpo import Sdpo, make_trainer
from continualcode.plugins.trainers.settings import SdpoSettings
from continualcode.plugins.trainers.teacher_context import NEUTRAL

WRITE = Call(tool="write", arguments={"path": "a.py", "content": "x"})
WORDS = "Use edit_lines."
PAPER: dict[str, Any] = {
    "rows": "sample",
    "teacher": "live",
    "guidance": 1.0,
    "rehearsal": 0.0,
    "anchors": 0.0,
}
"""The settings with which the trainer is the paper's."""


class TinyPolicy(ScriptedPolicy):
    """Scripted in what it says, real in how it learns: steps are those of a learner."""

    def __init__(self, learner: Learner) -> None:
        super().__init__()
        self.learner = learner
        self.bounds: list[float] = []

    def prepare(self, examples: Sequence[Example], objective: Objective, optimiser: Optimiser) -> Any:
        return self.learner.prepare(examples, objective, optimiser)

    def step(self, batch: Batch, *, stop_below: float) -> StepReport:  # type: ignore[override]  # other batches
        self.bounds.append(stop_below)
        return self.learner.step(batch, stop_below=stop_below)


def session(folder: Path, *answers: Answer, policy: ScriptedPolicy | None = None) -> Session:
    """A session in which the model proposed a write, then stopped; the user answered as given."""
    ui = ScriptedUI(inputs=["Fix it."], answers=answers)
    return open_scripted(folder, [WRITE, "done"], ui=ui, policy=policy)


def corrected(folder: Path) -> Session:
    """The same, denied, not yet trained on."""
    opened = session(folder, Answer(verdict="deny", reason=WORDS))
    opened.config = msgspec.structs.replace(
        opened.config, session=msgspec.structs.replace(opened.config.session, train=False)
    )
    run(opened)
    return opened


def plan_for(example: Example, **settings: Any) -> UpdatePlan:
    given: dict[str, Any] = {"lr": 1e-2, "divergence_floor": 1e-4, **settings}
    chosen = SdpoSettings(**given)
    return UpdatePlan(
        trainer="sdpo",
        settings=msgspec.to_builtins(chosen),
        objective=Objective(),
        optimiser=Optimiser(lr=chosen.lr),
        examples=(example,),
    )


# -- Settings ----------------------------------------------------------------------------------------


def test_it_answers_to_its_name_only() -> None:
    assert make_trainer("grpo", {}) is None
    made = make_trainer("sdpo", {"name": "sdpo", "max_steps": 2})
    assert made is not None and made().name == "sdpo"


def test_an_unknown_setting_is_an_error_that_names_the_nearest() -> None:
    made = make_trainer("sdpo", {"name": "sdpo", "max_step": 2})
    assert made is not None
    with pytest.raises(ConfigError, match="trainer: unknown key 'max_step'; did you mean 'max_steps'"):
        made()


@pytest.mark.parametrize(
    "given",
    [
        {"alpha": 1.5},
        {"top_k": 0},
        {"divergence": "kl"},
        {"teacher": "dead"},
        {"teacher_rate": -0.1},
        {"lr": 0.0},
        {"max_steps": 0},
        {"divergence_target": 1.0},
    ],
)
def test_a_value_that_makes_no_sense_is_an_error(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"trainer: .*{next(iter(given))}"):
        options(SdpoSettings, given, "trainer")


@pytest.mark.parametrize(
    ("settings", "needs"),
    [
        ({}, {"teacher:base", "full_distribution", "demonstrations", "guided_teacher", "whitening"}),
        (PAPER, {"teacher:live", "full_distribution"}),
        (PAPER | {"top_k": 20, "teacher": "ema"}, {"teacher:ema", "topk_distribution"}),
        (PAPER | {"divergence": "sampled", "teacher": "base"}, {"teacher:base", "sampled_logprobs"}),
        (
            PAPER | {"anchors": 1.0, "whiten": None},
            {"teacher:live", "full_distribution", "teacher:base", "demonstrations"},
        ),
        (
            {"divergence": "sampled", "guidance": 1.0, "anchors": 0.0},
            {"teacher:base", "sampled_logprobs", "demonstrations", "full_distribution"},  # to sharpen
        ),
        (PAPER | {"rows": "both"}, {"teacher:live", "full_distribution", "demonstrations"}),
        (
            {"teacher": "completion", "guidance": 1.0},
            {"teacher:completion", "sampled_logprobs", "demonstrations", "teacher:base", "whitening"},
        ),
        (PAPER | {"teacher": "other"}, {"teacher:other", "full_distribution"}),
        (PAPER | {"teacher": "trust_region"}, {"teacher:trust_region", "full_distribution"}),
        (PAPER | {"teacher": "frozen"}, {"teacher:frozen", "full_distribution"}),
    ],
)
def test_it_needs_what_its_settings_ask_for(settings: dict[str, Any], needs: set[str]) -> None:
    assert Sdpo(SdpoSettings(**settings)).needs == needs


ALL: frozenset[Capability] = frozenset(get_args(Capability))


@pytest.mark.parametrize(
    ("lacks", "choice"),
    [
        (set[Capability](), {}),
        ({"full_distribution"}, {"top_k": 20, "sharpness": 1.0, "in_turn": 8, "gate_drift": None}),
        (
            {"full_distribution", "topk_distribution"},
            {"divergence": "sampled", "sharpness": 1.0, "in_turn": 8, "gate_drift": None},
        ),
        ({"whitening"}, {"whiten": None}),
        ({"guided_teacher"}, {"guidance": 1.0}),
        ({"demonstrations"}, {"rows": "sample", "anchors": 0.0}),
    ],
)
def test_what_nobody_chose_is_chosen_by_what_the_policy_can_do(
    lacks: set[Capability], choice: dict[str, Any]
) -> None:
    suited, said = Sdpo().suited(ALL - lacks)
    assert isinstance(suited, Sdpo)
    assert suited.settings == SdpoSettings(**choice)
    assert suited.needs <= ALL - lacks
    assert all(f"{key} {value}" in said for key, value in choice.items()) and bool(said) == bool(choice)


SFT = {"teacher": "completion"}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"divergence": "reverse_kl"}, "guidance 2.0 does not go with trainer.divergence reverse_kl"),
        ({"divergence": "jsd", "alpha": 1.0}, "guidance 2.0 .* jsd at trainer.alpha 1"),
        ({**SFT, "divergence": "reverse_kl", "guidance": 1.0}, "completion .* reverse_kl"),
        ({**SFT, "divergence": "jsd", "alpha": 1.0, "guidance": 1.0}, "completion .* jsd at"),
        ({**SFT, "rows": "both"}, "rejected sample would be imitated"),
    ],
)
def test_settings_that_no_update_could_be_made_by_are_refused_at_the_start(
    settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        Sdpo(SdpoSettings(**settings))


def test_what_somebody_chose_stays_and_is_refused_by_name() -> None:
    given: dict[str, Any] = {"divergence": "forward_kl", "guidance": 2.0}
    suited, said = Sdpo(SdpoSettings(**given), given).suited(ALL - {"full_distribution", "guided_teacher"})
    assert suited.needs >= {"full_distribution", "guided_teacher"}
    assert "divergence" not in said and "guidance" not in said


# -- The plan ----------------------------------------------------------------------------------------


def test_a_row_of_the_sample_holds_it_as_logged_and_the_teachers_prompt(tmp_path: Path) -> None:
    opened = corrected(tmp_path / "w")
    (correction,) = opened.transcript.pending()
    plan = Sdpo(SdpoSettings(**PAPER)).plan([correction], opened.transcript, opened.policy)
    turn = opened.transcript.sampled(correction.sample)
    (example,) = plan.examples
    assert (example.part, example.correction, example.sample) == ("sample", correction.id, correction.sample)
    assert example.prompt_ids == turn.prompt_ids
    assert example.completion_ids == turn.completion_ids
    assert example.sampled_logprobs == turn.logprobs
    assert bytes(example.completion_ids).decode() == opened.policy.format_call(WRITE)
    prompt, taught = bytes(example.prompt_ids).decode(), bytes(example.teacher_ids).decode()
    assert WORDS not in prompt and taught.endswith(f"\nuser: {WORDS}\nassistant: ")


def test_a_demonstration_is_what_the_teacher_would_do_in_the_tools_in_question(tmp_path: Path) -> None:
    opened = corrected(tmp_path / "w")
    (correction,) = opened.transcript.pending()
    trainer = Sdpo(SdpoSettings(anchors=0.0, guidance=2.0, retry=0.0))
    (example,) = trainer.plan([correction], opened.transcript, opened.policy).examples
    turn = opened.transcript.sampled(correction.sample)
    assert (example.part, example.guidance, example.sampled_logprobs) == ("demonstration", 2.0, ())
    assert bytes(example.completion_ids).decode() == "as you say"
    assert bytes(example.neutral_ids).decode().endswith(f"\nuser: {NEUTRAL}\nassistant: ")
    assert example.grammar == grammar_of(tools_in_question(turn, correction), turn, opened.policy)


def test_imitation_shows_the_same_demonstration_and_learns_it_as_it_stands(tmp_path: Path) -> None:
    opened = corrected(tmp_path / "w")
    pending = opened.transcript.pending()
    plans = [
        Sdpo(SdpoSettings(anchors=0.0, retry=0.0, teacher=teacher)).plan(
            pending, opened.transcript, opened.policy
        )
        for teacher in ("base", "completion")
    ]
    (guided,), (imitated,) = (plan.examples for plan in plans)
    assert imitated.completion_ids == guided.completion_ids
    assert (imitated.guidance, imitated.neutral_ids) == (1.0, ())


def test_an_unguided_teacher_has_no_neutral_prompt(tmp_path: Path) -> None:
    opened = corrected(tmp_path / "w")
    trainer = Sdpo(SdpoSettings(anchors=0.0, guidance=1.0, retry=0.0))
    (example,) = trainer.plan(opened.transcript.pending(), opened.transcript, opened.policy).examples
    assert (example.guidance, example.neutral_ids) == (1.0, ())


def test_with_both_the_sample_comes_first(tmp_path: Path) -> None:
    opened = corrected(tmp_path / "w")
    trainer = Sdpo(SdpoSettings(anchors=0.0, rows="both"))
    rows = trainer.plan(opened.transcript.pending(), opened.transcript, opened.policy).examples
    assert [row.part for row in rows] == ["sample", "demonstration", "retry"]


def test_a_plan_is_data_that_can_be_logged(tmp_path: Path) -> None:
    opened = corrected(tmp_path / "w")
    plan = Sdpo(SdpoSettings(top_k=5)).plan(opened.transcript.pending(), opened.transcript, opened.policy)
    assert msgspec.json.decode(msgspec.json.encode(plan), type=UpdatePlan) == plan


def test_an_edited_call_is_shown_as_the_model_would_have_written_it(tmp_path: Path) -> None:
    edited = {"path": "b.py", "content": "x"}
    opened = session(tmp_path / "w", Answer(verdict="allow", arguments=edited))
    run(opened)
    (update,) = opened.transcript.updates.values()
    taught = bytes(opened.transcript.expand(update.examples[0].teacher)).decode()
    wanted = opened.policy.format_call(Call(tool="write", arguments=edited))
    assert f"\nuser: This is what I want instead:\n\n{wanted}\n\n" in taught


def test_the_teachers_prompt_leaves_room_for_the_completion(tmp_path: Path) -> None:
    opened = corrected(tmp_path / "w")
    pending = opened.transcript.pending()
    free = Sdpo(SdpoSettings(**PAPER)).plan(pending, opened.transcript, opened.policy).examples[0]
    demonstrated = SdpoSettings().demonstration_tokens
    room = len(free.teacher_ids) + max(len(free.completion_ids), demonstrated)
    Sdpo(SdpoSettings(max_context=room)).plan(pending, opened.transcript, opened.policy)
    with pytest.raises(
        UpdateError, match=f"correction {pending[0].id}, sample {pending[0].sample}: .*tokens"
    ):
        Sdpo(SdpoSettings(max_context=room - 1)).plan(pending, opened.transcript, opened.policy)


def test_a_frozen_teacher_is_the_one_of_the_logs_first_update(tmp_path: Path) -> None:
    opened = corrected(tmp_path / "w")
    pending = opened.transcript.pending()
    trainer = Sdpo(SdpoSettings(teacher="frozen"))
    plan = trainer.plan(pending, opened.transcript, opened.policy)
    assert plan.objective.frozen_teacher == opened.policy.weights()
    named = Sdpo(SdpoSettings(teacher="frozen", frozen_teacher="f" * 64))
    assert named.plan(pending, opened.transcript, opened.policy).objective.frozen_teacher == "f" * 64


# -- The loop ----------------------------------------------------------------------------------------


@pytest.fixture
def policy(learner: Learner) -> TinyPolicy:
    return TinyPolicy(learner)


def test_it_stops_at_the_target(policy: TinyPolicy, example: Callable[..., Example]) -> None:
    outcome = Sdpo().update(plan_for(example(), max_steps=100, divergence_target=0.5), policy)
    assert 1 <= outcome.steps < 100
    assert outcome.after.divergence <= 0.5 * outcome.before.divergence
    assert not outcome.after.stepped
    assert outcome.metrics["share"] == outcome.after.divergence / outcome.before.divergence


def test_it_stops_after_its_steps_with_a_look_before_and_after(
    policy: TinyPolicy, example: Callable[..., Example]
) -> None:
    seen: list[tuple[int, int]] = []
    plan = plan_for(example(), max_steps=3, divergence_target=0.0)
    outcome = Sdpo().update(plan, policy, lambda done, most: seen.append((done, most)))
    assert outcome.steps == 3
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert outcome.after.divergence < outcome.before.divergence
    assert [bound == math.inf for bound in policy.bounds] == [True, False, False, False, True]


def test_where_there_is_nothing_to_learn_nothing_moves(
    policy: TinyPolicy, example: Callable[..., Example]
) -> None:
    before = policy.learner.weights()
    outcome = Sdpo().update(plan_for(example(teacher_ids=(1, 2, 3, 4))), policy)
    assert outcome.steps == 0 and outcome.before == outcome.after
    assert policy.learner.weights() == before


def test_an_update_is_a_function_of_the_plan_not_of_the_trainers_settings(
    policy: TinyPolicy, example: Callable[..., Example]
) -> None:
    plan = plan_for(example(), max_steps=2, divergence_target=0.0)
    digests: list[str] = []
    for trainer in (Sdpo(), Sdpo(SdpoSettings(max_steps=5, lr=1.0))):
        policy.learner.reset()
        trainer.update(plan, policy)
        digests.append(policy.learner.weights())
    assert digests[0] == digests[1]


def test_a_denial_in_a_session_leads_to_an_update_that_moves_the_weights(tmp_path: Path) -> None:
    opened = session(tmp_path / "w", Answer(verdict="deny", reason=WORDS))
    before = opened.transcript.weights
    run(opened)
    (outcome,) = opened.transcript.outcomes.values()
    assert outcome.weights == opened.transcript.weights == opened.policy.weights() != before
