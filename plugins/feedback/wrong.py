"""`/wrong WORDS`: the user says, after a call ran, that it should not have been made.

The words are recorded as a late denial of that call, which the kind `tool_failure` notices, and are learned
from at once. The call meant is the last one that ran; `/wrong TOOL: WORDS` means the last call of TOOL. The
answer that ended the turn is meant only by its name (`/wrong reply: WORDS`): it is nearly always the last
call, and rarely the one that somebody complains about.
"""

from continualcode.core.engine import learn, noticed
from continualcode.core.errors import UsageError
from continualcode.core.events import DecisionMade
from continualcode.core.session import Session
from continualcode.core.transcript import ProposedCall, Transcript


class Wrong:
    """The slash command."""

    name = "wrong"
    help = "say that the last call was wrong: /wrong WORDS, or /wrong TOOL: WORDS"

    def run(self, argument: str, session: Session) -> str:
        """Record the late denial, and learn from it."""
        named, colon, rest = argument.partition(":")
        tool = named.strip() if colon and named.strip() in session.tools else None
        words = rest.strip() if tool else argument
        if not words:
            raise UsageError("/wrong needs words, such as: /wrong bash: run one test, not all of them")
        found = last_that_ran(session.transcript, tool)
        if found is None:
            which = f"no call of {tool}" if tool else "no call"
            raise UsageError(f"{which} has run in this conversation: there is nothing to say that of")
        decision = DecisionMade(call_id=found.call_id, verdict="deny", by="user", reason=words)
        noticed(session, session.append(decision, cause=found.call_id))
        learn(session)
        return f"Noted: the call of {found.call.tool} was wrong."


def last_that_ran(transcript: Transcript, tool: str | None = None) -> ProposedCall | None:
    """The last call of `tool` that ran, of the conversation as it stands; None: any tool, but no answer."""
    answers = {spec.name for spec in transcript.tools if spec.ends_turn}
    for call_id in reversed(transcript.said):
        if call_id in transcript.results:
            call = transcript.call(call_id)
            if call.call.tool == tool or (tool is None and call.call.tool not in answers):
                return call
    return None
