#!/usr/bin/env python3
"""What the stretches of a long run came to. Its state is a file with a line of JSON for each stretch that ended.

    tests/torture/total.py next FILE SEED MINUTES   the seed of the next stretch, and how long is left; 1: none is
    tests/torture/total.py tell FILE SEED MINUTES   the sums; 1: something was wrong, or it is not all there

Stretches have the seeds SEED, SEED + 1 and so on. One that was cut short is not in the file and is run again.
"""
import collections
import json
import os
import pathlib
import sys

SHORT = 1e-6  # of a minute


def append(path, stretch):
    """At the end of a stretch, or not at all."""
    with open(path, "a", encoding="utf-8") as out:
        out.write(json.dumps(stretch) + "\n")
        out.flush()
        os.fsync(out.fileno())


def read(path):
    """By seed. A line that was cut short is that of a stretch that did not end."""
    stretches = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            stretch = json.loads(line)
        except ValueError:
            continue
        stretches[stretch["seed"]] = stretch
    return stretches


def next_of(stretches, seed, minutes):
    """(seed, minutes left), or None."""
    left = minutes
    while seed in stretches and left > SHORT:
        left -= stretches[seed]["minutes"]
        seed += 1
    return (seed, left) if left > SHORT else None


def part_of(stretches, seed):
    """Those that follow each other from this seed on."""
    part = []
    while seed in stretches:
        part.append(stretches[seed])
        seed += 1
    return part


def tell(part):
    sums, trouble = collections.Counter(), collections.Counter()
    for stretch in part:
        trouble.update(stretch["trouble"])
        sums.update({name: stretch[name] for name in ("minutes", "calls", "jobs", "commits", "recorded", "events")})
    wrong = [(stretch["seed"], each) for stretch in part for each in stretch["wrong"]]
    seeds = f"{part[0]['seed']} to {part[-1]['seed']}" if part else "none"
    lines = [f"seeds {seeds}: {sums['minutes']:g} minutes, {sums['calls']} calls, {sums['jobs']} jobs, "
             f"{sums['commits']} commits acknowledged, {sums['recorded']} recorded, {sums['events']} events",
             f"  trouble {sum(trouble.values())}: "
             + ", ".join(f"{name} {count}" for name, count in sorted(trouble.items()))]
    lines += [f"  VIOLATION seed {seed}: {each}" for seed, each in wrong[:40]]
    return [*lines, f"  {len(wrong)} violations"], len(wrong)


def main(what, path, seed, minutes):
    stretches, seed, minutes = read(pathlib.Path(path)), int(seed), float(minutes)
    following = next_of(stretches, seed, minutes)
    if what == "next":
        if following:
            print(following[0], f"{following[1]:g}")
        return int(not following)
    lines, wrong = tell(part_of(stretches, seed))
    print("\n".join(lines))
    return int(bool(wrong or following))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
