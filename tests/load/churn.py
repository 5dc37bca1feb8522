"""Whatever may change while a proxy lives changes under load, and no request fails for a reason of ours.

`churn.py [--seconds 90] [--rate 200]`: requests of all kinds, over connections old and new, while
settings are reloaded 20 times, certificates replaced 5 times, the issuer's keys rotated 3 times and
the backend restarted 3 times with the next one ready. Every answer is looked at, and every change is
seen to have happened.
"""

import argparse
import asyncio

import scene
from changes import Changes
from companions import Companions
from harness import main
from load import Load
from outcome import Log


async def churn(cases, there, seconds, rate):
    log, over = Log(), asyncio.Event()
    load, companions, changes = Load(there, log), Companions(there, log, over), Changes(there, log)
    async with there.tokens.renewed(0.25):
        loading = asyncio.create_task(load.run(rate, over))
        accompanying = asyncio.create_task(companions.run())
        await changes.run(seconds)
        over.set()
        reached = await loading
        await accompanying
    load.close()
    await judge(cases, there, log, load, companions, changes, reached, rate)


async def judge(cases, there, log, load, companions, changes, reached, rate):
    total, ours = sum(load.done.values()), log.failures
    cases.check(f"{total} requests, {reached:.0f} a second", reached > 0.9 * rate, f"wanted {rate}")
    missing = load.missing()
    cases.check("every kind came by every way", not missing, missing)
    cases.check("no request failed for a reason of ours", not ours, f"{len(ours)}, the first: {ours[:3]}")
    for what, times in sorted(log.apart.items()):
        print(f"     the backend's own: {what}, {times} times")
    for times, change in changes.kinds:
        seen = changes.seen[change.__name__]
        cases.check(f"{change.__name__}: {seen} times, each seen to have happened", seen == times, f"wanted {times}")
    heard = companions.heard
    cases.check(f"{len(heard)} companions were there all the time", len(heard) == 10, heard)
    panics = await there.metric("countersign_panics_total")
    cases.check("nothing panicked", panics == 0, panics)


def run(cases):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=90)
    parser.add_argument("--rate", type=float, default=200)
    asked = parser.parse_args()
    with scene.scene() as there:
        asyncio.run(churn(cases, there, asked.seconds, asked.rate))
        status = there.process.stop()
        cases.check("it ends with 0", status == 0, status)


main(run)
