"""Running the campaign.

    python -m campaign [--cuts [--amid SUBJECT]] [--rounds N] [--hours H] [--seed S]
                       [--broken NAME]

prints a line for each round, and at the end, or after Ctrl-C, what it has found;
then its exit code is 1. The seed decides what is asked and what befalls whom, not
what the processes make of it: a finding comes again soon, if not at once. With
`--cuts`, a round is a power cut of a machine with real LVM, a guest of `bed`; each
amid one thing, if that is said.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import sys
import time
from contextlib import aclosing
from functools import partial

from campaign.breaks import BREAKS, ON_LVM
from campaign.cuts import cuts
from campaign.load import AMID
from campaign.rounds import Round, rounds

AT_A_TIME = 20  # rounds on one service: then the log is long enough


async def run(asked: argparse.Namespace, found: list[Round]) -> None:
    """Do rounds until they are done or the time is up."""
    ends = time.monotonic() + asked.hours * 3600
    done, happenings = 0, partial(cuts, amid=asked.amid) if asked.cuts else rounds
    while done < asked.rounds or time.monotonic() < ends:
        seed = f"{asked.seed}.{done}" if done else str(asked.seed)
        left = AT_A_TIME if asked.hours else min(AT_A_TIME, asked.rounds - done)
        async with aclosing(happenings(seed, left, asked.broken)) as happening:
            async for happened in happening:
                done += 1
                print(happened, flush=True)
                if happened.findings:
                    found.append(happened)
                    if asked.broken:
                        return
                if done >= asked.rounds and time.monotonic() > ends:
                    break


def main() -> int:
    """Run it, and tell."""
    parser = argparse.ArgumentParser(prog="python -m campaign")
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--hours", type=float, default=0.0)
    parser.add_argument("--cuts", action="store_true")
    parser.add_argument("--amid", choices=AMID, default="")
    parser.add_argument("--seed", default=str(random.randrange(10**6)))
    parser.add_argument("--broken", choices=[*BREAKS, *ON_LVM], default="")
    asked = parser.parse_args()
    asked.rounds = asked.rounds or (0 if asked.hours else 50)
    found: list[Round] = []
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        asyncio.run(run(asked, found))
    except KeyboardInterrupt:
        print("interrupted")
    for happened in found:
        print(f"round {happened.number} of seed {happened.seed}:")
        print(*(f"  {finding}" for finding in happened.findings), sep="\n")
    print(f"seed {asked.seed}: {len(found)} rounds have found something")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
