"""What the teacher sees, to the letter, and what survives when it does not all fit."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from continualcode.core.data import Message, SamplingParams, Slots
from continualcode.core.errors import UpdateError
from continualcode.core.testing import ScriptedPolicy
from continualcode.core.transcript import SampledTurn
from continualcode.plugins.trainers.teacher_context import (
    NEUTRAL,
    neutral_prompt,
    teacher_messages,
    teacher_prompt,
)

ASKED = (Message(role="system", text="Be good."), Message(role="user", text="Fix the test."))
RAN = (*ASKED, Message(role="assistant", text="read a.py"), Message(role="tool", text="1| x"))
WORDS = "Use edit_lines; don't overwrite the whole file."


def seen(messages: tuple[Message, ...]) -> SampledTurn:
    return SampledTurn((), (), (), SamplingParams(), None, messages, (), "", "", None)


def told(slots: Slots, room: int) -> str:
    """The teacher's prompt as text: the scripted policy's tokens are bytes."""
    return bytes(teacher_prompt(seen(RAN), slots, ScriptedPolicy(), room)).decode()


# -- The text ----------------------------------------------------------------------------------------


def test_the_correction_is_a_user_turn_of_its_own_in_the_users_words() -> None:
    for before in (ASKED, RAN):
        assert teacher_messages(before, Slots(feedback=WORDS)) == (*before, Message(role="user", text=WORDS))


def test_all_slots_in_their_order() -> None:
    slots = Slots(
        feedback="Wrong line.", solution='edit_lines("a.py", 5)\n', environment="E assert 4 == 5\n1 failed"
    )
    assert (
        teacher_messages(RAN, slots)[-1].text
        == """\
This is what I want instead:

edit_lines("a.py", 5)

What you did gave this output:

E assert 4 == 5
1 failed

Wrong line."""
    )


def test_without_any_slot_the_correction_only_contradicts() -> None:
    assert teacher_messages(RAN, Slots())[-1].text == NEUTRAL
    neutral = bytes(neutral_prompt(seen(RAN), ScriptedPolicy())).decode()
    assert neutral == told(Slots(feedback=NEUTRAL), 10**6)


@given(st.text(alphabet="{}%$ab!:0\\", max_size=40))
def test_braces_and_percents_survive(text: str) -> None:
    slots = Slots(feedback=f"x{text}x", solution=f"y{text}y", environment=f"z{text}z")
    said = teacher_messages(RAN, slots)[-1].text
    assert f"x{text}x" in said and f"y{text}y" in said and f"z{text}z" in said


def test_the_attempt_is_not_pasted() -> None:
    assert sum(message.role == "assistant" for message in teacher_messages(RAN, Slots(feedback=WORDS))) == 1


# -- The length --------------------------------------------------------------------------------------

FULL = Slots(feedback=WORDS, solution="S" * 50, environment="first" + "e" * 5000 + "last")
ALL = len(told(FULL, 10**6))


@given(st.integers(len(told(Slots(feedback=WORDS), 10**6)), ALL + 10))
def test_at_any_length_the_words_and_the_whole_conversation_survive(room: int) -> None:
    text = told(FULL, room)
    assert len(text.encode()) <= room
    assert text.endswith(f"{WORDS}\nassistant: ")
    assert text.startswith("system: Be good.\nuser: Fix the test.\n")


def test_the_output_is_cut_in_the_middle_and_keeps_its_ends() -> None:
    text = told(FULL, ALL - 1000)
    assert "first" in text and "last" in text and "…" in text
    assert "S" * 50 in text
    assert len(text.encode()) >= ALL - 1000 - 10, "no more is cut than has to be"


def test_without_room_for_any_output_its_heading_goes_too() -> None:
    text = told(FULL, len(told(Slots(feedback=WORDS, solution="S" * 50), 10**6)))
    assert "output" not in text and "S" * 50 in text


def test_a_demonstration_is_left_out_whole() -> None:
    text = told(FULL, len(told(Slots(feedback=WORDS), 10**6)) + 30)
    assert "S" * 10 not in text and "instead" not in text


def test_a_conversation_that_does_not_fit_is_an_error_with_the_numbers() -> None:
    with pytest.raises(UpdateError, match=r"has \d+ tokens without any tool output; 100 fit"):
        told(FULL, 100)
