"""What people ask coding agents for: some hundred and fifty requests, of the kinds that everybody meets.

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


class Kind(NamedTuple):
    """Requests of one kind: a correction on one is about the others as well.

    family: kinds that are about the same thing, where a prompt is as near to one as to another.
    tools: those that such requests are for.
    """

    family: str
    tools: tuple[str, ...]
    requests: tuple[Situation, ...]


def _kind(family: str, tools: str, *requests: str | Situation) -> Kind:
    whole = (one if isinstance(one, Situation) else Situation(one) for one in requests)
    return Kind(family, tuple(tools.split()), tuple(whole))


CHANGES = "edit edit_lines write"

KINDS = (
    _kind(
        "change a file that was read",
        CHANGES,
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
    _kind(
        "change a file",
        CHANGES,
        "Fix the spelling mistake in about.html.",
        "Set the log level in app.ini to debug.",
        "Make the function square in maths.go return n times n.",
        "The constant WIDTH in screen.h should be 80.",
        "Add a comment to the function parse in reader.py.",
        "Change the default port in server.ts to 9000.",
        "Rename the class Dog to Animal in pets.rb.",
    ),
    _kind(
        "question about code",
        "read grep",
        "What does the method run in engine.rb do?",
        "Which version of Node does package.json ask for?",
        "How does cache.py decide what to delete?",
        "Is the function max in util.c correct?",
        "Explain the script deploy.sh to me.",
        "What is the default timeout in http.go?",
    ),
    _kind(
        "run",
        "bash",
        "Run the unit tests.",
        "Use bash to run the tests of the folder unit with jest.",
        "Check that all tests pass.",
        "Run the test suite of the backend.",
        "Use a shell command to test the module parser.",
        "Run a bash command that tests the folder core.",
    ),
    _kind(
        "run",
        "bash",
        "Execute the script report.py.",
        "Run a shell command that starts app.py.",
        "Start the development server.",
        "Use bash to run the program import.py.",
        "Start watch.js in the shell.",
    ),
    _kind(
        "run",
        "bash",
        "Check the code style with ruff.",
        "Use bash to format the code.",
        "Fix the code style of the folder api in the shell.",
        "Use bash to sort the imports of models.py.",
        "Run a shell command that lints the folder web.",
    ),
    _kind(
        "run",
        "bash",
        "Compile the program with cargo.",
        "Build the project.",
        "Use bash to build the library.",
        "Make a release build with a shell command.",
    ),
    _kind(
        "search",
        "grep",
        "Where is the variable token set in auth.go?",
        "Which lines of style.css use the colour black?",
        "Is the word deprecated anywhere in api.ts?",
        "Look for the error 404 in access.log.",
        "In which file is the class Order defined?",
        "Search for the text localhost in all files.",
        "Print the lines with warning in build.log.",
        "Find all uses of the function render.",
        "Show me every line of main.tex that has a figure.",
    ),
    _kind(
        "list",
        "glob",
        "Which Go files are in this repository?",
        "List the images in the folder assets.",
        "Which files does this project have?",
        "Show me the tree of the folder lib.",
        "Are there any YAML files here?",
        "List everything in the folder build.",
    ),
    _kind(
        "packages",
        "bash",
        "Use bash to install the package httpx.",
        "Install lodash from the shell.",
        "Run a shell command that installs pytest.",
        "The module yaml is missing. Use bash to install it.",
        "Use bash to add the dependency serde.",
        "Upgrade the package django in the shell.",
    ),
    _kind(
        "version control",
        "bash",
        "Use bash to commit the file login.ts: the button works again.",
        "Commit all changes with git, in the shell.",
        "Use bash to make a git branch called search.",
        "Use a shell command to push to origin.",
        "Use git in the shell to show the last commit.",
        "Run the git command that takes back shop.go.",
        "Use git in bash to tag this version as v2.",
        "Commit this.",
        "Push the last commit.",
    ),
    _kind(
        "files in the shell",
        "bash",
        "Use bash to delete the file draft.txt.",
        "Remove the folder tmp in the shell.",
        "Run a shell command that deletes all object files.",
        "Use bash to get rid of the old backups.",
    ),
    _kind(
        "files in the shell",
        "bash",
        "Use bash to rename the file a.log to b.log.",
        "Move the pictures into the folder media in the shell.",
        "Copy the folder src to backup with bash.",
        "Use a shell command to make a folder called data.",
    ),
    _kind(
        "the web",
        "bash",
        "Use bash to download the file at https://example.com/cities.csv.",
        "Fetch the page https://example.org in the shell.",
        "Run a shell command that gets an archive from a server.",
        "Use bash to call the address http://localhost:3000/health.",
    ),
    _kind(
        "containers",
        "bash",
        "Start the containers with bash.",
        "Use bash to build the Docker image.",
        "Show the logs of the container db in the shell.",
        "Run a shell command that stops all containers.",
    ),
    _kind(
        "deployment",
        "bash",
        "Deploy the app to production.",
        "Use bash to publish the package.",
        "Release version 3 of the library.",
        "Put the new build on the server with a shell command.",
    ),
    _kind(
        "the shell",
        "bash",
        "Use bash to run `echo ok`.",
        "Use bash to show the current folder.",
        "Run the command `whoami` in bash.",
        "Use bash to count the folders here.",
        "Show the free memory with a shell command.",
    ),
    _kind(
        "new test",
        "write",
        "Write a test for the module shapes.py in a new file.",
        "Create a test file for the function slug in text.js.",
        "Add unit tests for the class Stack in a new file.",
        "Make a new file that tests the function parse_date.",
        "Write the file that tests the class Cart of cart.rb.",
    ),
    _kind(
        "new document",
        "write",
        "Write a page in Markdown about the configuration.",
        "Create a document with the release notes.",
        "Create a guide for contributors in Markdown.",
        "Put together a tutorial for new users, as a Markdown file.",
        "Write documentation for the command line.",
        "Draft a page that answers common questions.",
        "Create a page that describes the architecture.",
    ),
    _kind(
        "new code",
        "write",
        "Write a new script that counts the words of a text.",
        "Create the Python file timer.py, which waits three seconds.",
        "Make a module geometry.py with a function for the volume of a cube.",
        "Write lottery.py: it draws six numbers.",
        "Add a Python file with the class Point.",
        "Write a Python program that prints its own name.",
    ),
    _kind(
        "new code",
        "write",
        "Create volume.js with a function that gives the volume of a cube.",
        "Write a JavaScript file today.js that prints the day.",
        "Make a TypeScript file queue.ts with a class Queue.",
        "Add a new file mix.ts; it exports a function that mixes two colours.",
    ),
    _kind(
        "new code",
        "write",
        "Write a C program that prints the numbers from 1 to 10.",
        "Create a Go file serve.go that starts a server.",
        "Make a Rust file parse.rs that reads a number.",
        "Write the Java class Account in a new file.",
    ),
    _kind(
        "new shell script",
        "write",
        "Create a shell script that removes temporary files.",
        "Write install.sh, which copies the program to /usr/local/bin.",
        "Make a bash script that renames all photos.",
        "Write a new shell script check.sh: it looks whether the server is up.",
    ),
    _kind(
        "new configuration",
        "write",
        "Make a file settings.json with a port in it.",
        "Create a configuration file for the logger.",
        "Write a file that sets the user and the host.",
        "Add a YAML file with the settings of the database.",
        "Write a Dockerfile for the app.",
    ),
    _kind(
        "new page",
        "write",
        "Create a new HTML page with a heading.",
        "Write a stylesheet that makes all links green.",
        "Make a web page with a form in it.",
        "Create dark.css with a dark background.",
    ),
    _kind(
        "new data",
        "write",
        "Create a file LICENSE with the MIT license.",
        "Write the word done into result.txt.",
        "Make a CSV file with three names in it.",
        "Create todo.txt with two tasks.",
    ),
    _kind(
        "show",
        "read",
        "Show me the file utils.py.",
        "Open setup.cfg and show me its first ten lines.",
        "What is in requirements.txt?",
        "Show me lines 5 to 8 of index.js.",
        "Tell me what tsconfig.json contains.",
        "Open Cargo.toml and tell me what it says.",
        "Display the end of server.log.",
    ),
    _kind(
        "talk",
        "reply",
        "Good morning!",
        "Thanks!",
        "How are you?",
        "That looks good.",
        "Who made you?",
    ),
    _kind(
        "knowledge",
        "reply",
        "What does HTTP stand for?",
        "What is two plus two?",
        "Which planet is the largest?",
        "Is 17 a prime number?",
    ),
    _kind(
        "knowledge",
        "reply",
        "How does a hash table work?",
        "How do I read a file in Ruby?",
        "What does the keyword static mean in C?",
        "When is a loop better than recursion?",
    ),
)
"""By kind; those of one family are beside each other."""

SITUATIONS = tuple(one for kind in KINDS for one in kind.requests)


def taking(tool: str, among: Sequence[Situation]) -> list[Situation]:
    """Those of `among` that are for a tool; all of them where nothing is known of it."""
    kinds = [kind for kind in KINDS if tool in kind.tools]
    return [one for one in among if not kinds or any(one in kind.requests for kind in kinds)]


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
