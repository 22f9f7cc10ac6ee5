"""Fakes for testing plugins and sessions without a model: deterministic, small, and shipped.

A `ScriptedPolicy` says what it was told to say, in order. It learns nothing, but its weights have a
digest that an update moves as a function of the examples alone, so everything around learning (the
log, rollback, replay, resume) is real. `ScriptedUI` answers from lists. `open_scripted` puts a whole
session together around them.
"""

import codecs
import hashlib
import json
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from continualcode import hookimpl
from continualcode.core.config import Config
from continualcode.core.data import (
    AdapterSpec,
    Call,
    Capability,
    Example,
    Message,
    ModelInfo,
    Objective,
    Optimiser,
    ParsedTurn,
    Sample,
    SamplingParams,
    StepReport,
    ToolSpec,
)
from continualcode.core.errors import ReplayError, UpdateError, nearest
from continualcode.core.plugins import Plugins
from continualcode.core.protocols import Progress
from continualcode.core.review import Answer, Question
from continualcode.core.session import Session, open_session
from continualcode.eventlog import Record


class ScriptedPolicy:
    """A policy that samples `turns` in order (a Call, or plain text), then says "done". One token a byte.

    shows: what it would do instead, whatever the correction.
    """

    def __init__(
        self, turns: Iterable[Call | str] = (), *, fail_updates: bool = False, shows: str = "as you say"
    ) -> None:
        self.turns, self.shows = list(turns), shows
        self.fail_updates = fail_updates
        self.model = ModelInfo(
            name="scripted",
            base=hashlib.sha256(b"scripted").hexdigest(),
            tokenizer="bytes",
            template="role: text",
            adapter=AdapterSpec(),
            dtype="none",
            context=1 << 20,
        )
        self.capabilities: frozenset[Capability] = frozenset(
            {
                "full_distribution",
                "topk_distribution",
                "sampled_logprobs",
                "demonstrations",
                "guided_teacher",
                "whitening",
                "teacher:live",
                "teacher:base",
            }
        )
        self.stack: Mapping[str, str] = {"policy": "scripted"}
        self.closed = False
        self._place = 0
        self._weights = self._moments = ""
        self.reset()

    def render(self, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> tuple[int, ...]:
        """The conversation as bytes, a line a message."""
        lines = [f"{m.role}: {m.text or (self.format_call(m.call) if m.call else '')}\n" for m in messages]
        return tuple("".join(lines).encode() + b"assistant: ")

    def grammar(self, tools: Sequence[ToolSpec]) -> None:
        """Unconstrained."""
        return None

    def format_call(self, call: Call) -> str:
        """A call as one line of JSON."""
        return json.dumps({"name": call.tool, "arguments": call.arguments})

    def parse(self, sample: Sample, tools: Sequence[ToolSpec]) -> ParsedTurn:
        """JSON with a name is a call; anything else is text."""
        if not sample.text.startswith("{"):
            return ParsedTurn(text=sample.text, call=None, how="text")
        try:
            given = json.loads(sample.text)
            call = Call(tool=given["name"], arguments=given["arguments"])
        except (ValueError, KeyError) as error:
            return ParsedTurn(text=sample.text, call=None, how="failed", why=f"not a call: {error!r}")
        if call.tool not in (names := {tool.name for tool in tools}):
            why = f"unknown tool {call.tool!r}; {nearest(call.tool, names)}"
            return ParsedTurn(text=sample.text, call=None, how="failed", why=why)
        return ParsedTurn(text="", call=call, how="ok", span=(0, len(sample.token_ids)))

    def count_tokens(self, text: str) -> int:
        """Bytes."""
        return len(text.encode())

    def truncate(self, text: str, tokens: int) -> str:
        """Cut in the middle, by characters."""
        if len(text) <= tokens:
            return text
        head = max(0, tokens - 1) // 2
        return text[:head] + "…" + text[len(text) - (max(0, tokens - 1) - head) :]

    def pieces(self, token_ids: Sequence[int]) -> tuple[str, ...]:
        """A character stands at its last byte."""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        return tuple(decoder.decode(bytes([token])) for token in token_ids)

    def sample(
        self,
        prompt_ids: Sequence[int],
        grammar: str | None,
        params: SamplingParams,
        on_text: Callable[[str], None] | None = None,
        cancelled: threading.Event | None = None,
    ) -> Sample:
        """The next of `turns`."""
        said: Call | str = self.turns[self._place] if self._place < len(self.turns) else "done"
        self._place += 1
        text = said if isinstance(said, str) else self.format_call(said)
        if on_text:
            on_text(text)
        ids = tuple(text.encode())
        return Sample(token_ids=ids, logprobs=(-0.5,) * len(ids), text=text, stop="end")

    def tool_probabilities(
        self, prompt_ids: Sequence[int], grammar: str | None, tools: Sequence[ToolSpec]
    ) -> dict[str, float]:
        """All of it on the next scripted call."""
        ahead = self.turns[self._place] if self._place < len(self.turns) else None
        return {tool.name: float(isinstance(ahead, Call) and ahead.tool == tool.name) for tool in tools}

    def demonstrate(
        self,
        teacher_ids: Sequence[int],
        neutral_ids: Sequence[int],
        grammar: str | None,
        *,
        teacher: str,
        guidance: float,
        max_tokens: int,
    ) -> Sample:
        """Always the same: it takes no turn."""
        ids = tuple(self.shows.encode())[:max_tokens]
        return Sample(token_ids=ids, logprobs=(-0.5,) * len(ids), text=bytes(ids).decode(), stop="end")

    def prepare(self, examples: Sequence[Example], objective: Objective, optimiser: Optimiser) -> "_Batch":
        """Keep the examples; fails if the policy was told to."""
        if self.fail_updates:
            raise UpdateError("the scripted policy was told to fail updates")
        return _Batch(tuple(examples))

    def step(self, batch: "_Batch", *, stop_below: float) -> StepReport:
        """Halve the divergence and move the digest by the examples' bytes."""
        divergence = 0.5**batch.steps
        stepped = divergence > stop_below
        rows = tuple((divergence,) * len(e.completion_ids) for e in batch.examples)
        if stepped:
            batch.steps += 1
            # What the examples say, not what they are called: ids differ in any two logs.
            said = [msgspec.structs.replace(e, correction="", sample="") for e in batch.examples]
            self._weights = _digest(self._weights, msgspec.json.encode(said))
            self._moments = _digest(self._moments, self._weights.encode())
        return StepReport(
            stepped=stepped,
            loss=divergence,
            divergence=divergence,
            grad_norm=1.0,
            advantages=rows,
            divergences=rows,
        )

    def weights(self) -> str:
        """A digest that updates move."""
        return self._weights

    def optimiser_state(self) -> str:
        """Likewise."""
        return self._moments

    def snapshot(self) -> tuple[str, str]:
        """Both digests: they are the state."""
        return self._weights, self._moments

    def restore(self, snapshot: tuple[str, str]) -> None:
        """Back to both."""
        self._weights, self._moments = snapshot

    def save(self, file: Path) -> None:
        """Both digests, as JSON."""
        file.write_bytes(msgspec.json.encode(self.snapshot()))

    def load(self, file: Path) -> None:
        """What `save` wrote; ReplayError where it is something else."""
        try:
            self.restore(msgspec.json.decode(file.read_bytes(), type=tuple[str, str]))
        except (OSError, msgspec.DecodeError) as error:
            raise ReplayError(f"{file}: {error}") from error

    def export(self, folder: Path) -> None:
        """One file with the digest: there are no tensors."""
        (folder / "adapter.json").write_bytes(msgspec.json.encode({"weights": self._weights}))

    def norms(self) -> dict[str, float]:
        """None: there are no layers."""
        return {}

    def reset(self) -> None:
        """As before any update."""
        self._weights, self._moments = _digest("", b"weights"), _digest("", b"moments")

    def close(self) -> None:
        """Remember that it was called."""
        self.closed = True


class _Batch:
    def __init__(self, examples: tuple[Example, ...]) -> None:
        self.examples = examples
        self.steps = 0


def _digest(before: str, data: bytes) -> str:
    return hashlib.sha256(before.encode() + data).hexdigest()


class ScriptedUI:
    """A user made of lists: what to type, and how to decide; records everything that it is shown."""

    def __init__(self, inputs: Iterable[str] = (), answers: Iterable[Answer] = ()) -> None:
        self.inputs = list(inputs)
        self.answers = list(answers)
        self.questions: list[Question] = []
        self.events: list[Record] = []
        self.messages: list[str] = []
        self.progressed: list[str] = []
        self.streamed = ""

    def next_input(self, session: Session) -> str | None:
        """The next input, None after the last."""
        return self.inputs.pop(0) if self.inputs else None

    def review(self, question: Question, session: Session) -> Answer:
        """The next answer, allow after the last."""
        self.questions.append(question)
        return self.answers.pop(0) if self.answers else Answer(verdict="allow")

    def event(self, record: Record, session: Session) -> None:
        """Keep it."""
        self.events.append(record)

    def text(self, piece: str) -> None:
        """Keep it."""
        self.streamed += piece

    def progress(self, label: str, done: int, total: int) -> None:
        """Keep what it is called."""
        self.progressed.append(label)

    def message(self, text: str) -> None:
        """Keep it."""
        self.messages.append(text)


def open_scripted(
    folder: Path,
    turns: Iterable[Call | str] = (),
    *,
    ui: ScriptedUI | None = None,
    plugins: Mapping[str, object] | None = None,
    config: Config | None = None,
    policy: ScriptedPolicy | None = None,
    log: Path | None = None,
    resume: bool = False,
    checkpoints: Path | None = None,
) -> Session:
    """A session on a scripted policy in `folder`, with `plugins` (name → object) besides the built-ins."""
    config = config or Config(model={"name": "test:policy"})
    loaded = Plugins(config.plugins, installed=False)
    loaded.add(_PolicyPlugin(policy or ScriptedPolicy(turns)), "test-policy")
    for name, plugin in (plugins or {}).items():
        loaded.add(plugin, name)
    folder.mkdir(parents=True, exist_ok=True)
    where = log or folder.parent / f"{folder.name}.jsonl"
    return open_session(
        config,
        loaded,
        workspace=folder,
        log=where,
        resume=resume,
        ui=ui or ScriptedUI(),
        checkpoints=checkpoints,
    )


class _PolicyPlugin:
    def __init__(self, policy: ScriptedPolicy) -> None:
        self._policy = policy

    @hookimpl
    def make_policy(self, model: str, options: Mapping[str, object]) -> Callable[..., ScriptedPolicy] | None:
        def build(progress: Progress) -> ScriptedPolicy:
            return self._policy

        return build if model == "test:policy" else None
