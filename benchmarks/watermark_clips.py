"""CPU seconds and peak memory of marking and detecting clips of several lengths: neither may grow with the length.

    python benchmarks/watermark_clips.py [SECONDS…]

720p at 25 frames/s, encoded as H.264 as a release is; made from a tuning photograph of the bench. Prints JSON lines.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import cv2

from filigrana.pipeline.bench.clips import clip
from filigrana.pipeline.bench.pictures import pictures
from filigrana.provenance.identity import AssetId
from filigrana.provenance.media import Frame, encode_clip, open_media
from filigrana.provenance.watermark.dft import Dft

RATE = Fraction(25)


def timed(frames: Iterator[Frame], spent: list[float]) -> Iterator[Frame]:
    """Passes frames on, and adds the CPU seconds that making them took."""
    while True:
        started = time.process_time()
        frame = next(frames, None)
        spent[0] += time.process_time() - started
        if frame is None:
            return
        yield frame


def main() -> None:
    cv2.setNumThreads(1)
    lengths = [float(a) for a in sys.argv[1:]] or [4.0, 10.0, 30.0]
    codec, ident = Dft(), AssetId(99)
    photo = pictures("tuning", 1024, 1)[0].rgb
    with tempfile.TemporaryDirectory() as folder:
        for seconds in lengths:
            path, making, marking = Path(folder) / "clip.mp4", [0.0], [0.0]
            source = timed(clip(photo, 3, seconds), making)
            count = encode_clip(timed(codec.embed(source, ident), marking), path, "video/mp4", rate=RATE)
            started = time.process_time()
            found = codec.detect(open_media(path).frames())
            print(
                json.dumps(
                    {
                        "seconds": seconds,
                        "embed_frames_a_second": round(count / (marking[0] - making[0]), 1),
                        "detect_cpu_seconds": round(time.process_time() - started, 3),
                        "frames_looked_at": found.frames,
                        "exact": found.asset_id == ident,
                        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
                    }
                )
            )


if __name__ == "__main__":
    main()
