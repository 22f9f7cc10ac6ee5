"""gpt-oss's form, harmony: a completion is messages on channels, and a call is a message with a recipient.

    <|channel|>analysis<|message|>I must look first.<|end|><|start|>assistant
     to=functions.read<|channel|>commentary json<|message|>{"path": "a.py"}<|call|>      (without a line end)

https://cookbook.openai.com/articles/openai-harmony. The recipient may stand behind the channel as well, and
`<|constrain|>` before `json`: the makers' renderer does so, their chat template does not, and both are read.
Reasoning is the channel `analysis`; words for the user are `final`, and `commentary` without a recipient.
"""

import re
from collections.abc import Mapping

from continualcode.core.data import Json, ToolSpec
from continualcode.plugins.models.language import loose_json
from continualcode.plugins.models.language.calls import ANOTHER, LEFT_OUT, Said, Written
from continualcode.plugins.models.language.forms import Framed, Turn

MESSAGE = "<|message|>"
_BOUNDARY = re.compile(r"<\|(?:end|call|return|start)\|>")
_CHANNEL = re.compile(r"<\|channel\|>\s*(\w+)")
_RECIPIENT = re.compile(r"to=(?:functions\.)?([^\s<]+)")
_START = re.compile(r"\s*(?:<\|start\|>)?\s*(?:assistant)?")


class Harmony(Framed):
    """Messages on channels; the first that is addressed to a tool is the call."""

    ends = ("<|call|>", "<|return|>")

    def prose(self, text: str) -> str:
        """What is on the channel of answers."""
        return self.read(text, {}).prose

    def read(self, text: str, tools: Mapping[str, ToolSpec]) -> Said:
        """Message by message, up to a call."""
        if "<|" not in text:
            return Said(text)
        prose: list[str] = []
        reasoning: list[str] = []
        place, last = 0, ""
        while (begin := text.find(MESSAGE, place)) >= 0:
            header, body = text[place:begin], begin + len(MESSAGE)
            channel = _CHANNEL.search(header)
            last = channel[1] if channel else "final"
            recipient = _RECIPIENT.search(header)
            if recipient is not None and recipient[1] != "assistant":
                said = self._call(text, place, recipient[1], body)
                return said._replace(prose="\n".join(prose), reasoning="\n".join(reasoning))
            boundary = _BOUNDARY.search(text, body)
            place = boundary.start() if boundary else len(text)
            (reasoning if last == "analysis" else prose).append(text[body:place])
            place = boundary.end() if boundary and boundary[0] != "<|start|>" else place
        rest = _START.sub("", text[place:], count=1)
        fault = f"a message breaks off before its {MESSAGE}" if rest.strip() else None
        answered = any(prose) or last != "analysis"
        return Said("\n".join(prose), fault=fault, reasoning="\n".join(reasoning), whole=answered)

    def _call(self, text: str, start: int, name: str, body: int) -> Said:
        """The call whose header begins at `start` and whose arguments begin at `body`."""
        value = loose_json.read(text, body)
        if value is None:
            return Said("", fault=f"the arguments are not JSON; expected {self.before(name)}{{…}}")
        boundary = _BOUNDARY.match(text, value.end)
        rest = text[boundary.end() if boundary else value.end :]
        after = [ANOTHER if _RECIPIENT.search(rest) else LEFT_OUT] if rest.strip() else []
        opened = _START.match(text, start)
        begin = opened.end() if opened and text.startswith("<|start|>", start) else start
        return Said("", Written(name, value.value, begin, value.end, (*value.repairs, *after)))

    def turn(self, said: Said, call: Json | None) -> Turn:
        """A call takes what was thought or said before it as its `thinking`, not both."""
        if call is None:
            return {"role": "assistant", "content": said.prose}
        thinking = said.reasoning or said.prose
        return {"role": "assistant", "content": "", "thinking": thinking, "tool_calls": [call]}


HARMONY = Harmony("harmony", "", " to=functions.{name}<|channel|>commentary json" + MESSAGE, "")
