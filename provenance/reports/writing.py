"""The words of a compliance report, from its figures and what the installation adds. Pure."""

from __future__ import annotations

from typing import Any

from .document import NOTE, Block, Document, Section, Table, Text, bars, counted, shortened
from .rules import RULES


def document(report: dict[str, Any]) -> Document:
    """``report``: what report.json holds, without its assets."""
    window, tree, figures = report["window"], report["tree"], report["figures"]
    named = ", ".join(one["id"] for one in report["profiles"])
    return Document(
        f"Compliance report: {named}",
        f"{window['from']} to {window['to']} · {report['organisation']} · log {tree['origin']}, "
        f"first {tree['size']:,} entries",
        tuple(
            section
            for section in (
                _summary(report, figures),
                _released(figures),
                _refused(figures),
                _people(figures),
                _marks(figures),
                _systems(report, figures),
                _energy(figures),
                _tests(report),
                _samples(report),
                *_duties(report),
                _checking(report),
            )
        ),
    )


def _summary(report: dict[str, Any], figures: dict[str, Any]) -> Section:
    types = figures["types"]
    rows = (
        ("requests", sum(figures["requests"].values())),
        ("released", types.get("release", 0)),
        ("refused", types.get("refused", 0)),
        ("held for people or for a time-stamp", types.get("held", 0)),
        ("failed", types.get("failed", 0)),
        ("appeals filed", types.get("appeal.filed", 0)),
        ("appeals that overturned a refusal", types.get("appeal.overturned", 0)),
        ("erasures of a person's texts", types.get("erase", 0)),
        ("texts deleted after their time (runs)", types.get("expire", 0)),
        ("persons to whom was handed out what is kept of them", types.get("subject-export", 0)),
        ("legal holds placed", types.get("legal-hold", 0)),
        ("legal holds lifted", types.get("legal-hold.lifted", 0)),
        ("signing keys revoked", types.get("key-revocation", 0)),
    )
    table = Table(("what", "count"), tuple((name, f"{count:,}") for name, count in rows), (0.8, 0.2))
    plot = bars("Outcomes by day", shortened(figures["days"]))
    made = f"Made by Filigrana {report['version']} from {figures['entries']:,} entries of the log. {NOTE}"
    return Section("Summary", (Text(made), table, *((plot,) if plot.rows else ())))


def _released(figures: dict[str, Any]) -> Section:
    return Section(
        "Released",
        (
            counted("format", figures["released"]),
            counted("source type", figures["source_types"]),
            counted("made for the profile", figures["profiles"]),
        ),
    )


def _refused(figures: dict[str, Any]) -> Section:
    return Section(
        "Refused, held, failed",
        (
            counted("refused: code", figures["refused"]),
            Text("Hazards by their ids in policy packs; one refusal may have several."),
            counted("refused: hazard", figures["hazards"]),
            counted("held: code", figures["held"]),
            counted("failed: code", figures["failed"]),
        ),
    )


def _people(figures: dict[str, Any]) -> Section:
    text = (
        "In the manner of Articles 15 and 24 of Regulation (EU) 2022/2065 (Digital Services Act): decisions that let "
        "nothing pass, by automated means and by people, and what was refused since nobody decided on it in time; "
        "complaints about them, and what became of these. Each refusal has a statement of reasons in the log."
    )
    return Section(
        "Transparency: decisions and complaints",
        (
            Text(text),
            counted("refusals", figures["automated"]),
            counted("reviews and appeals: entry", figures["people"]),
        ),
    )


def _marks(figures: dict[str, Any]) -> Section:
    text = (
        "Each released file was opened again after signing: its credentials had to be trusted, and its watermark had "
        "to decode to its own id, or it was not released."
    )
    return Section(
        "Marks and labels",
        (
            Text(text),
            counted("layers", figures["layers"]),
            counted("watermark", figures["marks"]),
            counted("visible or audible label", figures["labels"]),
        ),
    )


def _systems(report: dict[str, Any], figures: dict[str, Any]) -> Section:
    cards = tuple(
        (f"{card['name']} {card['version']}", f"{card['licence']}. Trained on: {card['training_data']}")
        for card in report["model_cards"]
    )
    return Section(
        "Policies, models, training data",
        (
            counted("policy that decided", figures["policies"]),
            counted("guard that answered", figures["guards"]),
            counted("model that generated", figures["models"]),
            Table(("model card", "licence and training data"), cards, (0.3, 0.7)),
        ),
    )


def _energy(figures: dict[str, Any]) -> Section:
    rows = tuple(
        (method, joules, f"{float(joules) / 3.6e6:.6f}") for method, joules in figures["energy_joules"].items()
    )
    text = (
        "Of work that was finished, as each result in the log states it. What was spent on work that was refused, held "
        "or failed before is not in these figures."
    )
    return Section("Energy", (Text(text), Table(("method", "joules", "kWh"), rows, (0.5, 0.25, 0.25))))


def _tests(report: dict[str, Any]) -> Section:
    rows = []
    for name, what in (("robustness", "code"), ("safety", "policy")):
        found = report["tests"].get(name)
        if found is None:
            rows.append((name, "no report was given"))
        elif found.get("error"):
            rows.append((name, str(found["error"])))
        else:
            fits = f"{'of' if found.get('current') else 'not of'} the {what} in use"
            met = "every bar met" if found.get("met") else "not every bar met"
            rows.append((name, f"made {found['made']}, {fits}; {met}; sha256 {found['sha256']}"))
    return Section("Tests of robustness and safety in use", (Table(("report", "what it is"), tuple(rows), (0.2, 0.8)),))


def _samples(report: dict[str, Any]) -> Section:
    text = (
        "The assets whose hashes are smallest: nobody chose them. Inclusion proofs stand in report.json, and verify "
        "against the root below without this installation."
    )
    rows = tuple(
        (s["asset_id"], str(s["index"]), s["mime"], ", ".join(alg for alg, _ in s["bindings"]) or "none", s["sha256"])
        for s in report["samples"]
    )
    return Section(
        "Samples",
        (Text(text), Table(("asset", "entry", "format", "watermark", "sha256"), rows, (0.17, 0.1, 0.13, 0.25, 0.35))),
    )


def _duties(report: dict[str, Any]) -> list[Section]:
    found = []
    for profile in report["profiles"]:
        blocks: list[Block] = [
            Text(
                f"As of {profile['version']}, sha256 {profile['digest']}. In our own words but for what is quoted; the "
                "law's text is at its source."
            )
        ]
        rows = []
        for duty in profile["duties"]:
            since = duty["since"] or "not known to us"
            notes = [f"since {since}"]
            notes += [f"older systems from {duty['grace']}"] if duty["grace"] else []
            notes += ["secondary source only"] if duty["secondary"] else []
            quote = f"\u201c{duty['quote']}\u201d " if duty["quote"] else ""
            proof = ", ".join(duty["rules"]) or f"no file can show it: {duty['outside']}"
            rows.append(
                (
                    duty["id"],
                    f"{duty['law']} ({'; '.join(notes)}). {' '.join(duty['says'].split())} {quote}{duty['source']}",
                    proof,
                )
            )
        blocks.append(Table(("duty", "law", "shown by"), tuple(rows), (0.2, 0.6, 0.2)))
        found.append(Section(f"Duties: {profile['title']}", tuple(blocks)))
    wanted = sorted(
        {rule for p in report["profiles"] for d in p["duties"] for rule in d["rules"]}, key=lambda r: int(r[1:])
    )
    rules = tuple((name, RULES[name].title, RULES[name].text) for name in wanted)
    found.append(Section("Rules", (Table(("rule", "title", "what must hold"), rules, (0.1, 0.25, 0.65)),)))
    return found


def _checking(report: dict[str, Any]) -> Section:
    tree = report["tree"]
    return Section(
        "How to check this report",
        (
            Text(f"Tree of {tree['size']:,} entries, root {tree['root']}."),
            Text(
                "report.note, signed with the log's key under its name for reports, carries the SHA-256 of every file "
                "beside it and the root above. `filigrana report verify FOLDER --key KEY` checks it without a network; "
                "with the entries (`audit export`) it counts every figure again. The same log, window and version give "
                "the same bytes."
            ),
            Text(NOTE),
        ),
    )
