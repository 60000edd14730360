"""nginx and HAProxy as `deploy/` has them, for the tests: installed ones, or Debian's.

`make proxies` unpacks Debian's packages into `.proxies`; nothing is installed.
"""

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.waiting import until_asked

ROOT = Path(__file__).parent.parent
KEPT = ROOT / ".proxies"
CERTIFICATE = ROOT / "tests" / "unit" / "tls" / "self_signed.pem"
PROGRAMS = ("nginx", "haproxy")
PACKAGES = (
    *PROGRAMS,
    *("liblua5.3-0", "libopentracing-c-wrapper0", "libopentracing1", "libpcre2-8-0"),
)


def program(name: str) -> str | None:
    """Where a proxy is; None where it is not."""
    own = KEPT / "usr" / "sbin" / name
    if own.exists():
        return str(own)
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin")


def missing() -> list[str]:
    """The proxies that are not there."""
    return [name for name in PROGRAMS if program(name) is None]


def why_not() -> str | None:
    """None where the proxies can be had, else a sentence: what is missing, and how."""
    if not missing() or (shutil.which("apt-get") and shutil.which("dpkg")):
        return None
    return (
        f"There is no {' and no '.join(missing())}, and no apt-get to bring them: "
        "install them (on Debian and Ubuntu: make proxies)"
    )


def provide() -> None:
    """Bring the proxies that are not there yet."""
    if sentence := why_not():
        raise RuntimeError(sentence)
    if not missing():
        return
    KEPT.mkdir(exist_ok=True)
    if os.geteuid() == 0:
        subprocess.run(["apt-get", "-qq", "update"], check=True)
    subprocess.run(
        ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", *PACKAGES],
        cwd=KEPT,
        check=True,
    )
    for package in KEPT.glob("*.deb"):
        subprocess.run(["dpkg", "-x", str(package), str(KEPT)], check=True)
        package.unlink()


@dataclass(frozen=True, slots=True)
class Place:
    """What a configuration has to be told: ports, and a directory to write to."""

    directory: Path
    port: int
    hookline: str


def nginx(place: Place) -> Sequence[str]:
    """The command that runs nginx on the configuration that is shipped."""
    kinds = ("proxy", "fastcgi", "uwsgi", "scgi")
    temporary = [f"{kind}_temp_path {place.directory}/{kind};" for kind in kinds]
    changed = _changed(
        "nginx.conf",
        {
            "/run/nginx.pid": f"{place.directory}/nginx.pid",
            "client_body_temp_path /var/lib/nginx/body;": "\n".join(
                [f"client_body_temp_path {place.directory}/body;", *temporary]
            ),
            "127.0.0.1:8080": place.hookline,
            "listen 443": f"listen 127.0.0.1:{place.port}",
            "/etc/nginx/hookline.crt": str(CERTIFICATE),
            "/etc/nginx/hookline.key": str(CERTIFICATE),
        },
    )
    path = place.directory / "nginx.conf"
    path.write_text(changed)
    settings = "daemon off; user root;" if os.geteuid() == 0 else "daemon off;"
    return [str(program("nginx")), "-c", str(path), "-g", settings]


def haproxy(place: Place) -> Sequence[str]:
    """The command that runs HAProxy on the configuration that is shipped."""
    changed = _changed(
        "haproxy.cfg",
        {
            "127.0.0.1:8080": place.hookline,
            "bind :443": f"bind 127.0.0.1:{place.port}",
            "/etc/haproxy/hookline.pem": str(CERTIFICATE),
        },
    )
    path = place.directory / "haproxy.cfg"
    path.write_text(changed)
    return [str(program("haproxy")), "-f", str(path), "-db"]


def _changed(name: str, changes: dict[str, str]) -> str:
    text = (ROOT / "deploy" / name).read_text()
    for old, new in changes.items():
        if text.count(old) != 1:
            raise AssertionError(f"{name} has {old!r} {text.count(old)} times")
        text = text.replace(old, new)
    return text


@asynccontextmanager
async def running_proxy(
    command: Callable[[Place], Sequence[str]], place: Place
) -> AsyncIterator[None]:
    """Run a proxy while the block runs."""
    libraries = KEPT / "usr" / "lib" / f"{os.uname().machine}-linux-gnu"
    process = await asyncio.create_subprocess_exec(
        *command(place), env={**os.environ, "LD_LIBRARY_PATH": str(libraries)}
    )

    async def answers() -> bool:
        assert process.returncode is None, "the proxy has ended"
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", place.port)
        except OSError:
            return False
        writer.close()
        return True

    try:
        await until_asked(answers)
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


if __name__ == "__main__":
    provide()
    for one in PROGRAMS:
        sys.stdout.write(f"{program(one)}\n")
