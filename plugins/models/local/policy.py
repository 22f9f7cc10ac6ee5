"""A model on this machine as a `Policy`: a base model that never changes and a LoRA adapter that learns."""

import gc
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import torch

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
from continualcode.core.errors import UsageError
from continualcode.core.protocols import Progress
from continualcode.plugins.models.identity import silent
from continualcode.plugins.models.language import opening
from continualcode.plugins.models.language.families import Language
from continualcode.plugins.models.local import loading, saved, store
from continualcode.plugins.models.local.adapter import Adapter
from continualcode.plugins.models.local.alike import Likeness
from continualcode.plugins.models.local.batch import Batch, Snapshot
from continualcode.plugins.models.local.choices import probabilities
from continualcode.plugins.models.local.constraint import Constraint
from continualcode.plugins.models.local.demonstration import Demonstrator
from continualcode.plugins.models.local.int8 import refuse_int8
from continualcode.plugins.models.local.learner import Learner
from continualcode.plugins.models.local.pieces import BASE, PIECE, PIECE_ON_GPU, Pieces
from continualcode.plugins.models.local.prefix import Prefix, split
from continualcode.plugins.models.local.sampler import Sampler
from continualcode.plugins.models.local.shelf import Shelf
from continualcode.plugins.models.local.usual import Usual


class LocalPolicy:
    """The model called `name` (see `store.resolve`); `settings` is the table `[model]`. Not thread-safe."""

    def __init__(self, name: str, settings: Mapping[str, Any], progress: Progress | None = None) -> None:
        given = options(loading.Options, settings, "model")
        device = loading.choose_device(given.device)
        dtype = loading.choose_dtype(given.dtype, device)
        cache = Path(given.cache).expanduser() if given.cache else store.default_cache()
        files = store.resolve(name, cache=cache, progress=progress)
        loading.be_deterministic(device, given.threads)
        model, tokenizer = loading.load(name, files.folder, dtype, device, cache)
        parameters = sum(weight.numel() for weight in model.parameters())
        self._language = Language(tokenizer, tool_list=given.tool_list, parameters=parameters)
        self._codec = codec = self._language.codec
        self._opens = given.opening
        self._adapter = Adapter(model, given.adapter, self._language.header)
        context = min(given.context, self._adapter.context)
        graphs = device.type == "cuda" and given.graphs and self._adapter.capture(context)
        self._constraint = Constraint(tokenizer, self._adapter.vocabulary, self._language.ends)
        begins = self._language.header[0] if self._language.header else None
        size = PIECE_ON_GPU if device.type == "cuda" else PIECE
        pieces = Pieces(loading.room_for_pieces(model), begins, size)
        self._stack = loading.fingerprint(device, dtype) | self._language.stack
        if graphs:
            self._stack |= {"graphs": "true"}
        kept = files.folder.parent / ".read" if files.folder.parent == cache else None
        self._shelf = Shelf(kept, pieces, {**self._stack, "base": files.base}, device)
        self._prefix = Prefix(self._adapter, pieces, device, self._shelf)
        self._learner = Learner(self._adapter, self._constraint, self._prefix, device)
        quick = given.sampling_weights == "int8"
        if quick:
            refuse_int8(device, dtype, self._adapter.is_written)
            told = progress or silent
            self._adapter.pack(lambda done, of: told(f"packing {name} in int8 for sampling", done, of))
            self._stack = {**self._stack, "sampling_weights": given.sampling_weights}
        self._sampler = Sampler(self._adapter, self._prefix, codec, self._constraint, context, quick)
        neutral = Prefix(self._adapter, pieces, device, self._shelf)
        self._demonstrator = Demonstrator(self._adapter, self._prefix, neutral, codec, self._constraint)
        self._usual = Usual(self._shelf)
        self._likeness = Likeness(self._adapter, self._prefix, self._shelf)
        self._weights: str | None = None
        self._info = ModelInfo(
            name=name,
            base=files.base,
            tokenizer=files.tokenizer,
            template=files.template,
            adapter=given.adapter,
            dtype=self._stack["dtype"],
            context=context,
        )

    @property
    def model(self) -> ModelInfo:
        """Which model this is, by content."""
        return self._info

    @property
    def capabilities(self) -> frozenset[Capability]:
        """Every one there is but a teacher of other weights: the logits are at hand, and so are its own."""
        return frozenset(get_args(Capability)) - {"teacher:other"}

    @property
    def stack(self) -> Mapping[str, str]:
        """Versions, device, dtype, threads: same stack, same bits."""
        return self._stack

    # -- The model family's language -----------------------------------------------------------------

    def render(self, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> tuple[int, ...]:
        """The prompt's token ids; see `families.Language.render`."""
        return self._language.render(messages, tools)

    def grammar(self, tools: Sequence[ToolSpec]) -> str | None:
        """The grammar of one turn. Raises UsageError naming the tool whose schema cannot be enforced."""
        if self._opens:
            return opening.grammar(self._language, tools)
        grammar = self._language.grammar(tools)
        if grammar is not None and (fault := self._constraint.fault(grammar)) is not None:
            for tool in tools:
                alone = self._language.grammar([tool])
                if alone is not None and (own := self._constraint.fault(alone)) is not None:
                    raise UsageError(f"the schema of tool {tool.name!r} cannot be made into a grammar: {own}")
            raise UsageError(f"the tools' schemas cannot be made into one grammar: {fault}")
        return grammar

    def format_call(self, call: Call) -> str:
        """A call as this family would write it."""
        return self._language.format_call(call)

    def parse(self, sample: Sample, tools: Sequence[ToolSpec]) -> ParsedTurn:
        """Read a completion; never raises."""
        return self._language.parse(sample, tools)

    def count_tokens(self, text: str) -> int:
        """How many tokens `text` is, alone."""
        return self._codec.count(text)

    def truncate(self, text: str, tokens: int) -> str:
        """`text` cut in the middle to at most `tokens` tokens, the cut marked; as it is if it fits."""
        return self._codec.truncate(text, tokens)

    def pieces(self, token_ids: Sequence[int]) -> tuple[str, ...]:
        """Each token's own text; joined, they are the text of all of them."""
        return self._codec.pieces(token_ids)

    # -- Sampling ------------------------------------------------------------------------------------

    def sample(
        self,
        prompt_ids: Sequence[int],
        grammar: str | None,
        params: SamplingParams,
        on_text: Callable[[str], None] | None = None,
        cancelled: threading.Event | None = None,
    ) -> Sample:
        """Draw one completion; see `sampler.Sampler.sample`."""
        sample = self._sampler.sample(prompt_ids, grammar, params, self.weights(), on_text, cancelled)
        self._shelf.keep_beginning(prompt_ids)
        return sample

    def tool_probabilities(
        self, prompt_ids: Sequence[int], grammar: str | None, tools: Sequence[ToolSpec]
    ) -> dict[str, float]:
        """P(the turn begins as a call of that tool), by canonical spelling; sums to at most 1."""
        self._sampler.room(prompt_ids)
        self._prefix.start(prompt_ids, split(self._adapter, prompt_ids, self.weights()), exact=False)
        return probabilities(
            [tool.name for tool in tools],
            prompt_ids,
            grammar,
            format_call=self.format_call,
            codec=self._codec,
            constraint=self._constraint,
            prefix=self._prefix,
        )

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
        """What the teacher would do instead; drawn by live weights for a live teacher, else by the base."""
        most = min(max_tokens, self._sampler.room(teacher_ids))
        weights = self.weights() if teacher == "live" else BASE

        def drawn() -> Sample:
            return self._demonstrator.demonstrate(
                teacher_ids, neutral_ids, grammar, guidance=guidance, max_tokens=most, weights=weights
            )

        if weights == BASE and guidance == 1.0:  # else it depends on more than the prompt
            return self._usual.call(teacher_ids, grammar, most, drawn)
        return drawn()

    def nearness(self, wordings: Sequence[Sequence[int]], others: Sequence[Sequence[int]]) -> list[float]:
        """How alike the base model finds prompts; see `alike`."""
        return self._likeness.nearness(wordings, others)

    # -- Learning ------------------------------------------------------------------------------------

    def prepare(self, examples: Sequence[Example], objective: Objective, optimiser: Optimiser) -> Batch:
        """Score the teacher once and return a batch to step on."""
        return self._learner.prepare(examples, objective, optimiser)

    def step(self, batch: Batch, *, stop_below: float) -> StepReport:
        """Measure the batch; take one step if more than `stop_below` nats are left to learn."""
        self._weights = None
        return self._learner.step(batch, stop_below=stop_below)

    # -- Weights -------------------------------------------------------------------------------------

    def weights(self) -> str:
        """Content digest of the adapter's weights; kept until something here changes them."""
        if self._weights is None:
            self._weights = self._learner.weights()
        return self._weights

    def optimiser_state(self) -> str:
        """Content digest of the optimiser's state."""
        return self._learner.optimiser_state()

    def snapshot(self) -> Snapshot:
        """Weights and optimiser as they are now."""
        return self._learner.snapshot()

    def restore(self, snapshot: Snapshot) -> None:
        """Go back to `snapshot`, exactly."""
        self._weights = None
        self._learner.restore(snapshot)

    def save(self, file: Path) -> None:
        """Write weights and optimiser; see `saved`."""
        saved.save(self._learner.snapshot(), file)

    def load(self, file: Path) -> None:
        """Take what `save` wrote, exactly."""
        self.restore(saved.load(file, self._stack["device"]))

    def export(self, folder: Path) -> None:
        """Write the adapter as a folder that peft loads."""
        saved.export(self._adapter, folder)

    def norms(self) -> dict[str, float]:
        """‖ΔW‖ (Frobenius) by layer."""
        spec = self._adapter.spec
        return saved.norms(self._adapter.snapshot(), spec.alpha / spec.rank)

    def reset(self) -> None:
        """The weights before any update, no optimiser state."""
        self._weights = None
        self._learner.reset()

    def close(self) -> None:
        """Let go of the model; nothing here can be used afterwards."""
        del (
            self._sampler,
            self._demonstrator,
            self._usual,
            self._likeness,
            self._prefix,
            self._learner,
            self._adapter,
            self._constraint,
        )
        gc.collect()
        if self._stack["device"] == "cuda":
            torch.cuda.empty_cache()
