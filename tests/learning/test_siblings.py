"""What a correction is learned on beside its prompt, and what anchors keep away from."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from continualcode.core import engine
from continualcode.core.config import Config
from continualcode.core.data import Call, Example, Sample
from continualcode.core.events import UpdateFailed, UpdateStarted, event_registry
from continualcode.core.replay import plan_of
from continualcode.core.review import Answer
from continualcode.core.session import Session
from continualcode.core.testing import ScriptedPolicy, ScriptedUI, open_scripted
from continualcode.eventlog import read
from continualcode.plugins.trainers.anchors import ANCHORS, weighed
from continualcode.plugins.trainers.probes import PROBES, probes_of
from continualcode.plugins.trainers.ranking import Compared, Ranked, ranked
from continualcode.plugins.trainers.sdpo import Sdpo
from continualcode.plugins.trainers.siblings import FEW, about
from continualcode.plugins.trainers.situations import KINDS, OTHERWISE, SITUATIONS, Situation

SEARCH, LIST, PACKAGES = (
    next(number for number, kind in enumerate(KINDS) if kind.family == family)
    for family in ("search", "list", "packages")
)
"""Kinds that are alone in their families."""

WRITE = Call(tool="write", arguments={"path": "generated/a.py", "content": "x"})


class Discerning(ScriptedPolicy):
    """Finds alike what is to change a file; of that, and of the rest, the nearer in length the more."""

    def nearness(self, wordings: Sequence[Sequence[int]], others: Sequence[Sequence[int]]) -> list[float]:
        """Falls with the difference in length; half as much for what is of another family."""
        far = [2 - of_family("change a file", other) for other in others]
        return [
            20 / (20 + abs(len(wordings[0]) - len(other))) / by for by, other in zip(far, others, strict=True)
        ]


def of_family(name: str, prompt: Sequence[int]) -> bool:
    """Whether a scripted policy's prompt is a situation of that family."""
    texts = {one.text for kind in KINDS if kind.family == name for one in kind.requests}
    return asked(prompt) in texts


def taught(folder: Path, *words: str) -> Session:
    """A session in which every call was denied with the next of `words`, and learned from."""
    ui = ScriptedUI(["change generated/a.py"], [Answer(verdict="deny", reason=each) for each in words])
    config = Config(model={"name": "test:policy"}, trainer={"name": "sdpo"})
    session = open_scripted(folder, ui=ui, policy=Discerning([WRITE] * len(words)), config=config)
    engine.run(session)
    return session


def rows(session: Session, number: int) -> tuple[Example, ...]:
    """The rows of the session's update of that number."""
    started = [r for r in read(session.log.path, event_registry()) if isinstance(r, UpdateStarted)]
    return plan_of(started[number], session.transcript).examples


# -- Ranks ---------------------------------------------------------------------------------------------


def likeness(kind: int, *nearest: float, others: float = 0.0) -> list[float]:
    """That of each situation: so much of the first ones of a kind, and of all others."""
    given = [*nearest, *[others] * (len(KINDS[kind].requests) - len(nearest))]
    return [
        alike
        for number, each in enumerate(KINDS)
        for alike in (given if number == kind else [others] * len(each.requests))
    ]


def ranks(likeness: Sequence[float], most: int = 99, whole: bool = True) -> Ranked:
    """Where nothing was said, so that the prompt is all there is."""
    alike = of_all(likeness)
    return ranked(Compared(alike, alike), most, whole)


def of_all(likeness: Sequence[float]) -> dict[Situation, float]:
    """By situation."""
    return dict(zip(SITUATIONS, likeness, strict=True))


def nearest_of_kinds(likeness: Sequence[float]) -> set[Situation]:
    """The nearest of each kind; of those as near, the first."""
    alike = of_all(likeness)
    return {max(kind.requests, key=lambda one: alike[one]) for kind in KINDS}


def test_siblings_are_of_the_kind_that_has_the_two_nearest() -> None:
    found = ranks(likeness(SEARCH, 0.3, 0.8, 0.7, 0.2, 0.1, others=0.05), most=4)
    first = KINDS[SEARCH].requests
    assert found.siblings == (first[1], first[2], first[0], first[3]), "the nearest first"
    assert found.near == first[4:]
    assert len(found.siblings) + len(found.near) + len(found.beside) >= 14
    assert not set(first) & set(found.beside)


def test_one_situation_alone_that_is_nearer_by_a_word_is_none() -> None:
    alike = likeness(LIST, 0.6, 0.5)
    alone = SITUATIONS.index(KINDS[SEARCH].requests[0])
    alike[alone] = 0.7
    found = ranks(alike)
    assert found.siblings[:2] == KINDS[LIST].requests[:2]
    assert found.beside[0] == SITUATIONS[alone]


def test_where_kinds_of_two_families_are_as_near_it_is_about_both() -> None:
    """ "Show me the lines with TODO in notes.md." is as near to files to show as to a search."""
    both = [a + b for a, b in zip(likeness(SEARCH, 0.6, 0.6), likeness(LIST, 0.43, 0.43), strict=True)]
    found = ranks(both, most=4)
    assert set(found.siblings) == {*KINDS[SEARCH].requests[:2], *KINDS[LIST].requests[:2]}
    assert {*KINDS[LIST].requests[2:], *KINDS[SEARCH].requests[2:]} <= set(found.near)
    assert not {*KINDS[LIST].requests, *KINDS[SEARCH].requests} & set(found.outside)
    apart = [a + b for a, b in zip(likeness(SEARCH, 0.6, 0.6), likeness(LIST, 0.41, 0.41), strict=True)]
    found = ranks(apart)
    assert not set(KINDS[LIST].requests) & {*found.siblings, *found.near}


def test_how_a_tool_is_called_is_not_held_on_what_a_prompt_of_no_kind_may_be_about() -> None:
    """The nearest of all were held first: there "we format with ruff" was held to `black`."""
    alike = [0.05] * len(SITUATIONS)
    near = [SITUATIONS.index(KINDS[kind].requests[0]) for kind in (SEARCH, LIST, PACKAGES)]
    for place, one in enumerate(near):
        alike[one] = (0.19, 0.17, 0.08)[place]
    found = ranks(alike, whole=False)
    assert found.siblings == ()
    assert set(found.outside) == nearest_of_kinds(alike) - {SITUATIONS[one] for one in near[:2]}


def test_there_are_no_more_siblings_than_asked_for() -> None:
    found = ranks(likeness(0, *[0.9] * 6), most=4, whole=False)
    assert found.siblings == KINDS[0].requests[:4]
    assert set(KINDS[0].requests[4:]) <= set(found.near)


def test_nothing_is_like_a_prompt_that_has_nothing_in_common_with_any() -> None:
    assert ranks([-0.2] * len(SITUATIONS)).siblings == ()


def test_where_those_are_of_one_family_it_is_about_both() -> None:
    """ "Every new source file starts with …" is about Python and about JavaScript."""
    python, javascript = [k for k, kind in enumerate(KINDS) if kind.family == "new code"][:2]
    both = [a + b for a, b in zip(likeness(python, 0.7, 0.7), likeness(javascript, 0.68, 0.66), strict=True)]
    nearest = {*KINDS[python].requests[:2], *KINDS[javascript].requests[:2]}
    assert set(ranks(both, most=4, whole=False).siblings) == nearest
    alone = likeness(python, 0.7, 0.7)
    assert set(ranks(alone, whole=False).siblings) == set(KINDS[python].requests)


def test_where_several_tools_are_in_question_it_is_about_the_whole_family() -> None:
    """ "Run it, don't write a file" is about scripts as well where it was said about tests."""
    tests, *others = (k for k, kind in enumerate(KINDS) if kind.family == "run")
    found = ranks(likeness(tests, 0.7, 0.7, others=0.2))
    family = {one for k in (tests, *others) for one in KINDS[k].requests}
    assert others and {*found.siblings, *found.near} == family


def test_half_of_those_are_the_nearest_and_the_others_of_each_kind() -> None:
    """ "Read it first", said of a typo, had eight typos beside it, and was not learned of a port."""
    changes = [k for k, kind in enumerate(KINDS) if kind.family == "change a file" and not kind.begun]
    first = [0.7] * len(KINDS[changes[0]].requests)
    alike = likeness(changes[0], *first, others=0.4)
    found = ranks(alike, most=8).siblings
    kinds = [next(k for k, kind in enumerate(KINDS) if one in kind.requests) for one in found]
    assert kinds[:4] == [changes[0]] * 4
    assert len(set(kinds[4:])) == 4 and set(kinds[4:]) <= set(changes[1:])
    assert set(ranks(alike, most=8, whole=False).siblings) < set(KINDS[changes[0]].requests)
    farther = ranks(likeness(changes[0], *first, others=0.3), most=8)
    assert set(farther.siblings) < set(KINDS[changes[0]].requests)
    assert {one for k in changes[1:] for one in KINDS[k].requests} <= set(farther.near)


def test_half_as_many_again_are_what_their_kinds_have_that_is_put_otherwise() -> None:
    """Learned on orders alone, "Make a copy of it" does not reach "I want a second one of it"."""
    one, other, *_ = (kind for kind in KINDS if kind.family == "new code")
    alike = {each: float(each in (*one.requests[:3], *other.requests[:3])) for each in SITUATIONS}
    alike |= {each: 0.9 - number / 100 for number, each in enumerate((*one.otherwise, *other.otherwise))}
    found = ranked(Compared(alike, alike), 6, whole=False).siblings
    assert set(found[:6]) == {*one.requests[:3], *other.requests[:3]}
    assert found[6:] == (one.otherwise[0], other.otherwise[0], one.otherwise[1])


def test_what_was_not_compared_is_no_sibling() -> None:
    assert not set(OTHERWISE) & set(ranks(likeness(0, 0.9, 0.9)).siblings)


def test_how_a_tool_is_called_is_held_outside_the_family_only() -> None:
    """ "New code goes into src/", said of a Python file, is about JavaScript as well."""
    python = next(k for k, kind in enumerate(KINDS) if kind.family == "new code")
    family = {one for kind in KINDS if kind.family == "new code" for one in kind.requests}
    alike = likeness(python, 0.7, 0.7, others=0.2)
    found = ranks(alike, whole=False)
    assert set(found.outside) == nearest_of_kinds(alike) - family


def test_nor_is_one_whose_prompt_is_like_none_that_is_known() -> None:
    """ "Never deploy" is nearest to things to run, and about none of them."""
    alike = likeness(3, 0.19, 0.16)
    assert ranks(alike).siblings == ()
    nearer = Compared(of_all(alike), of_all(likeness(3, 0.21, 0.16)))
    assert ranked(nearer, 2, whole=False).siblings == KINDS[3].requests[:2]


def test_kinds_of_one_family_are_for_the_same_tools() -> None:
    """Else the teacher's call on one of them would be dropped on the other."""
    families = {kind.family: set[tuple[str, ...]]() for kind in KINDS}
    for kind in KINDS:
        families[kind.family].add(kind.tools)
    assert all(len(tools) == 1 for tools in families.values())
    assert len(families) < len(KINDS)


def test_no_situation_is_there_twice_and_no_probe_is_an_anchor() -> None:
    both = (*SITUATIONS, *OTHERWISE, *PROBES)
    assert len({one.text for one in both}) == len(both)


# -- Rows ----------------------------------------------------------------------------------------------


def test_siblings_weigh_together_what_the_demonstration_weighs(tmp_path: Path) -> None:
    found = rows(taught(tmp_path / "w", "Use bash."), 0)
    siblings = [row for row in found if row.part == "sibling"]
    assert siblings and sum(row.weight for row in siblings) == pytest.approx(1.0)
    assert {row.correction for row in siblings} == {found[0].correction}


def test_the_teacher_is_told_on_a_sibling_what_it_is_told_on_the_prompt(tmp_path: Path) -> None:
    found = rows(taught(tmp_path / "w", "Use bash."), 0)
    for row in found:
        if row.part == "sibling":
            assert bytes(row.teacher_ids).decode().endswith("user: Use bash.\nassistant: ")
            assert row.neutral_ids and row.prompt_ids != found[0].prompt_ids


class Partly(Discerning):
    """Does on half of all prompts what the correction says, and on others something else; same tool."""

    def demonstrate(self, told_ids: Sequence[int], *given: Any, **options: Any) -> Sample:
        """A write into docs/ or not."""
        folder = "docs/" if sum(told_ids) % 2 or b"generated/a.py" in bytes(told_ids) else ""
        text = self.format_call(Call(tool="write", arguments={"path": f"{folder}b.py", "content": "x"}))
        ids = tuple(text.encode())
        return Sample(token_ids=ids, logprobs=(-0.5,) * len(ids), text=text, stop="end")


def test_a_sibling_on_which_the_teacher_does_not_do_what_was_asked_for_is_not_learned_on(
    tmp_path: Path,
) -> None:
    ui = ScriptedUI(["change generated/a.py"], [Answer(verdict="deny", reason="Write into docs/.")])
    config = Config(model={"name": "test:policy"}, trainer={"name": "sdpo"})
    session = open_scripted(tmp_path / "w", ui=ui, policy=Partly([WRITE]), config=config)
    engine.run(session)
    found = rows(session, 0)
    siblings = [bytes(row.completion_ids) for row in found if row.part == "sibling"]
    assert siblings and all(b"docs/" in one for one in siblings)
    assert any(row.part == "near" for row in found)


class Unlike(ScriptedPolicy):
    """Finds no two prompts alike."""

    def nearness(self, wordings: Sequence[Sequence[int]], others: Sequence[Sequence[int]]) -> list[float]:
        """0."""
        return [0.0] * len(others)


def asked(prompt: Sequence[int]) -> str:
    """The last thing that the user says in a scripted policy's prompt."""
    return bytes(prompt).decode().rsplit("user: ", 1)[1].partition("\n")[0]


def test_where_nothing_is_alike_a_correction_is_learned_on_its_prompt_in_other_words(tmp_path: Path) -> None:
    ui = ScriptedUI(["change generated/a.py"], [Answer(verdict="deny", reason="Use bash.")])
    config = Config(model={"name": "test:policy"}, trainer={"name": "sdpo"})
    session = open_scripted(tmp_path / "w", ui=ui, policy=Unlike([WRITE]), config=config)
    engine.run(session)
    siblings = [row for row in rows(session, 0) if row.part == "sibling"]
    assert [asked(row.prompt_ids) for row in siblings][:2] == [
        "Please change generated/orders.py.",
        "Hi! Change generated/parser.py.",
    ]
    assert len(siblings) == FEW and sum(row.weight for row in siblings) == pytest.approx(1.0)


def test_with_siblings_enough_it_is_not_said_again(tmp_path: Path) -> None:
    found = rows(taught(tmp_path / "w", "Use bash."), 0)
    texts = {one.text for one in (*SITUATIONS, *OTHERWISE)}
    siblings = [asked(row.prompt_ids) for row in found if row.part == "sibling"]
    assert len(siblings) >= FEW and texts.issuperset(siblings)


def test_probes_of_the_family_that_a_correction_is_about_do_not_count(tmp_path: Path) -> None:
    """ "Answer it, with reply" is meant to change what is done about "What is seven minus three?" too."""
    ui = ScriptedUI(["which searches are there?"], [Answer(verdict="deny", reason="Use grep to search.")])
    config = Config(model={"name": "test:policy"}, trainer={"name": "sdpo"})
    session = open_scripted(tmp_path / "w", ui=ui, policy=OfOneKind([WRITE]), config=config)
    engine.run(session)
    counted = {asked(row.prompt_ids) for row in rows(session, 0) if row.part == "probe" and row.weight}
    assert counted == {one.text for one in PROBES} - {one.text for one in probes_of(["search"])}


class OfOneKind(ScriptedPolicy):
    """Finds what is for a search alike, and nothing else."""

    def nearness(self, wordings: Sequence[Sequence[int]], others: Sequence[Sequence[int]]) -> list[float]:
        """1 for the situations of that kind, else 0."""
        return [float(of_family("search", other)) for other in others]


class ByWords(ScriptedPolicy):
    """Finds alike what has a word of the last thing said in it, other than very short ones."""

    def nearness(self, wordings: Sequence[Sequence[int]], others: Sequence[Sequence[int]]) -> list[float]:
        """1 where there is one, else 0."""
        said = bytes(wordings[0]).decode().rsplit("user: ", 1)[1].removesuffix("\nassistant: ")
        words = {word.strip(".,").lower() for word in said.split() if len(word) > 4}
        return [float(any(word in bytes(other).decode().lower() for word in words)) for other in others]


def test_the_words_of_a_correction_say_as_well_what_it_is_about(tmp_path: Path) -> None:
    config = Config(model={"name": "test:policy"}, trainer={"name": "sdpo"})
    for what in ("install", "container"):
        ui = ScriptedUI(["a shell command"], [Answer(verdict="deny", reason=f"Never a {what}.")])
        session = open_scripted(tmp_path / what, ui=ui, policy=ByWords([WRITE]), config=config)
        engine.run(session)
        learned = [bytes(row.prompt_ids).decode() for row in rows(session, 0) if row.part == "sibling"]
        assert learned and what in learned[0].lower()


def test_no_anchor_holds_what_the_correction_may_be_about(tmp_path: Path) -> None:
    found = rows(taught(tmp_path / "w", "Use bash."), 0)
    taken = about(found, now=True)
    held = [row for row in found if row.part == "anchor" and row.weight]
    assert len(held) < len(ANCHORS)
    assert not {row.prompt_ids for row in held} & taken
    assert sum(row.weight for row in held) == pytest.approx(Sdpo().settings.anchors)


def test_nor_what_an_earlier_one_is_about_but_what_was_only_beside_it(tmp_path: Path) -> None:
    session = taught(tmp_path / "w", "Use bash.", "Use grep, I said.")
    first, second = rows(session, 0), rows(session, 1)
    held = {row.prompt_ids for row in second if row.part == "anchor" and row.weight}
    beside = {row.prompt_ids for row in first if row.part == "beside"}
    assert not held & about(first, now=False)
    anchors = {row.prompt_ids for row in second if row.part == "anchor"}
    assert beside & anchors and beside & anchors - about(second, now=True) <= held


def test_left_out_again_the_anchors_are_back(tmp_path: Path) -> None:
    session = taught(tmp_path / "w", "Use bash.", "Use grep, I said.")
    started = [r for r in read(session.log.path, event_registry()) if isinstance(r, UpdateStarted)]
    plan = plan_of(started[1], session.transcript)
    own = {row.correction for row in plan.examples if row.part == "demonstration"}
    alone = Sdpo().replan(plan, own, [])
    held = {row.prompt_ids for row in alone.examples if row.part == "anchor" and row.weight}
    taken = about((row for row in alone.examples if row.correction in own), now=True)
    anchors = {row.prompt_ids for row in plan.examples if row.part == "anchor"}
    assert held == anchors - taken


def test_a_folder_that_the_correction_names_is_where_its_siblings_are(tmp_path: Path) -> None:
    found = rows(taught(tmp_path / "w", "Leave generated/ alone: use bash."), 0)
    siblings = [bytes(row.prompt_ids).decode() for row in found if row.part == "sibling"]
    assert siblings and all("generated/" in prompt for prompt in siblings)


def test_a_policy_that_cannot_tell_what_is_alike_learns_on_the_prompt_alone(tmp_path: Path) -> None:
    ui = ScriptedUI(["go"], [Answer(verdict="deny", reason="Use bash.")])
    config = Config(model={"name": "test:policy"}, trainer={"name": "sdpo"})
    session = open_scripted(tmp_path / "w", [WRITE], ui=ui, config=config)
    engine.run(session)
    assert {row.part for row in rows(session, 0)} == {"demonstration", "retry", "anchor", "probe"}


def test_weights_of_anchors_are_shared_by_those_that_are_left(tmp_path: Path) -> None:
    found = [row for row in rows(taught(tmp_path / "w", "Use bash."), 0) if row.part == "anchor"]
    again = weighed(found, {found[0].prompt_ids}, set(), 3.0)
    assert again[0].weight == 0.0
    assert sum(row.weight for row in again) == pytest.approx(3.0)


def test_probes_are_looked_at_on_what_earlier_corrections_are_about(tmp_path: Path) -> None:
    probe = next(row for row in rows(taught(tmp_path / "w", "Use bash."), 0) if row.part == "probe")
    about_it = {probe.prompt_ids}
    assert weighed([probe], set(), about_it, 3.0)[0].weight == 1.0
    assert weighed([probe], about_it, set(), 3.0)[0].weight == 0.0


# -- Stopping ------------------------------------------------------------------------------------------


class Stopping(ScriptedUI):
    """A user who presses Ctrl-C when an update has read so many parts of what it is about."""

    def __init__(self, after: int) -> None:
        super().__init__(["change generated/a.py"], [Answer(verdict="deny", reason="No.")])
        self.after = after
        self.parts: list[tuple[int, int]] = []
        self.session: Session | None = None

    def progress(self, label: str, done: int, total: int) -> None:
        """Keep it; press Ctrl-C."""
        if label == "reading":
            self.parts.append((done, total))
            if len(self.parts) == self.after and self.session is not None:
                self.session.cancelled.set()


@pytest.mark.parametrize("after", [1, 4, 10])
def test_an_update_can_be_stopped_while_it_finds_out_what_it_is_about(tmp_path: Path, after: int) -> None:
    ui = Stopping(after)
    config = Config(model={"name": "test:policy"}, trainer={"name": "sdpo"})
    ui.session = session = open_scripted(tmp_path, ui=ui, policy=Discerning([WRITE]), config=config)
    weights = session.policy.weights()
    engine.run(session)
    assert len(ui.parts) == after
    assert all(done < total for done, total in ui.parts)
    records = list(read(session.log.path, event_registry()))
    assert not [r for r in records if isinstance(r, UpdateStarted)]
    (failed,) = [r for r in records if isinstance(r, UpdateFailed)]
    assert (failed.why, failed.weights) == ("interrupted by the user", weights)
