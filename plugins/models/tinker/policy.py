"""A model on a Tinker server as a `Policy`."""

import os.path
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

from continualcode.core.config import options
from continualcode.core.data import (
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
from continualcode.core.errors import ModelUnavailable, UpdateError, UsageError
from continualcode.core.learning_events import UpdateApplied
from continualcode.core.protocols import Progress
from continualcode.eventlog import Record
from continualcode.plugins.models.tinker import tokenizer as tokenizers
from continualcode.plugins.models.tinker.choices import spelled, summed
from continualcode.plugins.models.tinker.connection import Connection, Interrupted, Refused
from continualcode.plugins.models.tinker.events import CheckpointSaved
from continualcode.plugins.models.tinker.learner import Batch, Learner
from continualcode.plugins.models.tinker.options import Options
from continualcode.plugins.models.tinker.sdk import types
from continualcode.plugins.models.tinker.speech import Speech
from continualcode.plugins.models.tinker.usage import Usage
from continualcode.plugins.models.tinker.weights import State, Weights


class TinkerPolicy:
    """The base model called `name` on a server; `settings` is the table `[model]`. Not thread-safe.

    outcome: how the session ended, for the server to know.
    """

    tolerance = 0.05

    def __init__(self, name: str, settings: Mapping[str, Any], progress: Progress) -> None:
        given = options(Options, settings, "model")
        self._name, self._options, self._progress = name, given, progress
        self.outcome = "failed"
        self.usage = Usage()
        progress(f"looking for {name}", 0, 0)
        self._connection = Connection(given.url, timeout=given.timeout, gone_after=given.gone_after)
        tokenizer = tokenizers.load(given.tokenizer or name)
        self._speech = Speech(
            tokenizer, opens=given.opening, tool_list=given.tool_list, thinking=given.thinking
        )
        base, own, template = tokenizers.names(given.tokenizer or name, tokenizer)
        self._weights = Weights(self._connection, name, base, given)
        try:
            served = self._served()
            context = min(given.context, served.get(name) or given.context)
            if given.teacher is not None:
                self._check_teacher(given.teacher, tokenizer, served)
            self._tops = self._tells_distributions() if given.distributions is None else given.distributions
        except BaseException:
            self.close()
            raise
        self._learner = Learner(self._connection, self._weights, self._speech, self.usage, given.teacher)
        self._info = ModelInfo(
            name=f"tinker:{name}",
            base=base,
            tokenizer=own,
            template=template,
            adapter=given.adapter,
            dtype="server",
            context=context,
        )

    @property
    def model(self) -> ModelInfo:
        """Which model this is; weights that are not here are named by their name."""
        return self._info

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What this server can do: never whole distributions, masks, or teachers that average weights."""
        found: set[Capability] = {
            "sampled_logprobs",
            "demonstrations",
            "teacher:live",
            "teacher:base",
            "teacher:frozen",
            "teacher:completion",
        }
        if self._tops:
            found.add("topk_distribution")
        if self._options.teacher is not None:
            found.add("teacher:other")
        return frozenset(found)

    @property
    def stack(self) -> Mapping[str, str]:
        """The SDK and the server: what else numbers depend on is not known here."""
        own = {"tinker": version("tinker"), "server": self._connection.url}
        return own | self._speech.language.stack

    # -- The model family's language -----------------------------------------------------------------

    def render(self, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> tuple[int, ...]:
        """The prompt's token ids."""
        return self._speech.language.render(messages, tools)

    def grammar(self, tools: Sequence[ToolSpec]) -> str | None:
        """How a turn begins (`opening`): the server masks nothing."""
        return self._speech.grammar(tools)

    def format_call(self, call: Call) -> str:
        """A call as this family would write it."""
        return self._speech.language.format_call(call)

    def parse(self, sample: Sample, tools: Sequence[ToolSpec]) -> ParsedTurn:
        """Read a completion; never raises."""
        return self._speech.language.parse(sample, tools)

    def count_tokens(self, text: str) -> int:
        """How many tokens `text` is, alone."""
        return self._speech.codec.count(text)

    def truncate(self, text: str, tokens: int) -> str:
        """`text` cut in the middle to at most `tokens` tokens, the cut marked; as it is if it fits."""
        return self._speech.codec.truncate(text, tokens)

    def pieces(self, token_ids: Sequence[int]) -> tuple[str, ...]:
        """Each token's own text; joined, they are the text of all of them."""
        return self._speech.codec.pieces(token_ids)

    # -- Sampling ------------------------------------------------------------------------------------

    def sample(
        self,
        prompt_ids: Sequence[int],
        grammar: str | None,
        params: SamplingParams,
        on_text: Callable[[str], None] | None = None,
        cancelled: threading.Event | None = None,
    ) -> Sample:
        """Draw one completion; it arrives whole. Logprobs are at temperature 1, whatever it was drawn at."""
        try:
            drawn = self._draw(self._weights.sampler(cancelled), prompt_ids, grammar, params, cancelled)
        except Interrupted:
            return Sample(token_ids=(), logprobs=(), text="", stop="interrupted")
        if on_text is not None:
            on_text(drawn.text)
        return drawn

    def tool_probabilities(
        self, prompt_ids: Sequence[int], grammar: str | None, tools: Sequence[ToolSpec]
    ) -> dict[str, float]:
        """P(the turn begins as a call of that tool), by canonical spelling, scored in one batch."""
        begun, _ = self._speech.begun(prompt_ids, grammar)
        spellings = [spelled(tool.name, self._speech, begun[len(prompt_ids) :]) for tool in tools]
        sampler = self._weights.sampler()
        answers = self._connection.ask(
            "score the tools",
            lambda: [
                sampler.compute_logprobs(types.ModelInput.from_ints([*begun, *ids]))
                for ids in spellings
                if ids
            ],
        )
        self.usage.prompts += sum(len(answer) for answer in answers)
        self.usage.samplings += len(answers)
        return summed([tool.name for tool in tools], spellings, answers)

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
        """What the teacher would do instead, at temperature 0. Raises UpdateError for a guided one."""
        if guidance != 1.0:
            raise UpdateError(
                f"a guided demonstration (trainer.guidance {guidance:g}) needs whole distributions, which a "
                "Tinker server does not tell; train with trainer.guidance=1"
            )
        if teacher == "live":
            sampler = self._weights.sampler()
        elif teacher == "other" and self._options.teacher is not None:
            sampler = self._weights.other_sampler(self._options.teacher)
        else:
            sampler = self._weights.base_sampler()
        return self._draw(sampler, teacher_ids, grammar, SamplingParams(max_tokens=max_tokens), None)

    def _draw(
        self,
        sampler: Any,
        prompt_ids: Sequence[int],
        grammar: str | None,
        params: SamplingParams,
        cancelled: threading.Event | None,
    ) -> Sample:
        room = self._info.context - len(prompt_ids)
        if not prompt_ids or room < 1:
            raise UsageError(
                f"the prompt has {len(prompt_ids)} tokens; allowed are 1 to {self._info.context - 1}: it "
                f"shares a context of {self._info.context} with the completion (model.context). /clear "
                "starts afresh"
            )
        begun, head = self._speech.begun(prompt_ids, grammar)
        most = min(params.max_tokens, room)
        begun, head = begun[: len(prompt_ids) + most], min(head, most)
        ids, logprobs, clock = list(begun[len(prompt_ids) :]), list[float](), time.perf_counter()
        if most > head:
            wanted = types.SamplingParams(
                max_tokens=most - head,
                temperature=params.temperature,
                seed=params.seed,
                stop=list(self._speech.ends),
            )
            prompt = types.ModelInput.from_ints(begun)
            answer = self._connection.ask("sample", lambda: sampler.sample(prompt, 1, wanted), cancelled)
            drawn = answer.sequences[0]
            if drawn.logprobs is None or len(drawn.logprobs) != len(drawn.tokens):
                raise ModelUnavailable(f"{self._connection.url} gave tokens without their logprobs")
            ids += drawn.tokens
            logprobs += [min(0.0, float(logprob)) for logprob in drawn.logprobs]
            self.usage.prompts += len(begun)
            self.usage.cached += answer.prompt_cache_hit_tokens
            self.usage.sampled += len(drawn.tokens)
            self.usage.samplings += 1
        return self._speech.sample(head, ids, logprobs, time.perf_counter() - clock)

    # -- Learning ------------------------------------------------------------------------------------

    def prepare(self, examples: Sequence[Example], objective: Objective, optimiser: Optimiser) -> Batch:
        """Score the teacher once and return a batch to step on."""
        return self._learner.prepare(examples, objective, optimiser)

    def step(self, batch: Batch, *, stop_below: float) -> StepReport:
        """Measure the batch; take one step if more than `stop_below` nats are left to learn."""
        return self._learner.step(batch, stop_below=stop_below)

    # -- Weights -------------------------------------------------------------------------------------

    def weights(self) -> str:
        """The name of the weights: a digest of all that they were made from."""
        return self._weights.digest

    def optimiser_state(self) -> str:
        """Likewise of the optimiser's state."""
        return self._weights.moments

    def snapshot(self) -> State:
        """The state at hand, kept on the server."""
        return self._weights.snapshot()

    def restore(self, snapshot: State) -> None:
        """Go back to `snapshot`; the server is asked when the weights are next used."""
        self._weights.restore(snapshot)

    def reset(self) -> None:
        """The weights before any update, no optimiser state."""
        self._weights.reset()

    def checkpoint(self) -> str:
        """Keep the weights at hand on the server; where they are."""
        return self._weights.snapshot().path or ""

    def recall(self, records: Iterable[Record], weights: Sequence[str]) -> int:
        """Take the latest weights that the server still keeps; see `optional.Recalling`."""
        paths: dict[str, str] = {}
        moments: dict[str, str] = {}
        for record in records:
            if isinstance(record, CheckpointSaved):
                paths[record.weights] = record.path
            elif isinstance(record, UpdateApplied):
                moments[record.weights] = record.optimiser
        self._weights.know((digest, moments.get(digest, ""), path) for digest, path in paths.items())
        for count in range(len(weights), 0, -1):
            digest = weights[count - 1]
            if digest in paths:
                self._progress(f"loading the weights of update {count}", 0, 0)
                if self._weights.take(digest, moments[digest], paths[digest]):
                    return count
        return 0

    def close(self) -> None:
        """End the session on the server, with how it went here."""
        self._connection.close(self.outcome)

    # -- What there is -------------------------------------------------------------------------------

    def _served(self) -> dict[str, int | None]:
        """The models on the server, with their contexts. Raises ModelUnavailable where it lacks this one."""
        rest = self._connection.rest
        answer = self._connection.ask("say which models it has", lambda: rest().get_server_capabilities())
        models = {str(model.model_name): model.max_context_length for model in answer.supported_models}
        self._require(self._name, models)
        return models

    def _require(self, name: str, models: Mapping[str, Any]) -> None:
        if models and name not in models:
            listed = ", ".join(sorted(models))
            raise ModelUnavailable(f"{self._connection.url} has no model {name!r}; it has {listed}")

    def _tells_distributions(self) -> bool:
        """Whether the server tells the most probable tokens of a prompt: asked with two tokens."""
        sampler = self._weights.base_sampler()
        prompt = types.ModelInput.from_ints([self._speech.ends[0]] * 2)
        params = types.SamplingParams(max_tokens=1)
        try:
            answer = self._connection.ask(
                "tell the most probable tokens",
                lambda: sampler.sample(
                    prompt, 1, params, include_prompt_logprobs=True, topk_prompt_logprobs=2
                ),
            )
        except Refused:
            return False
        return bool(answer.topk_prompt_logprobs and answer.topk_prompt_logprobs[-1])

    def _check_teacher(self, teacher: str, own: Any, models: Mapping[str, Any]) -> None:
        """Refuse a teacher that the server does not have, or that reads other tokens."""
        name = teacher
        if teacher.startswith("tinker://"):
            info = self._connection.ask(
                f"say what {teacher} is",
                lambda: self._connection.rest().get_weights_info_by_tinker_path(teacher),
            )
            name = info.base_model
        else:
            self._require(teacher, models)
        if name != self._name:
            tokenizers.refuse_other(self._name, own, teacher, tokenizers.load(os.path.expanduser(name)))
