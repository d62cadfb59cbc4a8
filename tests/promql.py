"""Which metrics an expression of PromQL asks for, and by which labels. Anything that is not understood is an error."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

AGGREGATIONS = {"sum", "max", "min", "avg", "count", "topk"}
FUNCTIONS = {"rate", "increase", "abs", "absent", "histogram_quantile", "label_values", "predict_linear"}
GROUPING = {"by", "without", "on", "ignoring"}
OPERATORS = {"and", "or", "unless", "offset", "bool"}

_TOKEN = re.compile(
    r"""\s+ | (?P<string>"(?:[^"\\]|\\.)*") | (?P<range>\[(?:\d+[smhd]|\$__rate_interval)\]) | (?P<duration>\d+[smhd]\b)
    | (?P<number>\d+(?:\.\d+)?(?:e\d+)?) | (?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*) | (?P<sign>=~|!~|!=|>=|<=|==|[-+*/%=<>(){},])""",
    re.VERBOSE,
)


@dataclass
class Asked:
    """A metric, and the labels by which it is selected or that are asked of a whole expression."""

    metrics: dict[str, set[str]] = field(default_factory=dict)
    grouped: set[str] = field(default_factory=set)


def tokens(text: str) -> list[tuple[str, str]]:
    """Sort and text of each token.

    Raises:
        ValueError: something is none, or the parentheses do not match.
    """
    found, at = [], 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            message = f"What is {text[at : at + 20]!r}?"
            raise ValueError(message)
        at = match.end()
        if match.lastgroup:
            found.append((match.lastgroup, match[match.lastgroup]))
    open_: list[str] = []
    for _, sign in found:
        if sign in {"(", "{"}:
            open_.append(sign)
        elif sign in {")", "}"} and (not open_ or open_.pop() + sign not in {"()", "{}"}):
            message = f"An opening sign is missing in {text!r}."
            raise ValueError(message)
    if open_:
        message = f"A closing sign is missing in {text!r}."
        raise ValueError(message)
    return found


def asked(text: str) -> Asked:
    """What an expression asks for.

    Raises:
        ValueError: it holds something that is not understood.
    """
    result = Asked()
    stream = iter(tokens(text))
    before = ""
    for sort, token in stream:
        if sort == "name":
            following = before
            if token in GROUPING:
                result.grouped |= set(_names_until(stream, ")"))
            elif token not in AGGREGATIONS | FUNCTIONS | OPERATORS:
                result.metrics.setdefault(token, set())
                following = token
            before = following
            continue
        if token == "{":
            if before not in result.metrics:
                message = f"Whose labels are these, in {text!r}?"
                raise ValueError(message)
            result.metrics[before] |= set(_labels(stream, text))
        before = ""
    return result


def _names_until(stream: Iterator[tuple[str, str]], end: str) -> Iterator[str]:
    for sort, token in stream:
        if token == end:
            return
        if sort == "name":
            yield token


def _labels(stream: Iterator[tuple[str, str]], text: str) -> Iterator[str]:
    for sort, token in stream:
        if token == "}":
            return
        if token == ",":
            continue
        comparison, value = next(stream), next(stream)
        if sort != "name" or comparison[1] not in {"=", "!=", "=~", "!~"} or value[0] != "string":
            message = f"A label is compared wrongly in {text!r}."
            raise ValueError(message)
        yield token
