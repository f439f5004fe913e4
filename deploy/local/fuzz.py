#!/usr/bin/env python3
"""`make fuzz`: feeds mutated bytes to what reads the bytes of strangers, for some seconds each, as many targets at
a time as there are processors.

The targets in `fuzz/` run under libFuzzer, which keeps what reaches new code; `e2e/fuzz/frames.js` does the same to a
running gateway, without that knowledge. Stable Rust will do: the instructions that count what runs are asked for
directly. A C++ compiler is needed for the engine.
"""

import argparse
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import parts
import run
import tasks
from processes import Children
from settings import E2E, LOCAL, ROOT, TARGET, Failure

FUZZ = ROOT / "fuzz"
TARGETS = ("packets", "payloads", "entries", "cursors", "tokens", "values")
COUNTED = ("level=4", "inline-8bit-counters", "pc-table", "trace-compares")
FLAGS = [
    *("--cfg fuzzing", "-Cpasses=sancov-module"),
    *(f"-Cllvm-args=-sanitizer-coverage-{what}" for what in COUNTED),
    *("-Ccodegen-units=1", "-Cdebug-assertions"),
]
EXECUTED = re.compile(r"stat::number_of_executed_units: (\d+)")


def main() -> int:
    """Runs them, and returns 1 where one of them found something."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=60, help="for each of them")
    parser.add_argument("--runs", type=int, help="executions of each target instead")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("targets", nargs="*", help=f"{', '.join(TARGETS)}, frames (default: all)")
    arguments = parser.parse_args()
    wanted = arguments.targets or [*TARGETS, "frames"]
    for name in wanted:
        if name not in (*TARGETS, "frames"):
            raise Failure(f"there is no target {name}")
    seconds = max(1, arguments.seconds)
    with Children() as children:
        works = {"targets": build}
        if "frames" in wanted:
            works |= {"programs": run.build, "client": run.install_client}
        tasks.run(children, **works)

    def perform(name: str) -> bool:
        if name == "frames":
            return frames(seconds, arguments.seed, children)
        return target(name, seconds, arguments, children)

    # The children end first where this is stopped, so that the pool has nothing left to wait for.
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool, Children() as children:
        return 0 if all(list(pool.map(perform, wanted))) else 1


def host() -> str:
    """The platform: named, so that build scripts are built without the instructions."""
    told = subprocess.run(["rustc", "-vV"], capture_output=True, text=True, check=True).stdout
    return re.search(r"^host: (.+)$", told, re.MULTILINE).group(1)


def build(task: tasks.Task) -> None:
    """Builds the targets."""
    environment = {**os.environ, "RUSTFLAGS": " ".join(FLAGS), "CARGO_TARGET_DIR": str(TARGET / "fuzz")}
    manifest = ["--manifest-path", FUZZ / "Cargo.toml"]
    task.command(["cargo", "build", "--locked", "--bins", "--target", host(), *manifest], cwd=ROOT, env=environment)


def target(name: str, seconds: int, arguments, children: Children) -> bool:
    """Runs one target; what it finds out is kept under target/, and the corpus is only read."""
    found = LOCAL / "fuzz" / name
    found.mkdir(parents=True, exist_ok=True)
    limit = f"-runs={arguments.runs}" if arguments.runs else f"-max_total_time={seconds}"
    program = TARGET / "fuzz" / host() / "debug" / name
    options = [limit, f"-seed={arguments.seed}", "-max_len=4096", "-timeout=5", "-print_final_stats=1"]
    began = time.monotonic()
    argv = [program, *options, f"-artifact_prefix={found.parent}/{name}-", found, FUZZ / "corpus" / name]
    code, told = run_to_end(name, argv, children)
    took = time.monotonic() - began
    counted = EXECUTED.search(told)
    if code or not counted:
        print(f"{name}: FOUND SOMETHING (exit code {code})\n{told[-4000:]}", flush=True)
        return False
    count = int(counted.group(1))
    print(f"{name}: {count} executions in {took:.1f} s, {count / took:.0f} a second", flush=True)
    return True


def frames(seconds: int, seed: int, children: Children) -> bool:
    """Runs the generator of frames, with servers of its own."""
    command = ["node", E2E / "fuzz" / "frames.js", "--seconds", seconds, "--seed", seed]
    environment = {**os.environ, "BIN_DIR": str(TARGET / "debug"), "E2E_LOGS": str(LOCAL / "e2e")}
    with_parts = [sys.executable, "-u", ROOT / "deploy" / "local" / "parts.py", "--", *command]
    code, told = run_to_end("frames", with_parts, children, env=environment)
    print(told if code else told.strip().splitlines()[-1], flush=True)
    return code == 0


def run_to_end(name: str, argv: list, children: Children, **options) -> tuple[int, str]:
    """A program's exit code, and all that it said."""
    child = children.start(
        name, argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", **options
    )
    told = child.stdout.read()
    code = child.wait()
    children.forget(child)
    return code, told


if __name__ == "__main__":
    parts.guarded(main)
