"""The platform: events, sources, detectors, `watch`, record and replay.

What flows
    `Event`, `Finding`
Sources, all async iterators of events
    `from_http`, `from_sse`, `from_openai`, `from_responses`, `from_realtime`, `from_anthropic`,
    `from_ollama`, `from_iterable`, `from_pipe`, `from_quic`, `from_websocket`, `replay`; `formats`
    has the mappers
    audio and video: `from_hls`, `from_rtmp`, `from_webrtc`, of `media`; `simulate` for those that
    no model wrote, of `simulating`
Watching
    `watch`, `Watch`, `Report`, `Metrics`; `Guard`, its synchronous core, with `Step` and `Denial`,
    and `StreamObserver` for who looks on
Talking
    `RealtimeClient` for a session of OpenAI's Realtime API; `realtime` has what goes with it
Policies
    `Policy`, `PolicySet`, `load_policies`, `PolicyFile`, `lint_policies`; `ready_policies`,
    `ready_rules`; `PolicyProblem`, `PolicyWarning`, `ReadyRule`
Guarding the streams of a client
    `proxy` has an ASGI application that any client reaches by its base URL, HTTP transports and
    `guard_stream` for the official SDKs
Looking for patterns across the borders of chunks
    `PatternSet`, `Scanner`, `Match`; `Redactor` and `redact` for secrets, whose kinds are
    `SECRET_KINDS`: `CREDENTIALS` and `PERSONAL`; `secret_patterns`
Reading tool calls
    `CallAssembler`, `CallProgress`, `canonical_arguments`
Detecting
    `LoopDetector`, `StallDetector`, `ToolLoopDetector`, which are the `default_detectors`;
    `DriftDetector` with a `DriftTemplate`, `RegimeDetector` (`RegimeState`), `EarlyWarning` with a
    `WarningModel`, or your own `Detector`: `beside` the stream in an `Offload` where it is costly
Adapting, by a strange loop around the watch
    `watch_loop`; its parts `watch_params`, `watch_presets`, `StreamLoss`, `StreamRecord`; for the
    other detectors `detector_params`, `detectors_with`, `RunLoss` of a `LabelledRun`
Recording
    `Recorder`, `load`, `read_recording`, `Recording`, `shipped_recordings`; many of them in a
    `RecordingsFolder`, and to be searched in a `Library` (`Entry`, `Hit`); `export_sse` and
    `import_sse` for the formats of providers; `Stepper` to go through one, forwards and back
Measuring many of them
    `telemetry` has spans and metrics for OpenTelemetry, what Prometheus reads, windows over the
    last seconds, and a formatter for logs
Publishing over QUIC
    `QuicPublisher` for a server, `to_quic` and `QuicSink` for a stream; `QuicCode`, `Served`

Whatever takes something piece by piece is told with ``finish`` that nothing follows, and gives what
is left; ``close`` and ``aclose`` give back what was opened, and yield nothing. What looks at one
stream takes its ``detectors``, as they are; what looks at many takes ``make_detectors``, which
makes those of each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from midstream._core.lazy import lazy_exports

if TYPE_CHECKING:
    from midstream.stream import formats, media, proxy, realtime, simulating, telemetry
    from midstream.stream.adapting import (
        StreamLoss,
        StreamRecord,
        watch_loop,
        watch_params,
        watch_presets,
    )
    from midstream.stream.calls import CallAssembler, CallProgress, canonical_arguments
    from midstream.stream.detectors import (
        Detector,
        DriftDetector,
        DriftTemplate,
        EarlyWarning,
        LabelledRun,
        LoopDetector,
        Offload,
        RegimeDetector,
        RegimeState,
        RunLoss,
        StallDetector,
        ToolLoopDetector,
        WarningModel,
        beside,
        default_detectors,
        detector_params,
        detectors_with,
    )
    from midstream.stream.events import Denial, Event, Finding
    from midstream.stream.guard import Guard, Step, StreamObserver
    from midstream.stream.http import from_http
    from midstream.stream.media import from_hls, from_rtmp, from_webrtc
    from midstream.stream.metrics import Metrics
    from midstream.stream.patterns import Match, PatternSet, Scanner
    from midstream.stream.pipe import from_pipe
    from midstream.stream.policies import (
        Policy,
        PolicyFile,
        PolicyProblem,
        PolicySet,
        PolicyWarning,
        ReadyRule,
        lint_policies,
        load_policies,
        ready_policies,
        ready_rules,
    )
    from midstream.stream.providers import (
        from_anthropic,
        from_ollama,
        from_openai,
        from_realtime,
        from_responses,
    )
    from midstream.stream.quic import QuicCode, QuicPublisher, QuicSink, Served, from_quic, to_quic
    from midstream.stream.realtime import RealtimeClient, from_websocket
    from midstream.stream.recording import (
        Entry,
        Hit,
        Library,
        Recorder,
        Recording,
        RecordingsFolder,
        Stepper,
        export_sse,
        import_sse,
        load,
        read_recording,
        replay,
        shipped_recordings,
    )
    from midstream.stream.redaction import (
        CREDENTIALS,
        PERSONAL,
        SECRET_KINDS,
        Redactor,
        redact,
        secret_patterns,
    )
    from midstream.stream.report import Report
    from midstream.stream.simulating import simulate
    from midstream.stream.sources import Source, from_iterable, from_sse
    from midstream.stream.watching import Watch, watch

__all__ = [
    "CREDENTIALS",
    "PERSONAL",
    "SECRET_KINDS",
    "CallAssembler",
    "CallProgress",
    "Denial",
    "Detector",
    "DriftDetector",
    "DriftTemplate",
    "EarlyWarning",
    "Entry",
    "Event",
    "Finding",
    "Guard",
    "Hit",
    "LabelledRun",
    "Library",
    "LoopDetector",
    "Match",
    "Metrics",
    "Offload",
    "PatternSet",
    "Policy",
    "PolicyFile",
    "PolicyProblem",
    "PolicySet",
    "PolicyWarning",
    "QuicCode",
    "QuicPublisher",
    "QuicSink",
    "ReadyRule",
    "RealtimeClient",
    "Recorder",
    "Recording",
    "RecordingsFolder",
    "Redactor",
    "RegimeDetector",
    "RegimeState",
    "Report",
    "RunLoss",
    "Scanner",
    "Served",
    "Source",
    "StallDetector",
    "Step",
    "Stepper",
    "StreamLoss",
    "StreamObserver",
    "StreamRecord",
    "ToolLoopDetector",
    "WarningModel",
    "Watch",
    "beside",
    "canonical_arguments",
    "default_detectors",
    "detector_params",
    "detectors_with",
    "export_sse",
    "formats",
    "from_anthropic",
    "from_hls",
    "from_http",
    "from_iterable",
    "from_ollama",
    "from_openai",
    "from_pipe",
    "from_quic",
    "from_realtime",
    "from_responses",
    "from_rtmp",
    "from_sse",
    "from_webrtc",
    "from_websocket",
    "import_sse",
    "lint_policies",
    "load",
    "load_policies",
    "media",
    "proxy",
    "read_recording",
    "ready_policies",
    "ready_rules",
    "realtime",
    "redact",
    "replay",
    "secret_patterns",
    "shipped_recordings",
    "simulate",
    "simulating",
    "telemetry",
    "to_quic",
    "watch",
    "watch_loop",
    "watch_params",
    "watch_presets",
]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "CREDENTIALS": "redaction",
        "CallAssembler": "calls",
        "CallProgress": "calls",
        "Denial": "events",
        "Detector": "detectors",
        "DriftDetector": "detectors",
        "DriftTemplate": "detectors",
        "EarlyWarning": "detectors",
        "Entry": "recording",
        "Event": "events",
        "Finding": "events",
        "Guard": "guard",
        "Hit": "recording",
        "LabelledRun": "detectors",
        "Library": "recording",
        "LoopDetector": "detectors",
        "Match": "patterns",
        "Metrics": "metrics",
        "Offload": "detectors",
        "PERSONAL": "redaction",
        "PatternSet": "patterns",
        "Policy": "policies",
        "PolicyFile": "policies",
        "PolicyProblem": "policies",
        "PolicySet": "policies",
        "PolicyWarning": "policies",
        "QuicCode": "quic",
        "QuicPublisher": "quic",
        "QuicSink": "quic",
        "ReadyRule": "policies",
        "RealtimeClient": "realtime",
        "Recorder": "recording",
        "Recording": "recording",
        "RecordingsFolder": "recording",
        "Redactor": "redaction",
        "RegimeDetector": "detectors",
        "RegimeState": "detectors",
        "Report": "report",
        "RunLoss": "detectors",
        "SECRET_KINDS": "redaction",
        "Scanner": "patterns",
        "Served": "quic",
        "Source": "sources",
        "StallDetector": "detectors",
        "Step": "guard",
        "Stepper": "recording",
        "StreamLoss": "adapting",
        "StreamObserver": "guard",
        "StreamRecord": "adapting",
        "ToolLoopDetector": "detectors",
        "WarningModel": "detectors",
        "Watch": "watching",
        "beside": "detectors",
        "canonical_arguments": "calls",
        "default_detectors": "detectors",
        "detector_params": "detectors",
        "detectors_with": "detectors",
        "export_sse": "recording",
        "formats": ".",
        "from_anthropic": "providers",
        "from_hls": "media",
        "from_http": "http",
        "from_iterable": "sources",
        "from_ollama": "providers",
        "from_openai": "providers",
        "from_pipe": "pipe",
        "from_quic": "quic",
        "from_realtime": "providers",
        "from_responses": "providers",
        "from_rtmp": "media",
        "from_sse": "sources",
        "from_webrtc": "media",
        "from_websocket": "realtime",
        "import_sse": "recording",
        "lint_policies": "policies",
        "load": "recording",
        "load_policies": "policies",
        "media": ".",
        "proxy": ".",
        "read_recording": "recording",
        "ready_policies": "policies",
        "ready_rules": "policies",
        "realtime": ".",
        "redact": "redaction",
        "replay": "recording",
        "secret_patterns": "redaction",
        "shipped_recordings": "recording",
        "simulate": "simulating",
        "simulating": ".",
        "telemetry": ".",
        "to_quic": "quic",
        "watch": "watching",
        "watch_loop": "adapting",
        "watch_params": "adapting",
        "watch_presets": "adapting",
    },
)
