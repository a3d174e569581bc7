"""The demo's page: one static HTML file with the timeline, readable in light and dark, with no script and nothing fetched."""

from __future__ import annotations

from html import escape
from typing import Any

from lastgood.report.terminal import seconds

_STYLE = """
:root { color-scheme: light dark; --paper: light-dark(#fbfaf8, #16181d); --ink: light-dark(#1d2129, #e6e4df);
  --soft: light-dark(#667, #9aa); --line: light-dark(#ddd8d0, #333842); --good: light-dark(#18794e, #4cc38a);
  --bad: light-dark(#c62a2f, #ff8a8a); --bar: light-dark(#b9c7e4, #3b4a6b); }
* { box-sizing: border-box; } body { margin: 0 auto; max-width: 62rem; padding: 2.5rem 1.25rem 4rem; background: var(--paper);
  color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.7rem; margin: 0 0 .25rem; } .verdict { font-size: 1.05rem; margin: 0 0 2rem; color: var(--soft); }
.verdict b.good { color: var(--good); } .verdict b.bad { color: var(--bad); }
ol { list-style: none; margin: 0; padding: 0; } li.station { border-top: 1px solid var(--line); padding: 1.1rem 0; }
.head { display: flex; gap: 1rem; justify-content: space-between; align-items: baseline; } h2 { font-size: 1.1rem; margin: 0; }
.mark.good { color: var(--good); } .mark.bad { color: var(--bad); }
.time { color: var(--soft); font-variant-numeric: tabular-nums; white-space: nowrap; }
.track { height: .6rem; margin: .55rem 0 .7rem; position: relative;
  background: light-dark(#efece6, #20242c); border-radius: .3rem; overflow: hidden; }
.track i { position: absolute; top: 0; bottom: 0; background: var(--bar); border-right: 1px solid var(--paper); }
.track i.failed { background: var(--bad); } .track i.deploy { background: var(--good); }
ul { margin: .3rem 0 0; padding: 0; list-style: none; font-size: .93rem; } ul li { padding-left: 1.4rem; text-indent: -1.4rem; }
.outcome { margin: .2rem 0; } code { font: .86em ui-monospace, monospace; color: var(--soft); }
details { font-size: .9rem; margin-top: .5rem; color: var(--soft); } summary { cursor: pointer; }
"""


def render(facts: dict[str, Any]) -> str:
    """The whole page as text, from the facts of demo.json."""
    total = max(facts["seconds"], 0.001)
    position = 0.0
    items = []
    for station in facts["stations"]:
        items.append(_station(station, position, total))
        position += station["seconds"]
    held = sum(expectation["held"] for station in facts["stations"] for expectation in station["expectations"])
    count = sum(len(station["expectations"]) for station in facts["stations"])
    verdict = f'<b class="{"good" if facts["held"] else "bad"}">{held} of {count} expectations held</b>'
    site = facts["site"]
    link = f' · <a href="{escape(site)}/">the site</a>' if site else ""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>lastgood demo</title><style>{_STYLE}</style></head><body>\n<h1>What the demo did</h1>"
        f'<p class="verdict">{verdict} · {seconds(facts["seconds"])}{link}</p>\n<ol>\n{"".join(items)}</ol></body></html>\n'
    )


def _station(station: dict[str, Any], position: float, total: float) -> str:
    good = station["held"]
    bars = []
    inside = position
    for command in station["commands"]:
        kind = (
            "failed"
            if command["status"] not in (0, 3)
            else "deploy"
            if " deploy" in command["line"] or " rollback" in command["line"]
            else ""
        )
        left, width = 100 * inside / total, max(100 * command["seconds"] / total, 0.15)
        title = escape(f"{command['line']} · {seconds(command['seconds'])}", quote=True)
        bars.append(f'<i class="{kind}" style="left:{left:.2f}%;width:{width:.2f}%" title="{title}"></i>')
        inside += command["seconds"]
    expectations = "".join(_expectation(expectation) for expectation in station["expectations"])
    commands = "".join(
        f"<li><code>{escape(command['line'])}</code> exit status {command['status']}, {seconds(command['seconds'])}</li>"
        for command in station["commands"]
    )
    asked = f"{station['failed']} of {station['asked']} answers failed meanwhile" if station["asked"] else ""
    outcome = " · ".join(escape(text) for text in (station["outcome"], asked) if text)
    return (
        f'<li class="station"><div class="head"><h2><span class="mark {"good" if good else "bad"}">{"✓" if good else "✗"}</span> '
        f'{escape(station["title"])}</h2><span class="time">{seconds(station["seconds"])}</span></div>'
        f'<div class="track">{"".join(bars)}</div><p class="outcome">{outcome}</p><ul>{expectations}</ul>'
        f"<details><summary>{len(station['commands'])} commands</summary><ul>{commands}</ul></details></li>\n"
    )


def _expectation(expectation: dict[str, Any]) -> str:
    mark = '<span class="mark good">✓</span>' if expectation["held"] else '<span class="mark bad">✗</span>'
    found = f" (found: {escape(expectation['found'])})" if expectation["found"] and not expectation["held"] else ""
    return f"<li>{mark} {escape(expectation['text'])}{found}</li>"
