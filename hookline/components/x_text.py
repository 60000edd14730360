"""How long X counts a post: https://docs.x.com/fundamentals/counting-characters.

Latin and most other alphabets count one a character, everything else (CJK, emoji) two; an
emoji made of several characters counts as one; a URL counts 23, whatever its length.
"""

import re
import unicodedata
from typing import Final

LIMIT: Final = 280
URL_WEIGHT: Final = 23
SINGLE: Final = ((0, 4351), (8192, 8205), (8208, 8223), (8242, 8247))
URL: Final = re.compile(r"https?://[\w-]+(?:\.[\w-]+)+[!-~]*[\w/#=&%+~-]", re.ASCII)

_PICTURE = "[\u203c\u2049\u2100-\u3299\U0001f000-\U0001faff]"
_DRAWN = f"{_PICTURE}(?:\ufe0f|[\U0001f3fb-\U0001f3ff])?"
EMOJI: Final = re.compile(
    "[\U0001f1e6-\U0001f1ff]{2}"  # flags
    "|[0-9#*]\ufe0f?\u20e3"  # keycaps
    "|[\u00a9\u00ae]\ufe0f"
    f"|{_DRAWN}[\U000e0020-\U000e007f]+"  # flags of regions
    f"|{_DRAWN}(?:\u200d{_DRAWN})*"
)


def weighted_length(text: str) -> int:
    """The length as X counts it, without the bare domains that X also makes links of."""
    composed = unicodedata.normalize("NFC", text)
    without_urls, urls = URL.subn("", composed)
    # An emoji weighs as much as one character beyond the single ranges.
    drawn = EMOJI.sub("\u3000", without_urls)
    return urls * URL_WEIGHT + sum(1 if _is_single(char) else 2 for char in drawn)


def _is_single(char: str) -> bool:
    return any(first <= ord(char) <= last for first, last in SINGLE)
