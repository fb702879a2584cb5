"""python -m training.world COMMAND: fetch, preview, sources."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from .atlas import load_atlas
from .preview import write_preview
from .sprites import WORK, fetch
from .statement import refused_sources, shot_sources, statement

HERE = Path(__file__).resolve().parent
TRAINING_DATA = HERE.parent.parent / "models" / "shot" / "training_data.json"


def sources() -> None:
    """Writes SOURCES.md and models/shot/training_data.json."""
    atlas = load_atlas()
    (HERE / "SOURCES.md").write_text("\n".join([*shot_sources(atlas), *refused_sources()]) + "\n", encoding="utf-8")
    TRAINING_DATA.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(statement(atlas), indent=1, ensure_ascii=False)
    TRAINING_DATA.write_text(text + "\n", encoding="utf-8")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m training.world", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("fetch", help="download the sprite package and check its hash")
    commands.add_parser("sources", help="write SOURCES.md and models/shot/training_data.json")
    look = commands.add_parser("preview", help="write contact sheets, captions and a clip with sound")
    look.add_argument("-o", "--out", type=Path, default=WORK / "preview")
    look.add_argument("--seed", type=int, default=0)
    look.add_argument("--side", type=int, default=256, help="the clip's side in pixels")
    options = parser.parse_args()
    if options.command == "fetch":
        print(fetch())
    elif options.command == "sources":
        sources()
    else:
        for path in write_preview(options.out, load_atlas(), options.seed, options.side):
            print(path)


if __name__ == "__main__":
    main()
