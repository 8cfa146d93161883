"""The fuzzer's long run: python tests/fuzz/long.py INPUTS [SEED]. Prints what left the family of errors, hung, or grew.

Each input is made from the seed and its number, so that `python tests/fuzz/long.py 1 SEED` tries the first one again.
"""

from __future__ import annotations

import logging
import random
import resource
import signal
import sys
import time
import traceback
import warnings
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[2])]

from fuzz.mutations import mutated  # noqa: E402 - found by the line above
from fuzz.parsers import parsers  # noqa: E402

from fl.errors import FairshareError  # noqa: E402

_LONGEST_S, _MOST_GROWTH = 1.0, 500 << 20  # of one input; bytes of the whole run
_HUNG_S = 60  # on the wall: of an input that waits for something, on a machine that is busy
_EVERY = 10_000


class Hung(BaseException):
    """An input that nobody would wait for."""


def _hung(*_: object) -> None:
    raise Hung


def main() -> int:
    """Try them; returns the exit status."""
    inputs, seed = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0
    logging.disable()  # what is set aside is said each time
    warnings.simplefilter("ignore")  # torch's, of odd models
    signal.signal(signal.SIGALRM, _hung)
    failed, slowest = 0, (0.0, "")
    with TemporaryDirectory() as folder:
        known = parsers(Path(folder))
        for parser in known:
            with suppress(FairshareError):
                parser.read(parser.seeds[0])
        before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10, time.monotonic()
        tried = dict.fromkeys((parser.name for parser in known), 0)
        weights = [parser.share for parser in known]
        for number in range(seed, seed + inputs):
            rng = random.Random(number)
            parser = rng.choices(known, weights)[0]
            data = mutated(rng.choice(parser.seeds), rng)
            begun = time.process_time()
            signal.alarm(_HUNG_S)
            try:
                parser.read(data)
            except FairshareError as error:
                str(error)
            except BaseException as error:
                if isinstance(error, KeyboardInterrupt):
                    break
                failed += 1
                print(f"input {number} of {parser.name}: {type(error).__name__}: {str(error)[:200]}", flush=True)
                print(f"  {data[:300]!r}\n  {traceback.format_exc().splitlines()[-3].strip()}", flush=True)
            finally:
                signal.alarm(0)
            took = time.process_time() - begun
            slowest = max(slowest, (took, f"{parser.name} {number}"))
            if took > _LONGEST_S:
                failed += 1
                print(f"input {number} of {parser.name} took {took:.1f} s: {data[:200]!r}", flush=True)
            tried[parser.name] += 1
            if (done := number - seed + 1) % _EVERY == 0 or done == inputs:
                grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10) - before
                print(f"{done:,} inputs, {failed} failed, {grown >> 20} MiB more than at first, slowest {slowest[0]:.2f} s "
                      f"({slowest[1]}), {time.monotonic() - started:.0f} s", flush=True)  # fmt: skip
                if grown > _MOST_GROWTH:
                    print(f"memory grew by {grown >> 20} MiB, {_MOST_GROWTH >> 20} are the most")
                    return 1
    print(f"{sum(tried.values()):,} inputs tried, {failed} failed")
    print(", ".join(f"{name} {count:,}" for name, count in tried.items()))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
