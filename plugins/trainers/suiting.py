"""Settings that nobody chose, chosen by what the policy can do.

The defaults are for a policy that has its logits at hand. One that is reached through an interface may tell
the k most probable tokens only, or a number a token, and draws no guided demonstration. Each rule below names
a capability, the settings that need it, and what they are without it. What a user has set is never changed:
if the policy lacks what it needs, the session refuses it by name (`core.session.require`).
"""

from collections.abc import Collection, Mapping
from typing import Any

from continualcode.core.data import Capability
from continualcode.plugins.trainers.settings import SdpoSettings

TOP_K = 20
"""Tokens a position where a policy tells the most probable ones only; Tinker's servers tell up to 20."""


IN_TURN = 8
"""Anchors a step where rows go over a wire and are billed: in ten steps each of the 77 has its turn."""

TEACHERS: dict[str, Capability] = {
    "live": "teacher:live",
    "base": "teacher:base",
    "frozen": "teacher:frozen",
    "ema": "teacher:ema",
    "trust_region": "teacher:trust_region",
    "completion": "teacher:completion",
    "other": "teacher:other",
}


def needed(settings: SdpoSettings) -> frozenset[Capability]:
    """What the settings need: the teacher, and as much of the distributions as the objective looks at."""
    looks_at: Capability = "full_distribution" if settings.top_k is None else "topk_distribution"
    if settings.divergence == "sampled" or settings.teacher == "completion":
        looks_at = "sampled_logprobs"  # a teacher without doubt is seen in one number a token
    shown = settings.rows != "sample"
    wanted: list[tuple[object, Capability]] = [
        (True, TEACHERS[settings.teacher]),
        (True, looks_at),
        (shown or settings.anchors, "demonstrations"),
        (shown and settings.guidance != 1.0, "guided_teacher"),
        (shown and settings.sharpness != 1.0 and settings.teacher != "completion", "full_distribution"),
        (settings.anchors, "teacher:base"),
        (settings.anchors and settings.whiten is not None, "whitening"),
        (settings.reward_weight, "rewards"),
    ]
    return frozenset(capability for applies, capability in wanted if applies)


def fallbacks(capabilities: Collection[Capability]) -> dict[str, Any]:
    """What the settings are for a policy with these capabilities, as far as it is not their default."""
    found: dict[str, Any] = {}
    if "full_distribution" not in capabilities:
        if "topk_distribution" in capabilities:
            found["top_k"] = TOP_K
        else:
            found["divergence"] = "sampled"
        found |= {"sharpness": 1.0, "in_turn": IN_TURN, "gate_drift": None}  # each state would be a save
    if "guided_teacher" not in capabilities:
        found["guidance"] = 1.0
    if "whitening" not in capabilities:
        found["whiten"] = None
    if "demonstrations" not in capabilities:
        found |= {"rows": "sample", "anchors": 0.0}
    return found


def chosen(capabilities: Collection[Capability], given: Collection[str]) -> dict[str, Any]:
    """The fallbacks for all but the settings `given`, and those that only make sense with one of them."""
    found = fallbacks(capabilities)
    if "divergence" in given or "top_k" in given:  # one choice, in two settings
        found = {key: value for key, value in found.items() if key not in ("divergence", "top_k")}
    return {key: value for key, value in found.items() if key not in given}


def said(choice: Mapping[str, Any]) -> str:
    """The choice in one line for a person; empty where there is none."""
    if not choice:
        return ""
    listed = ", ".join(f"{key} {value}" for key, value in choice.items())
    return f"Training is set up for what this model's server can do: {listed} (--set trainer.KEY=VALUE)."
