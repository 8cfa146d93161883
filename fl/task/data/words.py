"""Lists of words as a person types them: `[a,b]` or `a,b`, with quotes around a word that holds a comma or a bracket."""

from __future__ import annotations

from fl.errors import ConfigError


def parse_list(text: str, *, key: str) -> list[str]:
    """The words of a list, each taken literally.

    Args:
        text: Such as `[age,"pressure (sys., mmHg)",#1]`; a quote or backslash within quotes has a backslash before it.
        key: Of the setting, for messages.
    Raises: ConfigError for a quote that is not closed, or a bracket at one end only.
    """
    inner = text.strip()
    if inner.startswith("[") != inner.endswith("]"):
        raise ConfigError(f"{key} is {text}; write a list such as {key}=[a,b], with both brackets or none")
    if inner.startswith("["):
        inner = inner[1:-1]
    if not inner.strip():
        return []
    words: list[str] = []
    at = 0
    while at <= len(inner):
        word, at = _next_word(inner, at, text=text, key=key)
        words.append(word)
    return words


def _next_word(inner: str, at: int, *, text: str, key: str) -> tuple[str, int]:
    while at < len(inner) and inner[at].isspace():
        at += 1
    if at < len(inner) and inner[at] in "\"'":
        mark, at, word = inner[at], at + 1, ""
        while at < len(inner) and inner[at] != mark:
            at += inner[at] == "\\" and at + 1 < len(inner)
            word, at = word + inner[at], at + 1
        rest = inner[at + 1 :].partition(",")[0]
        if at >= len(inner) or rest.strip():
            raise ConfigError(f"{key} is {text}; close the quote {mark} at the end of its word")
        return word, at + 2 + len(rest)
    end = inner.find(",", at)
    end = len(inner) if end < 0 else end
    return inner[at:end].strip(), end + 1
