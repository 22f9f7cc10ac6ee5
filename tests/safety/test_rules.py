"""Rules: what each covers and no more, where they are kept, and who is told that they decided."""

import os
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from continualcode.cli.rules import rules as rules_command
from continualcode.core import engine
from continualcode.core.config import Config, SessionConfig
from continualcode.core.data import Call
from continualcode.core.errors import UsageError
from continualcode.core.events import DecisionMade, Rule, RuleAdded, ToolRan
from continualcode.core.review import Answer, always_rule, grants, rule_id
from continualcode.core.session import Session
from continualcode.core.testing import ScriptedUI, open_scripted
from continualcode.core.workspace import Workspace
from continualcode.plugins.approvals.matching import covering, path_fits, require_sensible
from continualcode.plugins.approvals.shell import parts
from continualcode.plugins.approvals.store import RuleStore
from continualcode.plugins.tools import register_tools

STATUS = Rule(tool="bash", prefix=("git", "status"))
TESTS = Rule(tool="bash", prefix=("pytest",))
EXACT = Rule(tool="bash", arguments={"command": "make -C docs html > out.txt"})
PYTHON = Rule(tool="edit", path="src/**/*.py")
RULES = {rule_id(rule): rule for rule in (STATUS, TESTS, EXACT, PYTHON)}


def covered(command: str) -> bool:
    call = Call(tool="bash", arguments={"command": command, "timeout": 5})
    return covering(call, RULES, Path("/nowhere")) is not None


@pytest.mark.parametrize(
    "command",
    [
        "git status",
        "git status --short",
        "git status && pytest -q",
        "git status; pytest -k 'a b' || git status\npytest",
        "pytest -q 2>&1 | pytest > /dev/null",
        '"git" status',
        "! pytest",
        "make -C docs html > out.txt",
    ],
)
def test_a_command_whose_every_part_is_allowed_runs_unasked(command: str) -> None:
    assert covered(command)


@pytest.mark.parametrize(
    "command",
    [
        "git statusx",
        "git",
        "git -c core.fsmonitor=evil status",
        "git status && rm -rf .",
        "git status; rm x",
        "git status | sh",
        "git status & rm x",
        "git status\nrm x",
        "git status $(rm x)",
        "git status `rm x`",
        "git status <(rm x)",
        'git status "$(rm x)"',
        "git status > x",
        "git status >> .git/config",
        "git status > /dev/null > x",
        "git status >&3",
        "git status 2> /dev/nullx",
        "git status < /etc/passwd",
        "git status <<< x",
        "git status << EOF\n$(rm x)\nEOF",
        "PATH=. git status",
        "A=1; git status",
        "(rm x); git status",
        "{ rm x; }",
        "if true; then pytest; fi",
        "for i in 1; do pytest; done",
        "pytest() { rm x; }; pytest",
        "function pytest { rm x; }",
        "eval pytest",
        "exec pytest",
        "command pytest",
        "time pytest",
        "\\pytest",
        "./pytest",
        "pytest # x",
        "pytest $X",
        "pytest ${X:-y}",
        "pytest $((1))",
        "pytest $'a'",
        "pytest 'unfinished",
        "pytest &&",
        "pytest \r rm x",
        "pytest \u202e",
        "pytest \x1b[2K",
        "alias pytest=rm; pytest",
        "export PATH=.; pytest",
        "[[ -e x ]]",
        "coproc pytest",
        "",
        " ",
        "make -C docs html > out.txt2",
        "make -C docs html > out.txt; rm x",
        "make  -C docs html > out.txt",
    ],
)
def test_anything_else_is_asked_about(command: str) -> None:
    assert not covered(command)


def test_quotes_are_taken_off_as_bash_does() -> None:
    assert parts("py''test 'a b' \"c d\" e\"f\"'g'")[0].words == ("pytest", "a b", "c d", "efg")


@settings(deadline=None)
@given(st.lists(st.sampled_from(["git status", "pytest -q", "rm x", "$(rm x)", "> y", "'q'"]), max_size=4))
def test_one_part_that_is_not_allowed_is_enough(pieces: list[str]) -> None:
    allowed = bool(pieces) and all(piece in ("git status", "pytest -q") for piece in pieces)
    for glue in (" && ", "; ", " | ", "\n"):
        assert covered(glue.join(pieces)) is allowed


@pytest.mark.parametrize(
    ("pattern", "path", "fits"),
    [
        ("src/**/*.py", "src/a.py", True),
        ("src/**/*.py", "src/a/b/c.py", True),
        ("src/**/*.py", "src/a.pyc", False),
        ("src/*", "src/a/b", False),
        ("src/**", "src/a/b", True),
        ("src", "src/a", False),
        ("**", "x/y", True),
        ("a[*].py", "a*.py", True),
        ("a[*].py", "ab.py", False),
        ("A.py", "a.py", False),
    ],
)
def test_a_pattern_fits_whole_paths(pattern: str, path: str, fits: bool) -> None:
    assert path_fits(pattern, path) is fits


@pytest.mark.parametrize(
    "path", ["src/../secret.py", "src/link/x.py", "../src/a.py", "/etc/a.py", "src/out.py"]
)
def test_a_path_is_where_it_leads(tmp_path: Path, path: str) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "src" / "link").symlink_to(tmp_path / "other")
    (tmp_path / "src" / "out.py").symlink_to("/etc/hosts")
    call = Call(tool="edit", arguments={"path": path, "old": "a", "new": "b"})
    assert covering(call, RULES, tmp_path) is None
    assert covering(Call(tool="edit", arguments={"path": "src/./a.py"}), RULES, tmp_path) == (
        rule_id(PYTHON),
    )


@pytest.mark.parametrize(
    ("call", "grant"),
    [
        (Call(tool="read", arguments={"path": "a.py"}), "every read"),
        (Call(tool="write", arguments={"path": "./x/../a*.py", "content": ""}), 'write path="a[*].py"'),
        (Call(tool="bash", arguments={"command": "rm a\u202eb"}), 'bash command="rm a\\u202eb"'),
        (Call(tool="bash", arguments={"command": "ls", "timeout": 9}), 'bash command="ls" timeout=9'),
    ],
)
def test_always_grants_what_it_shows(tmp_path: Path, call: Call, grant: str) -> None:
    spec = next(tool.spec for tool in register_tools() if tool.spec.name == call.tool)
    rule = always_rule(call, spec, Workspace(tmp_path))
    assert grants(rule) == grant
    assert covering(call, {"r": rule}, tmp_path) == ("r",)
    other = {**call.arguments, "path": "b", "command": "rm -rf /"}
    reads = spec.reads_only
    assert (covering(Call(tool=call.tool, arguments=other), {"r": rule}, tmp_path) is not None) is reads


@pytest.mark.parametrize(
    "rule",
    [
        Rule(tool="bash"),
        Rule(tool="bash", prefix=("sh",)),
        Rule(tool="bash", prefix=("/usr/bin/env",)),
        Rule(tool="bash", prefix=("python",)),
        Rule(tool="write", path="../**"),
        Rule(tool="write", path="/etc/*"),
        Rule(tool="read", path=""),
        Rule(tool="read", path="./src/*"),
        Rule(tool="read", path="src//*"),
        Rule(tool="read", path="["),
        Rule(tool="read", path="src/[a-z/*.py"),
    ],
)
def test_a_rule_for_anything_or_for_nothing_is_refused(rule: Rule) -> None:
    with pytest.raises(UsageError):
        require_sensible(rule)


@pytest.mark.parametrize("path", [".", "a[*].py", "[[]", "[]]", "[!]a]*", "src/**/*.py"])
def test_a_pattern_that_can_fit_is_taken(path: str) -> None:
    require_sensible(Rule(tool="read", path=path))


@pytest.mark.parametrize(
    "prefix",
    [
        *(
            "python3.12",
            "/usr/bin/python3",
            "pypy3",
            "lua5.4",
            "busybox",
            "watch",
            "parallel",
            "npx",
            "bun",
            ".",
        ),
        *(
            "bash -c",
            "bash -lc",
            "bash -x",
            "python -c",
            "python -m",
            "python3 -W error",
            "perl -e 1",
            "su x -c",
        ),
        *(
            "env X=1",
            "env -i",
            "env -u HOME",
            "timeout 5",
            "timeout -s KILL 1.5s",
            "nice -n 5",
            "xargs -I {}",
        ),
        *("timeout 5 bash -c", "env A=1 python3", "sudo -u bob sh", "parallel :::", "busybox sh", "uv run"),
        *(
            "docker exec web sh -c",
            "git",
            "git -C x",
            "git -c core.pager=cat",
            "make -f x",
            "python manage.py -c",
        ),
    ],
)
def test_a_prefix_that_does_not_name_what_runs_is_refused_with_advice_that_holds(prefix: str) -> None:
    with pytest.raises(UsageError, match="could run any command at all") as refused:
        require_sensible(Rule(tool="bash", prefix=tuple(prefix.split())))
    for advice in ("python -m pytest", "timeout 5 pytest"):
        assert f"'{advice}'" in str(refused.value)
        require_sensible(Rule(tool="bash", prefix=tuple(advice.split())))


@pytest.mark.parametrize(
    "prefix",
    [
        *(
            "pytest",
            "git status",
            "git -C x log",
            "make test",
            "find .",
            "find src",
            "wc -c",
            "grep -e",
            "ls -e",
        ),
        *("python x.py", "python -u x.py", "python -m pytest", "bash x.sh", "bash -c ls", "env X=1 pytest"),
        *(
            "sudo -u bob ls",
            "timeout -k 5 9 make test",
            "xargs -0 wc",
            "npx eslint",
            "npm run test",
            "uv run ruff",
        ),
        *("docker ps", "git commit -e", "7z x", "busybox ls"),
    ],
)
def test_a_prefix_that_names_what_runs_is_taken(prefix: str) -> None:
    require_sensible(Rule(tool="bash", prefix=tuple(prefix.split())))


@pytest.mark.parametrize(
    "rule",
    [
        Rule(tool="bash", prefix=("rm",), path="build/*"),
        Rule(tool="bash", arguments={"command": "rm -rf src"}, path="build/*"),
    ],
)
def test_a_command_rule_with_a_path_is_refused_and_one_stored_before_covers_nothing(
    rule: Rule, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="for bash give --prefix or --command, without --path"):
        require_sensible(rule)
    for command in ("rm -rf src", "rm build/x", "rm -rf src && rm build/x"):
        assert covering(Call(tool="bash", arguments={"command": command}), {"r": rule}, tmp_path) is None


# -- In sessions ---------------------------------------------------------------------------------------

RM = Call(tool="bash", arguments={"command": "echo gone"})


def session(
    root: Path, name: str, *calls: Call, ui: ScriptedUI, mode: str = "ask", resume: bool = False
) -> Session:
    config = Config(
        model={"name": "test:policy"},
        session=SessionConfig(approvals=mode, snapshots=False),  # type: ignore[arg-type]  # one of the four
    )
    return open_scripted(root, calls, ui=ui, config=config, log=root.parent / name, resume=resume)


def test_always_holds_in_the_next_session_and_the_log_says_which_rule(tmp_path: Path) -> None:
    first = ScriptedUI(["go"], [Answer(verdict="allow", always=True)])
    opened = session(tmp_path / "p", "1.jsonl", RM, RM, ui=first)
    engine.run(opened)
    opened.close("quit")
    assert len(first.questions) == 1
    second = ScriptedUI(["go"])
    engine.run(session(tmp_path / "p", "2.jsonl", RM, ui=second))
    (key,) = RuleStore(tmp_path / "p").rules()
    assert not second.questions
    assert [e.by for e in second.events if isinstance(e, DecisionMade)] == [f"rule:{key}"]
    assert [e.by for e in second.events if isinstance(e, RuleAdded)] == ["stored"]


def test_a_rule_of_one_project_is_none_of_another(tmp_path: Path) -> None:
    engine.run(
        session(tmp_path / "p", "1", RM, ui=ScriptedUI(["go"], [Answer(verdict="allow", always=True)]))
    )
    other = ScriptedUI(["go"])
    engine.run(session(tmp_path / "q", "2", RM, ui=other))
    assert len(other.questions) == 1


def test_a_rule_that_was_removed_meanwhile_does_not_come_back_with_a_resumed_session(tmp_path: Path) -> None:
    first = session(tmp_path / "p", "1", RM, ui=ScriptedUI(["go"], [Answer(verdict="allow", always=True)]))
    engine.run(first)
    first.close("quit")
    store = RuleStore(tmp_path / "p")
    assert [store.remove(key) for key in store.rules()] == [True]
    ui = ScriptedUI(["go"])
    engine.run(session(tmp_path / "p", "1", RM, ui=ui, resume=True))
    assert len(ui.questions) == 1


def test_removing_in_a_session_removes_for_good(tmp_path: Path) -> None:
    key = RuleStore(tmp_path / "p").add(STATUS)
    ui = ScriptedUI(["/rules", f"/rules remove {key}"])
    engine.run(session(tmp_path / "p", "1", ui=ui))
    assert ui.messages[0] == f"{key}  always allow bash commands that begin with: git status"
    assert RuleStore(tmp_path / "p").rules() == {}


def test_a_rules_file_that_is_none_grants_nothing(tmp_path: Path) -> None:
    store = RuleStore(tmp_path / "p")
    key = store.add(Rule(tool="bash", arguments=RM.arguments))
    (store.folder / f"{key}.json").write_text("{")
    ui = ScriptedUI(["go"])
    engine.run(session(tmp_path / "p", "1", RM, ui=ui))
    assert len(ui.questions) == 1


def test_rules_are_private_files_outside_of_the_workspace(tmp_path: Path) -> None:
    store = RuleStore(tmp_path)
    key = store.add(STATUS)
    assert os.stat(store.folder / f"{key}.json").st_mode & 0o777 == 0o600
    assert not store.folder.is_relative_to(tmp_path.resolve())


@pytest.mark.parametrize(
    ("mode", "asked", "by"),
    [
        ("ask", ["read", "write", "bash"], ["user", "user", "user"]),
        ("reads", ["write", "bash"], ["mode:reads", "user", "user"]),
        ("sandbox", [], ["mode:sandbox", "mode:sandbox", "mode:sandbox"]),
        ("plan", [], ["mode:plan", "mode:plan", "mode:plan"]),
    ],
)
def test_a_mode_says_what_is_asked_and_the_log_who_decided(
    tmp_path: Path, mode: str, asked: list[str], by: list[str]
) -> None:
    ui = ScriptedUI(["go"])
    calls = [
        Call(tool="read", arguments={"path": "a.txt"}),
        Call(tool="write", arguments={"path": "b.txt", "content": "b\n"}),
        RM,
    ]
    try:
        opened = session(tmp_path / "p", "1", *calls, ui=ui, mode=mode)
    except UsageError as error:
        pytest.skip(str(error))
    engine.run(opened)
    assert [q.call.tool for q in ui.questions] == asked
    assert [e.by for e in ui.events if isinstance(e, DecisionMade)] == by
    assert (tmp_path / "p" / "b.txt").exists() is (mode != "plan")


def test_plan_mode_tells_the_model_what_it_can_do(tmp_path: Path) -> None:
    opened = session(tmp_path / "p", "1", RM, ui=ScriptedUI(["go"]), mode="plan")
    engine.run(opened)
    told = "\n".join(m.text for m in opened.transcript.messages)
    assert "this is plan mode: nothing may be changed yet" in told and "read, glob, grep, reply" in told


def test_the_mode_sandbox_is_refused_without_one(tmp_path: Path) -> None:
    config = Config(
        model={"name": "test:policy"}, session=SessionConfig(approvals="sandbox"), sandbox={"name": "none"}
    )
    with pytest.raises(UsageError, match=r"needs a sandbox, and there is none: it is turned off"):
        open_scripted(tmp_path / "p", config=config)
    assert not (tmp_path / "p.jsonl").exists()


def test_an_edit_by_mode_is_done(tmp_path: Path) -> None:
    ui = ScriptedUI(["go"])
    try:
        opened = session(
            tmp_path / "p", "1", Call(tool="bash", arguments={"command": "id -u"}), ui=ui, mode="sandbox"
        )
    except UsageError as error:
        pytest.skip(str(error))
    engine.run(opened)
    assert [e.success for e in ui.events if isinstance(e, ToolRan)] == [True]


# -- cc rules ------------------------------------------------------------------------------------------


def cc(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(rules_command, arguments, catch_exceptions=False)
    return result.exit_code, result.output


def test_rules_can_be_added_listed_explained_and_removed(tmp_path: Path) -> None:
    here = ("--project", str(tmp_path))
    assert cc("add", "bash", "--prefix", "git status", *here)[0] == 0
    key = rule_id(STATUS)
    assert cc("list", *here)[1].startswith(f"{key}  bash commands that begin with: git status\n")
    assert cc("explain", "bash", "git status -s", *here) == (
        0,
        f"allowed by {key}: bash commands that begin with: git status\n",
    )
    code, said = cc("explain", "bash", "git status && rm x", *here)
    assert code == 1 and "  rm x: no rule\n" in said and f"  git status: allowed by {key}" in said
    assert "a command substitution in it ($(rm x))" in cc("explain", "bash", "git status $(rm x)", *here)[1]
    assert cc("explain", "write", "a.py", *here)[0] == 1
    assert cc("remove", key, *here) == (0, f"removed {key}\n")
    assert cc("list", *here)[1].startswith("No rules for")
    with pytest.raises(UsageError, match="there is no rule 'x'"):
        cc("remove", "x", *here)


@pytest.mark.parametrize(
    "words",
    [
        "bash",
        "bash --prefix env",
        "bash --prefix '",
        "write --prefix x",
        "bash --prefix a --command b",
        "bash --prefix rm --path build/*",
    ],
)
def test_a_rule_that_makes_no_sense_is_not_added(tmp_path: Path, words: str) -> None:
    with pytest.raises(UsageError):
        cc("add", *words.split(), "--project", str(tmp_path))
    assert RuleStore(tmp_path).rules() == {}


def test_a_rule_for_a_tool_that_may_be_mistyped_is_added_with_a_note(tmp_path: Path) -> None:
    code, said = cc("add", "raed", "--path", "src/*", "--project", str(tmp_path))
    assert (
        code == 0 and "note: 'raed' is no built-in tool, but may be a plugin's; did you mean 'read'?" in said
    )
    assert [stored.rule.tool for stored in RuleStore(tmp_path).rules().values()] == ["raed"]
    assert "note" not in cc("add", "read", "--path", "src/*", "--project", str(tmp_path))[1]
