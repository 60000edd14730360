"""What is secret is compared in constant time: by `hmac.compare_digest`, never by `==`."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parent.parent.parent
# Names of what a sender might find out byte by byte, or of what it is compared with.
SECRET: Final = re.compile(
    r"digest|signature|signed|secret|password|token|credential|sent|known|\bh?mac\b"
    r"|(^|_)keys?($|_)|expected"
)
COMPARING: Final = (ast.Eq, ast.NotEq, ast.In, ast.NotIn)


def comparisons_of_secrets(source: str) -> Iterator[str]:
    """The comparisons in a file that tell by their time how much is equal."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Compare(left=left, ops=[operator], comparators=[right]):
                if isinstance(operator, COMPARING) and _is_secret(left, right):
                    yield ast.unparse(node)


def _is_secret(left: ast.expr, right: ast.expr) -> bool:
    """Whether one of them is named like a secret, and neither is known beforehand."""
    sides = (left, right)
    return any(map(_named_secret, sides)) and not any(map(_is_known, sides))


def _named_secret(side: ast.expr) -> bool:
    match side:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return SECRET.search(name) is not None
        case ast.Subscript(value=value):
            return _named_secret(value)
        case ast.Call(func=function, args=arguments):
            return any(map(_named_secret, (function, *arguments)))
    return False


def _is_known(side: ast.expr) -> bool:
    """A literal of the source, a constant, or a length."""
    match side:
        case ast.Constant():
            return True
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name.isupper()
        case ast.Call(func=ast.Name(id="len")):
            return True
    return False


@pytest.mark.security("S20")
@pytest.mark.parametrize(
    "place", ["services/router/**/*.py", "services/ingress/*.py", "hookline/bearer.py"]
)
def test_secrets_are_not_compared_by_equality(place: str) -> None:
    """Where credentials and tokens are judged, that is."""
    files = list(ROOT.glob(place))
    found = {
        str(file.relative_to(ROOT)): comparisons
        for file in files
        if (comparisons := list(comparisons_of_secrets(file.read_text())))
    }

    assert files
    assert found == {}


@pytest.mark.security("S20")
@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("digest == sent", True),
        ("sent[0] != other", True),
        ("request.signature in given", True),
        ("hmac.digest(key, body, 'sha256') == given", True),
        ("given == self._keyed.hexdigest()", True),
        ("token not in self._tokens", True),
        ("len(sent) != 1", False),
        ("sent == ''", False),
        ("encoding == 'hex'", False),
        ("sent is None", False),
        ("compare_digest(sent, known)", False),
        ("kind in KNOWN_DIGESTS", False),
    ],
)
def test_the_search_finds_what_it_should(source: str, found: bool) -> None:
    assert bool(list(comparisons_of_secrets(source))) is found
