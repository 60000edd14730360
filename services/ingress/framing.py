"""What a head must not leave open: where its request ends, and who has sent it.

The parser refuses most of it; here is what it lets pass and others read differently.
"""

from aiohttp import hdrs, web
from aiohttp.http import HttpVersion10, HttpVersion11

# The parser counts what is left in 64 bits, and takes all of them for no length at all.
MOST_LENGTH = 2**63 - 1
SHORT = 18  # digits that are always less


def unclear(http: web.BaseRequest) -> str | None:
    """What the sender has to make clear; None where all is."""
    headers = http.headers
    coding = headers.get(hdrs.TRANSFER_ENCODING)
    version = http.version
    if version != HttpVersion11 and (version != HttpVersion10 or coding is not None):
        return "Send HTTP/1.1, or HTTP/1.0 without a Transfer-Encoding."
    if coding is not None and coding.lower() != "chunked":
        return "Send no other Transfer-Encoding than chunked."
    length = headers.get(hdrs.CONTENT_LENGTH)
    if length is not None and len(length) > SHORT and int(length) > MOST_LENGTH:
        return "Declare a Content-Length of less than 2^63 bytes."
    if hdrs.AUTHORIZATION in headers and len(headers.getall(hdrs.AUTHORIZATION)) > 1:
        return "Send one Authorization header: with two, which one counts?"
    return None
