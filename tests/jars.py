"""Where the tests' Kafka comes from: its jars, brought by `make kafka`, and Java."""

import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
KAFKA = ROOT / ".kafka"
READY = KAFKA / ".jars"  # `make kafka` touches it when all jars are there
CLASSES = KAFKA / "classes.jsa"
OLDEST_JAVA = 17
SMALL = (
    *("-Xms64m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"),
    *("-XX:-UsePerfData", "-Djava.awt.headless=true"),
    f"-Dlog4j2.configurationFile={ROOT}/tests/kafka/log4j2.xml",
)


def java(*arguments: str, archive: str | None = None) -> list[str]:
    """The command that runs a class of Kafka's; a shared class archive halves its start."""
    # In order: Java takes the archive only for the class path that it was made with.
    jars = ":".join(str(jar) for jar in sorted((KAFKA / "lib").glob("*.jar")))
    sharing = archive or (
        f"-XX:SharedArchiveFile={CLASSES}" if CLASSES.exists() else ""
    )
    return ["java", *SMALL, *filter(None, [sharing]), "-cp", jars, *arguments]


@cache
def why_not() -> str | None:
    """None where a Kafka can be had, else a sentence: what is missing, how to get it."""
    if java_version() < OLDEST_JAVA:
        return (
            f"No Kafka can run here: it needs Java {OLDEST_JAVA} or newer on the path "
            "(Debian and Ubuntu: apt-get install openjdk-17-jre-headless)"
        )
    if not READY.exists() and not (shutil.which("mvn") and shutil.which("make")):
        return (
            "There are no jars of Kafka in .kafka, and no Maven to bring them "
            "(Debian and Ubuntu: apt-get install maven; then: make kafka)"
        )
    return None


def java_version() -> int:
    """The feature number of the Java on the path, 0 where there is none."""
    if not shutil.which("java"):
        return 0
    said = subprocess.run(
        ["java", "-version"], capture_output=True, text=True, check=False
    )
    found = re.search(r'version "(\d+)', said.stderr)
    return int(found[1]) if found else 0


def provide() -> None:
    """Bring the jars if they are not there yet."""
    if sentence := why_not():
        raise RuntimeError(sentence)
    if not READY.exists():
        subprocess.run(
            ["make", "-C", str(ROOT), "--no-print-directory", "kafka"], check=True
        )
