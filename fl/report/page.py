from pathlib import Path


def write_page(path, summary):
    Path(path).write_text("placeholder")
