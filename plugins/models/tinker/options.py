"""The table `[model]` for models on a Tinker server."""

from typing import Annotated

import msgspec
from msgspec import Meta

from continualcode.core.data import AdapterSpec
from continualcode.plugins.models.language.families import ToolList


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What `tinker:NAME` can be told.

    url: of the server; None: TINKER_BASE_URL, else the hosted service. tokenizer: a folder or a Hugging Face
    id; None: NAME. context: tokens of a prompt and its completion together. opening: begin each turn as a
    call, as small models seldom do by themselves. tool_list: how the model is told of its tools. thinking:
    whether one that can is asked to reason first; it then begins its turns itself. distributions: whether the
    server tells the most probable tokens of a prompt; None: it is asked once. teacher: another model or a
    checkpoint (`tinker://…`) for `trainer.teacher = "other"`.

    timeout: seconds that one request may take. gone_after: seconds without a sign of the server after which
    it counts as gone. keep_days: how long checkpoints are kept on the server; None: for ever.
    """

    url: str | None = None
    tokenizer: str | None = None
    context: Annotated[int, Meta(ge=2)] = 32768
    rank: Annotated[int, Meta(ge=1)] = 32
    adapter_seed: int = 0
    opening: bool = True
    tool_list: ToolList = "auto"
    thinking: bool = False
    distributions: bool | None = None
    teacher: str | None = None
    timeout: Annotated[float, Meta(gt=0.0)] = 600.0
    gone_after: Annotated[float, Meta(gt=0.0)] = 8.0
    keep_days: Annotated[float, Meta(ge=1 / 24)] | None = None

    @property
    def adapter(self) -> AdapterSpec:
        """The adapter that the server makes: all linear layers, the unembedding among them, on all tokens."""
        return AdapterSpec(rank=self.rank, targets="server", seed=self.adapter_seed, acts_on="all")
