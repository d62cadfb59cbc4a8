"""How the words, bytes and amounts of confirmations look."""

from decimal import Decimal
from typing import Any

from django.utils.html import format_html
from django.utils.safestring import SafeString

from confirmations.results import shown
from confirmations.states import Duty, Standing, Step, Try
from jobplatform.backoffice import markup
from jobplatform.backoffice.markup import Look, badge

DUTY: dict[str, Look] = {
    Duty.ACTIVE: Look("good", "check_circle"),
    Duty.PAUSED: Look("off", "pause_circle"),
    Duty.NO_FUNDS: Look("bad", "money_off"),
    Duty.HALTED: Look("bad", "dangerous"),
}
STEP: dict[str, Look] = {
    Step.RESERVED: Look("wait", "schedule"),
    Step.SIGNED: Look("wait", "draw"),
    Step.SENT: Look("run", "send"),
    Step.INCLUDED: Look("run", "link"),
    Step.FINAL: Look("good", "verified"),
    Step.STUCK: Look("ask", "back_hand"),
    Step.REVERTED: Look("bad", "error"),
    Step.FREED: Look("off", "cancel"),
    Step.FOREIGN: Look("bad", "dangerous"),
}
TRY: dict[str, Look] = {
    Try.SIGNED: Look("wait", "draw"),
    Try.SENT: Look("run", "send"),
    Try.REFUSED: Look("bad", "block"),
    Try.MINED: Look("good", "check_circle"),
    Try.DROPPED: Look("off", "cancel"),
}
STANDING: dict[str, Look] = {
    Standing.WAITING: Look("wait", "schedule"),
    Standing.SENT: Look("run", "send"),
    Standing.CONFIRMED: Look("good", "verified"),
    Standing.BLOCKED: Look("ask", "back_hand"),
    Standing.SKIPPED: Look("off", "skip_next"),
}
REASONS: dict[str, str] = {
    "refused_fatal": "No node can ever take it as it is.",
    "refused_reverted": "The contract refuses the call.",
    "refused_too_often": "No node took several attempts in a row for their fees or gas.",
    "fee_cap": "What it would have to offer is beyond the network's cap.",
    "key_refuses": "The bounds beside the key forbid to sign it.",
    "reverted": "The contract said no, for good.",
    "other_hash": "The chain says another result.",
    "insufficient_funds": "It has too little to pay a transaction; it goes on by itself when it has more.",
    "foreign_nonce": "Somebody else has used its key.",
}
"""Why a row waits for a person, by the code of its reason."""
_OTHER = Look("off", "help")
_ENDS = 10, 4
"""Characters of the beginning and of the end that tell one address or hash from another."""


def word(text: str, looks: dict[str, Look]) -> SafeString:
    """A word of one of the tables above as a badge."""
    return badge(markup.visible(text), looks.get(text, _OTHER))


def reason(code: str) -> SafeString | str:
    """Why a person is asked, as a sentence with its code; what a person wrote, as it is."""
    if code not in REASONS:
        return markup.spoken(code)
    return format_html("{} {}", REASONS[code], markup.code(code))


def hexed(value: Any) -> str:
    """Bytes as 0x…; a dash for none."""
    return markup.NOTHING if value is None else shown(value)


def whole(value: Any) -> SafeString:
    """Bytes as 0x… in fixed width, all of them."""
    return format_html('<span class="jp-id">{}</span>', hexed(value))


def short(value: Any) -> SafeString:
    """Bytes as 0x12345678…abcd, the whole on hover."""
    text = hexed(value)
    first, last = _ENDS
    seen = text if len(text) <= first + last + 1 else f"{text[:first]}…{text[-last:]}"
    return format_html('<span class="jp-id jp-nowrap" title="{}">{}</span>', text, seen)


def key(value: Any) -> SafeString:
    """An id in fixed width."""
    return format_html('<span class="jp-id">{}</span>', value)


def two(above: Any, below: Any) -> SafeString:
    """Two lines: what counts, and what it says beside."""
    small = format_html('<small class="jp-id">{}</small>', below) if below else ""
    return format_html('<span class="jp-two"><span>{}</span>{}</span>', above, small)


def number(value: int | None) -> str:
    """1,234 or a dash."""
    return markup.NOTHING if value is None else f"{value:,}"


def ether(wei: Decimal | int | None) -> str:
    """An amount in ether, to six places."""
    if wei is None:
        return markup.NOTHING
    value = Decimal(wei).scaleb(-18)
    text = _trimmed(f"{value:,.6f}")
    return "< 0.000001" if text == "0" and value > 0 else text


def gwei(wei: int | None) -> str:
    """A fee in gwei, exactly."""
    return markup.NOTHING if wei is None else _trimmed(f"{Decimal(wei).scaleb(-9):,f}")


def _trimmed(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text
