r"""Recordings: what a stream said and when; written as it comes, and played back.

Writing and reading
    `Recorder`; `replay`, `load`, `read_recording`, `Recording`, `shipped_recordings`; `Stepper`,
    to go through one, forwards and back
Keeping many
    `RecordingsFolder`, a folder that no name leads out of; `Library` (`Entry`, `Hit`, `Reindexed`),
    one that can be searched
In and out
    `export_sse`, `import_sse`
Parts
    `TextRedactor`, `RecordingDecoder`, `header_line`, `event_line`

Notes
-----
**The format**, version 2. A recording is a text file: one JSON object a line, in ASCII, each line
ended by a line feed::

    recording = header *( event / finding / lost / header ) [ end ]

    header    = {"midstream": 2, "created": time, "source": text, "id": text
                 [, "redacted": true] [, "part": number]
                 [, "resumed": {"events": number, "dropped_bytes": number}]}
    event     = {"seq": number, "t_ns": number, "kind": kind [, "text": text] [, "name": text]
                 [, "stream_id": text] [, "call_id": text] [, "data": any]}
    finding   = {"finding": {"kind": text, "severity": severity, "seq": number, "t_ns": number,
                 "start": number, "end": number, "message": text, "evidence": object}}
    lost      = {"lost": {"events": number, "findings": number, "cause": text}}
    end       = {"end": {"outcome": text or null [, "error": text], "events": number,
                 "findings": number, "lost": number, "bytes": number, "crc32": 8 hex digits}}

- The fields of ``event`` and ``finding`` are those of `Event` and `Finding`; what is not there has
  its default. Times of events are nanoseconds of a clock that is never set; only ``created``
  is a time of day (ISO 8601, UTC).
- A finding follows the event that decided it.
- A second ``header`` with the same ``id`` says that the recording was resumed. ``dropped_bytes``
  are those of a line that had not been written whole.
- ``lost`` stands where that many events are missing, because the disk was full, the file's limit
  was reached or the redactor failed.
- ``end`` tells a complete recording from one that was cut off. It counts the lines of the file
  before it, their bytes, and their CRC-32. ``lost`` in it is the sum. Only a header may follow.
- With the outcome ``"continued"``, the recording goes on in the next part: ``name.2.jsonl`` after
  ``name.jsonl``, a file with a header of its own that has the same ``id``.
- A packed recording consists of gzip members of whole lines.
- In a redacted one, secrets are replaced in texts, names and payloads. What waits for the end of a
  possible secret comes with a later event, so that its events are not cut as the provider's were.

Version 1 has a header without ``id``, and events; it is read as well, and so are raw lines of
``{"t": seconds, "data": payload}``.

Every line is written whole by one call of the operating system. After a crash, what a reader finds
is whole lines, and at most one that is torn, at the end; `load` and `replay` leave it out with
``recover=True``, and a `Recorder` with ``append=True`` cuts it off.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from midstream._core.lazy import lazy_exports

if TYPE_CHECKING:
    from midstream.stream.recording.decoding import RecordingDecoder
    from midstream.stream.recording.exporting import export_sse, import_sse
    from midstream.stream.recording.folders import RecordingsFolder
    from midstream.stream.recording.library import Entry, Hit, Library, Reindexed
    from midstream.stream.recording.lines import event_line, header_line
    from midstream.stream.recording.reading import (
        Recording,
        load,
        read_recording,
        replay,
        shipped_recordings,
    )
    from midstream.stream.recording.redacting import TextRedactor
    from midstream.stream.recording.stepping import Stepper
    from midstream.stream.recording.writing import Recorder

__all__ = [
    "Entry",
    "Hit",
    "Library",
    "Recorder",
    "Recording",
    "RecordingDecoder",
    "RecordingsFolder",
    "Reindexed",
    "Stepper",
    "TextRedactor",
    "event_line",
    "export_sse",
    "header_line",
    "import_sse",
    "load",
    "read_recording",
    "replay",
    "shipped_recordings",
]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "Entry": "library",
        "Hit": "library",
        "Library": "library",
        "Recorder": "writing",
        "Recording": "reading",
        "RecordingDecoder": "decoding",
        "RecordingsFolder": "folders",
        "Reindexed": "library",
        "Stepper": "stepping",
        "TextRedactor": "redacting",
        "event_line": "lines",
        "export_sse": "exporting",
        "header_line": "lines",
        "import_sse": "exporting",
        "load": "reading",
        "read_recording": "reading",
        "replay": "reading",
        "shipped_recordings": "reading",
    },
)
