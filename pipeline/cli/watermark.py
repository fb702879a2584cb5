"""`filigrana watermark`: the codec by itself. A mark that no catalog knows proves nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ...errors import MediaError
from .state import installation

app = typer.Typer(no_args_is_help=True, help="Put a mark into a picture, or look for one.")
JSON = Annotated[bool, typer.Option("--json", help="One JSON value on standard output, nothing else.")]


@app.command()
def embed(
    source: Annotated[Path, typer.Argument(help="A picture.")],
    target: Annotated[Path, typer.Argument(help="The marked picture to write.")],
    asset_id: Annotated[str, typer.Option("--id", help="The 12 characters of the asset id to carry.")],
    json_: JSON = False,
) -> None:
    """Marks a picture with an id, without signing, recording or releasing anything."""
    import time

    from ...provenance.identity import AssetId
    from ...provenance.media import Frame, encode_picture, open_media
    from ...provenance.watermark.registry import codec
    from ..api import mime_for
    from ..store import check_target
    from .output import emit_json, out

    ident, mime = AssetId.parse(asset_id), mime_for(target)
    check_target(target)
    with installation() as opened:
        media = open_media(source, opened.limits)
        if media.info.kind != "image":
            raise MediaError(
                "`watermark embed` takes a picture",
                code="input.media.kind",
                hint="Use `filigrana seal` for clips.",
            )
        started = time.perf_counter()
        rgb, keep = media.picture()
        marker = codec(key=opened._watermark_key)
        marked = next(iter(marker.embed([Frame(rgb)], ident)))
        target.write_bytes(encode_picture(marked.rgb, mime, keep=keep))
        detection = marker.detect([marked])
    result = {
        "file": str(target),
        "asset_id": str(ident),
        "score": detection.score,
        "p_value": detection.p_value,
        "geometry": None,
        "seconds": round(time.perf_counter() - started, 4),
    }
    if json_:
        emit_json(result)
    else:
        out.print(f"{target}: marked with {ident}, reads back with score {detection.score:.1f}")


@app.command()
def detect(files: Annotated[list[Path], typer.Argument(help="Pictures and clips.")], json_: JSON = False) -> None:
    """Looks for a mark. Exit codes: 0 found in every file, 4 none in at least one, 1 error."""
    from dataclasses import asdict

    from ...provenance.media import open_media
    from ...provenance.watermark.registry import all_codecs
    from .output import emit_json, out

    found = True
    with installation() as opened:
        for file in files:
            media = open_media(file, opened.limits)
            if media.info.kind == "audio":
                raise MediaError("there is no watermark codec for sound in this version", code="input.media.kind")
            detections = [c.detect(media.frames()) for c in all_codecs(opened._watermark_key)]
            best = max(detections, key=lambda d: (d.asset_id is not None, d.score))
            found = found and best.asset_id is not None
            if json_:
                emit_json(
                    {
                        "file": str(file),
                        "asset_id": None if best.asset_id is None else str(best.asset_id),
                        "score": best.score,
                        "p_value": best.p_value,
                        "geometry": None if best.geometry is None else asdict(best.geometry),
                        "seconds": round(best.seconds, 4),
                    }
                )
            else:
                mark = best.asset_id or "no mark"
                out.print(f"{file}: {mark} (score {best.score:.1f}, p {best.p_value:.1e})")
    raise typer.Exit(0 if found else 4)
