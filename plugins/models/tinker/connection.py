"""The way to the server: every request is watched, and every failure is said so that a person can act.

The SDK retries for minutes where a server is down and pauses up to an hour where an account has no credit. So
nothing waits on it alone: a request runs in a thread, the server is asked for a sign of life beside it, and
whoever waits is told within seconds. Nothing here sends a request a second time; what a failed one did on
the server is made undone by going back to saved weights (`weights`).
"""

import atexit
import logging
import os
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar

from continualcode.core.errors import ContinualCodeError, ModelUnavailable, UsageError
from continualcode.plugins.models.tinker.sdk import tinker

T = TypeVar("T")

HOSTED = "https://tinker.thinkingmachines.dev/services/tinker-prod"
CONSOLE = "https://tinker-console.thinkingmachines.ai"
PROBE = 3.0
"""Seconds within which the server gives a sign of life, each time that it is asked."""

GO_ON = "Nothing is lost: when it is back, go on with cc run --resume"

STEP = 0.05
"""Seconds between two looks at a request that is under way."""


class Gone(ModelUnavailable):
    """The server gives no sign of life, or the request failed in a way that leaves its effect unknown."""


class NotThere(ModelUnavailable):
    """The server does not have what was asked for: a model, or a checkpoint that has expired."""


class Refused(UsageError):
    """The server will not do what was asked for, now or later."""


class Interrupted(Exception):
    """The user did not want to wait any longer."""


class Connection:
    """One session with a server. `url`: its root. Closed with how it went: `close`."""

    def __init__(self, url: str | None, *, timeout: float, gone_after: float) -> None:
        self.url = (url or os.environ.get("TINKER_BASE_URL") or HOSTED).rstrip("/")
        self._timeout = timeout
        self._gone_after = gone_after
        self._key = key_for(self.url)
        self._heard = Heard()
        self._gone = False
        self._service: Any = None
        atexit.register(self.close, "failed")  # whatever happens on the way to a session
        if (why := sign_of_life(self.url)) is not None:
            raise Gone(
                f"no Tinker server answers at {self.url}: {why}. Start it, or name another: "
                "--set model.url=http://127.0.0.1:8000, or TINKER_BASE_URL"
            )

    @property
    def service(self) -> Any:
        """The SDK's client, made at first use; call it within `ask`, as it talks to the server."""
        if self._service is None:
            self._service = tinker.ServiceClient(
                base_url=self.url, api_key=self._key, user_metadata={"client": "continualcode"}
            )
        return self._service

    def rest(self) -> Any:
        """For questions that need no session; within `ask`."""
        return tinker.RestClient(base_url=self.url, api_key=self._key)

    def ask(self, what: str, submit: Callable[[], Any], cancelled: threading.Event | None = None) -> Any:
        """What `submit` returns, its future resolved; `what` says in errors what was asked for.

        Raises Refused or ModelUnavailable: at once where the server says so, within `gone_after` and `PROBE`
        seconds where it is gone, after `timeout` otherwise. Raises Interrupted once `cancelled` is set.
        """
        if self._gone and (why := sign_of_life(self.url)) is not None:  # not waited for a second time
            raise Gone(f"{self.url} is still gone ({why}), and it was to {what}. {GO_ON}")
        self._gone = False
        request = Request(submit)
        self._heard.last = ""
        self._heard.unpaid = ""
        began = seen = time.monotonic()
        watch = Watch(self.url)
        try:
            while not request.done.wait(STEP):
                now = time.monotonic()
                seen = max(seen, watch.seen)
                if cancelled is not None and cancelled.is_set():
                    raise Interrupted
                if self._heard.unpaid:
                    raise ModelUnavailable(
                        f"{self.url} does not go on: payment required ({self._heard.unpaid}). See to the "
                        f"account's billing ({CONSOLE}), then go on with cc run --resume; {what}"
                    )
                if now - seen > self._gone_after:
                    self._gone = True
                    silent = f"no sign of it for {now - seen:.0f} s, while it was to {what}"
                    raise Gone(f"{self.url} is gone: {silent}. {GO_ON}")
                if now - began > self._timeout:
                    said = f"; it said: {self._heard.last}" if self._heard.last else ""
                    raise Gone(
                        f"{self.url} did not {what} within {self._timeout:.0f} s (model.timeout){said}"
                    )
            if request.error is not None:
                raise explained(request.error, what, self.url) from request.error
            return request.answer
        finally:
            watch.stop()
            request.abandon()

    def close(self, outcome: str) -> None:
        """Tell the server how the session ended, so that it holds on to nothing; never raises."""
        atexit.unregister(self.close)
        if self._service is None:
            return
        service, self._service = self._service, None
        status: Literal["success", "errored", "interrupted"] = "errored"
        if outcome in ("quit", "interrupted"):
            status = "success" if outcome == "quit" else "interrupted"
        if sign_of_life(self.url) is None:
            # In a thread: a server that hangs does not keep a session from ending.
            Request(lambda: service.close(status)).done.wait(PROBE)


class Request:
    """A call of the SDK in a thread of its own, as some of them block; its futures are resolved."""

    def __init__(self, submit: Callable[[], Any]) -> None:
        self.done = threading.Event()
        self.answer: Any = None
        self.error: BaseException | None = None
        self._futures: list[Any] = []
        self._submit = submit
        threading.Thread(target=self._run, daemon=True, name="tinker request").start()

    def abandon(self) -> None:
        """Nobody waits for it any more; the SDK tells the server where it can."""
        if not self.done.is_set():
            for future in self._futures:
                future.future().cancel()

    def _run(self) -> None:
        try:
            given: Any = self._submit()
            several = isinstance(given, list | tuple)
            parts: list[Any] = [*given] if several else [given]
            self._futures = [part for part in parts if hasattr(part, "result")]
            answers: list[Any] = [part.result() if hasattr(part, "result") else part for part in parts]
            self.answer = answers if several else answers[0]
        except BaseException as error:  # of a thread: whoever waits raises it
            self.error = error
        finally:
            self.done.set()


class Watch:
    """Asks the server for a sign of life every second; `seen` is when there was one last."""

    def __init__(self, url: str) -> None:
        self.seen = 0.0
        self._url = url
        self._stopped = threading.Event()
        threading.Thread(target=self._run, daemon=True, name="tinker watch").start()

    def stop(self) -> None:
        """No more questions."""
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.wait(1.0):
            if sign_of_life(self._url) is None:
                self.seen = time.monotonic()


class Heard(logging.Handler):
    """What the SDK only says in its log: that it pauses, and why. Also keeps that off the terminal."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.last = ""
        self.unpaid = ""
        logger = logging.getLogger("tinker")
        logger.handlers = [kept for kept in logger.handlers if not isinstance(kept, Heard)]
        logger.addHandler(self)
        logger.propagate = False

    def emit(self, record: logging.LogRecord) -> None:
        """Note it."""
        text = record.getMessage()
        if record.levelno >= logging.WARNING:
            self.last = text
        if "paused due to billing" in text:
            self.unpaid = text.partition("Error: ")[2] or text


def sign_of_life(url: str) -> str | None:
    """None if something answers at `url`, whatever it says; else why not."""
    try:
        with urllib.request.urlopen(f"{url}/api/v1/healthz", timeout=PROBE):
            return None
    except urllib.error.HTTPError:
        return None
    except (OSError, ValueError) as error:
        return str(getattr(error, "reason", error))


def key_for(url: str) -> str | None:
    """The key to give to the SDK; None: it finds one by itself. ModelUnavailable where there is none."""
    given = os.environ.get("TINKER_API_KEY")
    if given is not None and not given.startswith(("tml-", "eyJ")):
        raise ModelUnavailable(
            "TINKER_API_KEY is set, but is no key: keys begin with tml-. Copy it again from "
            f"{CONSOLE}; for a server of your own, any will do: TINKER_API_KEY=tml-none"
        )
    if (
        given
        or os.environ.get("TINKER_CREDENTIAL_CMD")
        or Path("~/.tinker/credentials.json").expanduser().exists()
    ):
        return given
    if urllib.parse.urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1"):
        return "tml-none"  # a server of one's own, which has no keys to give
    raise ModelUnavailable(
        f"there is no key for {url}: set TINKER_API_KEY=tml-… (from {CONSOLE}), or run `tinker auth login`"
    )


def explained(error: Any, what: str, url: str) -> ContinualCodeError:
    """An error of the SDK as one that says what to do. Never holds the key."""
    if isinstance(error, tinker.APIStatusError):
        status, said = error.status_code, str(error.message)[:300]
        if status in (401, 403):
            return ModelUnavailable(
                f"{url} refuses the key ({status}): {said}. See TINKER_API_KEY, or run `tinker auth login`"
            )
        if status == 402:
            return ModelUnavailable(
                f"{url}: payment required: {said}. See to the account's billing ({CONSOLE})"
            )
        if status == 404:
            return NotThere(f"{url} has nothing to {what} with: {said}")
        if status in (400, 413, 422):
            return Refused(f"{url} will not {what} ({status}): {said}")
        if status == 429:
            return Gone(f"{url} has too much to do to {what} (429): {said}. Try again in a while")
        return Gone(f"{url} could not {what} ({status}): {said}")
    if isinstance(error, tinker.APIConnectionError | TimeoutError):
        return Gone(f"{url} could not be reached to {what}: {error}")
    text = str(error) or repr(error)
    if any(word in text.lower() for word in ("not found", "no such", "expired", "does not exist")):
        return NotThere(f"{url} has nothing to {what} with: {text[:300]}")
    if "billing_exception" in text:  # the SDK trips over a 402 before there is a session
        return ModelUnavailable(f"{url}: payment required. See to the account's billing ({CONSOLE})")
    if "(status 400)" in text or "(status 422)" in text:
        return Refused(f"{url} will not {what}: {text[:300]}")
    return Gone(f"{url} could not {what}: {text[:300]}")
