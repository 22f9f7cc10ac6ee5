"""What every test needs: Ctrl-C to mean Ctrl-C; settings, rules and kept weights that are nobody's own."""

import signal

import pytest

from continualcode.plugins.models.local import store

# A shell ignores SIGINT for jobs in the background, and so would everything that the tests start from there.
signal.signal(signal.SIGINT, signal.default_int_handler)

MODELS = store.default_cache()
MODELS.mkdir(parents=True, exist_ok=True)


@pytest.fixture(autouse=True)
def own_settings(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's configuration folder, empty: "always" in a test gives nothing away on this machine.

    The cache as well, but for the models.
    """
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
    cache = tmp_path_factory.mktemp("cache")
    (cache / "continualcode").mkdir()
    (cache / "continualcode" / "models").symlink_to(MODELS)
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
