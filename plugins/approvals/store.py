"""Rules that outlive a session: one file a rule, outside of the workspace, by the workspace's real path.

`rules/NAME-DIGEST/ID.json` in the user's configuration folder, where no tool and no sandboxed command gets
to. A file a rule: two sessions can add and remove at the same time.
"""

import hashlib
import os
import secrets
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from continualcode.core.data import Data
from continualcode.core.errors import ConfigError
from continualcode.core.events import Rule
from continualcode.core.review import rule_id


class StoredRule(Data, frozen=True):
    """A rule with where it came from: `by` is a user, or the session's log in which it was given."""

    rule: Rule
    workspace: str
    added: str
    by: str = "user"


class RuleStore:
    """The stored rules of one workspace."""

    def __init__(self, workspace: Path) -> None:
        from platformdirs import user_config_path

        self.workspace = workspace.resolve()
        digest = hashlib.sha256(os.fsencode(self.workspace)).hexdigest()[:16]
        name = f"{self.workspace.name or 'root'}-{digest}"
        self.folder = user_config_path("continualcode") / "rules" / name

    def rules(self) -> dict[str, StoredRule]:
        """Every rule by its id, the oldest first. ConfigError names a file that is none."""
        found: list[tuple[str, StoredRule]] = []
        for path in sorted(self.folder.glob("*.json")) if self.folder.is_dir() else ():
            try:
                stored = msgspec.json.decode(path.read_bytes(), type=StoredRule)
            except FileNotFoundError:  # removed by another session just now
                continue
            except (msgspec.DecodeError, OSError) as error:
                raise ConfigError(f"{path}: not a rule: {error}; remove the file, or mend it") from None
            if stored.workspace == str(self.workspace):
                found.append((rule_id(stored.rule), stored))
        return dict(sorted(found, key=lambda item: (item[1].added, item[0])))

    def add(self, rule: Rule, by: str = "user") -> str:
        """Keep a rule; its id. One that is there already stays as it is."""
        key = rule_id(rule)
        path = self.folder / f"{key}.json"
        if path.exists():
            return key
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        stored = StoredRule(
            rule=rule,
            workspace=str(self.workspace),
            added=datetime.now(UTC).isoformat(timespec="seconds"),
            by=by,
        )
        new = self.folder / f".{key}.{secrets.token_hex(4)}"
        new.write_bytes(msgspec.json.format(msgspec.json.encode(stored)) + b"\n")
        new.chmod(0o600)
        new.rename(path)
        return key

    def remove(self, key: str) -> bool:
        """Forget a rule; False: there was none."""
        with suppress(FileNotFoundError):
            (self.folder / f"{key}.json").unlink()
            return True
        return False
