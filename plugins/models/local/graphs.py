"""Forward passes of fixed shapes on a GPU: captured once as CUDA graphs, a launch each from then on.

A pass is two thousand kernels of a few microseconds, and launching them one by one takes many times as long
as they do (benchmarks/speed). So what is read and spoken goes through passes of `SIZES` tokens after at most
a power of two of others, and the steps of an update through one whose backward pass is captured as well.
What is too short for its pass is filled up with tokens that no other sees. Which pass it is depends on how
many tokens there are and nothing else, so that the bits are a function of tokens and weights here as well,
though not the same function as without graphs: `LocalPolicy.stack` says which.
"""

import warnings
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from continualcode.plugins.models.local.network import Layer, Linear, Parts, Written
from continualcode.plugins.models.local.packing import Past
from continualcode.plugins.models.local.pieces import Layers

SIZES = (1, 8, 128, 512)
"""How many tokens a pass that reads or speaks has: one, a draft, a piece, a chunk."""

LEAST = 1024
"""How many tokens a pass has room for at least, its own among them; then powers of two."""

CHUNK = 256
"""Attention of a few queries looks at so many keys at a time: side by side they keep a GPU busy."""

STEP, STEP_AFTER = 64, 512
"""A step's numbers of tokens, and of those before, are the next multiples of these."""

STEPS = 4
"""How many steps are kept: each holds what its backward pass needs."""


class Slab:
    """Keys and values of one sequence, [layers, 2, 1, heads, room, width]. kept: how many tokens count."""

    def __init__(self, empty: Tensor) -> None:
        """`empty`: of that shape, with no room."""
        self.kept = 0
        self.held = empty

    def reserve(self, end: int) -> None:
        """Have room for `end` tokens."""
        if self.held.shape[-2] < end:
            grown = max(LEAST, end + end // 2)
            longer = self.held.new_zeros((*self.held.shape[:-2], grown, self.held.shape[-1]))
            longer[..., : self.held.shape[-2], :] = self.held
            self.held = longer

    def write(self, start: int, layers: Layers) -> None:
        """Put keys and values at the tokens from `start` on."""
        self.put(start, torch.stack([torch.stack(pair) for pair in layers]))

    def put(self, start: int, new: Tensor) -> None:
        """The same, in one tensor like this one."""
        end = start + new.shape[-2]
        self.reserve(end)
        self.held[..., start:end, :] = new
        self.kept = start

    def copied(self, start: int, end: int) -> Layers:
        """Keys and values of the tokens from `start` to `end`."""
        copy = self.held[..., start:end, :].clone()
        return tuple((pair[0], pair[1]) for pair in copy)


class Graphs:
    """The passes of one model. adapted: says whether the adapter is on; factors: the adapter's.

    first: the first layer that it is on. context: how many tokens a sequence has at most. captured: False
    runs the same passes without a GPU, for tests.
    """

    def __init__(
        self,
        written: Written,
        factors: Sequence[torch.nn.Parameter],
        first: int,
        adapted: Callable[[], bool],
        context: int,
        captured: bool = True,
    ) -> None:
        self._written = written
        self._factors = factors
        self._first = first
        self._adapted = adapted
        self._rounded = [factor.detach().to(written.dtype, copy=True) for factor in factors]
        self._reader = Written(_with(written.parts, factors, self._rounded), adapted)
        self._captured = captured
        self._most = _multiple(context, CHUNK) + SIZES[-1]
        self._past: Tensor | None = None  # of the sequence that a pass is in: all passes read it here
        self._passes: dict[tuple[int, int, bool], _Pass] = {}
        self._steps: OrderedDict[tuple[int, int, int], Any] = OrderedDict()
        self._open: list[tuple[int, int]] = []  # shapes of this step's passes: gradients are to come
        self._pool: Any = torch.cuda.graph_pool_handle() if captured else None
        if captured:  # on a stream of their own, which autograd waits for, and says so
            warnings.filterwarnings("ignore", "The AccumulateGrad node's stream", UserWarning)

    def slab(self) -> Slab:
        """Room for a sequence."""
        return Slab(self._empty(0))

    def hidden(self, ids: Sequence[int], slab: Slab) -> Tensor:
        """The last layer's hidden states [n, width] of tokens after those kept in `slab`, added to it.

        They are good until the next pass.
        """
        before, count = slab.kept, len(ids)
        size = next(size for size in SIZES if size >= count)
        one = self._pass(size, min(self._most, _power(before + size)))
        one.ids[:count] = torch.tensor(ids, device=one.ids.device)
        one.before.fill_(before)
        one.past[..., :before, :] = slab.held[..., :before, :]
        one.run()
        slab.put(before, one.new[..., :count, :])
        return one.hidden[:count]

    def learned(self, below: Tensor, places: Tensor, past: Past, mask: Tensor) -> Tensor:
        """The last layer's hidden states [n, width], from those of the layers that nothing trains.

        With a gradient where one is wanted. A step's passes may be of one shape, so each is one of its own
        until `stepped`: a second one through the same buffers would leave the first another's gradient.
        """
        count, before = len(below), past.length
        size, room = _multiple(count, STEP), _multiple(before, STEP_AFTER)
        filled = self._empty(room)[self._first :]
        for number in range(len(filled)):
            for which, held in enumerate(past.of(self._first + number) if before else ()):
                filled[number, which, ..., :before, :] = held
        sees = torch.eye(size, dtype=torch.bool, device=mask.device)
        sees = functional.pad(sees, (room, 0))
        sees[:count, :before] = mask[:, :before]
        sees[:count, room : room + count] = mask[:, before:]
        more = size - count
        given = (functional.pad(below, (0, 0, 0, more)), functional.pad(places, (0, more)), filled, sees)
        hidden: Tensor = self._step((size, room, self._open.count((size, room))), given)(*given)
        if torch.is_grad_enabled():
            self._open.append((size, room))
        return hidden[:count]

    def stepped(self) -> None:
        """The gradients of the passes since the last step are there, or not wanted."""
        self._open.clear()

    def _empty(self, room: int) -> Tensor:
        parts = self._written.parts
        key = parts.layers[0].k.weight
        heads = key.shape[0] // parts.width
        return key.new_zeros((len(parts.layers), 2, 1, heads, room, parts.width))

    def _pass(self, size: int, room: int) -> "_Pass":
        key = size, room, self._adapted()
        if key not in self._passes:
            self._past = self._empty(self._most) if self._past is None else self._past
            made = _Pass(self._reader, size, self._past[..., : room - size, :], self._round)
            if self._captured:
                made.capture(self._pool)
            self._passes[key] = made
        return self._passes[key]

    @torch.no_grad()
    def _round(self) -> None:
        """Have the factors as they are now in the precision of the passes: once in each, for all layers."""
        if self._adapted():
            lists: Any = torch  # what works on lists has no types
            lists._foreach_copy_(self._rounded, [factor.detach() for factor in self._factors])

    def _step(self, key: tuple[int, int, int], given: tuple[Tensor, ...]) -> Any:
        """The pass of that size, after so much room, that has so many others of this shape before it."""
        if key not in self._steps:
            while len(self._steps) >= STEPS:
                self._steps.popitem(last=False)
            made: Any = _Step(self._written, self._factors, self._first)
            if self._captured:
                with torch.enable_grad(), warnings.catch_warnings():
                    warnings.filterwarnings("ignore", "Attempting to run cuBLAS", UserWarning)  # and it does
                    samples = tuple(tensor.clone() for tensor in given)
                    made = torch.cuda.make_graphed_callables(made, samples, num_warmup_iters=1)
            self._steps[key] = made
        self._steps.move_to_end(key)
        return self._steps[key]


class _Pass:
    """All layers on `size` tokens after at most as many as `past` has room for: `before`, a number.

    hidden [size, width] and new [layers, 2, 1, heads, size, width] are what `run` gives. begin: comes first.
    """

    def __init__(self, written: Written, size: int, past: Tensor, begin: Callable[[], None]) -> None:
        device = past.device
        self.past = past
        self.ids = torch.zeros(size, dtype=torch.long, device=device)
        self.before = torch.zeros(1, dtype=torch.long, device=device)
        self._written = written
        self._begin = begin
        self._own = torch.ones((size, size), dtype=torch.bool, device=device).tril()
        self._places = torch.arange(max(size, past.shape[-2]), device=device)
        self._graph: torch.cuda.CUDAGraph | None = None
        self.hidden = self.new = past  # until it has run

    @torch.no_grad()
    def run(self) -> None:
        """Compute `hidden` and `new` from `ids`, `before` and `past`."""
        if self._graph is not None:
            self._graph.replay()
            return
        self._begin()
        memory = _Memory(self.past)
        count, room = len(self.ids), self.past.shape[-2]
        old = (self._places[:room] < self.before).expand(count, room)
        layers, embedded = range(len(self.past)), self._written.embedded(self.ids)
        sees, places = torch.cat([old, self._own], dim=1), self.before + self._places[:count]
        usual, self._written.attention = self._written.attention, in_chunks
        try:
            self.hidden = self._written.hidden(embedded, places, memory, sees, layers)
        finally:
            self._written.attention = usual
        self.new = torch.stack(memory.new)

    def capture(self, pool: Any) -> None:
        """From now on `run` plays what it did once."""
        cuda: Any = torch.cuda  # has no types for this
        aside = cuda.Stream()
        aside.wait_stream(cuda.current_stream())
        with cuda.stream(aside):  # what is only done the first time
            self.run()
        cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with cuda.graph(graph, pool=pool):
            self.run()
        self._graph = graph


class _Memory:
    """A `Memory` that is full: new keys and values go behind it and are told apart in `new`."""

    def __init__(self, past: Tensor) -> None:
        self.new: list[Tensor] = []
        self._past = past
        self.length = past.shape[-2]

    def update(self, keys: Tensor, values: Tensor, layer: int) -> tuple[Tensor, Tensor]:
        """See `Memory`."""
        new = torch.stack([keys, values])
        self.new.append(new)
        whole = torch.cat([self._past[layer], new], dim=-2)
        return whole[0], whole[1]


class _Step(torch.nn.Module):
    """The layers from `first` on as a module that has the adapter's factors: torch captures modules."""

    def __init__(self, written: Written, factors: Sequence[torch.nn.Parameter], first: int) -> None:
        super().__init__()
        self._factors = torch.nn.ParameterList(factors)
        self._written = written
        self._first = first

    def forward(self, below: Tensor, places: Tensor, past: Tensor, sees: Tensor) -> Tensor:
        """See `Graphs.learned`."""
        pairs = [(pair[0], pair[1]) for pair in past]
        layers = range(self._first, self._first + len(pairs))
        lower = [pairs[0]] * self._first  # never asked for
        return self._written.hidden(below, places, Past(tuple(lower + pairs)), sees, layers)


def _with(parts: Parts, factors: Sequence[Tensor], others: Sequence[Tensor]) -> Parts:
    """The network with `others` in place of the adapter's factors."""
    instead = {id(factor): other for factor, other in zip(factors, others, strict=True)}

    def changed(one: Any) -> Any:
        if isinstance(one, Linear) and one.a is not None and one.b is not None:
            return one._replace(a=instead[id(one.a)], b=instead[id(one.b)])
        return one

    return parts._replace(layers=[Layer(*map(changed, layer)) for layer in parts.layers])


def in_chunks(q: Tensor, keys: Tensor, values: Tensor, seen: Tensor | None, scale: float) -> Tensor:
    """`network.attention` over `CHUNK` keys at a time, and what was found put together by its weight.

    As flash-decoding does it (Dao et al. 2023). A chunk that is not seen counts for nothing, but has a value.
    """
    _, heads, n, width = q.shape
    assert seen is not None and keys.shape[2] % CHUNK == 0  # so are passes
    chunks = keys.shape[2] // CHUNK
    keys, values = (x[0].view(heads, chunks, CHUNK, width).transpose(0, 1) for x in (keys, values))
    bias = seen.clamp(min=-30000.0).view(n, chunks, CHUNK).transpose(0, 1)
    found, total = _attended(
        q.expand(chunks, -1, -1, -1), keys, values, bias[:, None].expand(-1, heads, -1, -1), scale
    )
    share = total[..., :n].softmax(dim=0)[..., None]
    return (found * share).sum(dim=0, keepdim=True).to(q.dtype)


def _attended(q: Tensor, keys: Tensor, values: Tensor, bias: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """What is found, and the logarithm of the sum of the weights [batch, heads, n or more], in float32."""
    if q.is_cuda:
        aten: Any = torch.ops.aten
        both = aten._scaled_dot_product_efficient_attention(q, keys, values, bias, True, scale=scale)
        return both[0], both[1]
    scores = (q @ keys.transpose(-1, -2)).float() * scale + bias
    return scores.softmax(-1).to(q.dtype) @ values, scores.logsumexp(-1)


def _power(count: int) -> int:
    room = LEAST
    while room < count:
        room *= 2
    return room


def _multiple(count: int, of: int) -> int:
    return max(of, -(-count // of) * of)
