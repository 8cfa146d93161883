"""`report.html`: a run as one page that asks nobody for anything. It carries its own charts' script, and no other runs."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from fl.coordinator.round.clock import PAYING
from fl.plain_text import agreeing, plural
from fl.report.client_mark import client_mark
from fl.report.client_plots import pay_plot, score_plot, share_plot, total_plot
from fl.report.client_tables import clients_table, matrix_tables, reasons_list
from fl.report.drawing import CHARTS
from fl.report.plot import Plot
from fl.report.plotted_clients import NAMED, plotted_clients
from fl.report.quality import quality_of
from fl.report.round_plots import gain_plot, loss_plot, price_plot, quality_plot
from fl.report.score_details import score_details
from fl.report.setup import data_name, facts_html, model_name, setup_html
from fl.report.tables import (
    gas_table,
    gas_total,
    headers_list,
    refusals_table,
    round_seconds,
    rounds_table,
    steps_table,
    wall_seconds,
)
from fl.report.wording import escaped, percent, seconds, shortened, tokens

_STYLE = Path(__file__).with_name("page.css")
# Even if something slipped through the escaping, a browser would neither run nor fetch it: only this script runs.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{}'"


def write_page(path: Path, summary: dict[str, Any]) -> None:
    """Write the page of a run; the same summary gives the same bytes."""
    Path(path).write_text(page(summary), encoding="utf-8", newline="\n")


def page(summary: dict[str, Any]) -> str:
    """The page of a run as HTML."""
    rounds = plural(len(summary["rounds"]), "round")
    # `fl run` has a name of its own, which says less than the data; a coordinator's task is called what its sponsor called it.
    title = f"{(_on_machines(summary) and summary['task'].get('name')) or data_name(summary)}: {plural(len(summary['clients']), 'client')} paid by score in {rounds}"
    sections = {
        "plots": ("Plots", _plots(summary)),
        **({"sample": ("A sample of text", _sample(summary["sample"]))} if summary.get("sample") else {}),
        "clients": ("Clients", _clients(summary)),
        "score_details": ("How sure, and for what", score_details(summary)),
        "rounds": ("Rounds", _rounds(summary)),
        "cost": ("Time and gas", _cost(summary)),
        "check": ("Check a round yourself", _check(summary)),
        "setup": ("What ran", setup_html(summary)),
    }
    links = "".join(f'<li><a href="#{key}">{heading}</a></li>' for key, (heading, _) in sections.items())
    body = "\n".join(
        f'<section id="{key}" aria-labelledby="{key}-h">\n<h2 id="{key}-h">{heading}</h2>\n{content}\n</section>'
        for key, (heading, content) in sections.items()
    )
    script = CHARTS.read_text(encoding="utf-8")
    policy = _POLICY.format(base64.b64encode(hashlib.sha256(script.encode()).digest()).decode())
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="referrer" content="no-referrer">
<link rel="icon" href="data:,">
<title>{escaped(title)} · Fairshare</title>
<style>
{_STYLE.read_text(encoding="utf-8")}</style>
</head>
<body>
<header>
<p class="eyebrow">Fairshare run report</p>
<h1><bdi>{escaped(title)}</bdi></h1>
<p class="lead">{escaped(_lead(summary))}</p>
<p class="ran">{escaped(_ran(summary))}</p>
<nav aria-label="Sections"><ul>{links}</ul></nav>
</header>
<main>
{_figures(summary)}
{body}
</main>
<footer>Written from <code>summary.json</code>, which has every number of this page and more.</footer>
<script>{script}</script>
</body>
</html>
"""


def _sample(sample: Mapping[str, str]) -> str:
    heads = {"opening": "A test row begins", "before": "The initial model goes on", "after": "The last model goes on"}
    rows = "".join(
        f"<tr><th scope='row'>{heads[key]}</th><td><bdi>{escaped(sample[key])}</bdi></td></tr>" for key in heads
    )
    return f"<table>{rows}</table><p>Each model's likeliest token, one after the other.</p>"


def _lead(summary: dict[str, Any]) -> str:
    totals, clients = summary["totals"], summary["clients"]
    earned = sum(int(client["paid_wei"]) for client in clients)
    unpaid = sum(int(client["paid_wei"]) == 0 for client in clients)
    refused = sum(len(round_["refusals"]) for round_ in summary["rounds"])
    quality = quality_of(summary)
    first, last = quality.first_and_last(summary)
    text = (
        f"The model ({model_name(summary)}) went from {first} to {last} {quality.name}, and its clients earned {tokens(earned)} of "
        f"{tokens(totals['budget_wei'])} escrowed tokens."
    )
    if unpaid:
        text += f" {plural(unpaid, 'client')} earned nothing."
    return text + (f" {plural(refused, 'update')} {agreeing(refused, 'was', 'were')} refused." if refused else "")


def _on_machines(summary: dict[str, Any]) -> bool:
    """Whether the rows are their owners', so that nobody dealt them."""
    return any(client["samples"] is None for client in summary["clients"])


def _ran(summary: dict[str, Any]) -> str:
    config, task = summary["config"], summary["task"]
    return " · ".join(
        [
            data_name(summary),
            "the clients' own rows" if _on_machines(summary) else f"{config['partition']['name']} partition",
            model_name(summary),
            config["strategy"]["name"],
            f"{task['scorer']} scores" + (", attested" if task["attested"] else ""),
            f"seed {config['seed']}",
            f"{config['chain']['name']}, chain id {task['chain_id']}",
        ]
    )


def _figures(summary: dict[str, Any]) -> str:
    totals, clients, rounds = summary["totals"], summary["clients"], summary["rounds"]
    steps = round_seconds(summary)
    wall = wall_seconds(steps)
    paying = sum(steps.get(name, 0.0) for name in PAYING)
    earned = sum(int(client["paid_wei"]) for client in clients)
    unclaimed = sum(int(client["paid_wei"]) - int(client["claimed_wei"]) for client in clients)
    budget = int(totals["budget_wei"])
    posts = summary["gas"].get("post")
    paid = sum(int(client["paid_wei"]) > 0 for client in clients)
    quality = quality_of(summary)
    first, last = quality.first_and_last(summary)
    figures = [
        (quality.name.capitalize(), last, f"from {first}, on the test set"),
        ("Earned", f"{tokens(earned)}", f"{percent(earned / budget) if budget else '–'} of {tokens(budget)} tokens"),
        ("Claimed", *_claimed(int(totals["paid_wei"]), unclaimed=unclaimed)),
        ("Clients paid", f"{paid:,} of {len(clients):,}", plural(len(rounds), "round")),
        ("Cost of being paid", percent(paying / wall) if wall else "–", f"of {seconds(wall)} s in rounds"),
        ("Gas to post a round", f"{posts['median']:,}" if posts else "–", f"median; {gas_total(summary):,} in all"),
    ]
    cells = "".join(
        f'<div><dt>{escaped(name)}</dt><dd class="big">{escaped(big)}</dd><dd class="small">{escaped(small)}</dd></div>'
        for name, big, small in figures
    )
    return f'<dl class="figures" aria-label="Headline figures">{cells}</dl>'


def _claimed(claimed: int, *, unclaimed: int) -> tuple[str, str]:
    # A coordinator's page is written when its rounds are over, and clients claim when they like.
    if unclaimed and not claimed:
        return "not yet", f"when this page was written; {tokens(unclaimed)} can be claimed"
    return tokens(
        claimed
    ), f"{tokens(unclaimed)} not claimed when this page was written" if unclaimed else "all that was earned"


def _plots(summary: dict[str, Any]) -> str:
    rounds = _figures_of([quality_plot(summary), loss_plot(summary), gain_plot(summary), price_plot(summary)])
    names = plotted_clients(summary)
    key = "".join(
        f"<li>{client_mark(place)}<span><bdi>{escaped(shortened(client['name'], 40))}</bdi>"
        + (f' <span class="tell">{escaped(client["behaviour"])}</span>' if client["behaviour"] != "honest" else "")
        + "</span></li>"
        for place, client in enumerate(names.named)
    )
    note = ""
    if names.rest:
        key += f"<li>{client_mark(None)}<span>{len(names.rest):,} others</span></li>"
        best = NAMED - names.marked
        whom = (
            f"{names.marked} told to misbehave and the {best} best paid of the others"
            if names.marked
            else "the best paid"
        )
        note = (
            f"<p>The plots name {NAMED} of {len(summary['clients']):,} clients: {whom}. The rest is a grey band from the "
            "least to the most with its median, and grey dots where shares are compared. The table has everybody.</p>"
        )
    clients = _figures_of([pay_plot(summary), total_plot(summary), score_plot(summary), share_plot(summary)])
    return (
        f'<div class="plots">{rounds}</div>\n<h3 class="between">Who earned what</h3>\n{note}'
        f'<ul class="key" aria-label="Marks of the clients in the plots below">{key}</ul>\n<div class="plots">{clients}</div>'
    )


def _figures_of(plots: Iterable[Plot]) -> str:
    return "\n".join(
        f"<figure><h3>{escaped(plot.title)}</h3>\n<figcaption>{escaped(plot.finding)}</figcaption>\n{_chart(plot)}</figure>"
        for plot in plots
    )


def _chart(plot: Plot) -> str:
    # In a script element that is data nothing is markup but its own end.
    values = json.dumps(plot.drawing.to_json(), separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return f'<run-chart><script type="application/json">{values}</script></run-chart>'


def _clients(summary: dict[str, Any]) -> str:
    return (
        clients_table(summary)
        + reasons_list(summary)
        + "<details><summary>Score, whole score, length factor and pay of every client in every round</summary>"
        + f"{matrix_tables(summary)}</details>"
    )


def _rounds(summary: dict[str, Any]) -> str:
    return rounds_table(summary) + f"<h3>Refusals</h3>\n{refusals_table(summary)}"


def _cost(summary: dict[str, Any]) -> str:
    steps, parts = round_seconds(summary), summary["totals"]["seconds_by_part"]
    chain = steps.get("posting", 0.0) + parts.get("chain", 0.0) + parts.get("claiming", 0.0)
    facts = {
        "Training": f"{seconds(steps.get('training', 0.0))} s, summed over the clients",
        "Scoring": f"{seconds(steps.get('scoring', 0.0) + steps.get('settling', 0.0))} s for direction, scores, pay and tree",
        "Signing": f"{seconds(steps.get('signing', 0.0))} s, summed over the clients",
        "Chain": f"{seconds(chain)} s: opening the chain, posting {plural(len(summary['rounds']), 'round')}, claiming",
        "Whole run": f"{seconds(summary['totals']['seconds'])} s on {_machine(summary)}",
    }
    return (
        f'<div class="card">{facts_html(facts)}</div>\n'
        "<p>Cost of being paid, in the figures above, is signing, checking, scoring, settling, bundling, evaluating and "
        "posting as a share of the rounds' time by the clock.</p>\n" + steps_table(summary) + gas_table(summary)
    )


def _check(summary: dict[str, Any]) -> str:
    last = summary["rounds"][-1]
    folder, header = escaped(last["bundle"]), last["header"]
    quorum, evaluators = summary["config"]["task"]["quorum"], summary["config"]["task"]["evaluators"]
    return f"""<p>Each round has a bundle: base model, signed updates, direction, weights, leaves and header, in
<code>bundles/</code> beside this page. The header's hash is the one thing of a round that the contract stores; the header
names the sha256 of the bundle's manifest, and the manifest the sha256 of every file. For round {last["round"]}, in the
run's folder:</p>
<pre tabindex="0" aria-label="Commands that check a round"><code>sha256sum {folder}/manifest.json
# {escaped(header["bundle"].removeprefix("0x"))}

python - &lt;&lt;'END'
from pathlib import Path
from fl.bundle.format import Bundle
from fl.rewards import RoundTree
bundle, _ = Bundle.read(Path("{folder}"))  # refuses a file that is not what the manifest says
print("0x" + RoundTree(bundle.leaves).root.hex())
END
# {escaped(header["tree_root"])}</code></pre>
<p>{_standing(summary)} {quorum} of {plural(evaluators, "evaluator")} had to sign each header.</p>
<h3>Headers in full</h3>
{headers_list(summary)}"""


def _standing(summary: dict[str, Any]) -> str:
    if (summary["config"].get("privacy") or {}).get("masked"):
        return (
            "The scores are <strong>attested by evaluators, not provable on chain</strong>: the updates are masked words, which the "
            "contract cannot multiply. Evaluators recompute sum, direction and every score from what was published of the round; "
            "weights, totals, price, pay and tree follow from them as integers, the same on every machine."
        )
    if summary["task"]["attested"]:
        rule = escaped(summary["task"]["scorer"])
        return (
            f"The scores are <strong>attested by evaluators, not provable on chain</strong>: the rule {rule} "
            "is not an inner product of two vectors, so the contract cannot check one, and nobody can challenge it. Evaluators "
            "recompute direction and scores within the task's tolerance; weights, totals, price, pay and tree follow from them as "
            "integers, the same on every machine."
        )
    return (
        "Weights, scores, totals, price, pay and tree are integers and come out the same on every machine. The direction is floating "
        "point, and evaluators recompute it within the task's tolerance. What the chain cannot show is that the direction is "
        "right; that rests on the evaluators."
    )


def _machine(summary: dict[str, Any]) -> str:
    machine = summary["machine"]
    return f"{plural(machine['cores'] or 1, 'core')}, {machine['system']}, Python {machine['python']}"
