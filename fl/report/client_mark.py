"""The mark of a client, the same in every chart, key and table; the charts' script draws it."""

from __future__ import annotations


def client_mark(place: int | None) -> str:
    """HTML of the mark at a place among the plotted clients; None is that of all the rest."""
    return "<chart-mark></chart-mark>" if place is None else f'<chart-mark place="{place}"></chart-mark>'
