"""Ray's workers give way to everything else by default; beside three other workers of a test run they would come last for minutes."""

import os

os.environ.setdefault("RAY_worker_niceness", "0")
