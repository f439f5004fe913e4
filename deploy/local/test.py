#!/usr/bin/env python3
"""`make test`: every test of the project, against servers of its own that end with it.

Settings files are not read: tests must not reach a server that somebody works with. `REDIS_URL` and
`MONGO_URI` in the environment are used; tests make databases and keys of their own there, and delete them.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import parts
import run
import servers
import tasks
from processes import Children, allow_files
from settings import E2E, LOCAL, ROOT, TARGET, Failure, setting

CARGO_COUNT = re.compile(r"test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored")
NEXTEST_COUNT = re.compile(r"Summary \[.*?\] .*?tests? run: (.*)")
FAULTS_COUNT = re.compile(r"(\d+) faults run, (\d+) promises broken")
NODE_COUNT = re.compile(r"^# (pass|fail|cancelled|skipped|todo) (\d+)", re.MULTILINE)

# How many files one process may open in the faults: thousands of clients are in one.
FILES = 4_096


@dataclass
class Count:
    """How many tests did what."""

    passed: int = 0
    failed: int = 0
    ignored: int = 0

    def __add__(self, other: "Count") -> "Count":
        return Count(self.passed + other.passed, self.failed + other.failed, self.ignored + other.ignored)

    def __str__(self) -> str:
        return f"{self.passed} passed; {self.failed} failed; {self.ignored} ignored"


@dataclass
class Step:
    """One runner, and how it went."""

    name: str
    argv: list
    cwd: Path = ROOT
    environment: dict = field(default_factory=dict)
    # Where the runner writes a report that is easier to count than its output.
    report: Path | None = None
    seconds: float = 0.0
    code: int = 0
    count: Count = field(default_factory=Count)


def main() -> int:
    """Runs the steps one after another, all of them, and sums up."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=["e2e", "faults"])
    parser.add_argument("--file", help="one file of e2e/tests")
    parser.add_argument("--short", action="store_true", help="with --only faults: a selection")
    parser.add_argument("names", nargs="*", help="with --only faults: these")
    arguments = parser.parse_args()
    began = time.monotonic()
    with parts.fresh() as data, Children() as children:
        steps = plan(arguments)
        works = {"build": lambda task: build(task, steps), "client": run.install_client, **parts.prepare()}
        if arguments.only == "faults":
            allow_files(FILES)
            del works["client"]
            if not arguments.short:
                # One after the other: both ask the system's packages.
                works["fault_tools"] = servers.find_for_faults
        if any({"tests/proxies.test.js", "tests/clients.test.js"} & {str(part) for part in step.argv} for step in steps):
            works["proxies"] = servers.find_for_proxies
        if any("tests/clients.test.js" in step.argv for step in steps):
            works["clients"] = install_clients
        if setting("REDIS_URL"):
            works["redis_program"] = servers.redis_program
        found = tasks.run(children, **works)
        prepared = time.monotonic() - began
        print(f"Prepared in {prepared:.0f} s", flush=True)
        addresses = parts.start(found, children, data)
        for step in steps:
            perform(step, addresses, children)
        children.stop()
    return sum_up(steps, prepared, time.monotonic() - began)


def plan(arguments) -> list[Step]:
    """The runners with their arguments."""
    files = [arguments.file.removeprefix("e2e/")] if arguments.file else sorted(
        str(path.relative_to(E2E)) for path in (E2E / "tests").glob("*.test.js")
    )
    last = end_to_end("end to end", files)
    if arguments.only == "e2e":
        return [last]
    if arguments.only == "faults":
        short = ["--short"] if arguments.short else []
        return [Step("faults", [TARGET / "debug" / "faults", *short, *arguments.names])]
    if has_nextest():
        rust = ["cargo", "nextest", "run", "--workspace", "--locked", "--no-fail-fast", "--no-tests=pass"]
    else:
        # It comes with Rust; slower, and it tells less.
        rust = ["cargo", "test", "--workspace", "--locked", "--no-fail-fast", "--lib", "--bins", "--tests"]
    return [
        Step("unit and integration", rust),
        Step("documentation", ["cargo", "test", "--workspace", "--locked", "--doc"]),
        last,
        # Its rows are not kept: those of the whole run stand in bench/FAULTS.md.
        Step("faults", [TARGET / "debug" / "faults", "--short", "--report", LOCAL / "faults.md"]),
    ]


def end_to_end(name: str, files: list[str]) -> Step:
    """The runner of end-to-end tests, for these files."""
    report = LOCAL / "e2e.tap"
    return Step(
        name,
        # Each file waits for timeouts most of the time, so more of them than there are cores.
        ["node", "--test", "--test-concurrency=4", "--test-reporter=spec", "--test-reporter-destination=stdout"]
        + ["--test-reporter=tap", f"--test-reporter-destination={report}", *files],
        cwd=E2E,
        # All places by name: the target directory may be elsewhere.
        environment={
            "BIN_DIR": str(TARGET / "debug"),
            "E2E_LOGS": str(LOCAL / "e2e"),
            "PROXIES": str(servers.PROXIES),
            "CLIENTS_PYTHON": str(servers.CLIENTS / "bin" / "python"),
        },
        report=report,
    )


def install_clients(task: tasks.Task) -> None:
    """Installs the clients of other makes that the end-to-end tests connect."""
    run.install_packages(task, E2E / "clients", "old versions of socket.io-client, and Bun")
    servers.find_for_clients(task)


def has_nextest() -> bool:
    """Whether cargo-nextest is installed."""
    return shutil.which("cargo-nextest") is not None


def build(task: tasks.Task, steps: list[Step]) -> None:
    """Builds the programs and the tests before anything is measured."""
    run.build(task)
    if any(step.name == "faults" for step in steps):
        task.command(["cargo", "build", "--locked", "--package", "ticket-bench", "--bins"], cwd=ROOT)
    rust = next((step for step in steps if step.name == "unit and integration"), None)
    if rust is not None:
        build_tests(task, rust.argv)


def build_tests(task: tasks.Task, argv: list[str]) -> None:
    """Builds what a Rust runner would run."""
    # Building knows nothing of what only running decides.
    argv = [part for part in argv if part not in ("--no-fail-fast", "--no-tests=pass")]
    task.command([*argv, "--no-run"], cwd=ROOT)


def perform(step: Step, addresses: dict, children: Children) -> None:
    """Runs one runner, showing what it says, and counts."""
    print(f"\n=== {step.name}: {' '.join(str(part) for part in step.argv[:3])} …", flush=True)
    began = time.monotonic()
    if step.report:
        step.report.unlink(missing_ok=True)
    try:
        child = children.start(
            step.name,
            step.argv,
            cwd=step.cwd,
            env={**os.environ, **addresses, **step.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
    except FileNotFoundError:
        raise Failure(f"{step.argv[0]}: not found") from None
    for line in child.stdout:
        sys.stdout.write(line)
        sys.stdout.flush()
        step.count += counted(tasks.ANSI.sub("", line))
    step.code = child.wait()
    children.forget(child)
    step.seconds = time.monotonic() - began
    if step.report and step.report.exists():
        step.count = count_tap(step.report.read_text(encoding="utf-8", errors="replace"))


def counted(line: str) -> Count:
    """What a line of a Rust runner counts, if it does."""
    # At the start of a line only: further in, nextest repeats what a failed test's own process said.
    found = CARGO_COUNT.match(line)
    if found:
        return Count(*map(int, found.groups()))
    found = FAULTS_COUNT.match(line)
    if found:
        faults, broken = map(int, found.groups())
        return Count(faults - min(broken, faults), broken)
    found = NEXTEST_COUNT.search(line)
    if not found:
        return Count()
    numbers = {word: int(number) for number, word in re.findall(r"(\d+) ([a-z]+)", found.group(1))}
    bad = sum(numbers.get(word, 0) for word in ("failed", "exec", "timed"))
    return Count(numbers.get("passed", 0), bad, numbers.get("skipped", 0))


def count_tap(text: str) -> Count:
    """What node's TAP report counts at its end."""
    numbers = {name: int(number) for name, number in NODE_COUNT.findall(text)}
    return Count(
        numbers.get("pass", 0),
        numbers.get("fail", 0) + numbers.get("cancelled", 0),
        numbers.get("skipped", 0) + numbers.get("todo", 0),
    )


def sum_up(steps: list[Step], prepared: float, seconds: float) -> int:
    """Prints how it went; the last line is in the form of Rust's own runner."""
    print(f"\n=== summary\n  {'prepared':22} {prepared:6.1f} s")
    total = Count()
    for step in steps:
        told = "" if step.code == 0 else f"  FAILED (exit code {step.code})"
        print(f"  {step.name:22} {step.seconds:6.1f} s  {step.count}{told}")
        total += step.count
    good = all(step.code == 0 for step in steps)
    print(f"test result: {'ok' if good else 'FAILED'}. {total}; finished in {seconds:.1f}s", flush=True)
    return 0 if good else 1


if __name__ == "__main__":
    parts.guarded(main)
