"""What the product owes its callers and operators, a row each; `marks.py` finds the tests.

A test names the rows that it holds: `@pytest.mark.security("S14", "S15")`. A row that
continuous integration cannot hold is held by a benchmark, which is named here.
"""

from typing import Final

ROWS: Final = {
    "S01": "Content-Length beside Transfer-Encoding is 400, and its connection ends",
    "S02": "two Content-Length headers are 400, equal or not",
    "S03": "a Content-Length that is no plain number (+5, 0x5, 5_0, a list) is 400",
    "S04": "a Transfer-Encoding that only looks like chunked is 400",
    "S05": "chunked that is not the last coding, or is there twice, is 400",
    "S06": "white space before a header's colon is 400",
    "S07": "a header that is folded over two lines is 400",
    "S08": "lines that end in a bare LF or CR are 400",
    "S09": "NUL and other control characters in a header are 400",
    "S10": "two Host headers, or none, are 400",
    "S11": "headers over 16 KiB, or more than 100 of them, are 431",
    "S12": "of what broken framing carries, nothing is in the log, pipelined or not",
    "S13": "slow heads, slow bodies and idle connections end in time, descriptors are back",
    "S14": "a body over the limit is 413, at once where its size is declared",
    "S15": "compressed bombs are 413 or 415, and memory grows by less than twice the limit",
    "S16": "hostile JSON is 400 in little time: depth, digits, NaN, surrogates, bad UTF-8",
    "S17": "XML expands nothing and fetches nothing; depth and size are bounded",
    "S18": "hostile multipart is 400 or 413, writes no file and leaves no descriptor",
    "S19": "a form of any shape is parsed in time that grows with its size alone",
    "S20": "a wrong signature is 401 like every other; digests compare in constant time",
    "S21": "how much of a signature is right does not show in the time of its refusal",
    "S22": "a signature is as good as its time: five minutes, and not without one",
    "S24": "an unknown key costs what a wrong one costs, and too many of them are 429",
    "S26": "an identity comes from the credential alone, whatever headers and paths say",
    "S27": "one flow's credential is none on another flow",
    "S30": "answers of other systems are bounded in size and time, and verified",
    "S32": "the edge's metadata carries no identity but its token",
    "S36": "what senders write stays on its line of the log",
    "S37": "senders cannot make metrics grow",
    "S43": "a flood of wrong credentials is refused, cheaply, before anything is looked up",
    "S44": "a flow's rate is its own: beyond it 429 with Retry-After, others unaffected",
}
# Two rates or two times compared on a busy machine would fail now and then.
HELD_BY_BENCHMARK: Final = {"S21": "benchmarks/timing.py"}
