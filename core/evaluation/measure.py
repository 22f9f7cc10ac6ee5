"""How often a policy makes a mistake, the correction absent: exact where the tool decides, else drawn.

P(mistake) = Σ over tools of P(tool) · P(mistake | tool). P(tool) is exact (`Policy.tool_probabilities`).
Where the tool alone decides, the second factor is 0 or 1; where arguments do, it is the share of `draws`
calls of that tool, drawn under a grammar that allows that tool only, each stopped as soon as the arguments in
question are written. So a rule about tools needs no draw at all, and one about arguments far fewer than
drawing whole turns would. Tools less probable than `NEGLIGIBLE` are not drawn from and count as neither
mistake nor obedience: the figure is low by at most their sum, which is reported. So is what was cut off at
`max_tokens`, which is judged by what was written until there.

Probabilities are those of sampling at temperature 1; `likeliest` is what a session at temperature 0 would do.
"""

import json
import re
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import msgspec

from continualcode.core.data import Arguments, Call, Data, Json, Sample, SamplingParams, ToolSpec
from continualcode.core.evaluation.cases import Case, CaseRule, Cases, Control
from continualcode.core.evaluation.staging import conversation, prompt_messages, write_files
from continualcode.core.operator import Predicate
from continualcode.core.protocols import Policy, Progress
from continualcode.core.schema import check_arguments, normalise_arguments
from continualcode.core.session import Session
from continualcode.core.workspace import Workspace

NEGLIGIBLE = 0.02
"""Tools that are less probable than this are not drawn from."""


BEGINNING = 32
"""How many tokens of a control's call are looked at: its tool, and how its arguments begin."""

ESCAPE = len(r"\uD83D\uDE0")
"""The longest piece of a string in JSON that is not yet a character."""


class Settings(Data, frozen=True):
    """draws: calls of each tool whose arguments decide. max_tokens: the longest call. seed: the first's."""

    draws: int = 8
    max_tokens: int = 160
    seed: int = 0


class CaseFigures(Data, frozen=True):
    """One case on one set of weights. `undrawn`: the probability of tools that were not drawn from; `cut`: of
    calls that were cut off before what is asked of them was written.

    `violating` and `obeying` are, by tool, the outcomes of its draws (True: it was one). valid:
    P(the turn begins as a call of a tool).
    """

    group: str
    prompt: str
    tools: dict[str, float]
    violates: float
    obeys: float
    valid: float = 1.0
    undrawn: float = 0.0
    cut: float = 0.0
    violating: dict[str, tuple[bool, ...]] = {}
    obeying: dict[str, tuple[bool, ...]] = {}

    @property
    def likeliest(self) -> str:
        """The tool that a session at temperature 0 would call."""
        return max(self.tools, key=lambda tool: self.tools[tool])


class ControlFigures(Data, frozen=True):
    """One control on one set of weights. `right`: P(the call is the expected one); None: none is expected.

    valid: P(the turn is a call of a tool, with arguments that fit). Where a grammar is in force that is all
    of P(tool), as it lets nothing else through once a call has begun; else the likeliest turn says, 0 or 1.
    begins: the first `BEGINNING` tokens of what a session at temperature 0 would say; empty in older files.
    """

    group: str
    prompt: str
    tools: dict[str, float]
    right: float | None
    valid: float
    begins: str = ""

    @property
    def likeliest(self) -> str:
        """The tool that a session at temperature 0 would call."""
        return max(self.tools, key=lambda tool: self.tools[tool])


class Figures(Data, frozen=True):
    """A whole case set on one set of weights; rules by name."""

    weights: str
    rules: dict[str, tuple[CaseFigures, ...]]
    controls: tuple[ControlFigures, ...]


@dataclass
class _Drawn:
    """By tool a row of outcomes for each predicate, and the probability that was left undrawn, or cut off."""

    outcomes: dict[str, list[tuple[bool, ...]]]
    undrawn: float = 0.0
    cut: float = 0.0


# -- Measuring -----------------------------------------------------------------------------------------


class Ruler:
    """Measures cases with a session's policy, tools and plugins; records nothing and changes nothing."""

    def __init__(self, session: Session, settings: Settings | None = None) -> None:
        self._session = session
        self._settings = settings or Settings()
        self._specs = {tool.spec.name: tool.spec for tool in session.tools.values()}
        self._grammars: dict[str, str | None] = {}

    def measure(
        self, cases: Cases, rules: Sequence[CaseRule] | None = None, progress: Progress | None = None
    ) -> Figures:
        """The held-out cases of `rules` (all, if None) and the controls, on the weights as they are."""
        chosen = cases.rule if rules is None else tuple(rules)
        total, done = sum(len(rule.held_out) for rule in chosen) + len(cases.control), 0

        def tick() -> None:
            nonlocal done
            done += 1
            if progress is not None:
                progress("measuring", done, total)

        by_rule: dict[str, tuple[CaseFigures, ...]] = {}
        for rule in chosen:
            figures: list[CaseFigures] = []
            for case in rule.held_out:
                figures.append(self.case(case, rule))
                tick()
            by_rule[rule.name] = tuple(figures)
        controls: list[ControlFigures] = []
        for control in cases.control:
            controls.append(self.control(control))
            tick()
        return Figures(weights=self._session.policy.weights(), rules=by_rule, controls=tuple(controls))

    def case(self, case: Case, rule: CaseRule) -> CaseFigures:
        """One case: how probable what `rule` forbids and what it wants are."""
        with tempfile.TemporaryDirectory(prefix="continualcode-case-") as folder:
            workspace = Workspace(Path(folder))
            ids = self.prompt(case, workspace)
            return self.judged(ids, rule, workspace, case.prompt, case.group)

    def judged(
        self, ids: Sequence[int], rule: CaseRule, workspace: Workspace, prompt: str = "", group: str = ""
    ) -> CaseFigures:
        """The same after a prompt at hand, in a workspace as it is. prompt, group: what to call it."""
        tools = self._tools(ids)
        wanted = [rule.violates, *([rule.obeys] if rule.obeys else [])]
        found = self._outcomes(ids, tools, wanted, workspace)
        violating = {tool: rows[0] for tool, rows in found.outcomes.items()}
        violates = sum(tools[tool] * fmean(row) for tool, row in violating.items())
        if rule.obeys is None:  # whatever is no mistake
            obeying = {tool: tuple(not one for one in row) for tool, row in violating.items()}
            obeys = max(0.0, 1.0 - violates - found.undrawn)
        else:
            obeying = {tool: rows[1] for tool, rows in found.outcomes.items()}
            obeys = sum(tools[tool] * fmean(row) for tool, row in obeying.items())
        return CaseFigures(
            group=group or rule.group,
            prompt=prompt,
            tools=tools,
            violates=violates,
            obeys=obeys,
            valid=sum(tools.values()),
            undrawn=found.undrawn,
            cut=found.cut,
            violating=violating,
            obeying=obeying,
        )

    def control(self, control: Control) -> ControlFigures:
        """One control: its tools, whether the expected call is made, and whether the likeliest is whole."""
        with tempfile.TemporaryDirectory(prefix="continualcode-case-") as folder:
            workspace = Workspace(Path(folder))
            ids = self.prompt(control, workspace)
            tools = self._tools(ids)
            right: float | None = None
            if control.expects is not None:
                found = self._outcomes(ids, tools, [control.expects], workspace)
                right = sum(tools[tool] * fmean(rows[0]) for tool, rows in found.outcomes.items())
            valid = self._valid(ids, tools)
            params = SamplingParams(max_tokens=BEGINNING)
            begins = self._session.policy.sample(ids, self._session.transcript.grammar, params).text
        return ControlFigures(
            group=control.group,
            prompt=control.prompt,
            tools=tools,
            right=right,
            valid=valid,
            begins=begins,
        )

    def prompt(self, case: Case, workspace: Workspace) -> tuple[int, ...]:
        """The token ids that the model would see in `case`, staged in the (empty) workspace."""
        session = self._session
        write_files(case, workspace.root)
        messages = conversation(case, workspace, session.tools)
        built = prompt_messages(messages, session.transcript, session.first)
        return session.policy.render(built, session.transcript.tools)

    def _tools(self, ids: Sequence[int]) -> dict[str, float]:
        transcript = self._session.transcript
        return self._session.policy.tool_probabilities(ids, transcript.grammar, transcript.tools)

    def _outcomes(
        self,
        ids: Sequence[int],
        tools: Mapping[str, float],
        predicates: Sequence[Predicate],
        workspace: Workspace,
    ) -> "_Drawn":
        """What becomes of each tool that could matter."""
        found = _Drawn({})
        for tool, probability in tools.items():
            looks = [predicate.looks_at(tool) for predicate in predicates]
            if all(look is None for look in looks):
                continue
            names = frozenset[str]().union(*(look for look in looks if look is not None))
            if not names:
                found.outcomes[tool] = [(look is not None,) for look in looks]
            elif probability < NEGLIGIBLE:
                found.undrawn += probability
            else:
                seeds = range(self._settings.seed, self._settings.seed + self._settings.draws)
                drawn = [self._draw(ids, tool, names, seed) for seed in seeds]
                found.cut += probability * fmean(cut for _, cut in drawn)
                found.outcomes[tool] = [
                    tuple(predicate.holds(call, workspace) for call, _ in drawn) for predicate in predicates
                ]
        return found

    def _draw(self, ids: Sequence[int], tool: str, names: frozenset[str], seed: int) -> tuple[Call, bool]:
        """A call of `tool` at temperature 1, with at least the arguments `names` if it has them.

        And whether it was cut off: then they are as far as they were written.
        """
        enough = threading.Event()
        text = ""

        def watch(piece: str) -> None:
            nonlocal text
            text += piece
            if names <= written(text, names).keys():
                enough.set()

        params = SamplingParams(temperature=1.0, max_tokens=self._settings.max_tokens, seed=seed)
        policy = self._session.policy
        sample = policy.sample(ids, self._grammar(tool), params, watch, enough)
        parsed = policy.parse(sample, [self._specs[tool]])
        arguments = parsed.call.arguments if parsed.call is not None else written(sample.text, names)
        cut = parsed.call is None and sample.stop == "length" and not names <= arguments.keys()
        if cut:
            arguments = {**begun(sample.text, names), **arguments}
        return Call(tool=tool, arguments=normalise_arguments(self._specs[tool], arguments)[0]), cut

    def _grammar(self, tool: str) -> str | None:
        if tool not in self._grammars:
            # As a tool that ends the turn: with no such tool a grammar lets plain text through as well.
            only = msgspec.structs.replace(self._specs[tool], ends_turn=True)
            self._grammars[tool] = self._session.policy.grammar([only])
        return self._grammars[tool]

    def _valid(self, ids: Sequence[int], tools: Mapping[str, float]) -> float:
        transcript, policy = self._session.transcript, self._session.policy
        if transcript.grammar is not None:
            return sum(tools.values())
        sample = policy.sample(ids, None, SamplingParams(max_tokens=self._settings.max_tokens))
        return float(is_whole_call(policy, sample, transcript.tools))


def is_whole_call(policy: Policy, sample: Sample, tools: Sequence[ToolSpec]) -> bool:
    """Whether a sample reads as a call of one of the tools, whose arguments fit its schema."""
    call = policy.parse(sample, tools).call
    if call is None:
        return False
    spec = next(tool for tool in tools if tool.name == call.tool)
    return check_arguments(spec, normalise_arguments(spec, call.arguments)[0]) is None


def written(text: str, names: frozenset[str]) -> Arguments:
    """Those of the arguments `names` that a call in JSON, perhaps still being written, has finished.

    >>> written('{"name": "bash", "arguments": {"command": "ls", "timeout": 1', frozenset({"command"}))
    {'command': 'ls'}
    """
    found: dict[str, Json] = {}
    begin = text.find('"arguments"')
    for name in names:
        match = re.search(rf'"{re.escape(name)}"\s*:\s*', text[begin:]) if begin >= 0 else None
        if match is None:
            continue
        try:
            value, end = json.JSONDecoder().raw_decode(text, begin + match.end())
        except ValueError:
            continue
        if end < len(text):  # something follows: a number, too, is whole
            found[name] = value
    return found


def begun(text: str, names: frozenset[str]) -> Arguments:
    """The one of the arguments `names`, if it is a string, that a call in JSON was writing where it ends.

    >>> begun('{"arguments": {"path": "a.py", "content": "import os; im', frozenset({"path", "content"}))
    {'content': 'import os; im'}
    """
    begin = text.find('"arguments"')
    for name in sorted(names):
        match = re.search(rf'"{re.escape(name)}"\s*:\s*"', text[begin:]) if begin >= 0 else None
        rest = text[begin + match.end() :] if match is not None else ""
        for end in range(len(rest), max(0, len(rest) - ESCAPE), -1):  # it may end within an escape
            try:
                return {name: json.loads(f'"{rest[:end]}"', strict=False)}
            except ValueError:
                continue
    return {}
