"""Runs programs of the same suite in turn and compares them: `python3 compare.py ROUNDS NAME COMMAND [NAME COMMAND]...`.

A program prints a line a measurement: its name, then its time followed by `ms`. The first program's times are set against
those of the others, each the median of all rounds: a ratio above 1 says that the first is faster.
"""

import re
import statistics
import subprocess
import sys

# The name ends where two blanks or more follow.
LINE = re.compile(r"^(?P<name>\S.*?)\s{2,}(?P<milliseconds>[0-9.]+) ms")


def run(command):
    """The milliseconds of every measurement by name."""
    done = subprocess.run(command, shell=True, text=True, stdout=subprocess.PIPE, check=True)
    found = (LINE.match(line) for line in done.stdout.splitlines())
    return {match["name"]: float(match["milliseconds"]) for match in found if match}


def main():
    rounds, rest = int(sys.argv[1]), sys.argv[2:]
    programs = list(zip(rest[::2], rest[1::2]))
    times = {program: {} for program, _ in programs}
    for turn in range(rounds):
        for program, command in programs:
            print(f"round {turn + 1}: {program}", file=sys.stderr, flush=True)
            for name, milliseconds in run(command).items():
                times[program].setdefault(name, []).append(milliseconds)
    medians = {program: {name: statistics.median(all) for name, all in of.items()} for program, of in times.items()}
    first, *others = [program for program, _ in programs]
    print("| median ms of", rounds, "rounds |", " | ".join([first, *(f"{other} | ratio" for other in others)]), "|")
    print("|---|" + "---|" * (1 + 2 * len(others)))
    for name, ours in medians[first].items():
        cells = [f"{ours:.3g}"]
        for other in others:
            theirs = medians[other].get(name)
            cells += ["–", "–"] if theirs is None else [f"{theirs:.3g}", f"{theirs / ours:.2f}×"]
        if any(name in medians[other] for other in others):
            print(f"| {name} | " + " | ".join(cells) + " |")


main()
