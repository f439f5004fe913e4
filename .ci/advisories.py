#!/usr/bin/env python3
"""Checks all dependencies against the list of known vulnerabilities (RustSec's advisory database).

The list is a git repository, which not every network lets one reach. `ADVISORY_DB` names a local copy then: a clone, or
an unpacked archive. Without either nothing is checked, and that is said. A crate that is replaced by a patched copy in
this repository is checked under its published name and version: to cargo it is a directory, of which no list knows.

Exit codes: 0 checked and none known, 3 not checked, anything else a failure. `--self-test` checks the check itself.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PUBLISHED = "https://github.com/RustSec/advisory-db"
CRATES_IO = "registry+https://github.com/rust-lang/crates.io-index"
NOT_CHECKED = 3


def main() -> int:
    """Checks with the best source that there is."""
    if sys.argv[1:] == ["--self-test"]:
        return self_test()
    return check(PUBLISHED, os.environ.get("ADVISORY_DB"))


def check(published: str, copy: str | None, output=None) -> int:
    """Checks against the local copy if one is named, else against the published list."""
    with tempfile.TemporaryDirectory() as place:
        work = Path(place)
        if copy:
            source = repository(Path(copy), work)
            print(f"known vulnerabilities: from the local copy {copy}", flush=True)
        elif reachable(published):
            source = published
        else:
            print(f"NOT CHECKED: known vulnerabilities; {published} can't be reached from here. ADVISORY_DB may name a copy")
            return NOT_CHECKED
        return deny(source, work, output)


def reachable(url: str) -> bool:
    """Whether the repository answers soon."""
    environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0"}
    ask = ["git", "ls-remote", "--exit-code", url, "HEAD"]
    try:
        return subprocess.run(ask, env=environment, capture_output=True, timeout=15).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def repository(copy: Path, work: Path) -> str:
    """The copy as a repository with the branch that cargo-deny takes, whatever it was."""
    if not (copy / "crates").is_dir():
        sys.exit(f"ADVISORY_DB: {copy} has no directory `crates`; it must be a copy of {PUBLISHED}")
    made = work / "advisory-db"
    shutil.copytree(copy / "crates", made / "crates")
    name = ["-c", "user.name=copy", "-c", "user.email=copy@localhost"]
    for arguments in (["init", "--quiet", "--initial-branch=main"], ["add", "."], [*name, "commit", "--quiet", "-m", "copy"]):
        subprocess.run(["git", "-C", made, *arguments], check=True)
    return made.as_uri()


def deny(source: str, work: Path, output=None) -> int:
    """Runs cargo-deny with this list."""
    metadata = work / "metadata.json"
    metadata.write_text(json.dumps(as_published(cargo_metadata())), encoding="utf-8")
    settings = (ROOT / "deny.toml").read_text(encoding="utf-8")
    with_source = f'[advisories]\ndb-path = "{work / "databases"}"\ndb-urls = ["{PUBLISHED}"]\n'
    if settings.count("[advisories]\n") != 1:
        sys.exit("deny.toml: expected one [advisories] table")
    (work / "deny.toml").write_text(settings.replace("[advisories]\n", with_source), encoding="utf-8")
    argv = ["cargo", "deny", "--metadata-path", metadata, "--config", work / "deny.toml", "check", "advisories"]
    # It takes no URL of a file, but git reads another repository in the place of one.
    instead = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": f"url.{source}.insteadOf", "GIT_CONFIG_VALUE_0": PUBLISHED}
    environment = {**os.environ, **(instead if source != PUBLISHED else {})}
    return subprocess.run(argv, cwd=ROOT, env=environment, stdout=output, stderr=output).returncode


def cargo_metadata() -> dict:
    """The whole tree of dependencies."""
    argv = ["cargo", "metadata", "--format-version=1", "--locked", "--all-features"]
    return json.loads(subprocess.run(argv, cwd=ROOT, check=True, capture_output=True).stdout)


def as_published(metadata: dict) -> dict:
    """The tree with patched copies in it as what they are copies of."""
    own = set(metadata["workspace_members"])
    for package in metadata["packages"]:
        if package["source"] is None and package["id"] not in own:
            print(f"checked as published: {package['name']} {package['version']}", flush=True)
            package["source"] = CRATES_IO
    return metadata


MADE_UP = "RUSTSEC-2020-0001"
ADVISORY = """```toml
[advisory]
id = "RUSTSEC-2020-0001"
package = "{package}"
date = "2020-01-01"

[versions]
patched = ["{patched}"]
```

# A made-up advisory

It is there to be found.
"""


def self_test() -> int:
    """Each path with lists that are made up; prints what is wrong."""
    wrong = []
    nowhere = (ROOT / "no-such-repository").as_uri()
    # A crate of the registry, and the one that is patched.
    for package in ("hyper", "engineioxide"):
        for patched, known in ((">= 999.0.0", True), (">= 0.0.1", False)):
            with tempfile.TemporaryDirectory() as place, tempfile.TemporaryDirectory() as other:
                crate = Path(place) / "crates" / package
                crate.mkdir(parents=True)
                (crate / f"{MADE_UP}.md").write_text(ADVISORY.format(package=package, patched=patched), encoding="utf-8")
                wrong += trial(f"local copy, {package} {patched}", known, nowhere, place)
                if package == "hyper":
                    url = repository(Path(place), Path(other))
                    wrong += trial(f"published list, {package} {patched}", known, url, None)
    if (code := check(nowhere, None)) != NOT_CHECKED:
        wrong.append(f"a list that can't be reached: exit code {code}")
    print("\n".join(wrong) or "the check of known vulnerabilities finds what it must")
    return 1 if wrong else 0


def trial(name: str, known: bool, published: str, copy: str | None) -> list[str]:
    """Runs a check, and says what is wrong with its outcome."""
    with tempfile.TemporaryFile("w+", encoding="utf-8") as output:
        code = check(published, copy, output)
        output.seek(0)
        told = output.read()
    right = (code not in (0, NOT_CHECKED) and MADE_UP in told) if known else code == 0
    return [] if right else [f"{name}: exit code {code}\n{told}"]


if __name__ == "__main__":
    sys.exit(main())
