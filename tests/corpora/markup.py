"""Texts that try to become markup, script or layout. A page may show each of them, as text.

`harm_in(page)` lists what in a page came alive: an element of ours that no page writes, a handler in an attribute, a
script that is not a file, an address that runs.
"""

from html.parser import HTMLParser

ELEMENT = "x-evil"
"""An element that no page writes: where it is found, a text came alive."""

MARKUP = (
    f"<{ELEMENT} onclick=alert(1)>",
    "<script>alert(1)</script>",
    f'"><{ELEMENT} a="',
    f"'><{ELEMENT} a='",
    f"</pre></code></textarea></title></script></style><{ELEMENT}>",
    f"--><{ELEMENT}><!--",
    f"]]><{ELEMENT}>",
    "<svg/onload=alert(1)>",
    "<img src=x onerror=alert(1)>",
    '" autofocus onfocus="alert(1)" x="',
    "' x-init='alert(1)' x='",
    '" x-data="{a: alert(1)}" x-init="a" hx-get="/admin/logout/" hx-trigger="load" x="',
    "{{ 7 * 7 }}{% debug %}${7*7}",
    "javascript:alert(1)",
    "&lt;x-evil&gt;&#60;x-evil&#62;",
    "\\u003cx-evil\\u003e",
    "\u202e<x-evil>\u2066\u200b\ufeff",
    f"line\r\n\r\n<{ELEMENT}>\x0b\x0c\x1b[31m",
    "%3Cx-evil%3E",
    "‹x-evil› ＜x-evil＞ \u2028\u2029",
)

_RUNNING = ("javascript:", "data:text/html", "vbscript:")


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.harm: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == ELEMENT or (tag == "script" and not given.get("src")):
            self.harm.append(f"<{tag}>")
        for name, value in attrs:
            if name.startswith("on"):
                self.harm.append(f"<{tag} {name}>")
            if name in {"href", "src", "action", "hx-get"} and (value or "").strip().lower().startswith(_RUNNING):
                self.harm.append(f"<{tag} {name}={value}>")
            if name.startswith(("x-", "hx-", ":", "@")) and "alert(" in (value or ""):
                self.harm.append(f"<{tag} {name}={value}>")

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def harm_in(page: str) -> list[str]:
    """What came alive in a page; empty for a page that shows everything as text."""
    reader = _Reader()
    reader.feed(page)
    reader.close()
    return reader.harm


def text_of(page: str) -> str:
    """What a reader of the page sees, in one line."""
    reader = _Reader()
    reader.feed(page)
    reader.close()
    return " ".join(" ".join(reader.text).split())
