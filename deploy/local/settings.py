"""Where things are, and the settings of a local start.

A setting comes from the environment, else from `.env`, else (where there is no `.env`) from `.env.example`.
"""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target").absolute()
LOCAL = TARGET / "local"
E2E = ROOT / "e2e"


class Failure(Exception):
    """Something that a person has to mend; its text says what and how."""


def load() -> str:
    """Adds the settings of the file to the environment, and says which file that was."""
    path = ROOT / ".env"
    if not path.exists():
        path = ROOT / ".env.example"
    for name, value in parse(path.read_text(encoding="utf-8"), path.name).items():
        os.environ.setdefault(name, value)
    return path.name


def parse(text: str, source: str) -> dict[str, str]:
    """Reads `NAME=value` lines; the value may stand in quotes, and `#` begins a comment line."""
    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        name, equals, value = line.removeprefix("export ").partition("=")
        if not equals or not name.strip().isidentifier():
            raise Failure(f"{source}, line {number}: expected NAME=value")
        value = value.strip()
        if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
            value = value[1:-1]
        found[name.strip()] = value
    return found


def setting(name: str) -> str | None:
    """The setting, where it is set and not empty."""
    return os.environ.get(name) or None


def port(name: str, default: int) -> int:
    """A port number from a setting."""
    text = setting(name) or str(default)
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise Failure(f"{name}: must be a port number from 1 to 65535")
    return int(text)
