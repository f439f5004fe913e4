#!/usr/bin/env python3
"""`make clean-local`: deletes the data of local starts; what was installed stays."""

import shutil

import parts
from settings import LOCAL


def main() -> int:
    """Deletes, unless a start is using the data right now."""
    for directory in sorted(LOCAL.glob("*")):
        if directory.name in ("bin", "mongodb-stand-in", "proxies", "redis-matrix") or not directory.is_dir():
            continue
        with parts.own(directory):
            shutil.rmtree(directory)
        print(f"deleted {directory}")
    return 0


if __name__ == "__main__":
    parts.guarded(main)
