"""What the user says in passing: nothing to learn from by itself, but part of the next correction."""

from continualcode.core.events import DecisionMade
from continualcode.core.transcript import Transcript


def with_notes(words: str, transcript: Transcript) -> str:
    """`words` and the notes given since the last update, oldest first, a paragraph each, none twice."""
    paragraphs = [text.strip() for text in (words, *transcript.notes_since_update())]
    return "\n\n".join(dict.fromkeys(p for p in paragraphs if p))


def teaches(decision: DecisionMade) -> bool:
    """Whether a decision may be learned from: a person, their script or a rule made it, not to be skipped.

    A plugin's veto protects; what it says is about the plugin (at worst its traceback), not the task.
    """
    return decision.train and (decision.by.partition(":")[0] in ("user", "script", "rule"))
