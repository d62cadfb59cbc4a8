"""Bodies that no address of the API takes: what is wrong with each, and the answer that it gets (T49).

    @pytest.mark.parametrize("bad", BAD_JSON, ids=str)
    def test_it_is_refused(bad: BadBody) -> None:
        answer = post("/api/v1/messages", bad.body, content_type=bad.content_type)
        assert (answer.status_code, answer.json()["code"]) == (bad.status, bad.code)

`within(bad, b'{"data": %s}')` puts a bad value into an envelope, for addresses that look at the outer object first.
"""

from dataclasses import dataclass, replace

JSON = "application/json"


@dataclass(frozen=True)
class BadBody:
    """A body and the answer that it gets."""

    name: str
    body: bytes
    code: str
    status: int = 400
    content_type: str = JSON
    is_value: bool = True
    """Whether it stays wrong in the same way as a value inside of another document."""

    def __str__(self) -> str:
        return self.name


def within(bad: BadBody, envelope: bytes) -> BadBody:
    """The bad value inside of an envelope: JSON with `%s` where it goes."""
    return replace(bad, body=envelope.replace(b"%s", bad.body))


def _nested(levels: int, opening: bytes, closing: bytes, core: bytes = b"") -> bytes:
    return opening * levels + core + closing * levels


BAD_JSON = [
    # ---------------------------------------------------------------- no document at all
    BadBody("empty", b"", "empty_body", is_value=False),
    BadBody("blank", b" \r\n\t ", "empty_body", is_value=False),
    BadBody("word", b"hello", "invalid_json"),
    BadBody("unclosed object", b'{"a": 1', "invalid_json", is_value=False),
    BadBody("unclosed text", b'{"a": "b', "invalid_json", is_value=False),
    BadBody("two documents", b"{} {}", "invalid_json"),
    BadBody("rest behind the document", b"{}x", "invalid_json"),
    BadBody("trailing comma", b'{"a": 1,}', "invalid_json"),
    BadBody("comment", b'{"a": 1 /* one */}', "invalid_json"),
    BadBody("single quotes", b"{'a': 1}", "invalid_json"),
    BadBody("bare key", b"{a: 1}", "invalid_json"),
    BadBody("leading zero", b'{"a": 01}', "invalid_json"),
    BadBody("hexadecimal", b'{"a": 0x1}', "invalid_json"),
    BadBody("plus sign", b'{"a": +1}', "invalid_json"),
    BadBody("half an exponent", b'{"a": 1e}', "invalid_json"),
    BadBody("raw newline in a text", b'{"a": "b\nc"}', "invalid_json"),
    BadBody("raw NUL in a text", b'{"a": "b\x00c"}', "invalid_json"),
    BadBody("NUL behind the document", b"{}\x00", "invalid_json"),
    BadBody("bad escape", rb'{"a": "\x41"}', "invalid_json"),
    BadBody("short escape", rb'{"a": "\u00"}', "invalid_json"),
    BadBody("byte order mark", b'\xef\xbb\xbf{"a": 1}', "invalid_json"),
    # ---------------------------------------------------------------- not UTF-8
    BadBody("Latin-1", '{"a": "é"}'.encode("latin-1"), "invalid_utf8"),
    BadBody("UTF-16", '{"a": 1}'.encode("utf-16"), "invalid_utf8", is_value=False),
    BadBody("overlong form", b'{"a": "\xc0\xaf"}', "invalid_utf8"),
    BadBody("surrogate in UTF-8", b'{"a": "\xed\xa0\x80"}', "invalid_utf8"),
    BadBody("cut in the middle of a character", b'{"a": "\xe2\x82"}', "invalid_utf8"),
    BadBody("byte 0xff", b'{"a": "\xff"}', "invalid_utf8"),
    # ---------------------------------------------------------------- numbers
    BadBody("NaN", b'{"a": NaN}', "invalid_number"),
    BadBody("Infinity", b'{"a": Infinity}', "invalid_number"),
    BadBody("-Infinity", b'{"a": [1, -Infinity]}', "invalid_number"),
    BadBody("1e400", b'{"a": 1e400}', "number_out_of_range"),
    BadBody("-1e400", b'{"a": -1e400}', "number_out_of_range"),
    BadBody("2 ** 64", b'{"a": 18446744073709551616}', "number_out_of_range"),
    BadBody("-2 ** 63 - 1", b'{"a": -9223372036854775809}', "number_out_of_range"),
    BadBody("1,000 digits", b'{"a": ' + b"9" * 1000 + b"}", "number_out_of_range"),
    BadBody("100,000 digits", b'{"a": ' + b"9" * 100_000 + b"}", "number_out_of_range"),
    # ---------------------------------------------------------------- keys
    BadBody("key twice", b'{"a": 1, "a": 2}', "duplicate_key"),
    BadBody("key twice with the same value", b'{"a": 1, "a": 1}', "duplicate_key"),
    BadBody("key twice, once escaped", rb'{"a": 1, "\u0061": 2}', "duplicate_key"),
    BadBody("key twice, deep inside", b'{"a": [{"b": {"c": 1, "d": 2, "c": 3}}]}', "duplicate_key"),
    BadBody("empty key twice", b'{"": 1, "": 2}', "duplicate_key"),
    BadBody("key twice beside an escaped colon", rb'{"a": "\u003a", "a": 2}', "duplicate_key"),
    BadBody(
        "key of 100,000 characters twice", b'{"%b": 1, "%b": 2}' % (b"k" * 100_000, b"k" * 100_000), "duplicate_key"
    ),
    # ---------------------------------------------------------------- texts
    BadBody("escaped NUL", rb'{"a": "b\u0000c"}', "nul_character"),
    BadBody("escaped NUL in a key", rb'{"a\u0000": 1}', "nul_character"),
    BadBody("escaped NUL in a list", rb'{"a": [[["\u0000"]]]}', "nul_character"),
    BadBody("high surrogate alone", rb'{"a": "\ud800"}', "lone_surrogate"),
    BadBody("low surrogate alone", rb'{"a": "\udc00"}', "lone_surrogate"),
    BadBody("surrogates the wrong way round", rb'{"a": "\ude00\ud83d"}', "lone_surrogate"),
    BadBody("lone surrogate in a key", rb'{"\uD83D": 1}', "lone_surrogate"),
    # ---------------------------------------------------------------- depth
    BadBody("65 arrays", _nested(65, b"[", b"]"), "too_deep"),
    BadBody("65 objects", _nested(65, b'{"a":', b"}", b"1"), "too_deep"),
    BadBody("1,025 arrays", _nested(1025, b"[", b"]"), "too_deep"),
    BadBody("10,000 arrays", _nested(10_000, b"[", b"]"), "too_deep"),
    BadBody("10,000 objects", _nested(10_000, b'{"a":', b"}", b"1"), "too_deep"),
    BadBody("100,000 unclosed arrays", b"[" * 100_000, "too_deep", is_value=False),
    BadBody("65 arrays, brackets in a text", _nested(65, b"[", b"]", b'"]]]]]]"'), "too_deep"),
    # ---------------------------------------------------------------- content types
    BadBody("form", b"a=1", "unsupported_media_type", 415, "application/x-www-form-urlencoded", is_value=False),
    BadBody("multipart", b"--x--", "unsupported_media_type", 415, "multipart/form-data; boundary=x", is_value=False),
    BadBody("text", b"{}", "unsupported_media_type", 415, "text/plain", is_value=False),
    BadBody("no type", b"{}", "unsupported_media_type", 415, "", is_value=False),
    BadBody("nonsense type", b"{}", "unsupported_media_type", 415, "////;;;==", is_value=False),
    BadBody("long type", b"{}", "unsupported_media_type", 415, "a" * 5000, is_value=False),
    BadBody("Latin-1 by name", b"{}", "unsupported_charset", 415, "application/json; charset=latin-1", is_value=False),
]

GOOD_JSON = [
    b"{}",
    b"[]",
    b"null",
    b' {"a" : 1 , "b" : [ 1 , 2 ] } ',
    b'{"a": 18446744073709551615, "b": -9223372036854775808}',
    b'{"a": 1e308, "b": 1e-400, "c": -0.0, "d": 123456789012345678901234567890.5}',
    rb'{"a": "\ud83d\ude00", "b": "\u00e9", "c": "\\u0000", "d": "\\ud800"}',
    rb'{"a": ":", "b": "\u003a", "c": "\":\""}',
    b'{"12345678901234567890": "12345678901234567890123"}',
    '{"a": "日本語 😀 \u2028"}'.encode(),
    b'{"a": {"a": {"a": 1}}, "b": {"a": 1}}',
    b'{"a": "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["}',
    _nested(64, b"[", b"]"),
    b"[" + b",".join([b'{"a": []}'] * 500) + b"]",
]
"""Bodies that look odd and are fine."""

# Query strings that a client can send; each is a 4xx or is ignored, never a 5xx.
ODD_QUERIES = [
    "limit=0",
    "limit=-1",
    "limit=201",
    "limit=99999999999999999999999999999",
    "limit=1e3",
    "limit=٣",
    "limit=",
    "limit=1&limit=2",
    "cursor=x",
    "cursor=%00",
    "cursor=%ff%fe",
    "cursor=é",
    "cursor=" + "A" * 3000,
    "cursor=BAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    "cursor[]=1",
    "limit[$gt]=1",
    "%00=1",
    "a=%00",
    "a%00b=c",
    "unknown=1",
    "&&&&",
    "=",
    "=1",
    "%",
    "%zz=%zz",
    "limit=%F0%9F%98%80",
    "a" * 200 + "=1",
    "&".join(f"a{n}=1" for n in range(100)),
    "x=" + "y" * 9000,
    "format=xml",
    "format=../../etc/passwd",
    "project=%27%3B--",
]
