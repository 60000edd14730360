"""What processes consume, as Linux tells it in /proc."""

import os
import re
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def ticks(pid: int) -> int:
    """Of CPU time, all threads together."""
    return _ticks_in(Path(f"/proc/{pid}/stat"))


def _ticks_in(stat: Path) -> int:
    fields = stat.read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def cpu_s(pid: int) -> float:
    return ticks(pid) / TICKS


def threads_cpu_s(pid: int) -> dict[str, float]:
    """What a process has consumed: its main thread, where its loop runs, and the rest."""
    spent = cpu_s(pid)
    loop = _ticks_in(Path(f"/proc/{pid}/task/{pid}/stat")) / TICKS
    return {"loop": loop, "threads": spent - loop}


def machine_busy_s() -> float:
    """CPU seconds that all processes of the machine have consumed."""
    user, nice, system, _, _, irq, softirq, *_ = map(
        int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    )
    return (user + nice + system + irq + softirq) / TICKS


def resident_mb(pid: int) -> float:
    return _status_mb(pid, "VmRSS")


def peak_resident_mb(pid: int) -> float:
    """The most since the process began, or since `forget_peak`."""
    return _status_mb(pid, "VmHWM")


def forget_peak(pid: int) -> None:
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def _status_mb(pid: int, name: str) -> float:
    found = re.search(rf"{name}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1024 if found else 0.0
