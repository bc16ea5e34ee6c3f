"""Records: what they say survives, old files are read, and what is none is named."""

import json

import pytest
from passports import gate, passport

from humwatch.storage.errors import LakeDamaged, LakeTooNew
from humwatch.storage.lake import Lake
from humwatch.storage.records import Gate, Latest, Mark, Passport, Pointer, PublishedSummary, read_record

RECORDS = [
    Mark(part="0123456789abcdef", recordings=3, key="logmel"),
    Pointer(version="v2", previous="v1"),
    passport(threshold=0.25, calibration_scores=[0.1, 1 / 3], calibration_domains=["source", None], notes=["é"]),
    gate(),
    Latest(report_id="r", index="reports/r/index.html"),
    PublishedSummary.model_validate({"report_id": "r", "created_at": "2026-11-21", "seconds": {"fit": 1.5}}),
]


@pytest.fixture
def lake(tmp_path):
    return Lake.open(str(tmp_path / "lake"))


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_a_record_comes_back_as_it_was(lake, record):
    lake.write("record.json", record.encode())
    assert read_record(lake, "record.json", type(record)) == record
    assert json.loads(record.encode())["format_version"] == 1
    with pytest.raises(ValueError, match="frozen"):
        record.format_version = 2


@pytest.mark.parametrize(
    ("kind", "written"),
    [
        (Mark, {"key": "logmel", "part": "a", "recordings": 3}),
        (Pointer, {"version": "v1", "previous": None}),
        (Passport, {name: value for name, value in json.loads(passport().encode()).items()
                    if name not in {"format_version", "calibration_domains", "calibration_batches"}}),
        (Gate, {name: value for name, value in json.loads(gate().encode()).items() if name != "format_version"}),
        (PublishedSummary, {"report_id": "r", "created_at": "2026-11-21"}),
    ],
)  # fmt: skip
def test_files_from_before_there_was_a_version_are_of_version_one(lake, kind, written):
    lake.write("record.json", json.dumps(written).encode())
    record = read_record(lake, "record.json", kind)
    assert record.format_version == 1
    assert {name: value for name, value in record.model_dump().items() if name in written} == written


def test_a_field_that_is_not_known_is_ignored_and_a_newer_format_refused(lake):
    lake.write("record.json", json.dumps({**RECORDS[0].model_dump(), "shards": ["0/0"]}).encode())
    assert read_record(lake, "record.json", Mark).recordings == 3
    for newer in ({**RECORDS[0].model_dump(), "format_version": 2}, {"format_version": 2, "shards": ["0/0"]}):
        lake.write("record.json", json.dumps(newer).encode())
        with pytest.raises(LakeTooNew, match=r"record\.json was written by a newer Humwatch \(format 2\)"):
            read_record(lake, "record.json", Mark)


@pytest.mark.parametrize(
    ("data", "problem"), [(b"", "JSON"), (b"{", "JSON"), (b"[]", "object"), (b'{"version": 3}', "version")]
)
def test_what_is_no_record_is_named_by_its_address(lake, data, problem):
    lake.write("models/a/current.json", data)
    with pytest.raises(LakeDamaged, match=rf"models/a/current\.json is damaged: .*{problem}") as caught:
        read_record(lake, "models/a/current.json", Pointer)
    assert lake.uri in str(caught.value)


def test_a_published_summary_holds_what_was_given_and_no_more():
    given = {"report_id": "r", "created_at": "2026-11-21", "listed": 3}
    assert json.loads(PublishedSummary.model_validate(given).encode()) == {**given, "format_version": 1}
