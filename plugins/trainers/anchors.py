"""What must stay as it is while something is learned: prompts that corrections are not about.

A correction moves more than what it is about: learned alone, "run it with bash" also changes what the model
does when asked to show a file (docs/learning.md has the figures). So each update holds on to the base
model's choice of tool on `ANCHORS`, and is judged on `PROBES`, on which nothing is trained. Both are short
requests of the kinds that a coding agent gets, in other words than any benchmark's.

The completions are the base model's own, up to the tool's name. They are drawn once a session and taken
from the log's earlier plans after that: they do not depend on what was learned.
"""

from collections.abc import Sequence

from continualcode.core.data import Example, Message, Part
from continualcode.core.protocols import Policy
from continualcode.core.transcript import SampledTurn, Transcript
from continualcode.eventlog import unpack_u32

ANCHORS = (
    "Show me the file utils.py.",
    "Open setup.cfg and show me its first ten lines.",
    "Create a file LICENSE with the MIT license.",
    "Write a new script that counts the words of a text.",
    "Make a file settings.json with a port in it.",
    "Search for the word import in all files.",
    "Which lines of the project contain the name config?",
    "Use bash to run `echo ok`.",
    "Use bash to show the current folder.",
    "Good morning!",
    "What does HTTP stand for?",
    "Thanks!",
)
"""Held on to."""

PROBES = (
    "Read the file main.c.",
    "What is in requirements.txt?",
    "Create an empty file notes.txt.",
    "Write a Python program that prints the numbers from 1 to 10.",
    "Add a new file with a list of colours.",
    "Find the word error in the logs.",
    "Look for the text TODO in every file.",
    "Run the command `whoami` in bash.",
    "Use bash to list the running processes.",
    "How are you?",
    "What is two plus two?",
    "Good bye.",
)
"""Only looked at."""

NAMED = 10
"""How many tokens a completion has at most: a call, up to its tool's name."""


def anchors(
    turn: SampledTurn, sample: str, transcript: Transcript, policy: Policy, weight: float
) -> list[Example]:
    """A row for each anchor and probe, in the session's own system message and tools.

    `weight` is that of all anchors together. turn, sample: the corrected one, whose grammar the rows share.
    """
    drawn = _drawn_before(transcript)
    system = [message for message in turn.messages[:1] if message.role == "system"]
    rows: list[Example] = []
    parts: tuple[tuple[Part, Sequence[str], float], ...] = (
        ("anchor", ANCHORS, weight / len(ANCHORS)),
        ("probe", PROBES, 1.0),
    )
    for part, prompts, each in parts:
        for text in prompts:
            ids = policy.render([*system, Message(role="user", text=text)], turn.tools)
            completion = drawn.get(ids)
            if completion is None:
                completion = policy.demonstrate(
                    ids, ids, turn.grammar, teacher="base", guidance=1.0, max_tokens=NAMED
                ).token_ids
            rows.append(
                Example(
                    correction="",
                    sample=sample,
                    part=part,
                    prompt_ids=ids,
                    teacher_ids=ids,
                    completion_ids=completion,
                    sampled_logprobs=(),
                    temperature=turn.params.temperature,
                    grammar=turn.grammar,
                    weight=each,
                )
            )
    return rows


def _drawn_before(transcript: Transcript) -> dict[tuple[int, ...], tuple[int, ...]]:
    """Completions of anchors and probes by prompt, from the newest plan of this log that holds any."""
    for update in reversed(transcript.updates.values()):
        stays = [ref for ref in update.examples if ref.part in ("anchor", "probe") and ref.prompt is not None]
        if stays:
            return {
                transcript.expand(ref.prompt): tuple(unpack_u32(ref.completion))
                for ref in stays
                if ref.prompt is not None
            }
    return {}
