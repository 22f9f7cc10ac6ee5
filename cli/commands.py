"""The commands: where each one is, and its line in `cc --help`. The one list that there is.

Imports nothing, so that `cc` can tell its own commands from a C compiler's arguments, and print its
help, at no cost. Each line is the first sentence of the command's own docstring; a test holds them to it.
"""

COMMANDS: dict[str, tuple[str, str]] = {
    "run": (
        "continualcode.cli.run:run",
        "Work on WORKSPACE with an agent that learns from your corrections.",
    ),
    "sessions": (
        "continualcode.cli.sessions:sessions",
        "The sessions of this project, the last one first; `cc run --resume NAME` goes on with one.",
    ),
    "rules": (
        "continualcode.cli.rules:rules",
        "Calls that need no approval in this project: list, explain, add, remove.",
    ),
    "replay": (
        "continualcode.cli.replay:replay",
        "Train again from LOG and the base model alone, through the same trainer.",
    ),
    "eval": (
        "continualcode.cli.evaluate:evaluate",
        "Measure on CASES how often mistakes are made, the correction absent from the context.",
    ),
    "diff": (
        "continualcode.cli.diff:diff",
        "Compare two weights: the corrections that they were learned from, norms, and cases.",
    ),
    "bisect": (
        "continualcode.cli.bisect:bisect",
        "Find the correction in LOG after which a case breaks, by measuring log₂ n of its n weights.",
    ),
    "adapter": (
        "continualcode.cli.adapter:adapter",
        "Weights: those that replays have kept, what they are made of, and handing them out.",
    ),
    "log": (
        "continualcode.cli.log:log",
        "Show, verify and take apart a log.",
    ),
    "models": (
        "continualcode.cli.models:models",
        "Local models: what there is, and getting one.",
    ),
    "plugins": (
        "continualcode.cli.plugins:plugins",
        "What is plugged in.",
    ),
    "demo": (
        "continualcode.cli.demo:demo",
        "Deny, train, retry on a small project; then measure what was learned, and replay the log.",
    ),
}
"""Name → (`module:attribute` of the click command, one line of help), in the order of the help."""
