"""What a denial could say, before it is typed: earlier corrections, and what the tool itself advised."""

from continualcode.core.review import Question
from continualcode.core.transcript import Transcript

REFUSED = "This would be refused: "
MOST = 5
_LONGEST = 200


def chips(transcript: Transcript) -> list[str]:
    """The user's corrections of this session, the last first, none twice; only those of one short line."""
    said = (c.feedback.strip() for c in reversed(transcript.corrections.values()) if c.by == "user")
    short = (words for words in said if words and "\n" not in words and len(words) <= _LONGEST)
    return list(dict.fromkeys(short))[:MOST]


def suggestion(question: Question, transcript: Transcript) -> str | None:
    """The tool's advice: why this call would be refused, or what the last failed call was told."""
    if question.preview.startswith(REFUSED):
        why, _, advice = question.preview.removeprefix(REFUSED).partition(". ")
        return _line(advice or why)
    last = next(reversed(transcript.results.values()), None)
    return _line(last.feedback) if last is not None and not last.success and last.feedback else None


def _line(text: str) -> str | None:
    """The last line of an advice, as that is what to do: what the file holds stands before it."""
    last = text.strip().rpartition("\n")[2].strip()
    return last if 0 < len(last) <= _LONGEST else None
