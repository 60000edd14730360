"""Bodies made to hurt a parser: refused with the right words, cheaply, and alone."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest

from hookline.bodies import parse
from tests.instance import Instance, running
from tests.security.cpu import least_cpu_s
from tests.standins import StandIn

FLOW = """
id: open
trigger: {webhook: {auth: {type: none}}}
steps: [{id: keep, use: transform, with: {body: =body}}]
"""
JSON, XML = "application/json", "application/xml"
FORM = "application/x-www-form-urlencoded"
CHEAP_S: Final = 0.05


@pytest.fixture
async def hookline(tmp_path: Path) -> AsyncIterator[Instance]:
    async with running(tmp_path, FLOW) as instance:
        yield instance


async def refused(hookline: Instance, content_type: str, body: bytes) -> int:
    """The status of a hostile body, after which a good one runs, and it alone."""
    answer = await hookline.send("open", body, [("Content-Type", content_type)])
    good = await hookline.send("open", b'"good"')

    assert await hookline.result(good) == "good"
    assert len(hookline.ends.order) == 1
    return answer.status


HOSTILE_JSON = {
    "arrays 100,000 deep": b"[" * 100_000 + b"]" * 100_000,
    "arrays 100,000 deep, unclosed": b"[" * 100_000,
    "objects 100,000 deep": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "4,301 digits": b"1" * 4_301,
    "a million digits": b"1" * 1_000_000,
    "a million digits, negative": b"[-" + b"1" * 1_000_000 + b"]",
    "an exponent beyond all numbers": b"1e999999",
    "NaN": b"NaN",
    "Infinity": b'{"a": -Infinity}',
    "a lone high surrogate": b'"\\ud800"',
    "a lone low surrogate": b'"\\udc00\\ud800"',
    "a lone surrogate in a name": b'{"\\ud800": 1}',
    "a surrogate in UTF-8": b'"\xed\xa0\x80"',
    "invalid UTF-8": b'"\xff"',
    "an overlong slash": b'"\xc0\xaf"',
    "a NUL": b'"\x00"',
    "a second value": b"1 1",
    "a comment": b"/* */ 1",
}


@pytest.mark.security("S16")
@pytest.mark.parametrize("kind", HOSTILE_JSON)
async def test_hostile_json_is_400(hookline: Instance, kind: str) -> None:
    """Nothing of it is in the log, and whoever comes next is served."""
    assert await refused(hookline, JSON, HOSTILE_JSON[kind]) == 400


CHEAP_JSON = {
    **HOSTILE_JSON,
    "a name 100,000 times": b"{" + b'"a":1,' * 100_000 + b'"a":2}',
    "4,300 digits": b"1" * 4_300,
    "a fraction of a million digits": b"0." + b"1" * 1_000_000,
}


@pytest.mark.security("S16")
@pytest.mark.parametrize("kind", CHEAP_JSON)
def test_hostile_json_costs_little(kind: str) -> None:
    """At most 50 ms of CPU, whatever becomes of it."""
    body = CHEAP_JSON[kind]

    assert least_cpu_s(lambda: parse(JSON, body)) < CHEAP_S


@pytest.mark.security("S16")
async def test_of_a_name_that_is_there_twice_the_last_value_counts(
    hookline: Instance,
) -> None:
    """JSON allows it; the bytes in the log are those that were sent."""
    body = b'{"a": 1, "a": 2}'

    answer = await hookline.send("open", body)

    assert await hookline.result(answer) == {"a": 2}
    assert (await hookline.event(answer)).request.body == body


DEEP: Final = 101
LAUGHS = "".join(
    f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' if n else '<!ENTITY l0 "lol">'
    for n in range(10)
)
ATTRIBUTES = " ".join(f"a{number}=''" for number in range(200_001))
HOSTILE_XML = {
    "billion laughs": f"<!DOCTYPE l [{LAUGHS}]><l>&l9;</l>",
    "quadratic blow-up": (
        f'<!DOCTYPE q [<!ENTITY a "{"a" * 50_000}">]><q>{"&a;" * 50_000}</q>'
    ),
    "an entity from a file": '<!DOCTYPE x [<!ENTITY e SYSTEM "FILE">]><x>&e;</x>',
    "an entity from the network": (
        '<!DOCTYPE x [<!ENTITY e SYSTEM "NETWORK">]><x>&e;</x>'
    ),
    "a parameter entity": (
        '<!DOCTYPE x [<!ENTITY % p SYSTEM "NETWORK"> %p;]><x>&e;</x>'
    ),
    "a document type from the network": '<!DOCTYPE x SYSTEM "NETWORK"><x/>',
    "a document type alone": "<!DOCTYPE x><x/>",
    "an entity nobody defined": "<x>&nobody;</x>",
    "too deep": "<x>" * DEEP + "</x>" * DEEP,
    "too deep, unclosed": "<x>" * 100_000,
    "too many elements": f"<x>{'<y/>' * 200_001}</x>",
    "too many attributes": f"<x {ATTRIBUTES}/>",
    "an attribute twice": '<x a="1" a="2"/>',
    "NUL": "<x>\x00</x>",
}


@pytest.fixture
async def network() -> AsyncIterator[StandIn]:
    async with StandIn() as server:
        yield server


@pytest.mark.security("S17")
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize("kind", HOSTILE_XML)
async def test_hostile_xml_is_400(
    hookline: Instance, network: StandIn, tmp_path: Path, kind: str, encoding: str
) -> None:
    """Nobody is asked for anything; in UTF-16 no search for bytes finds it."""
    file = tmp_path / "canary"
    file.write_text("canary")
    text = HOSTILE_XML[kind].replace("FILE", file.as_uri())
    body = text.replace("NETWORK", f"{network.url}/canary").encode(encoding)

    status = await refused(hookline, XML, body)

    assert status == 400
    assert network.requests == []


@pytest.mark.security("S17")
async def test_an_inclusion_is_an_element_like_others(
    hookline: Instance, network: StandIn
) -> None:
    """XInclude names a place; nobody goes there."""
    inclusion = f'<i:include xmlns:i="urn:i" href="{network.url}"/>'

    answer = await hookline.send("open", inclusion.encode(), [("Content-Type", XML)])

    attributes = {"xmlns-i": "urn:i", "href": network.url}
    assert await hookline.result(answer) == {"i-include": {"_attr": attributes}}
    assert network.requests == []


@pytest.mark.security("S17")
@pytest.mark.parametrize(
    "body",
    [
        HOSTILE_XML["billion laughs"].encode("utf-16"),
        HOSTILE_XML["quadratic blow-up"].encode("utf-16"),
        b"<x>" * 3_000_000,
        b"<x " + b"a" * 1_000_000,
        b"<x>" + b"<![CDATA[]]>" * 80_000 + b"</x>",
        b"<x>" + b"x<!-- -->" * 100_000 + b"</x>",
    ],
    ids=["laughs", "quadratic", "depth", "unclosed name", "CDATA sections", "comments"],
)
def test_hostile_xml_costs_little(body: bytes) -> None:
    assert least_cpu_s(lambda: parse(XML, body)) < CHEAP_S


HOSTILE_FORMS = {
    "semicolons": b"a;b;c;" * 150_000,
    "a name 9,999 times": b"&".join([b"a=1"] * 9_999),
    "9,999 names": b"&".join(b"k%d=v" % number for number in range(9_999)),
    "ampersands": b"&" * 1_000_000,
    "brackets": b"a" + b"[" * 1_000_000,
    "nested brackets": b"a" + b"[b]" * 300_000 + b"=1",
    "an unclosed bracket": b"a[" + b"b" * 1_000_000,
    "equals signs": b"=" * 1_000_000,
    "percent signs": b"a=" + b"%" * 100_000,
    "plus signs": b"+" * 1_000_000,
}


@pytest.mark.security("S19")
@pytest.mark.parametrize("kind", HOSTILE_FORMS)
def test_hostile_forms_cost_little(kind: str) -> None:
    """At most 50 ms of CPU each, in the body as in the query."""
    body = HOSTILE_FORMS[kind]

    assert least_cpu_s(lambda: parse(FORM, body)) < CHEAP_S


@pytest.mark.security("S19")
def test_names_cannot_be_chosen_to_collide() -> None:
    """Hashes of text begin with what only this process knows."""
    assert sys.flags.hash_randomization == 1


@pytest.mark.security("S19")
@pytest.mark.parametrize("body", [b"&" * 10_000, b"a=%ff", b"a" + b"[b]" * 33 + b"=1"])
async def test_a_hostile_form_is_400(hookline: Instance, body: bytes) -> None:
    assert await refused(hookline, FORM, body) == 400
