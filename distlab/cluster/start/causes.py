"""What Ray says of a failure, in the words that matter: no frames, no colours, no advice."""

import re

LINES = 8
"""A cause takes no more lines than this on a terminal."""

_COLOURS = re.compile(r"\x1b\[[\d;]*m")
_EXCEPTION = re.compile(r"^(?:[A-Za-z_][\w.]*\.)?[A-Z]\w*(?:Error|Exception|Exit|Interrupt)\b")
_ADVICE = re.compile(r" ?(There are some potential root|Some common) causes.*", re.DOTALL)
_NODE = re.compile(r"its node has died\. Node Id: \w+\s*([^\n]*)")
_MEMORY = re.compile(r"Memory on the node [^\n]*? was (\S+) used / (\S+) limit")


def cause(error: BaseException) -> str:
    """Why something failed, uncut but without the frames of tracebacks.

    Of a chain of errors it is the last, which Ray puts at the end of what it says.
    """
    text = _COLOURS.sub("", str(error)).strip()
    if memory := _MEMORY.search(text):
        return (
            f"its host ran out of memory ({memory[1]} of {memory[2]} in use), and Ray ended it: "
            "fewer workers, or a smaller batch"
        )
    if node := _NODE.search(text):
        return f"its node has died: {node[1].strip()}" if node[1].strip() else "its node has died"
    detail = re.search(r"exit detail: (.*)", text, re.DOTALL)
    if detail:
        return " ".join(_ADVICE.sub("", detail[1]).split())
    lines = [line.rstrip() for line in text.splitlines()]
    told = [number for number, line in enumerate(lines) if _EXCEPTION.match(line)]
    # Where there are frames, the last exception is the cause; its message may have more lines.
    if told and any(line.startswith("  ") for line in lines[: told[-1]]):
        lines = lines[told[-1] :]
    said = [line for line in lines if line.strip(" ^~")]
    if not said:
        return type(error).__name__
    return "\n".join(said[:LINES] + ["..."] * (len(said) > LINES))


def node_of(error: BaseException) -> str | None:
    """The address of the node on which it failed, where Ray names it."""
    named = re.search(r"\[Node ([^\]]+)\]|\bip=([\w.:-]+)|\bnode \(IP: ([\w.:-]+)", str(error))
    return next(filter(None, named.groups())) if named else None
