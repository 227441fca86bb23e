#!/usr/bin/env python3
"""A product written in Python that upgrades itself through slipway: check, install, progress, outcome."""

import json
import os
import subprocess
import sys

# Exit codes of slipway that a program treats differently; docs/reference/errors.md has all of them.
UPDATE_AVAILABLE, NOTHING_TO_DO = 10, 3
OUTCOMES = {
    20: "refused, nothing was touched",
    40: "back on the old version",
    41: "a human must look",
    42: "later",
    43: "later",
    75: "later",
}


def slipway(*arguments):
    """Runs one command, shows its events, and returns the result (its last line) with the exit code."""
    command = [os.environ.get("SLIPWAY", "slipway"), *arguments, "--json"]
    result = {}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        for text in child.stdout:
            line = json.loads(text)
            if "event" in line:
                show(line)
            else:
                result = line
    return result, child.returncode


def show(line):
    if line["event"] == "progress":
        print(f"{line['label']}: {line['done']} of {line['total']} bytes")
    elif line["event"] == "phase":
        print(f"now {line['phase']} {line.get('step', '')}")


def reason(result):
    error = result.get("error", {})
    return f"{error.get('code')}: {error.get('message')} ({error.get('hint')})"


def upgrade(installation):
    offered, code = slipway("upgrade", "check", "--detailed-exitcode", "--installation", installation)
    if code == NOTHING_TO_DO:
        print("nothing newer")
        return 0
    if code != UPDATE_AVAILABLE:
        print(f"the check failed: {reason(offered)}")
        return code
    version = offered["offer"]["version"]
    print(f"{version} is available")

    result, code = slipway("upgrade", "install", "--version", version, "--installation", installation)
    if code == 0:
        print(f"runs {result['version']}")
    else:
        print(f"{OUTCOMES.get(code, 'failed')}: {reason(result)}")
    return code


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: upgrade.py INSTALLATION-FILE")
    sys.exit(upgrade(sys.argv[1]))
