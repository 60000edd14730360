"""HOST:PORT as the command line takes it."""

from hookline.errors import BadConfiguration

LAST_PORT = 65_535


def address(text: str, flag: str) -> tuple[str, int]:
    """Host and port. Raises BadConfiguration naming the flag."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > LAST_PORT:
        raise BadConfiguration(f"{flag} takes HOST:PORT, as in 127.0.0.1:8080")
    return host.strip("[]"), int(port)


def with_port(text: str, port: int) -> str:
    """The same address with the port that was given for a 0."""
    return f"{text.rpartition(':')[0]}:{port}"
