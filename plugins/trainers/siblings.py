"""What a correction is learned on beside the prompt that it was given on, and what is left alone.

Learned on one prompt alone a correction stays with that prompt: more steps fit its words, and the mistake
comes back on others. So situations are ranked by how like the prompt they are (`ranking`):

    siblings   the teacher is shown the correction there too, and what it would do instead is learned, if it
               is a call of the same tool as on the corrected prompt, and, where that is how the tool is
               called, says what parted the demonstration from what was rejected. Where the demonstration
               went to a place that the words name they are made to go there (`places`), and where the
               words give a command's form to have it (`forms`). Where siblings are few, the corrected
               prompt in other words (`rewording`) makes up for it
    near       the correction may be about them or not, so nothing is learned or held there, now and later
    beside     the choice of tool is not held there while this correction is learned, as that would hold the
               siblings too. Later it is, else a dozen corrections leave nothing to hold
    outside    how the tool is called is held there (`held`), where that is what is corrected: on what is
               farther away and of no family that leads, as "new code goes into src/", said of a Python
               file, is about JavaScript as well

A correction that names a folder of the corrected prompt ("never change files in generated/") is about files
in that folder. Its siblings are the situations with a file, moved there; as they are they count as near.
Probes of the family that a correction is about do not count for the gate: it is meant to change them.

What is learned right after a request does not reach what comes after a call, nor the other way round, so
siblings are where the corrected turn is: where that comes after a call, after a file was read. And a prompt
is compared by its request alone: by all that was said, what came after a call was like whatever does, and
"use bash with cp" was learned on every edit of a file that had been read (docs/learning.md).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import cast

import msgspec

from continualcode.core.data import Example, Message, Part, ToolSpec
from continualcode.core.events import CorrectionGiven
from continualcode.core.optional import Discerning
from continualcode.core.protocols import Policy
from continualcode.core.transcript import SampledTurn
from continualcode.plugins.trainers.anchors import ANCHORS, held_on
from continualcode.plugins.trainers.corrected import COMPARED, directed
from continualcode.plugins.trainers.examples import copied, retold
from continualcode.plugins.trainers.forms import Form
from continualcode.plugins.trainers.held import HELD, held
from continualcode.plugins.trainers.in_question import called, grammar_of, spoken, tools_in_question
from continualcode.plugins.trainers.paths import folder_of, places
from continualcode.plugins.trainers.places import Move
from continualcode.plugins.trainers.probes import PROBES
from continualcode.plugins.trainers.ranking import PARTS, Ranked, compared, in_all, probes_near, ranked
from continualcode.plugins.trainers.rewording import reworded
from continualcode.plugins.trainers.settings import SdpoSettings
from continualcode.plugins.trainers.situations import Situation, begun, file_of, is_begun, messages
from continualcode.plugins.trainers.teacher_context import NEUTRAL

NAMED = 10
"""How many tokens a sibling's demonstration has at most where several tools are in question: the name of one.
Else it is as long as the corrected prompt's."""

FEW = 6
"""With fewer siblings than so many the corrected prompt's own variants stand in (`rewording`)."""

LOOKED_AT = frozenset((*ANCHORS, *PROBES))
"""What is near or beside is written down of these alone: nothing else is held, or looked at by the gate."""


def parts(settings: SdpoSettings) -> int:
    """How many parts there are at most to what is beside a demonstration."""
    return PARTS + in_all(settings.siblings) + FEW + HELD


def siblings(
    row: Example,
    correction: CorrectionGiven,
    turn: SampledTurn,
    policy: Policy,
    settings: SdpoSettings,
    told: Callable[[int], None],
) -> list[Example]:
    """The rows beside `row`, the demonstration on the corrected prompt: siblings, and what is near.

    `told(done)`, of `parts(settings)`, is called where this can be stopped.
    """
    most, asked = settings.siblings, tools_in_question(turn, correction)
    can_force = settings.divergence in COMPARED
    moves = directed(row.completion_ids, turn, correction, policy) if can_force else None
    if moves:
        narrow = grammar_of(moves.only(asked), turn, policy)
        row = msgspec.structs.replace(
            row, grammar=narrow, student_grammar=row.student_grammar or row.grammar, forced=True
        )
    lesson = _Lesson(row, correction, turn, policy, asked, moves)
    variants = reworded(turn.messages, correction.feedback, FEW)
    found, probes = _found(lesson, variants, most, told)

    def learned(conversation: tuple[Message, ...], number: int) -> Example | None:
        told(PARTS + number)
        return lesson.elsewhere(conversation)

    placed = [begun(one) for one in found.siblings] if is_begun(turn) else found.siblings
    learnt = [learned(messages(turn, one), number) for number, one in enumerate(placed)]
    shown = list(zip(found.siblings, placed, learnt, strict=True))
    rows = [example for *_, example in shown if example is not None]
    missing = max(0, min(most, FEW) - len(rows))
    rows += filter(None, (learned(variant, in_all(most) + n) for n, variant in enumerate(variants[:missing])))
    rows = [msgspec.structs.replace(each, weight=row.weight / len(rows)) for each in rows]
    if tool := lesson.tool:
        done = PARTS + in_all(most) + FEW
        rows += held(row, tool, turn, found.outside, policy, settings, lambda n: told(done + n))
    # On an anchor that is somewhere else nothing is held either.
    passed = [
        one for one, there, example in shown if example is None or held_on(one, turn) != messages(turn, there)
    ]
    rows += [lesson.idle("near", one) for one in (*passed, *found.near) if one in LOOKED_AT]
    return rows + [lesson.idle("beside", one) for one in (*found.beside, *probes) if one in LOOKED_AT]


def about(examples: Iterable[Example], *, now: bool) -> set[tuple[int, ...]]:
    """The prompts that corrections are about, or may be: what no anchor holds on to.

    now: while they are learned; later, what was only beside them is held again.
    """
    free = ("held",) if now else ("held", "beside")
    return {row.prompt_ids for row in examples if row.correction and row.part not in free}


@dataclass(frozen=True)
class _Lesson:
    """A correction as it is demonstrated on its own prompt, by `row`, to be asked about elsewhere.

    asked: the tools in question. moves: where every call of it is made to go, or of which form it
    is made to be.
    """

    row: Example
    correction: CorrectionGiven
    turn: SampledTurn
    policy: Policy
    asked: tuple[ToolSpec, ...]
    moves: Move | Form | None

    @property
    def tool(self) -> ToolSpec | None:
        """The tool that it says how to call; None: all that it says is which tool to call."""
        if len(self.asked) > 1 and self.moves is None:
            return None
        shown = called(self.row.completion_ids, self.turn, self.policy)
        return next((tool for tool in self.asked if tool.name == shown), None)

    def render(self, *conversation: Message) -> tuple[int, ...]:
        return self.policy.render(conversation, self.turn.tools)

    def elsewhere(self, conversation: tuple[Message, ...]) -> Example | None:
        """The row of a request on which the teacher is told too; None: it does not do what was corrected."""
        row, words = self.row, self.correction.feedback.strip()
        said = spoken(conversation)
        foreign = copied(words, said, self.turn)
        words = retold(words, said, self.turn)
        told, neutral = (
            self.render(*conversation, Message(role="user", text=text))
            for text in (words or NEUTRAL, NEUTRAL)
        )
        tokens = len(row.completion_ids) if self.tool else NAMED

        shown = self.policy.demonstrate(
            told, neutral, row.grammar, teacher="base", guidance=row.guidance, max_tokens=tokens
        )
        call = "".join(self.policy.pieces(shown.token_ids))
        if not self._heeded(shown.token_ids) or any(file in call for file in foreign):
            return None
        ids = shown.token_ids
        if isinstance(self.moves, Form) and not self.moves.filled_in(ids, said, self.turn, self.policy):
            if len(self.asked) == 1:
                return None
            ids = ids[:NAMED]  # it says which tool all the same
        return msgspec.structs.replace(
            row,
            part="sibling",
            prompt_ids=self.render(*conversation),
            teacher_ids=told,
            neutral_ids=neutral if row.neutral_ids else (),
            completion_ids=ids,
        )

    def idle(self, part: Part, one: Situation) -> Example:
        """A row on which nothing is learned."""
        ids = self.render(*held_on(one, self.turn))
        return msgspec.structs.replace(
            self.row,
            part=part,
            prompt_ids=ids,
            teacher_ids=ids,
            neutral_ids=(),
            completion_ids=self.row.completion_ids[:1],
            weight=0.0,
            student_grammar=None,
            forced=False,
        )

    def _heeded(self, ids: Sequence[int]) -> bool:
        """Whether a call is of the demonstrated tool and, if that is all there is to it, says the same."""
        shown, rejected = self.row.completion_ids, self.turn.completion_ids
        if called(ids, self.turn, self.policy) != called(shown, self.turn, self.policy):
            return False
        if self.moves:
            return self.moves.reached(ids, self.turn, self.policy)
        return len(self.asked) > 1 or _says(ids, _corrected(shown, rejected))


def _found(
    lesson: _Lesson, variants: Sequence[tuple[Message, ...]], most: int, told: Callable[[int], None]
) -> tuple[Ranked, list[Situation]]:
    """The situations ranked, and the probes that the correction is or may be about."""
    turn, words = lesson.turn, lesson.correction.feedback.strip()
    alone = is_begun(turn)  # else a file that was read makes situations alike, not what is asked for

    def rendered(one: Situation) -> tuple[int, ...]:
        return lesson.render(*messages(turn, Situation(one.text) if alone else one))

    likeness = compared(
        cast(Discerning, lesson.policy),
        rendered,
        [lesson.render(*_request(each)) for each in (turn.messages, *variants)],
        lesson.render(*messages(turn, Situation(words))) if words else (),
        told,
    )
    found = ranked(likeness, most, whole=len(lesson.asked) > 1, alone=alone)
    probes = probes_near(likeness, found)
    away = lesson.moves.away if isinstance(lesson.moves, Move) else ""
    if away and not away.endswith("/"):  # of one file: no other request is about it
        found = found._replace(siblings=(), near=(*found.siblings, *found.near))
    elif folder := _folder(lesson.correction, turn):
        near = (*found.siblings, *found.near)
        moved = (_moved(one, folder) for one in (*near, *found.beside) if file_of(one))
        found = Ranked(tuple(moved)[:most], near, found.beside, found.outside)
    return found, probes


def _request(conversation: Sequence[Message]) -> tuple[Message, ...]:
    """What was asked for last, after the system message."""
    system = [message for message in conversation[:1] if message.role == "system"]
    asked = [message for message in conversation if message.role == "user"][-1:]
    return (*system, *asked)


def _corrected(shown: Sequence[int], rejected: Sequence[int]) -> tuple[int, ...]:
    """The two tokens with which a demonstration parts from what was rejected."""
    pairs = enumerate(zip(shown, rejected, strict=False))
    place = next((n for n, (one, other) in pairs if one != other), min(len(shown), len(rejected)))
    return tuple(shown[place : place + 2])


def _says(call: Sequence[int], tokens: Sequence[int]) -> bool:
    """Whether these tokens are in a call, one after the other."""
    return any(tuple(call[n : n + len(tokens)]) == tuple(tokens) for n in range(len(call)))


def _folder(correction: CorrectionGiven, turn: SampledTurn) -> str:
    """A folder that the correction names and the conversation is about, with its slash; or empty."""
    conversation = [message for message in turn.messages if message.role != "system"]
    said = " ".join(f"{m.text} {m.call.arguments if m.call else ''}" for m in conversation)
    folders = map(folder_of, places(correction.feedback))
    return next((folder for folder in folders if folder and folder in said), "")


def _moved(one: Situation, folder: str) -> Situation:
    file = file_of(one)
    path = folder + file.rpartition("/")[2]
    return Situation(one.text.replace(file, path), path if one.path else "", one.content)
