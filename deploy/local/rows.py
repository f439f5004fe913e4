"""Rows of a matrix: the integration tests, once against each kind of a server."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import run
import servers
import tasks
import test
from processes import Children


@dataclass
class Row:
    """One kind of a server, the tests that it must pass, and how that went."""

    program: Path
    step: test.Step
    # Starts the servers and returns their URL.
    start: Callable[[Path, Children, Path], str]
    server: str = ""
    version: str = ""


def integration(skipped: list[str] = ()) -> list[str]:
    """The command for the integration tests, without those whose names hold one of these."""
    chosen = ["--locked", "--package", "ticket-gateway", "--package", "ticket-worker", "--test", "it"]
    without = [part for name in skipped for part in ("--skip", name)]
    without = ["--", *without] if without else []
    if test.has_nextest():
        return ["cargo", "nextest", "run", "--no-fail-fast", *chosen, *without]
    return ["cargo", "test", "--no-fail-fast", *chosen, *without]


def build(task: tasks.Task) -> None:
    """Builds the programs and the tests before anything is measured."""
    run.build(task)
    test.build_tests(task, integration())


def perform(row: Row, addresses: Callable[[str], dict], data: Path, name: str) -> None:
    """Runs a row's tests on servers that start and end with it; `addresses` says how the tests find them by their URL.

    Tests that kill and freeze a server of their own take the first on the PATH: `name`, which is the same one.
    """
    shelf = data / "bin"
    shelf.mkdir(parents=True)
    (shelf / name).symlink_to(row.program)
    with Children() as children:
        url = row.start(row.program, children, data)
        print(f"\n{row.server} {row.version}  {servers.shown(url)}", flush=True)
        test.perform(row.step, {**addresses(url), "PATH": servers.path_with(shelf)}, children)
    if row.step.count.passed == 0 and row.step.code == 0:
        # Whatever renamed the tests must not look like a success.
        row.step.code = 1


def sum_up(rows: list[Row], seconds: float) -> int:
    """Prints the table; the last line is in the form of Rust's own runner."""
    print("\n=== summary")
    print(f"  {'server':14}{'version':9}{'tests':26}{'passed':>7}{'failed':>7}{'ignored':>8}{'seconds':>9}")
    total = test.Count()
    for row in rows:
        step, count = row.step, row.step.count
        told = "" if step.code == 0 else f"  FAILED (exit code {step.code})"
        print(
            f"  {row.server:14}{row.version:9}{step.name:26}"
            f"{count.passed:7}{count.failed:7}{count.ignored:8}{step.seconds:9.1f}{told}"
        )
        total += count
    good = all(row.step.code == 0 for row in rows)
    print(f"test result: {'ok' if good else 'FAILED'}. {total}; finished in {seconds:.1f}s", flush=True)
    return 0 if good else 1
