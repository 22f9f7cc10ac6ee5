"""Requests that are only looked at: whether an update left alone what it was not about (`anchors`)."""

from collections.abc import Collection

from continualcode.plugins.trainers.situations import Situation

PROBED = {
    "show": (
        "Read the file main.c.",
        "What does pyproject.toml say?",
        "Display the file Dockerfile.",
        "Print the first lines of data.csv.",
    ),
    "search": (
        "Find the word error in the logs.",
        "Look for the text TODO in every file.",
        "Does the word secret occur in the code?",
    ),
    "the shell": (
        "Run the command `hostname` in bash.",
        "Use bash to list the open ports.",
        "Use bash to show the environment.",
        "Run `pwd` in the shell.",
    ),
    "change a file": ("In config.yml, replace localhost by example.com.",),
    "new code": (
        "Write a Python program that prints the numbers from 1 to 10.",
        "Write a JavaScript function that adds two numbers into add.js.",
    ),
    "new data": (
        "Create an empty file notes.txt.",
        "Add a new file with a list of colours.",
        "Save the word ok in status.txt.",
        "Put an empty list into the new file items.json.",
    ),
    "talk": ("How is it going?", "Good bye.", "Nice work!", "Tell me your name."),
    "knowledge": ("What is seven minus three?", "How many days does a week have?"),
}
"""By the family of situations that they are like. Nothing is learned on them, and no anchor holds them."""

PROBES = tuple(Situation(text) for texts in PROBED.values() for text in texts)


def probes_of(families: Collection[str]) -> list[Situation]:
    """Those of some families."""
    return [Situation(text) for family in PROBED if family in families for text in PROBED[family]]
