"""What was built, and what this machine gives: the report, and questions to it.

Works also where the C core of `fuaio.aio` cannot be loaded; the report then says so.
"""

from fuaio.probe._diff import Difference, compare
from fuaio.probe._gather import gather
from fuaio.probe._known import ENGINES, KNOWN, SECTIONS, Known, known_facts
from fuaio.probe._machine import TargetError
from fuaio.probe._record import (
    MAX_BYTES,
    SCHEMA_VERSION,
    Fact,
    Report,
    ReportError,
    Value,
    decode_report,
    encode_report,
    json_schema,
)
from fuaio.probe._render import FORMATS, render
from fuaio.probe._requirement import (
    Outcome,
    Requirement,
    RequirementError,
    parse_requirement,
)
from fuaio.probe._words import escape

__all__ = [
    "ENGINES",
    "FORMATS",
    "KNOWN",
    "MAX_BYTES",
    "SCHEMA_VERSION",
    "SECTIONS",
    "Difference",
    "Fact",
    "Known",
    "Outcome",
    "Report",
    "ReportError",
    "Requirement",
    "RequirementError",
    "TargetError",
    "Value",
    "compare",
    "decode_report",
    "encode_report",
    "escape",
    "gather",
    "json_schema",
    "known_facts",
    "parse_requirement",
    "render",
]
