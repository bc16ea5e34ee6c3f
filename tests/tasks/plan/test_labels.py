"""Maintenance logs: what a row means, which label wins, and that a bad row imports nothing."""

from datetime import UTC, datetime, timedelta

import pandas as pd
import pyarrow as pa
import pytest

from humwatch.storage.errors import BadConfiguration
from humwatch.storage.label_imports import put_labels, read_labels
from humwatch.storage.lake import Lake
from humwatch.storage.parts import create_part
from humwatch.storage.tables import RECORDINGS
from humwatch.tasks.plan.catalog import current_recordings
from humwatch.tasks.plan.history import HistoryReader
from humwatch.tasks.plan.labels import apply_labels
from humwatch.tasks.plan.maintenance_log import import_labels, read_log
from humwatch.tasks.plan.new_actions import Plant
from humwatch.tasks.plan.tallies import Window
from humwatch.tasks.settings import HealthSettings, SpectrogramSettings

NIGHTS = ("2026-11-20", "2026-11-21", "2026-11-22")


def rows(machine_id, batch, *, count=2, site=None, timed=True, label=None):
    """Recordings of one machine and night at 00:00, 01:00, ...; their ids are `ID.NIGHT.HOUR`."""
    return [
        {
            "recording_id": f"{machine_id}.{batch[-2:]}.{hour}" + (f".{site}" if site else ""),
            "content_tag": "x",
            "source_uri": "plant.zip",
            "member": f"fan/{machine_id}/{batch}/{hour}.wav",
            "path": f"plant.zip/{site or 'here'}/fan/{machine_id}/{batch}/{hour}.wav",
            "site": site,
            "machine_type": "fan",
            "machine_id": machine_id,
            "batch": batch,
            "label": label,
            "recorded_at": datetime(*map(int, batch.split("-")), hour, tzinfo=UTC) if timed else None,
            "ingested_at": datetime(2026, 12, 1, tzinfo=UTC),
        }
        for hour in range(count)
    ]


@pytest.fixture
def lake(tmp_path):
    """Machine a has times; b has none; c is at site north (timed) and of no site (labelled by its name)."""
    lake = Lake.open(str(tmp_path / "lake"))
    for night in NIGHTS:
        machines = [
            *rows("a", night),
            *rows("b", night, timed=False),
            *rows("c", night, site="north"),
            *rows("c", night, label="normal"),
        ]
        create_part(lake, "fan", night, pa.Table.from_pylist(machines, schema=RECORDINGS))
    undated = [{**row, "batch": "all"} for row in rows("d", "2026-11-21", timed=False)]
    create_part(lake, "fan", "all", pa.Table.from_pylist(undated, schema=RECORDINGS))
    return lake


def imported(lake, text):
    return import_labels(lake, text, "log.csv", current_recordings(lake)[0])


def labels(lake):
    """The labels of the catalog, those that are not null."""
    found = HistoryReader(lake, "no-key", HealthSettings(), SpectrogramSettings(), 64, Window(14)).whole().rows
    given = found[found["label"].notna()]
    return dict(zip(given["recording_id"], given["label"], strict=True))


FROM_NAMES = {f"c.{night}.{hour}": "normal" for night in (20, 21, 22) for hour in (0, 1)}


def new_labels(lake):
    return {name: label for name, label in labels(lake).items() if FROM_NAMES.get(name) != label}


def test_without_imports_the_labels_are_those_of_the_names(lake):
    assert labels(lake) == FROM_NAMES


def test_a_recording_is_named_by_its_id_or_by_the_end_of_its_path(lake):
    done = imported(
        lake,
        "recording_id,file,path,label,note\n"
        "a.20.0,,,abnormal,bearing\n"
        ",fan/a/2026-11-20/1.wav,, Normal ,\n"
        ",,plant.zip/north/fan/c/2026-11-22/0.wav,abnormal,\n",
    )
    assert (done.added, done.recordings, done.spans, done.changed) == (True, 3, 0, 3)
    assert new_labels(lake) == {"a.20.0": "abnormal", "a.20.1": "normal", "c.22.0.north": "abnormal"}
    assert read_labels(lake)["note"].to_pylist() == ["bearing", None, None]


@pytest.mark.parametrize(
    ("begin", "end", "expected"),
    [
        ("2026-11-21", "2026-11-21", ["21.0", "21.1"]),
        ("2026-11-20T01:00:00Z", "2026-11-21T00:00:00Z", ["20.1"]),  # from is inside, until is not
        ("2026-11-20 02:00:00+01:00", "20261121T000001Z", ["20.1", "21.0"]),
        ("2026-11-21T01:00:00", "", ["21.1", "22.0", "22.1"]),
        ("", "2026-11-20", ["20.0", "20.1"]),
    ],
)
def test_a_span_holds_the_recordings_made_in_it(lake, begin, end, expected):
    imported(lake, f"machine_type,machine_id,from,until,label\nfan,a,{begin},{end},abnormal\n")
    assert new_labels(lake) == {f"a.{name}": "abnormal" for name in expected}


@pytest.mark.parametrize(
    ("begin", "end", "expected"),
    [
        ("2026-11-21", "2026-11-22", ["21", "22"]),
        ("2026-11-20T23:00:00", "2026-11-21T01:00:00", ["20", "21"]),
        ("2026-11-20", "2026-11-21T00:00:00", ["20"]),
    ],
)
def test_where_no_time_is_known_the_day_of_the_batch_counts(lake, begin, end, expected):
    imported(lake, f"machine_type,machine_id,from,until,label\nfan,b,{begin},{end},abnormal\n")
    assert new_labels(lake) == {f"b.{night}.{hour}": "abnormal" for night in expected for hour in (0, 1)}


def test_a_span_leaves_recordings_without_time_and_date_alone(lake):
    assert imported(lake, "machine_type,machine_id,from,label\nfan,d,2000-01-01,abnormal\n").changed == 0


def test_a_machine_of_a_site_is_another_machine(lake):
    imported(lake, "site,machine_type,machine_id,from,until,label\n,fan,c,2026-11-20,2026-11-20,abnormal\n")
    assert new_labels(lake) == {"c.20.0": "abnormal", "c.20.1": "abnormal"}
    imported(lake, "site,machine_type,machine_id,from,until,label\nnorth,fan,c,2026-11-22,,abnormal\n")
    assert set(new_labels(lake)) == {"c.20.0", "c.20.1", "c.22.0.north", "c.22.1.north"}


def test_a_recording_beats_a_span_and_later_beats_earlier(lake):
    imported(lake, "recording_id,label\na.20.0,normal\n")
    imported(lake, "machine_type,machine_id,until,label\nfan,a,2026-11-22,abnormal\n")
    expected = {f"a.{night}.{hour}": "abnormal" for night in (20, 21, 22) for hour in (0, 1)}
    assert new_labels(lake) == expected | {"a.20.0": "normal"}
    imported(lake, "machine_type,machine_id,from,label\nfan,a,2026-11-22,normal\n")
    expected |= {"a.20.0": "normal", "a.22.0": "normal", "a.22.1": "normal"}
    assert new_labels(lake) == expected
    imported(lake, "recording_id,label\na.20.0,normal\na.20.0,abnormal\n")
    assert new_labels(lake) == expected | {"a.20.0": "abnormal"}


def test_the_same_log_twice_adds_nothing(lake):
    text = "recording_id,label\na.20.0,abnormal\n"
    first, again = imported(lake, text), imported(lake, text)
    assert (first.added, again.added, again.changed) == (True, False, 0)
    assert lake.list("labels") == [first.path] == [again.path]
    # Another file with the same rows is the same log.
    assert not imported(lake, "label,recording_id,note\r\nABNORMAL,a.20.0,\r\n").added


def test_a_log_imported_again_wins_over_what_came_between(lake):
    first = imported(lake, "recording_id,label\na.20.0,abnormal\n")
    imported(lake, "recording_id,label\na.20.0,normal\n")
    again = imported(lake, "recording_id,label\na.20.0,abnormal\n")
    assert again.added
    assert again.path != first.path
    assert again.changed == 1
    assert new_labels(lake) == {"a.20.0": "abnormal"}
    assert not imported(lake, "recording_id,label\na.20.0,abnormal\n").added


def test_an_import_under_a_clock_that_was_ahead_does_not_win_over_later_ones(lake):
    recordings = current_recordings(lake)[0]
    log = read_log("recording_id,label\na.20.0,abnormal\n", "log.csv", recordings, Plant(lake, recordings))
    put_labels(lake, "ahead", log.labels, datetime.now(UTC) + timedelta(days=1))
    imported(lake, "recording_id,label\na.20.0,normal\n")
    assert new_labels(lake) == {"a.20.0": "normal"}


def test_what_is_kept_says_when_it_came(lake):
    before = datetime.now(UTC)
    imported(lake, "recording_id,label\na.20.0,abnormal\n")
    (imported_at,) = read_labels(lake)["imported_at"].to_pylist()
    assert before <= imported_at <= datetime.now(UTC)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("recording,,,,,normal", r"has too many or too few cells"),
        ("zz,,,,,,normal", r"recording_id 'zz': there is none"),
        (",0.wav,,,,,normal", r"'0.wav': 13 recordings end in it"),
        (",gone.wav,,,,,normal", r"'gone.wav': there is none"),
        ("a.20.0,fan/a/2026-11-20/0.wav,,,,,normal", r"in more than one column"),
        ("a.20.0,,fan,a,2026-11-20,,normal", r"both a recording and a machine"),
        ("a.20.0,,,,,,broken", r"label 'broken'"),
        ("a.20.0,,,,,,", r"label ''"),
        (",,,,2026-11-20,,normal", r"neither a recording nor a machine"),
        (",,fan,,2026-11-20,,normal", r"neither a recording nor a machine"),
        (",,pump,a,2026-11-20,,normal", r"machine 'pump/a': there is none"),
        (",,fan,a,,,normal", r"no time"),
        (",,fan,a,yesterday,,normal", r"'yesterday' is neither a date nor a time"),
        (",,fan,a,2026-11-21,2026-11-20,normal", r"from 2026-11-21 is not before until 2026-11-20"),
    ],
)
def test_a_bad_row_is_named_by_its_line_and_nothing_is_imported(lake, line, message):
    text = f"recording_id,file,machine_type,machine_id,from,until,label\na.20.0,,,,,,abnormal\n{line}\n"
    with pytest.raises(BadConfiguration, match=rf"log\.csv: nothing was imported: line 3: .*{message}"):
        imported(lake, text)
    assert lake.list("labels") == []
    assert new_labels(lake) == {}


def test_every_bad_line_is_named_up_to_ten(lake):
    with pytest.raises(BadConfiguration) as raised:
        imported(lake, "recording_id,label\n" + "zz,normal\n" * 12)
    assert "line 2: " in str(raised.value)
    assert "line 11: " in str(raised.value)
    assert "line 12: " not in str(raised.value)
    assert str(raised.value).endswith("and 2 more")


@pytest.mark.parametrize("text", ["", "recording_id\na.20.0\n", "recording_id,label,colour\n", "label,label\n"])
def test_a_bad_header_is_refused(lake, text):
    with pytest.raises(BadConfiguration, match=r"line 1: .*known are recording_id, file"):
        imported(lake, text)


def test_a_log_without_rows_or_that_is_not_csv_is_refused(lake):
    with pytest.raises(BadConfiguration, match="holds no rows"):
        imported(lake, "recording_id,label\n")
    with pytest.raises(BadConfiguration, match="after line 1: is not CSV"):
        imported(lake, 'recording_id,label\n"a.20.0"x,normal\n')


def test_only_the_label_changes(lake):
    recordings, _ = current_recordings(lake)
    imported(lake, "machine_type,machine_id,from,label\nfan,a,2026-11-20,abnormal\n")
    pd.testing.assert_frame_equal(
        apply_labels(recordings, lake).drop(columns="label"), recordings.drop(columns="label"), check_exact=True
    )
    assert len(apply_labels(recordings.iloc[:0], lake)) == 0
