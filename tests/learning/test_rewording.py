"""What a request is in other words."""

import pytest

from continualcode.core.data import Call, Message
from continualcode.plugins.trainers.rewording import FRAMES, LONGEST, reworded

SYSTEM = Message(role="system", text="You are an agent.")


def said(text: str, correction: str = "No.", most: int = 6) -> list[str]:
    """The variants of one request."""
    return [
        variant[-1].text for variant in reworded([SYSTEM, Message(role="user", text=text)], correction, most)
    ]


@pytest.mark.parametrize(
    "text",
    [
        "Use bash to count the lines.",
        "Count the lines in the shell.",
        "Count the lines with a shell command, please!",
        "In the terminal: count the lines.",
    ],
)
def test_what_is_for_the_shell_stays_for_the_shell_however_that_is_said(text: str) -> None:
    found = said(text)
    assert all("count the lines" in one.lower() for one in found)
    assert all("bash" in one or "shell" in one or "terminal" in one for one in found)
    assert text not in found


def test_a_question_stays_a_question_and_a_request_a_request() -> None:
    assert all("?" in one for one in said("Where is the token set?"))
    assert not any("?" in one for one in said("Show me the token."))


def test_every_variant_is_another_one() -> None:
    for text in ("Use bash to run main.py.", "What is in a.toml?", "Write a test."):
        found = said(text)
        assert len({*found, text}) == 7


def test_no_more_than_asked_for() -> None:
    assert [len(said("Run it.", most=n)) for n in (0, 2, 6, 9)] == [0, 2, 6, 6]
    assert {len(ways) for ways in FRAMES.values()} == {6}


def test_files_have_other_names_and_keep_their_folders_and_what_they_are() -> None:
    assert said("Open src/main.py and b.test.ts.", most=1) == [
        "Please open src/orders.py and parser.test.ts."
    ]


@pytest.mark.parametrize(
    "name", ["package-lock.json", ".env", "https://example.com/a.csv", "me@example.com", "2.0"]
)
def test_what_is_no_name_of_a_file_or_in_the_correction_stays(name: str) -> None:
    assert all(name in one for one in said(f"Look at {name} now.", "Leave package-lock.json alone."))


def test_the_first_word_keeps_its_case_where_it_may_be_a_name() -> None:
    for name in ("README.md", "test_a.py", "I"):
        assert all(name in one for one in said(f"{name} fails here.", "Leave README.md and test_a.py."))


def test_a_new_name_that_another_file_has_is_not_renamed_again() -> None:
    assert said("Merge main.py and orders.py.", most=1) == ["Please merge orders.py and parser.py."]


def test_a_file_is_called_the_same_in_what_came_after() -> None:
    conversation = [
        SYSTEM,
        Message(role="user", text="Hello."),
        Message(role="assistant", text="Hello!"),
        Message(role="user", text="Fix a.py."),
        Message(role="assistant", call=Call(tool="read", arguments={"path": "a.py", "limit": 3})),
        Message(role="tool", text="a.py (1 lines):\n   1| data.py"),
    ]
    (found,) = reworded(conversation, "No.", 1)
    assert [message.role for message in found] == ["system", "user", "assistant", "tool"]
    assert found[1].text == "Please fix orders.py."
    assert found[2].call == Call(tool="read", arguments={"path": "orders.py", "limit": 3})
    assert found[3].text == "orders.py (1 lines):\n   1| data.py"


def test_a_long_conversation_or_request_is_not_said_again() -> None:
    assert said("Fix this:\nTypeError: int") == []
    assert said("x" * (LONGEST + 1)) == []
    assert reworded([SYSTEM], "No.", 6) == []
