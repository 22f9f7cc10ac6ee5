"""What people ask coding agents for: nearly eighty requests, of the kinds that everybody meets.

A correction is given once, on one prompt, and is about more than that prompt. Of these kinds the model
itself says which is like the corrected one (`siblings`): there the correction is learned as well. On those
that are unlike it the base model's choice is held on to (`anchors`).
"""

from collections.abc import Sequence
from typing import NamedTuple

from continualcode.core.data import Call, Message
from continualcode.core.transcript import SampledTurn


class Situation(NamedTuple):
    """A request; with a `path`, the file of that name and `content` was read after it."""

    text: str
    path: str = ""
    content: str = ""


REQUESTS: tuple[tuple[tuple[str, ...], tuple[Situation, ...]], ...] = (
    (
        ("edit", "edit_lines", "write"),
        (  # Changes to a file that was read
            Situation(
                "Change the colour in theme.css from red to blue.", "theme.css", "body {\n  color: red;\n}\n"
            ),
            Situation(
                "The retry count in worker.py should be 5. Update it.",
                "worker.py",
                "RETRIES = 2\n\n\ndef work():\n    pass\n",
            ),
            Situation("Fix the off-by-one error in loop.c.", "loop.c", "int last(int n) {\n  return n;\n}\n"),
            Situation("In Makefile, use gcc instead of cc.", "Makefile", "all:\n\tcc -o app main.c\n"),
            Situation(
                "Make the function isEven in num.ts correct.",
                "num.ts",
                "export function isEven(n: number) {\n  return n % 2 === 1;\n}\n",
            ),
            Situation(
                "check_sum.py is red. Repair it.",
                "check_sum.py",
                "from sums import add\n\n\ndef check_add():\n    assert add(2, 2) == 4\n",
            ),
        ),
    ),
    (
        ("edit", "edit_lines", "write"),
        (  # Changes to one that was not
            Situation("Fix the spelling mistake in about.html."),
            Situation("Set the log level in app.ini to debug."),
            Situation("Make the function square in maths.go return n times n."),
            Situation("The constant WIDTH in screen.h should be 80."),
            Situation("Add a comment to the function parse in reader.py."),
            Situation("Change the default port in server.ts to 9000."),
            Situation("Rename the class Dog to Animal in pets.rb."),
        ),
    ),
    (
        ("read", "grep"),
        (  # Questions about code
            Situation("What does the method run in engine.rb do?"),
            Situation("Which version of Node does package.json ask for?"),
            Situation("How does cache.py decide what to delete?"),
            Situation("Is the function max in util.c correct?"),
            Situation("Explain the script deploy.sh to me."),
            Situation("What is the default timeout in http.go?"),
        ),
    ),
    (
        ("bash",),
        (  # Things to run
            Situation("Run the unit tests."),
            Situation("Execute the script report.py."),
            Situation("Compile the program with cargo."),
            Situation("Start the development server."),
            Situation("Check the code style with ruff."),
            Situation("Use bash to run the tests of the folder unit with jest."),
            Situation("Run a shell command that starts main.py."),
        ),
    ),
    (
        ("grep",),
        (  # Searches
            Situation("Where is the variable token set in auth.go?"),
            Situation("Which lines of style.css use the colour black?"),
            Situation("Is the word deprecated anywhere in api.ts?"),
            Situation("Look for the error 404 in access.log."),
            Situation("In which file is the class Order defined?"),
            Situation("Search for the text localhost in all files."),
        ),
    ),
    (
        ("glob",),
        (  # Listings
            Situation("Which Go files are in this repository?"),
            Situation("List the images in the folder assets."),
            Situation("Which files does this project have?"),
            Situation("Show me the tree of the folder lib."),
            Situation("Are there any YAML files here?"),
            Situation("List everything in the folder build."),
        ),
    ),
    (
        ("bash",),
        (  # Packages
            Situation("Use bash to install the package httpx."),
            Situation("Install lodash from the shell."),
            Situation("Run a shell command that installs pytest."),
            Situation("The module yaml is missing. Use bash to install it."),
            Situation("Use bash to add the dependency serde."),
        ),
    ),
    (
        ("bash",),
        (  # Version control
            Situation("Use bash to commit the file login.ts: the button works again."),
            Situation("Commit all changes with git, in the shell."),
            Situation("Use bash to create a git branch called feature."),
            Situation("Use a shell command to push to origin."),
            Situation("Run git in the shell: show the last commit."),
        ),
    ),
    (
        ("write",),
        (  # New tests
            Situation("Write a test for the module shapes.py in a new file."),
            Situation("Create a test file for the function slug in text.js."),
            Situation("Add unit tests for the class Stack in a new file."),
            Situation("Make a new file that tests the function parse_date."),
        ),
    ),
    (
        ("write",),
        (  # New documents
            Situation("Write a page in Markdown about the configuration."),
            Situation("Create a document with the release notes."),
            Situation("Create a guide for contributors in Markdown."),
            Situation("Put together a tutorial for new users, as a Markdown file."),
        ),
    ),
    (
        ("write",),
        (  # Other new files
            Situation("Create a file LICENSE with the MIT license."),
            Situation("Write a new script that counts the words of a text."),
            Situation("Make a file settings.json with a port in it."),
            Situation("Create a new HTML page with a heading."),
            Situation("Write a C program that prints the numbers from 1 to 10."),
            Situation("Create a shell script that removes temporary files."),
        ),
    ),
    (
        ("read",),
        (  # Files to show
            Situation("Show me the file utils.py."),
            Situation("Open setup.cfg and show me its first ten lines."),
            Situation("What is in requirements.txt?"),
            Situation("Show me lines 5 to 8 of index.js."),
            Situation("Tell me what tsconfig.json contains."),
        ),
    ),
    (
        ("bash",),
        (  # Shell
            Situation("Use bash to run `echo ok`."),
            Situation("Use bash to show the current folder."),
            Situation("Run the command `whoami` in bash."),
            Situation("Use bash to count the files here."),
        ),
    ),
    (
        ("reply",),
        (  # Talk
            Situation("Good morning!"),
            Situation("What does HTTP stand for?"),
            Situation("Thanks!"),
            Situation("How are you?"),
            Situation("What is two plus two?"),
            Situation("That looks good."),
        ),
    ),
)
"""By kind (a correction on one is about the others as well): the tools they are for, and the requests."""

KINDS = tuple(kind for _, kind in REQUESTS)

SITUATIONS = tuple(one for kind in KINDS for one in kind)

PROBES = tuple(
    Situation(text)
    for text in (
        "Read the file main.c.",
        "What does pyproject.toml say?",
        "Create an empty file notes.txt.",
        "Write a Python program that prints the numbers from 1 to 10.",
        "Add a new file with a list of colours.",
        "Find the word error in the logs.",
        "Look for the text TODO in every file.",
        "Run the command `id` in bash.",
        "Use bash to list the running processes.",
        "How is it going?",
        "What is seven minus three?",
        "Good bye.",
        "Display the file Dockerfile.",
        "Print the first lines of data.csv.",
        "Save the word ok in status.txt.",
        "Write a JavaScript function that adds two numbers into add.js.",
        "Put an empty list into the new file items.json.",
        "In config.yml, replace localhost by example.com.",
        "Does the word secret occur in the code?",
        "Use bash to show the environment.",
        "Run `pwd` in the shell.",
        "Nice work!",
        "How many days does a week have?",
        "Tell me your name.",
    )
)
"""Only looked at: nothing is learned on them, and no anchor holds them."""


def taking(tool: str, among: Sequence[Situation]) -> list[Situation]:
    """Those of `among` that are for a tool; all of them where nothing is known of it."""
    kinds = [kind for tools, kind in REQUESTS if tool in tools]
    return [one for one in among if not kinds or any(one in kind for kind in kinds)]


def messages(turn: SampledTurn, situation: Situation) -> tuple[Message, ...]:
    """A situation in the session's own system message."""
    system = [message for message in turn.messages[:1] if message.role == "system"]
    asked = [*system, Message(role="user", text=situation.text)]
    if situation.path:
        call = Call(tool="read", arguments={"path": situation.path})
        asked += [Message(role="assistant", call=call), Message(role="tool", text=_shown(situation))]
    return tuple(asked)


def _shown(one: Situation) -> str:
    """A file as the tool `read` shows it."""
    lines = one.content.splitlines()
    numbered = "\n".join(f"{number:4}| {line}" for number, line in enumerate(lines, 1))
    return f"{one.path} ({len(lines)} lines):\n{numbered}"
