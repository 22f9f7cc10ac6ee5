"""What every test needs: Ctrl-C to mean Ctrl-C, and settings and rules that are nobody's own."""

import signal

import pytest

# A shell ignores SIGINT for jobs in the background, and so would everything that the tests start from there.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def own_settings(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's configuration folder, empty: "always" in a test gives nothing away on this machine."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
