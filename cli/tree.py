"""`cc log tree`: the turns of sessions as a tree, which undo, going back and forks make of them."""

from dataclasses import dataclass, field
from pathlib import Path

import click
import msgspec

from continualcode.cli.run import configuration, log_folder
from continualcode.core.events import PromptSubmitted, UpdateApplied, event_registry
from continualcode.core.sessions import look_at, sessions_in
from continualcode.core.transcript import Transcript
from continualcode.eventlog import read, read_header


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """One turn of `cc log tree --json`; `stands`: it is part of the conversation in which its log ended.

    `parent` is the turn before it, in this log or in the one that it was forked from; (log id, seq).
    """

    log: str
    seq: int
    file: str
    kind: str
    text: str
    updates: int
    stands: bool
    parent: tuple[str, int] | None


@dataclass
class _Found:
    kind: str
    text: str
    parent: tuple[str, int] | None
    file: str
    updates: int = 0
    stands: bool = False
    children: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])


@click.command()
@click.argument("logs", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="As JSON: a list of turns, each with its parent.")
def tree(logs: tuple[Path, ...], as_json: bool) -> None:
    """The turns of LOGS as a tree of branches; without LOGS, of this project's sessions.

    Each number is the turn's event: `cc run --fork LOG@SEQ` begins where the event SEQ left things.
    """
    paths = list(logs) or _of_project(log_folder(configuration(Path())), Path())
    turns = turns_of(paths)
    if as_json:
        flat = [
            Turn(log=log, seq=seq, file=t.file, kind=t.kind, text=t.text, updates=t.updates,
                 stands=t.stands, parent=t.parent)
            for (log, seq), t in turns.items()
        ]  # fmt: skip
        click.echo(msgspec.json.encode(flat))
        return
    roots = [key for key, turn in turns.items() if turn.parent not in turns]
    if not roots:
        click.echo("No turns: name a log, or go to a project in which there was a session (`cc sessions`).")
    for root in roots:
        click.echo(f"{Path(turns[root].file).stem}")
        for line in _drawn(turns, root, "  "):
            click.echo(line)


def _of_project(folder: Path, project: Path) -> list[Path]:
    """The project's sessions and their forks, also those that work in a folder of their own."""
    found, all_ = sessions_in(folder, project), sessions_in(folder)
    logs = {one.log for one in found}
    while more := [one for one in all_ if one.log not in logs and one.parent and one.parent.log in logs]:
        found += more
        logs |= {one.log for one in more}
    return [Path(one.path) for one in found]


def turns_of(paths: list[Path]) -> dict[tuple[str, int], _Found]:
    """Every turn of these logs by (log id, seq); what a fork shares with its parent is the parent's."""
    found: dict[tuple[str, int], _Found] = {}
    looked = {read_header(path).log: path for path in paths}
    cut: dict[str, tuple[str, int]] = {}
    for log, path in looked.items():
        listed = look_at(path)
        if listed is not None and listed.parent is not None:
            cut[log] = (listed.parent.log, listed.parent.seq)

    def owner(log: str, seq: int) -> tuple[str, int]:
        """Where a turn was first; in the fork itself where the parent is not among the logs."""
        while log in cut and cut[log][0] in looked and seq <= cut[log][1]:
            log = cut[log][0]
        return log, seq

    for log, path in looked.items():
        transcript = Transcript()
        for record in read(path, event_registry()):
            before = len(transcript.steps)
            transcript.apply(record)
            steps = list(transcript.steps)
            if len(steps) > before and steps[-1].seq == record.seq:
                text = record.text if isinstance(record, PromptSubmitted) else f"/{steps[-1].kind}"
                parent = owner(log, steps[-2].seq) if len(steps) > 1 else None
                found.setdefault(
                    owner(log, record.seq),
                    _Found(steps[-1].kind, text, parent, str(looked[owner(log, record.seq)[0]])),
                )
            if isinstance(record, UpdateApplied) and steps and owner(log, record.seq)[0] == log:
                found[owner(log, steps[-1].seq)].updates += 1
        for step in transcript.steps:
            if owner(log, step.seq)[0] == log:
                found[log, step.seq].stands = True
    for key, turn in sorted(found.items(), key=lambda item: item[0][1]):
        if turn.parent is not None and turn.parent in found:
            found[turn.parent].children.append(key)
    return found


def _drawn(
    turns: dict[tuple[str, int], _Found], key: tuple[str, int], indent: str, lead: str = ""
) -> list[str]:
    """A turn and what came after it: below it while there is one way, else a branch each."""
    lines: list[str] = []
    while True:
        turn = turns[key]
        said = " ".join(turn.text.split())
        notes = [f"{turn.updates} update{'s' if turn.updates != 1 else ''}"] if turn.updates else []
        notes += [] if turn.stands else ["undone"]
        note = f"  ({', '.join(notes)})" if notes else ""
        lines.append(f"{lead or indent}{key[1]:>5}  {said[:70]}{'…' if len(said) > 70 else ''}{note}")
        lead = ""
        if len(turn.children) != 1 or turn.children[0][0] != key[0]:
            break
        key = turn.children[0]
    for child in turns[key].children:
        more = child != turns[key].children[-1]
        branch = f"{indent}    {'├' if more else '└'}─"
        if child[0] != key[0]:
            lines.append(f"{branch} fork {Path(turns[child].file).stem}")
            branch = ""
        lines += _drawn(turns, child, f"{indent}    {'│' if more else ' '} ", branch)
    return lines
