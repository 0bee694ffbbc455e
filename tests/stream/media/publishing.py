"""A publisher of RTMP in a process of its own: ffmpeg's library holds the interpreter's lock."""

from __future__ import annotations

import sys
import time


def main(url: str, path: str, pace: float) -> None:
    import av

    with av.open(path) as source, av.open(url, "w", format="flv", timeout=10) as out:
        streams = {s.index: out.add_stream_from_template(s) for s in source.streams}
        began_s, first_s = time.monotonic(), None
        for packet in source.demux():
            if packet.dts is None:
                continue
            at_s = float(packet.dts * packet.time_base)
            first_s = at_s if first_s is None else first_s
            if pace:
                time.sleep(max(0.0, (at_s - first_s) / pace - (time.monotonic() - began_s)))
            packet.stream = streams[packet.stream.index]
            out.mux(packet)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
