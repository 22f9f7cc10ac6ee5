"""A server of ours on loopback, a tokenizer, and sessions on both."""

import importlib.util
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from continualcode.core.config import Config
from continualcode.core.data import Call, SamplingParams, ToolSpec
from continualcode.core.plugins import Plugins
from continualcode.core.session import Session, open_session
from continualcode.core.testing import ScriptedUI
from continualcode.plugins.models.tinker import make_policy

if importlib.util.find_spec("tinker") is None:
    pytest.skip("the extra `tinker` is not installed", allow_module_level=True)

from tests.models.tinker.served import NAME, Served  # noqa: E402  # it needs the SDK

FEW: dict[str, Any] = {
    "name": "sdpo",
    "anchors": 0.0,
    "gate": False,
    "rehearsal": 0.0,
    "lr": 0.02,
    "max_steps": 3,
    "divergence_floor": 0.0,
}
"""A trainer for a tiny model: no anchors, which would be twenty requests more."""

MakePolicy: TypeAlias = Callable[..., Any]
Open: TypeAlias = Callable[..., Session]


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TINKER_API_KEY", "TINKER_BASE_URL", "TINKER_CREDENTIAL_CMD"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/nonexistent")


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory, make_tokenizer: Any) -> Path:
    """The folder of a tokenizer of the family `smollm`."""
    folder = tmp_path_factory.mktemp("tokenizer")
    make_tokenizer("smollm").save_pretrained(folder)
    return folder


@pytest.fixture
def served(tmp_path: Path, make_tokenizer: Any) -> Iterator[Served]:
    """A server that is not started."""
    server = Served(len(make_tokenizer("smollm")), tmp_path / "states")
    yield server
    server.stop()


@pytest.fixture
def policy(served: Served, tokenizer: Path) -> Iterator[MakePolicy]:
    """Makes policies of the server, which it starts."""
    made: list[Any] = []
    urls: list[str] = []

    def make(**settings: Any) -> Any:
        if not urls:
            urls.append(served.start())
        given = {"tokenizer": str(tokenizer), "url": urls[0], "rank": 8, "gone_after": 4.0, **settings}
        build = make_policy(f"tinker:{NAME}", given)
        assert build is not None
        made.append(build(_quiet))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def opened(tmp_path: Path, served: Served, tokenizer: Path) -> Iterator[Open]:
    """Opens sessions in one folder, on the server."""
    sessions: list[Session] = []
    urls: list[str] = []

    def open_one(
        ui: ScriptedUI,
        *,
        log: str = "log.jsonl",
        resume: bool = False,
        trainer: Mapping[str, Any] | None = None,
        **model: Any,
    ) -> Session:
        if not urls and "url" not in model:
            urls.append(served.start())
        config = Config(
            model={
                "name": f"tinker:{NAME}",
                "tokenizer": str(tokenizer),
                "rank": 8,
                "gone_after": 4.0,
                **({"url": urls[0]} if urls else {}),
                **model,
            },
            trainer={**FEW, **(trainer or {})},
            sampling=SamplingParams(max_tokens=40),
        )
        work = tmp_path / "work"
        work.mkdir(exist_ok=True)
        session = open_session(
            config, Plugins(installed=False), workspace=work, log=tmp_path / log, resume=resume, ui=ui
        )
        sessions.append(session)
        return session

    yield open_one
    for one in sessions:
        one.close("quit")


def says(policy: Any, call: Call) -> list[int]:
    """What the server draws for a call of the policy's model."""
    return spoken(policy._speech, call)


def spoken(speech: Any, call: Call) -> list[int]:
    """The tokens of a call after its opening, and the end of the turn."""
    begun, _ = speech.begun((), speech.grammar([_spec("a"), _spec("b")]))
    text: str = speech.language.format_call(call)
    return [*speech.codec.encode(text.removeprefix(speech.codec.decode(begun))), speech.ends[0]]


def _quiet(label: str, done: int, total: int) -> None:
    """Progress that nobody looks at."""


def _spec(name: str) -> ToolSpec:
    return ToolSpec(name=name, description="", parameters={"type": "object", "properties": {}})
