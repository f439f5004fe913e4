#!/usr/bin/env python3
"""`make bench`: the product beside the Node.js server that it replaces, on servers of its own.

Private servers always, whatever `REDIS_URL` and `MONGO_URI` say: what they cost is counted, and nothing else
may use them meanwhile. `MONGOD_BIN` and `REDIS_BIN` name other programs.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import parts
import servers
import tasks
from processes import Children, allow_files
from settings import LOCAL, ROOT, TARGET, Failure, setting

NODE = ROOT / "bench" / "node"
TOOLS = TARGET / "tools"
STAND_IN = ("secantus-mdb", "0.5.3-beta.196", "secantusd-rs")
REQUIREMENTS = Path(__file__).with_name("bench-requirements.txt")
# Each program, and the package that it is in.
PROGRAMS = {"ticket-gateway": "ticket-gateway", "ticket-worker": "ticket-worker", "load": "ticket-bench"}
# A gateway has one for each connection.
FILES = 65_536


def main() -> int:
    """Prepares, measures, and returns the exit code of the measuring program."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="shorter and smaller, one round")
    parser.add_argument("names", nargs="*", help="these scenarios")
    arguments = parser.parse_args()
    began = time.monotonic()
    allow_files(FILES)
    with Children() as children:
        works = {
            "build": build,
            "baseline": install_baseline,
            "redis": servers.redis_program,
            "mongodb": find_mongo,
        }
        found = tasks.run(children, **works)
        mongo = found["mongodb"]
        print(f"Prepared in {time.monotonic() - began:.0f} s\nMongoDB  {mongo.told}", flush=True)
        environment = {
            **os.environ,
            "PATH": servers.path_with(servers.BIN),
            "MONGOD_BIN": str(mongo.program),
            "REDIS_BIN": str(found["redis"].program),
        }
        child = children.start("load", command(arguments, mongo), cwd=ROOT, env=environment)
        code = child.wait()
        children.forget(child)
    return code


def command(arguments, mongo: servers.Found) -> list:
    """The measuring program with its arguments."""
    argv = [TARGET / "release" / "load"]
    asked = ""
    if arguments.names:
        asked += f' ONLY="{" ".join(arguments.names)}"'
    if arguments.quick:
        asked += " QUICK=1"
        argv.append("--quick")
    if asked:
        # A part must not replace the results of all.
        LOCAL.mkdir(parents=True, exist_ok=True)
        argv += ["--report", LOCAL / "RESULTS.md"]
    notes = {"Command": f"make bench{asked}", "Versions": versions(), "MongoDB": mongo.told.split(",")[0]}
    for name, text in notes.items():
        argv += ["--note", f"{name}={text}"]
    return [*argv, *arguments.names]


def versions() -> str:
    """Of what takes part, as the programs and the lock file tell."""
    first = [
        output([shutil.which("rustc") or "rustc", "--version"]),
        f"Node.js {output(['node', '--version'])}",
        output([servers.BIN / "redis-server", "--version"]) or output(["redis-server", "--version"]),
    ]
    packages = json.loads((NODE / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    wanted = json.loads((NODE / "package.json").read_text(encoding="utf-8"))["dependencies"]
    return ", ".join([*first, *(f"{name} {packages[f'node_modules/{name}']['version']}" for name in wanted)])


def output(argv: list) -> str:
    """What a program prints, up to the first detail."""
    try:
        told = subprocess.run([str(part) for part in argv], capture_output=True, text=True, check=False).stdout
    except OSError:
        return ""
    return told.strip().split(" (")[0].split(" sha=")[0]


def build(task: tasks.Task) -> None:
    """Builds all programs as they are meant to run."""
    wanted = [part for name, package in PROGRAMS.items() for part in ("--package", package, "--bin", name)]
    task.command(
        ["cargo", "build", "--release", "--locked", *wanted],
        hint="Rust is needed, with a C compiler and linker: https://rustup.rs",
        cwd=ROOT,
    )


def install_baseline(task: tasks.Task) -> None:
    """Installs what the Node.js server needs, once for each lock file."""
    mark = NODE / "node_modules" / ".package-lock.json"
    lock = NODE / "package-lock.json"
    if mark.exists() and mark.stat().st_mtime >= lock.stat().st_mtime:
        return
    task.command(
        ["npm", "ci", "--no-audit", "--no-fund", "--loglevel=error"],
        hint="Node.js 20.19 or newer is needed, with npm: https://nodejs.org",
        cwd=NODE,
    )
    mark.touch()


def find_mongo(task: tasks.Task) -> servers.Found:
    """mongod, else the fast stand-in, installed once; else the slow one, which slows both sides down."""
    named = setting("MONGOD_BIN")
    if named:
        return servers.Found(program=Path(named), told=f"{named}, as MONGOD_BIN says")
    mongod = shutil.which("mongod")
    if mongod:
        return servers.Found(program=Path(mongod), told=f"mongod, {mongod}")
    name, version, binary = STAND_IN
    program = TOOLS / "bin" / binary
    if not program.exists():
        try:
            install_stand_in(task, name, version)
        except Failure as failure:
            print(f"warning: no fast stand-in for MongoDB, so the slow one is taken: {failure}", file=sys.stderr)
            return servers.find_mongo(task)
    return servers.Found(program=program, told=f"stand-in {name} {version} (no mongod on the PATH), {program}")


def install_stand_in(task: tasks.Task, name: str, version: str) -> None:
    """Builds the fast stand-in, with its own cmake and ninja where the system has none."""
    path = os.environ.get("PATH", "")
    if not (shutil.which("cmake") and shutil.which("ninja")):
        python = servers.environment(task, LOCAL / "build-tools", REQUIREMENTS, "cmake and ninja")
        path = servers.path_with(python.parent)
    workshop = TARGET / "tools-build"
    task.command(
        ["cargo", "install", name, "--version", version, "--ignore-rust-version", "--root", TOOLS],
        env={**os.environ, "PATH": path, "CARGO_TARGET_DIR": str(workshop)},
        # Not in the workspace, whose settings are not meant for it.
        cwd=LOCAL,
    )
    shutil.rmtree(workshop, ignore_errors=True)


if __name__ == "__main__":
    parts.guarded(main)
