"""Rules about marks: the watermark, the AIGC label, and what people see and hear. Pure."""

from __future__ import annotations

from ..labelling.aigc import problems
from ..labelling.measured import CONTRAST, says_ai
from ..labelling.places import ELSEWHERE
from .duties import Needs
from .facts import FileFacts, HouseFacts
from .outcome import Outcome, judged, not_about

_SHARE, _SECONDS, _LEAST_PX = 0.05, 2.0, 9
_NOT_AI = "the file does not claim to be AI-made"


def r3(file: FileFacts, _house: HouseFacts, _needs: Needs) -> Outcome:
    found = [(alg, ident) for alg, ident in file.marks if ident is not None]
    claimed = dict(file.bindings)
    if not found:
        named = ", ".join(claimed) if claimed else "none is claimed"
        return Outcome("R3", "fail", f"no watermark decodes ({named})")
    alg, ident = found[0]
    faults = []
    others = sorted({other for _, other in found if other is not None and other != ident})
    if others:
        faults.append(f"its marks name different assets: {ident} and {', '.join(others)}")
    if file.asset_id is None:
        faults.append(f"it carries the mark of {ident}, and its credentials name no asset")
    elif file.asset_id != ident:
        faults.append(f"it carries the mark of {ident}, and its credentials name {file.asset_id}")
    if alg not in claimed:
        faults.append(f"the credentials do not bind the mark {alg}")
    if file.resolved is None:
        faults.append("no catalog that was asked knows this mark")
    elif file.resolved != ident:
        faults.append(f"the mark leads to another asset, {file.resolved}")
    return judged("R3", faults, f"{ident} by {alg}")


def r5(file: FileFacts, _house: HouseFacts, _needs: Needs) -> Outcome:
    if not file.ai:
        return not_about("R5", _NOT_AI)
    if not file.aigc:
        return Outcome("R5", "fail", "there is no AIGC label")
    if len(file.aigc) > 1:
        places = ", ".join(place for place, _ in file.aigc)
        return Outcome("R5", "fail", f"there are {len(file.aigc)} AIGC labels ({places}), where a file has one")
    place, text = file.aigc[0]
    opened = any(action == "c2pa.opened" for action, _ in file.actions)
    first = not (opened and "aigc" in file.had)
    faults = problems(text, first=first)
    if place == ELSEWHERE:
        faults.append("it stands in XMP under another namespace than the standard's, where its readers do not look")
    return judged("R5", faults, f"one, in {place}")


def _shown(file: FileFacts, needs: Needs, rule: str) -> Outcome | None:
    """Where a visible label is not asked for, or was left out as the law allows."""
    if not file.ai:
        return not_about(rule, _NOT_AI)
    if file.kind == "audio":
        return None if rule == "R6" and needs.audible else not_about(rule, "sound has no visible label")
    if needs.visible is None:
        return not_about(rule, "these profiles ask for no visible label")
    label = file.said.get("label")
    if isinstance(label, dict) and label.get("waived") == "consent":
        if needs.waivable:
            return not_about(rule, "released without a visible label, with the logged consent of whoever asked")
        return Outcome(rule, "fail", "released without a visible label, which these profiles do not let one agree to")
    return None


def r6(file: FileFacts, _house: HouseFacts, needs: Needs) -> Outcome:
    if (settled := _shown(file, needs, "R6")) is not None:
        return settled
    if file.kind == "audio":
        if file.heard is None:
            words = "no Morse label (short-long-short-short) is heard at the beginning"
            return Outcome("R6", "fail", f"{words}; words that are spoken were not listened for")
        early = file.heard <= 5.0
        return judged(
            "R6", [] if early else [f"it begins only after {file.heard:.1f} s"], f"Morse at {file.heard:.1f} s"
        )
    seen = file.visible
    if seen is None:
        return Outcome("R6", "fail", "no visible label was found")
    faults = []
    least = needs.visible.share if needs.visible is not None else _SHARE
    # Half a px is what the rounding of an odd side takes away.
    if seen.height_px + 0.5 < least * seen.height_px / max(seen.height, 1e-9):
        faults.append(f"letters are {seen.height:.1%} of the shorter side high, not {least:.0%}")
    text = " ".join(seen.text)
    if needs.china and not _chinese(text):
        faults.append(f"the label {text[:60]!r} has not the words that GB 45438 asks for")
    elif not says_ai(text):
        faults.append(f"the label {text[:60]!r} does not say AI")
    if file.kind == "video":
        whole = file.duration is not None and seen.seconds >= file.duration - 0.35
        if seen.seconds < _SECONDS and not whole:
            faults.append(f"it is there for {seen.seconds:.1f} s, not {_SECONDS:.0f}")
    return judged("R6", faults, f"{text!r}, letters {seen.height:.1%} of the shorter side high (by {seen.by})")


def _chinese(text: str) -> bool:
    return says_ai(text) and ("生成" in text or "合成" in text)


def r14(file: FileFacts, _house: HouseFacts, needs: Needs) -> Outcome:
    if (settled := _shown(file, needs, "R14")) is not None:
        return settled
    seen = file.visible
    if seen is None:
        return Outcome("R14", "fail", "no visible label was found")
    faults = []
    if seen.contrast < CONTRAST:
        faults.append(f"the contrast is {seen.contrast:.1f} to 1, not {CONTRAST}")
    if seen.height_px < _LEAST_PX:
        faults.append(f"letters are {seen.height_px} px high, not {_LEAST_PX}")
    left, top, right, bottom = seen.box
    if (
        needs.visible is not None
        and needs.visible.place == "top-right"
        # Its middle in the right half, its beginning in the topmost quarter: the middle of a picture is not its top.
        and ((left + right) / 2 < 0.5 or top > 0.25 or (top + bottom) / 2 > 0.5)
    ):
        faults.append("it does not stand at the top right")
    return judged("R14", faults, f"contrast {seen.contrast:.1f} to 1, {seen.height_px} px (by {seen.by})")
