"""What every session reads is there the next time, to the bit, and only costs time where it is not."""

from pathlib import Path
from typing import Any

import pytest
import torch

from continualcode.core.data import Message, Sample
from continualcode.plugins.models.local.alike import Likeness
from continualcode.plugins.models.local.pieces import Pieces
from continualcode.plugins.models.local.policy import LocalPolicy
from continualcode.plugins.models.local.prefix import Prefix
from continualcode.plugins.models.local.shelf import FILES, Shelf
from continualcode.plugins.models.local.usual import Usual

CPU = torch.device("cpu")
ASKED = ("Run the tests.", "Where is main?", "Show me a.py.")


class Reader:
    """A new session's reading, with the files of earlier ones."""

    def __init__(self, policy: LocalPolicy, folder: Path | None, stack: str = "one") -> None:
        inside: Any = policy
        begins = inside._language.header[0]
        pieces = Pieces(2**30, begins)
        self.shelf = Shelf(folder, pieces, {"stack": stack}, CPU)
        self.prefix = Prefix(inside._adapter, pieces, CPU, self.shelf)
        self.likeness = Likeness(inside._adapter, self.prefix, self.shelf)
        self.usual = Usual(self.shelf)
        self.drawn = 0

    def compared(self, prompts: list[tuple[int, ...]]) -> tuple[list[float], int]:
        """The likeness of a prompt and others, asked for twice, and how many tokens that took."""
        before = self.prefix.computed
        self.likeness.nearness(prompts[:1], prompts[1:])
        found = self.likeness.nearness(prompts[:1], prompts[1:])
        return found, self.prefix.computed - before

    def called(self, ids: tuple[int, ...], grammar: str | None = None, most: int = 8) -> Sample:
        """What is kept of a call, or what a stand-in for the base model draws, which is counted."""

        def draw() -> Sample:
            self.drawn += 1
            return Sample(token_ids=(len(ids), most), logprobs=(-0.1, 0.0), text="é", stop="length")

        return self.usual.call(ids, grammar, most, draw)


def prompts(policy: LocalPolicy, system: str = "Be short.") -> list[tuple[int, ...]]:
    told = Message(role="system", text=system)
    return [policy.render([told, Message(role="user", text=text)], ()) for text in ASKED]


def test_a_later_session_reads_only_what_is_its_own(policy: LocalPolicy, tmp_path: Path) -> None:
    asked = prompts(policy)
    inside: Any = policy
    first, all_of_it = Reader(policy, tmp_path).compared(asked)
    again, own = Reader(policy, tmp_path).compared(asked)
    assert first == again
    assert own == inside._adapter.reads(asked[0]) - asked[0].index(inside._language.header[0], 1) < all_of_it


def test_what_is_compared_later_is_kept_as_well_but_not_what_was_read_of_it(
    policy: LocalPolicy, tmp_path: Path
) -> None:
    asked = prompts(policy)
    pool, more = asked[:2], prompts(policy)[2]
    Reader(policy, tmp_path).compared(pool)
    Reader(policy, tmp_path).compared([*pool, more])
    again = Reader(policy, tmp_path)
    assert more in again.shelf.fetch(pool[1]) and set(pool[1:]) <= set(again.shelf.fetch(pool[1]))
    again.prefix.reading(pool[1:])
    assert again.prefix.computed == 0
    again.prefix.reading([more])
    assert again.prefix.computed > 0


def test_whoever_reads_first_finds_it(policy: LocalPolicy, tmp_path: Path) -> None:
    """A replay compares nothing and samples nothing; `cc eval` asks for probabilities only."""
    asked = prompts(policy)
    Reader(policy, tmp_path).compared(asked)
    replay = Reader(policy, tmp_path)
    replay.prefix.reading(asked[1:])
    assert replay.prefix.computed == 0


def test_nothing_that_a_user_said_is_kept(policy: LocalPolicy, tmp_path: Path) -> None:
    asked, folder = prompts(policy), tmp_path / "shelf"
    reader = Reader(policy, folder)
    reader.prefix.reading(asked[:1])
    reader.shelf.keep_beginning(asked[0])
    later = Reader(policy, folder)
    assert later.shelf.fetch(asked[0]) == {}
    inside: Any = later.prefix
    assert inside._pieces.known("base", asked[0]) == asked[0].index(asked[0][0], 1)
    assert folder.stat().st_mode & 0o077 == 0, "and the system message is for nobody else to read"


@pytest.mark.parametrize("harm", ["cut", "changed", "empty", "gone", "not ours"])
def test_a_damaged_file_only_costs_the_time(policy: LocalPolicy, tmp_path: Path, harm: str) -> None:
    asked = prompts(policy)
    first, all_of_it = Reader(policy, tmp_path).compared(asked)
    (file,) = tmp_path.iterdir()
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    damaged = {"cut": content[:-9], "changed": content, "empty": b"", "not ours": b"{}" * 50}
    if harm == "gone":
        file.unlink()
    else:
        file.write_bytes(damaged[harm])
    assert Reader(policy, tmp_path).compared(asked) == (first, all_of_it)
    assert Reader(policy, tmp_path).compared(asked)[1] < all_of_it, "and is written anew"


def test_another_stack_and_another_system_message_find_nothing(policy: LocalPolicy, tmp_path: Path) -> None:
    _, all_of_it = Reader(policy, tmp_path).compared(prompts(policy))
    assert Reader(policy, tmp_path, "two").compared(prompts(policy))[1] == all_of_it
    other = prompts(policy, "Be brief.")
    assert Reader(policy, tmp_path).compared(other)[1] == Reader(policy, None).compared(other)[1]


def test_the_system_messages_used_last_are_kept(policy: LocalPolicy, tmp_path: Path) -> None:
    for number in range(FILES + 2):
        Reader(policy, tmp_path).compared(prompts(policy, f"Be short {number}."))
    assert len(list(tmp_path.iterdir())) == FILES
    last = prompts(policy, f"Be short {FILES + 1}.")
    assert Reader(policy, tmp_path).compared(last)[1] < Reader(policy, None).compared(last)[1]


def test_where_nothing_can_be_written_nothing_is_said(policy: LocalPolicy, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    found, _ = Reader(policy, tmp_path / "file" / "folder").compared(prompts(policy))
    assert found == Reader(policy, None).compared(prompts(policy))[0]


def test_the_base_models_own_calls_on_the_pool_are_drawn_once(policy: LocalPolicy, tmp_path: Path) -> None:
    asked = prompts(policy)
    first = Reader(policy, tmp_path)
    assert first.called(asked[1]) and first.drawn == 1
    assert first.called(asked[1]) and first.drawn == 2, "nothing is known of the pool yet"
    first.compared(asked)
    drawn = [first.called(ids) for ids in asked[1:]]
    assert first.drawn == 4
    again = Reader(policy, tmp_path)
    assert [again.called(ids) for ids in asked[1:]] == drawn and again.drawn == 0
    assert again.called(asked[1], "a grammar") and again.called(asked[1], most=9) and again.drawn == 2
    assert again.called(asked[0]) and again.called(asked[0]) and again.drawn == 4, (
        "what a user said is not kept"
    )


@pytest.mark.parametrize("harm", ["cut", "changed", "empty", "gone"])
def test_damaged_calls_are_drawn_again(policy: LocalPolicy, tmp_path: Path, harm: str) -> None:
    asked = prompts(policy)
    reader = Reader(policy, tmp_path)
    reader.compared(asked)
    found = reader.called(asked[1])
    (file,) = tmp_path.glob("*.json")
    content = file.read_bytes()
    if harm == "gone":
        file.unlink()
    else:
        file.write_bytes({"cut": content[:-9], "changed": content.replace(b"8", b"9"), "empty": b""}[harm])
    again = Reader(policy, tmp_path)
    assert again.called(asked[1]) == found and again.drawn == 1
    assert Reader(policy, tmp_path).called(asked[1]) == found, "and are written anew"


def test_they_go_with_their_pool(policy: LocalPolicy, tmp_path: Path) -> None:
    for number in range(FILES + 1):
        asked, reader = prompts(policy, f"Be short {number}."), Reader(policy, tmp_path)
        reader.compared(asked)
        reader.called(asked[1])
    assert len(list(tmp_path.glob("*.json"))) == FILES


def test_the_policy_keeps_the_base_models_own_and_no_other(
    policy: LocalPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guided or by live weights a demonstration depends on more than the prompt."""
    inside: Any = policy
    kept: list[int] = []

    class Watched(Usual):
        def call(self, ids: Any, grammar: Any, most: int, draw: Any) -> Sample:
            kept.append(most)
            return draw()

    monkeypatch.setattr(inside, "_usual", Watched(inside._shelf))
    ids = prompts(policy)[0]
    for most, (teacher, guidance) in enumerate([("base", 1.0), ("base", 2.0), ("live", 1.0)], 5):
        policy.demonstrate(ids, ids, None, teacher=teacher, guidance=guidance, max_tokens=most)
    assert kept == [5]
