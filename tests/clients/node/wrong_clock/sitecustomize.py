"""Python starts this by itself where its folder is on PYTHONPATH: the clock of such a process is WRONG_CLOCK_S ahead."""

import datetime
import os
import time

AHEAD_S = float(os.environ.get("WRONG_CLOCK_S", "0"))
true_time, true_datetime = time.time, datetime.datetime


class WrongDatetime(true_datetime):
    """datetime with the wrong now."""

    @classmethod
    def now(cls, tz=None):
        return true_datetime.now(tz) + datetime.timedelta(seconds=AHEAD_S)


time.time = lambda: true_time() + AHEAD_S
datetime.datetime = WrongDatetime
