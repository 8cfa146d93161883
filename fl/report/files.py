"""Names of what a run leaves in its folder; apart, so that who only reads a run needs no PyTorch."""

SUMMARY, STATUS, LATEST = "summary.json", "status", "latest"
