"""What the product owes its callers and operators, a row each; `marks.py` finds the tests.

A test names the rows that it holds: `@pytest.mark.security("S14", "S15")`. A row that
continuous integration cannot hold is held by a benchmark, which is named here.
"""

from typing import Final

ROWS: Final = {
    "S15": "compressed bombs are 413 or 415, and memory grows by less than twice the limit",
    "S16": "hostile JSON is 400 in little time: depth, digits, NaN, surrogates, bad UTF-8",
    "S17": "XML expands nothing and fetches nothing; depth and size are bounded",
    "S18": "hostile multipart is 400 or 413, writes no file and leaves no descriptor",
    "S19": "a form of any shape is parsed in time that grows with its size alone",
    "S20": "a wrong signature is 401 like every other; digests compare in constant time",
    "S22": "a signature is as good as its time: five minutes, and not without one",
    "S30": "answers of other systems are bounded in size and time, and verified",
}
# Two rates or two times compared on a busy machine would fail now and then.
HELD_BY_BENCHMARK: Final[dict[str, str]] = {}
