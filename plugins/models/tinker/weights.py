"""The weights on the server, as a function of what was done to them.

Bits are not at hand, so weights are named by what they were made from: sha256 over the base model, the
adapter as its seed makes it, and, step by step, the batch that was stepped on. Where it is not known any more
what the server holds, as a request failed or was interrupted, the client is given up, and the next use makes
one from the last saved state. So an update that was cut off leaves nothing behind, whether the server had
carried it out or not.
"""

import hashlib
import threading
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from continualcode.core.errors import ModelUnavailable, UpdateError
from continualcode.plugins.models.tinker.connection import Connection, NotThere
from continualcode.plugins.models.tinker.options import Options

KEPT_SAMPLERS = 4
"""How many sampling clients are held on to: of the weights at hand, of those before, and of teachers."""


@dataclass(frozen=True)
class State:
    """Weights and the optimiser's moments by name (empty: none), and where the server keeps both."""

    weights: str
    moments: str
    path: str | None


class Weights:
    """The adapter of one session. Not thread-safe. `base` names the base model, by content."""

    def __init__(self, connection: Connection, name: str, base: str, options: Options) -> None:
        self._connection = connection
        self._name = name
        self._options = options
        adapter = options.adapter
        self._initial = _digest(base, f"{adapter.rank} {adapter.targets} {adapter.seed}")
        self._no_moments = _digest(self._initial, "no moments")
        self._client: Any = None
        self._lost = ""
        self._samplers: dict[str, Any] = {}
        self._saved: dict[str, State] = {}
        self._now = State(self._initial, "", None)

    @property
    def digest(self) -> str:
        """The name of the weights."""
        return self._now.weights

    @property
    def moments(self) -> str:
        """The name of the optimiser's state."""
        return self._now.moments or self._no_moments

    @property
    def path(self) -> str | None:
        """Where the server keeps them; None: nowhere yet, or they are those before any update."""
        known = self._saved.get(self._name_of_state(self._now))
        return known.path if known else None

    # -- Clients -------------------------------------------------------------------------------------

    def sampler(self, cancelled: threading.Event | None = None) -> Any:
        """A client that samples from the weights at hand."""
        digest = self._now.weights
        if digest == self._initial:
            return self.base_sampler(cancelled)
        if digest not in self._samplers:
            training = self.training()
            self._keep(
                digest, self._ask("sample from new weights", training.save_weights_and_get_sampling_client)
            )
        return self._samplers[digest]

    def base_sampler(self, cancelled: threading.Event | None = None) -> Any:
        """A client that samples from the base model, which is what an untrained adapter is."""
        return self.other_sampler(self._name, cancelled)

    def other_sampler(self, name: str, cancelled: threading.Event | None = None) -> Any:
        """A client that samples from a base model or from a checkpoint (`tinker://…`)."""
        if name not in self._samplers:
            what = "model_path" if name.startswith("tinker://") else "base_model"
            made = self._connection.ask(
                f"sample from {name}",
                lambda: self._connection.service.create_sampling_client(**{what: name}),
                cancelled,
            )
            self._keep(name, made)
        return self._samplers[name]

    def kept_sampler(self, digest: str) -> Any:
        """A client for the weights called `digest`, at hand or before. UpdateError where they are gone."""
        if digest == self._initial:
            return self.base_sampler()
        if digest == self._now.weights:
            return self.sampler()
        if digest in self._samplers:
            return self._samplers[digest]
        for state in self._saved.values():
            if state.weights == digest and state.path is not None:
                client = self._from_state(state.path, optimiser=False)
                self._keep(digest, self._ask("sample", client.save_weights_and_get_sampling_client))
                return self._samplers[digest]
        raise UpdateError(f"frozen teacher {digest[:12]}: no such weights were kept in this session")

    def training(self) -> Any:
        """A client that trains the weights at hand; made, if need be, from where they are kept.

        Raises ModelUnavailable where they are kept nowhere: what made them failed, or could not be kept.
        """
        if self._client is None:
            name, path = self._name_of_state(self._now), self.path
            if path is not None:
                self._client = self._from_state(path, optimiser=True)
            elif name == self._name_of_state(State(self._initial, "", None)):
                self._client = self._connection.ask(
                    f"train {self._name}",
                    lambda: self._connection.service.create_lora_training_client(
                        self._name, rank=self._options.rank, seed=self._options.adapter_seed
                    ),
                )
            else:
                raise ModelUnavailable(
                    f"{self._connection.url} does not keep the weights {self._now.weights[:12]} of this "
                    f"session{self._lost}: end it, and cc run --resume makes them again from the log"
                )
        return self._client

    # -- Moving --------------------------------------------------------------------------------------

    def step(self, what: str, batch: bytes, data: Sequence[Any], loss: Any, adam: Any) -> Any:
        """One gradient and one step, sent together; the pass's output. Whatever fails: weights unknown.

        Whoever steps has a state to go back to (`snapshot`), as the engine does.
        """
        client = self.training()
        output, stepped = self._ask(
            what, lambda: (client.forward_backward(list(data), loss), client.optim_step(adam))
        )
        before = self._now
        self._now = State(
            _digest(before.weights, batch), _digest(f"{before.moments} {before.weights}", batch), None
        )
        return output, stepped

    def look(self, what: str, data: Sequence[Any]) -> Any:
        """One forward pass; nothing moves."""
        client = self.training()
        return self._ask(what, lambda: client.forward(list(data), "cross_entropy"))

    def forget_moments(self) -> None:
        """A new optimiser on the weights at hand."""
        if not self._now.moments:
            return
        path = self.path or self.snapshot().path
        assert path is not None  # weights with moments are not those before any update
        self._client = None
        client = self._from_state(path, optimiser=False)
        self._now = State(self._now.weights, "", None)
        self._client = client

    # -- Keeping -------------------------------------------------------------------------------------

    def snapshot(self) -> State:
        """The state at hand, kept on the server if it is not the one before any update."""
        name = self._name_of_state(self._now)
        if name == self._name_of_state(State(self._initial, "", None)):
            return self._now
        if name not in self._saved:
            client = self.training()
            ttl = None if self._options.keep_days is None else int(self._options.keep_days * 86400)
            label = f"cc-{self._now.weights[:12]}-{uuid.uuid4().hex[:8]}"
            saved = self._ask("keep weights", lambda: client.save_state(label, ttl_seconds=ttl))
            self._saved[name] = State(self._now.weights, self._now.moments, str(saved.path))
        return self._saved[name]

    def restore(self, state: State) -> None:
        """The state that `snapshot` gave. Asks the server for nothing: the next use does."""
        self._client = None
        self._now = State(state.weights, state.moments, None)
        if state.path is not None:
            self._saved[self._name_of_state(state)] = state

    def know(self, states: Iterable[tuple[str, str, str]]) -> None:
        """Weights and moments, by name, that an earlier session kept at a path: for a frozen teacher."""
        for weights, moments, path in states:
            state = State(weights, "" if moments == self._no_moments else moments, path)
            self._saved.setdefault(self._name_of_state(state), state)

    def take(self, weights: str, moments: str, path: str) -> bool:
        """A state kept earlier, by the names it was logged with; False if it is gone, and nothing changed."""
        state = State(weights, "" if moments == self._no_moments else moments, path)
        try:
            client = self._from_state(path, optimiser=True)
        except UpdateError:
            return False
        self.restore(state)
        self._client = client
        return True

    def reset(self) -> None:
        """The adapter as its seed makes it."""
        self.restore(State(self._initial, "", None))

    def _from_state(self, path: str, *, optimiser: bool) -> Any:
        """A client from a saved state. Raises UpdateError where the server does not have it any more."""
        service = self._connection.service
        make = (
            service.create_training_client_from_state_with_optimizer
            if optimiser
            else service.create_training_client_from_state
        )
        try:
            return self._ask(f"load {path}", lambda: make(path))
        except NotThere as gone:
            raise UpdateError(
                f"the checkpoint {path} is not on the server any more: end the session, and cc run --resume "
                "makes its weights again from the log (model.keep_days says how long checkpoints are kept)"
            ) from gone

    def _ask(self, what: str, submit: Callable[[], Any]) -> Any:
        """Of the training client, which is not trusted after a failure: what it did is not known then."""
        try:
            return self._connection.ask(what, submit)
        except BaseException as error:
            self._client, self._lost = None, f" ({error})"
            raise

    def _keep(self, name: str, sampler: Any) -> None:
        self._samplers[name] = sampler
        spare = [kept for kept in self._samplers if kept not in (name, self._name, self._now.weights)]
        for kept in spare[: max(0, len(self._samplers) - KEPT_SAMPLERS)]:
            del self._samplers[kept]

    @staticmethod
    def _name_of_state(state: State) -> str:
        return f"{state.weights} {state.moments}"


def _digest(before: str, what: str | bytes) -> str:
    data = what.encode() if isinstance(what, str) else what
    return hashlib.sha256(before.encode() + data).hexdigest()
