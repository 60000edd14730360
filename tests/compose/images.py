"""Images that stand in, by their names, for those that cannot be pulled everywhere.

They are made from Debian's packages and Kafka's jars, only in the engine that the tests
start, and again when what they are made of changes. Dockerfile and compose file know
nothing of it.
"""

import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tests import jars

HERE = Path(__file__).parent
AUTHORITIES = Path("etc/ssl/certs/ca-certificates.crt")
LABEL = "hookline.made-of"
DEBIAN = "bookworm"
LEFT_OUT = (
    *("./var/cache/apt/archives/*", "./var/lib/apt/lists/*"),
    *("./usr/share/doc", "./usr/share/man", "./usr/share/locale"),
)
Docker = Callable[..., str]


@dataclass(frozen=True, slots=True)
class StandIn:
    """An image: its packages, what is laid into it, and what it says of itself."""

    name: str
    packages: tuple[str, ...]
    files: Mapping[str, Path]
    says: tuple[str, ...]
    links: Mapping[str, str] = field(default_factory=dict)
    owned: Mapping[str, int] = field(default_factory=dict)

    def made_of(self) -> str:
        """Name everything that goes into it, so that a change is noticed."""
        told = (DEBIAN, self.packages, self.says, self.links, self.owned)
        digest = hashlib.sha256(repr(told).encode())
        for place, source in self.files.items():
            digest.update(place.encode() + source.read_bytes())
        return digest.hexdigest()[:16]


def make_images(docker: Docker, kept: Path) -> None:
    """Make those that are not there; both at once, for most of it is waiting."""
    missing = [image for image in (python(), kafka()) if not _is_there(docker, image)]
    with ThreadPoolExecutor() as pool:
        trees = [pool.submit(_make, docker, image, kept) for image in missing]
        for tree in trees:
            tree.result()


def python() -> StandIn:
    """Stand in for python:3.11-slim-bookworm, trusting whom this machine trusts."""
    authorities = Path("/") / AUTHORITIES
    return StandIn(
        name="python:3.11-slim-bookworm",
        packages=("ca-certificates", "python3", "python3-pip", "python3-venv"),
        files={str(AUTHORITIES): authorities} if authorities.exists() else {},
        links={"usr/local/bin/python": "/usr/bin/python3"},
        says=('CMD ["python3"]',),
    )


def kafka() -> StandIn:
    """Stand in for apache/kafka."""
    libraries = sorted((jars.KAFKA / "lib").glob("*.jar"))
    docker = "etc/kafka/docker"
    return StandIn(
        name="apache/kafka:4.3.1",
        packages=("openjdk-17-jre-headless",),
        files={
            f"{docker}/run": HERE / "kafka-run.sh",
            f"{docker}/log4j2.yaml": HERE / "kafka-log4j2.yaml",
            f"{docker}/tools-log4j2.yaml": HERE / "kafka-log4j2.yaml",
            **{f"opt/kafka/libs/{jar.name}": jar for jar in libraries},
        },
        owned=dict.fromkeys(
            (
                "etc/kafka",
                "opt/kafka/config",
                "mnt/shared/config",
                "var/lib/kafka/data",
            ),
            1000,
        ),
        says=(
            "USER 1000",
            'VOLUME ["/var/lib/kafka/data"]',
            'CMD ["/etc/kafka/docker/run"]',
        ),
    )


def _is_there(docker: Docker, image: StandIn) -> bool:
    form = f'{{{{index .Config.Labels "{LABEL}"}}}}'
    named = docker("image", "ls", "--quiet", image.name)
    if not named:
        return False
    return docker("image", "inspect", "-f", form, image.name).strip() == image.made_of()


def _make(docker: Docker, image: StandIn, kept: Path) -> None:
    with tempfile.TemporaryDirectory(dir=kept) as directory:
        root = Path(directory) / "root"
        _bootstrap(image, root, kept)
        _lay(image, root)
        archive = Path(directory) / "image.tar"
        left_out = [f"--exclude={pattern}" for pattern in LEFT_OUT]
        _run("tar", "-C", root, *left_out, "-cf", archive, ".")
        says = [*image.says, f"LABEL {LABEL}={image.made_of()}"]
        changes = [word for line in says for word in ("--change", line)]
        docker("import", *changes, str(archive), image.name)


def _bootstrap(image: StandIn, root: Path, kept: Path) -> None:
    """Lay the packages out; once again where a download has failed.

    The cache is the image's own: two that share one take each other's halves for whole.
    """
    cache = kept / "packages" / image.name.replace("/", "_").replace(":", "_")
    cache.mkdir(parents=True, exist_ok=True)
    command = (
        *("debootstrap", "--variant=minbase", f"--cache-dir={cache.absolute()}"),
        *(f"--include={','.join(image.packages)}", DEBIAN, root),
    )
    try:
        _run(*command)
    except RuntimeError:
        shutil.rmtree(root, ignore_errors=True)
        _run(*command)


def _lay(image: StandIn, root: Path) -> None:
    for place, source in image.files.items():
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, root / place)
    for place, target in image.links.items():
        (root / place).symlink_to(target)
    for place, user in image.owned.items():
        (root / place).mkdir(parents=True, exist_ok=True)
        _run("chown", "-R", str(user), root / place)


def _run(*words: str | Path) -> None:
    done = subprocess.run(
        list(map(str, words)), capture_output=True, text=True, check=False
    )
    if done.returncode:
        said = f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        raise RuntimeError(f"{words[0]} ended with {done.returncode}:\n{said}")
