"""What a session has sent to the server and got from it, in tokens; `/usage` shows it.

Counted here, as the API gives no figures with its answers but for cached prompts. It bills prompts, samples
and training differently; what it has billed, the console shows.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from continualcode.core.session import Session


@dataclass
class Usage:
    """Tokens: of prompts, of those the server had in its cache, sampled, and trained on; requests of each."""

    prompts: int = 0
    cached: int = 0
    sampled: int = 0
    trained: int = 0
    samplings: int = 0
    passes: int = 0

    def __str__(self) -> str:
        cached = f" ({self.cached:,} of them cached)" if self.cached else ""
        return (
            f"{self.prompts:,} prompt tokens{cached} and {self.sampled:,} sampled in {self.samplings} "
            f"requests; {self.trained:,} tokens in {self.passes} passes of training"
        )


class UsageCommand:
    """`/usage`."""

    name = "usage"
    help = "what this session has used of a Tinker server, in tokens"

    def run(self, argument: str, session: "Session") -> str:
        """The counts so far."""
        policy: Any = session.policy
        counted = getattr(policy, "usage", None)
        return str(counted) if isinstance(counted, Usage) else "This model runs here: nothing is billed."
