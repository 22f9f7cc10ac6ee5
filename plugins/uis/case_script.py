"""A case set as a session: `cc run --script CASES.toml EMPTY_FOLDER` (the file: see `core.evaluation.cases`).

Each training prompt of each rule becomes a turn, in the order of the file: the folder is emptied, the case's
files are written, its earlier calls are run, and the model is asked. Its calls are then decided by that rule:
what breaks it is denied in the rule's words, and learned from; anything else runs, as in any session. So it
is what a user does all day, unattended; `cc eval CASES.toml --teach` only looks at first calls and runs none.
"""

from continualcode.core import engine
from continualcode.core.errors import UsageError
from continualcode.core.evaluation.cases import Case, CaseRule, Cases
from continualcode.core.evaluation.teach import stage
from continualcode.core.review import Answer, Question
from continualcode.core.session import Session
from continualcode.plugins.uis.screen import Screen


class CaseUI(Screen):
    """Types the training prompts of a case set, and answers by their rules."""

    def __init__(self, cases: Cases) -> None:
        super().__init__()
        self._lessons = [(rule, case) for rule in cases.rule for case in rule.train]
        self._rule: CaseRule | None = None

    def next_input(self, session: Session) -> str | None:
        """Every case is a turn of its own; None after the last."""
        if self._rule is None:
            _require_empty(session)
        for rule, case in self._lessons:
            self._rule = rule
            self._teach(rule, case, session)
        return None

    def _teach(self, rule: CaseRule, case: Case, session: Session) -> None:
        self.say(f"\n[{rule.name}] > {case.prompt}")
        stage(session, case)
        engine.turn(session)

    def review(self, question: Question, session: Session) -> Answer:
        """The rule of the case decides; it has nothing against other calls."""
        rule = self._rule
        if rule is not None and rule.violates.holds(question.call, session.workspace):
            return Answer(verdict="deny", reason=rule.correction, by=f"script:{rule.name}")
        return Answer(verdict="allow", by="script:otherwise")


def _require_empty(session: Session) -> None:
    if any(session.workspace.root.iterdir()):
        raise UsageError(
            f"{session.workspace.root} is not empty: the cases write files of their own and delete what is "
            "there; give an empty folder: mkdir NEW; cc run --script CASES.toml NEW"
        )
