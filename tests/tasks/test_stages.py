"""Stages: what the lake holds equals a direct computation in memory, and a stage does only what is missing."""

import io
import shutil
import zipfile

import numpy as np
import pandas as pd
import pytest
import soundfile
import xarray as xr
from lakes import all_scores, build, small, with_settings
from recordings import RATE_HZ, machine, tone, wav, write_zip
from sources_helpers import CountedFileSystem, counted, tar_bytes

from humwatch.storage.arrays import open_array, read_rows
from humwatch.storage.errors import NotComplete, SourceNotFound, StorageUnavailable
from humwatch.storage.parts import list_parts, read_part
from humwatch.tasks.execution.progress import listening
from humwatch.tasks.features.embed import Embedder
from humwatch.tasks.features.feature_blocks import ARRAY, FeatureBlock, begin_store, fill_block
from humwatch.tasks.features.gather import gather
from humwatch.tasks.features.task import compute_features
from humwatch.tasks.ingest.task import ingest_sources
from humwatch.tasks.plan.keys import EmbeddingSettings
from humwatch.tasks.plan.representations import parse
from humwatch.tasks.plan.run import Run
from humwatch.tasks.plan.scope import Scope
from humwatch.tasks.spectrograms import spectrogram_blocks
from humwatch.tasks.spectrograms.logmel import LogMel
from humwatch.tasks.spectrograms.spectrogram_blocks import ARRAY as SPECTROGRAM_ARRAY
from humwatch.tasks.spectrograms.task import compute_spectrograms

TEXTS = ("fake/2x2/mean,std", "logmel/4x1/recording")
BROKEN = "fan/id_00/normal/text.wav"
MEMBERS = {
    **machine("fan/id_00", 5, 2, duration_s=2.0),
    **machine("fan/id_02", 3, 0, duration_s=3.0),
    **machine("pump/id_00", 2, 0, duration_s=2.0),
    BROKEN: b"this is no sound",
}


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    return write_zip(tmp_path_factory.mktemp("source") / "plant.zip", MEMBERS)


@pytest.fixture(scope="module")
def embedded(archive, tmp_path_factory):
    """A lake up to the features of two representations."""
    work = Run(str(tmp_path_factory.mktemp("lake")), small(features={"backbones": TEXTS}))
    ingest_sources.fn(work, [str(archive)])
    decoded, windows = compute_spectrograms.fn(work), compute_features.fn(work)
    # Nine recordings of fans and two of pumps decode: 7 x 2 + 3 x 4 + 2 x 2 windows.
    assert (decoded.recordings_decoded, decoded.errors, windows.windows_embedded) == (13, (), 30)
    return work


@pytest.fixture
def copied(embedded, tmp_path):
    """A copy that a test may change."""
    return Run(str(shutil.copytree(embedded.lake_uri, tmp_path / "lake")), embedded.settings)


def part_of(work, machine_type):
    (part,) = (part for part in list_parts(work.lake) if part.machine_type == machine_type)
    return part


def directly(work, members):
    """Spectrograms of members in memory, NaN-padded (recording, mel, frame), and their frames; 0 for a broken one."""
    transform = LogMel(work.settings.spectrogram)
    found = []
    for member in members:
        data = MEMBERS[member]
        signal = soundfile.read(io.BytesIO(data), dtype="float32")[0] if data[:4] == b"RIFF" else None
        found.append(np.empty((64, 0), np.float32) if signal is None else transform(signal))
    n_frames = np.array([values.shape[1] for values in found])
    padded = np.full((len(found), 64, n_frames.max()), np.nan, np.float32)
    for row, values in enumerate(found):
        padded[row, :, : values.shape[1]] = values
    return padded, n_frames


@pytest.mark.parametrize("machine_type", ["fan", "pump"])
def test_kept_spectrograms_are_those_of_the_samples(embedded, machine_type):
    part = part_of(embedded, machine_type)
    members = read_part(embedded.lake, part)["member"].to_pylist()
    expected, n_frames = directly(embedded, members)
    store = part.store("spectrograms", embedded.spectrogram_key)
    kept = xr.open_zarr(f"{embedded.lake_uri}/{store.zarr_path}")
    np.testing.assert_array_equal(kept["logmel"].values, expected)
    assert kept["n_frames"].values.tolist() == n_frames.tolist()
    assert set(n_frames) == ({0, 63, 94} if machine_type == "fan" else {63})
    assert kept["machine_id"].values.tolist() == [member.split("/")[1] for member in members]
    assert kept["logmel"].attrs["frame_s"] == 512 / RATE_HZ


@pytest.mark.parametrize("machine_type", ["fan", "pump"])
def test_kept_features_are_those_of_all_recordings_at_once(embedded, machine_type):
    part = part_of(embedded, machine_type)
    spectrograms, n_frames = directly(embedded, read_part(embedded.lake, part)["member"].to_pylist())
    settings = embedded.settings
    wanted = [representation for text in TEXTS for representation in parse(text)]
    embedder = Embedder(wanted, settings.features, settings.images, settings.spectrogram)
    for representation, expected in embedder.embed(spectrograms, n_frames).items():
        store = part.store("features", embedded.embedding.key(representation))
        kept = xr.open_zarr(f"{embedded.lake_uri}/{store.zarr_path}")
        assert kept["features"].dims == ("recording", "window", "feature")
        np.testing.assert_array_equal(kept["features"].values, expected)
        assert kept.attrs["representation"] == str(representation)


def embedding(weights=(), spectrogram=(), images=(), **features):
    settings = small(
        spectrogram=dict(spectrogram), images=dict(images), features={"backbones": ("resnet18",), **features}
    )
    given = (("resnet18", "0123abcd"), *weights)
    return EmbeddingSettings(
        spectrogram=settings.spectrogram,
        images=settings.images,
        features=settings.features,
        weights=tuple(dict(given).items()),
    )


@pytest.mark.parametrize(
    "changed",
    [
        {"weights": [("resnet18", "89abcdef")]},
        {"spectrogram": {"n_mels": 128}},
        {"spectrogram": {"top_db": 60}},
        {"images": {"colormap": "magma"}},
        {"images": {"image_size_px": 64}},
        {"images": {"window_frames": 16}},
        {"images": {"window_hop_frames": 8}},
        {"precision": "bfloat16"},
        {"random_weights": True},
        {"fully_convolutional": True},
    ],
    ids=str,
)
def test_what_changes_a_feature_changes_its_key(changed):
    (representation,) = parse("resnet18")
    assert embedding(**changed).key(representation) != embedding().key(representation)


@pytest.mark.parametrize(
    "changed",
    [
        {"batch_size": 7},
        {"device": "auto"},
        {"weights_dir": "s3://bucket/weights"},
        {"backbones": ("resnet18", "fake")},
        {"weights": [("alexnet", "89abcdef")]},
    ],
    ids=str,
)
def test_what_changes_no_feature_changes_no_key(changed):
    (representation,) = parse("resnet18")
    assert embedding(**changed).key(representation) == embedding().key(representation)


def test_representations_have_keys_of_their_own_that_can_be_read():
    texts = (
        "resnet18",
        "resnet18@layer3",
        "resnet18/2x2",
        "resnet18/mean,std",
        "resnet18/recording",
        "alexnet",
        "logmel",
    )
    keys = [embedding().key(*parse(text)) for text in texts]
    assert len(set(keys)) == len(keys)
    assert keys[0].startswith("resnet18-layer4-")
    assert keys[1].startswith("resnet18-layer3-")


def test_weights_that_are_staged_are_part_of_the_key(tmp_path):
    keys = set()
    for digits in ("0123abcd", "89abcdef"):
        (tmp_path / digits).mkdir()
        (tmp_path / digits / f"resnet18-{digits}.pth").write_bytes(b"")
        features = {"backbones": ("resnet18+fake",), "weights_dir": str(tmp_path / digits)}
        found = Run("lake", small(features=features)).embedding
        assert found.weights == (("resnet18", digits),)
        keys.add(found.key(*parse("resnet18")))
    assert len(keys) == 2
    drawn = Run("lake", small(features={**features, "random_weights": True})).embedding
    assert drawn.weights == ()


def test_gathered_features_are_those_of_the_stores_in_the_order_asked_for(embedded):
    lake = embedded.lake
    parts = {part.part_id: part for part in list_parts(lake)}
    (representation,) = parse(TEXTS[0])
    kept = {
        part_id: xr.open_zarr(f"{lake.uri}/{part.store('features', embedded.embedding.key(representation)).zarr_path}")
        for part_id, part in parts.items()
    }
    fan, pump = part_of(embedded, "fan").part_id, part_of(embedded, "pump").part_id
    asked = [(fan, 10), (pump, 1), (fan, 0), (fan, 7), (pump, 0), (fan, 10)]
    places = pd.DataFrame(asked, columns=["part_id", "row"], index=[5, 3, 1, 1, 9, 0])
    gathered = gather(lake, parts, places, representation, embedded.embedding)
    assert gathered.shape == (6, 4, 128)
    assert gathered.dtype == np.float32
    for values, (part_id, row) in zip(gathered, asked, strict=True):
        expected = kept[part_id]["features"].values[row]
        np.testing.assert_array_equal(values[: len(expected)], expected)
        assert np.isnan(values[len(expected) :]).all()
    assert gather(lake, parts, places[:0], representation, embedded.embedding).shape == (0, 0, 0)


def test_gathering_rows_far_apart_equals_reading_everything(tmp_path):
    """Rows further apart than a chunk are read as several runs; 70 rows have such gaps."""
    archive = write_zip(tmp_path / "long.zip", machine("fan/id_00", 70, 0, duration_s=1.1))
    work = Run(str(tmp_path / "lake"), small(store={"block_recordings": 32, "chunk_recordings": 8}))
    ingest_sources.fn(work, [str(archive)])
    compute_spectrograms.fn(work)
    compute_features.fn(work)
    lake, part, (representation,) = work.lake, part_of(work, "fan"), parse("fake")
    store = part.store("features", work.embedding.key(representation))
    every = read_rows(lake, open_array(lake, store.zarr_path, ARRAY), range(70))
    assert np.unique(every, axis=0).shape[0] == 70
    for rows in ([69, 0, 35], [0, 16, 33, 50, 67], [3, 2, 1, 60, 61], list(range(69, -1, -1))):
        places = pd.DataFrame({"part_id": part.part_id, "row": rows})
        np.testing.assert_array_equal(
            gather(lake, {part.part_id: part}, places, representation, work.embedding), every[rows]
        )


def test_workers_can_share_a_small_part(tmp_path):
    archive = write_zip(tmp_path / "small.zip", machine("fan/id_00", 7, 0, duration_s=1.1))
    work = Run(str(tmp_path / "lake"), small(store={"block_recordings": 64, "chunk_recordings": 1}))
    ingest_sources.fn(work, [str(archive)])
    compute_spectrograms.fn(work)
    compute_features.fn(work)
    lake, store = work.lake, part_of(work, "fan").store
    for kind, key, name in (
        ("spectrograms", work.spectrogram_key, SPECTROGRAM_ARRAY),
        ("features", work.embedding.key(parse("fake")[0]), ARRAY),
    ):
        assert [len(rows) for rows in open_array(lake, store(kind, key).zarr_path, name).blocks] == [2, 2, 2, 1]


def test_a_second_run_has_nothing_to_do(copied, archive):
    assert ingest_sources.fn(copied, [str(archive)]).new == 0
    assert compute_spectrograms.fn(copied).recordings_decoded == 0
    assert compute_features.fn(copied).windows_embedded == 0


def test_a_further_layer_alone_is_embedded(copied):
    further = with_settings(copied, features={"backbones": (*TEXTS, "fake@features.0")})
    assert compute_features.fn(further).windows_embedded == 30
    assert compute_features.fn(further).windows_embedded == 0
    assert compute_features.fn(copied).windows_embedded == 0


def test_blocks_that_left_a_receipt_are_not_done_again(archive, tmp_path):
    work = Run(str(tmp_path), small())
    ingest_sources.fn(work, [str(archive)])
    lake, part, settings = work.lake, part_of(work, "fan"), work.settings
    table = read_part(lake, part)
    store = part.store("spectrograms", work.spectrogram_key)
    array = spectrogram_blocks.begin_store(lake, part, table, settings.spectrogram, settings.store)
    blocks = array.blocks
    assert blocks == [range(4), range(4, 8), range(8, 11)]
    killed_after = spectrogram_blocks.SpectrogramBlock(
        work.lake_uri, part, array, blocks[1], frozenset(), 1 << 20, settings.spectrogram, settings.health
    )
    assert spectrogram_blocks.fill_blocks(spectrogram_blocks.SpectrogramUnit((killed_after,))).decoded == 4
    with pytest.raises(NotComplete, match="without a receipt"):
        spectrogram_blocks.finish_part(lake, part, table, settings.spectrogram, array)
    assert compute_spectrograms.fn(work).recordings_decoded == 13 - 4
    expected, _ = directly(work, table["member"].to_pylist())
    np.testing.assert_array_equal(read_rows(lake, open_array(lake, store.zarr_path, "logmel"), range(11)), expected)
    # One block of features too, by somebody who died before the others.
    (representation,) = parse("fake")
    array = begin_store(lake, part, table, representation, work.embedding, settings.store, feature_size=16)
    extents = spectrogram_blocks.read_extents(lake, part, settings.spectrogram).of(range(8, 11))
    block = FeatureBlock(work.lake_uri, part, range(8, 11), extents, (representation,), (array,), work.embedding)
    done = fill_block(block)
    assert compute_features.fn(work).windows_embedded == 30 - done
    assert done == 3 * 4


def test_a_compressed_tar_is_streamed_once_for_all_its_blocks(tmp_path):
    data = tar_bytes({name: member for name, member in MEMBERS.items() if name.startswith("fan")}, "w:gz")
    work = Run(str(tmp_path), small())
    ingest_sources.fn(work, [counted("night.tar.gz", data)])
    CountedFileSystem.requests.clear()
    assert compute_spectrograms.fn(work).recordings_decoded == 11
    assert sum(size for _, size in CountedFileSystem.requests) <= len(data)
    lake, part = work.lake, part_of(work, "fan")
    path = part.store("spectrograms", work.spectrogram_key).zarr_path
    array = open_array(lake, path, "logmel")
    assert len(array.blocks) == 3
    expected, _ = directly(work, read_part(lake, part)["member"].to_pylist())
    np.testing.assert_array_equal(read_rows(lake, array, range(11)), expected)


def test_a_second_writer_of_a_part_leaves_what_the_first_has_finished(copied):
    lake, part, settings = copied.lake, part_of(copied, "fan"), copied.settings
    store = part.store("spectrograms", copied.spectrogram_key)
    before = {path: lake.read(path) for path in lake.list("")}
    array = open_array(lake, store.zarr_path, "logmel")
    block = spectrogram_blocks.SpectrogramBlock(
        copied.lake_uri, part, array, range(4), frozenset(), 1 << 20, settings.spectrogram, settings.health
    )
    spectrogram_blocks.fill_blocks(spectrogram_blocks.SpectrogramUnit((block,)))
    table = read_part(lake, part)
    assert not spectrogram_blocks.finish_part(lake, part, table, settings.spectrogram, array)
    assert {path: lake.read(path) for path in lake.list("")} == before
    assert lake.list(f"{store.stem}.blocks") == []


def test_recordings_of_a_source_that_is_gone_are_rejected_until_it_is_back(archive, tmp_path):
    # Of one type with a recording that is there, so they share a part and a block.
    lost = write_zip(tmp_path / "lost.zip", machine("pump/id_02", 5, 0, duration_s=2.0))
    work = Run(str(tmp_path / "lake"), small())
    ingest_sources.fn(work, [str(archive), str(lost)])
    kept = lost.read_bytes()
    lost.unlink()
    summary = compute_spectrograms.fn(work)
    ((place, error),) = summary.errors
    assert (place, type(error)) == (f"file://{lost}", SourceNotFound)
    assert summary.recordings_decoded == 13
    assert compute_features.fn(work).windows_embedded == 30

    def pumps():
        rows = work.catalog().recordings
        return rows[rows["machine_type"] == "pump"].groupby(["machine_id", "status"]).size().to_dict()

    assert pumps() == {("id_00", "accepted"): 2, ("id_02", "rejected"): 5}
    assert ingest_sources.fn(work, [str(archive)]).new == 0
    lost.write_bytes(kept)
    assert ingest_sources.fn(work, [str(archive), str(lost)]).new == 5
    again = compute_spectrograms.fn(work)
    assert (again.recordings_decoded, again.errors) == (5, ())
    assert compute_features.fn(work).windows_embedded == 10
    assert pumps() == {("id_00", "accepted"): 2, ("id_02", "accepted"): 5}
    assert ingest_sources.fn(work, [str(archive), str(lost)]).new == 0


def test_a_source_that_cannot_be_read_is_named_and_the_others_are_taken_in(archive, tmp_path):
    (tmp_path / "no.zip").write_bytes(b"no archive")
    work = Run(str(tmp_path / "lake"), small())
    summary = ingest_sources.fn(work, [str(tmp_path / "no.zip"), str(archive), str(tmp_path / "absent.zip")])
    assert [(source, error.code) for source, error in summary.errors] == [
        (str(tmp_path / "no.zip"), "source_unreadable"),
        (str(tmp_path / "absent.zip"), "source_not_found"),
    ]
    assert (len(summary.recording_ids), summary.new) == (13, 13)


def test_a_manifest_of_which_nothing_fits_is_named_and_its_source_is_taken_in(tmp_path):
    members = machine("fan/id_00", 2, 1, duration_s=0.1)
    rows = [f"{name.replace('/', '_')};NG\n" for name in members]
    source = write_zip(tmp_path / "fan.zip", {**members, "Manifest.csv": "".join(["File;Label\n", *rows]).encode()})
    work = Run(str(tmp_path / "lake"), small())
    summary = ingest_sources.fn(work, [str(source)])
    ((where, error),) = summary.errors
    assert (where, error.code) == (f"file://{source}/Manifest.csv", "manifest_fits_nothing")
    assert str(error).startswith(
        f"{where}: none of 3 rows names a recording that is there: fan_id_00_normal_00000000.wav,"
    )
    assert (len(summary.recording_ids), summary.new) == (3, 3)
    # once the rows are right, the facts are
    rows = [f"{name.upper()};NG\n" for name in members]
    write_zip(source, {**members, "Manifest.csv": "".join(["File;Label\n", *rows]).encode()})
    summary = ingest_sources.fn(work, [str(source)])
    assert (summary.errors, summary.new) == ((), 2)
    assert set(work.history().rows["label"]) == {"abnormal"}


def test_a_scope_of_batches_leaves_the_others_alone(tmp_path):
    for night in ("2026-11-20", "2026-11-21"):
        write_zip(tmp_path / f"{night}.zip", machine(f"{night}/fan/id_00", 2, 0, duration_s=2.0))
    everything = Run(
        str(tmp_path / "lake"),
        small(
            ingest={
                "name_pattern": r"(?P<batch>\d{4}-\d\d-\d\d)/(?P<machine_type>\w+)/(?P<machine_id>\w+)/(?P<label>\w+)/"
            }
        ),
    )
    ingest_sources.fn(everything, [str(path) for path in tmp_path.glob("*.zip")])
    tonight = Run(everything.lake_uri, everything.settings, Scope(frozenset({"2026-11-21"})))
    assert compute_spectrograms.fn(tonight).recordings_decoded == 2
    assert compute_features.fn(tonight).windows_embedded == 4
    rows = everything.catalog().recordings
    assert rows.groupby("batch")["status"].unique().str.join("").to_dict() == {
        "2026-11-20": "pending",
        "2026-11-21": "accepted",
    }
    assert build(everything) == (2, 4, 1, 4)


def test_a_part_of_which_nothing_decodes_is_complete_and_has_nothing_to_embed(tmp_path):
    archive = write_zip(tmp_path / "broken.zip", {f"fan/id_00/normal/{n}.wav": b"noise" for n in range(3)})
    work = Run(str(tmp_path / "lake"), small())
    assert build(work, archive) == (3, 0, 0, 0)
    assert work.catalog().recordings["reason"].tolist() == ["not_audio"] * 3
    assert build(work, archive) == (0, 0, 0, 0)


def test_recordings_that_cannot_be_read_or_hold_no_numbers_cost_their_row_only(tmp_path):
    members = machine("fan/id_00", 3, 0, duration_s=2.0)
    infinite = tone(9, duration_s=2.0)
    infinite[1000] = np.inf
    members["fan/id_00/normal/infinite.wav"] = wav(infinite, subtype="FLOAT")
    archive = write_zip(tmp_path / "plant.zip", members, zipfile.ZIP_STORED)
    damaged = bytearray(archive.read_bytes())
    damaged[damaged.find(members["fan/id_00/normal/00000001.wav"]) + 1000] ^= 1
    archive.write_bytes(damaged)
    work = Run(str(tmp_path / "lake"), small())
    assert build(work, archive) == (4, 4, 1, 2)
    rows = work.catalog().recordings.set_index("member")
    reasons = {name.rsplit("/", 1)[1]: reason for name, reason in rows["reason"].items()}
    assert {name: None if pd.isna(reason) else str(reason) for name, reason in reasons.items()} == {
        "00000000.wav": None,
        "00000001.wav": "corrupt",
        "00000002.wav": None,
        "infinite.wav": "not_finite",
    }
    # What could be measured is kept beside the verdict.
    assert rows.loc["fan/id_00/normal/infinite.wav", "nonfinite_fraction"] == pytest.approx(1 / 32_000)
    store = part_of(work, "fan").store("spectrograms", work.spectrogram_key)
    kept = xr.open_zarr(f"{work.lake_uri}/{store.zarr_path}")
    assert kept["n_frames"].values.tolist() == [63, 0, 63, 0]
    assert np.isnan(kept["logmel"].values).all(axis=(1, 2)).tolist() == [False, True, False, True]


def test_a_store_that_does_not_answer_is_for_the_retries_to_judge(archive, tmp_path):
    work = Run(str(tmp_path), small())
    with pytest.raises(StorageUnavailable, match=r"plant\.zip"):
        ingest_sources.fn(work, ["http://127.0.0.1:9/plant.zip", str(archive)])
    assert list_parts(work.lake) == []


def test_progress_counts_the_blocks_of_each_stage(archive, tmp_path):
    told = []
    with listening(lambda *what: told.append(what)):
        build(Run(str(tmp_path), small()), archive)
    # Fans: three blocks of 4, pumps one; a model and a table for each machine and part.
    assert told == [
        ("ingest", 1, 1),
        *(("spectrograms", done, 4) for done in (1, 2, 3, 4)),
        *(("features", done, 4) for done in (1, 2, 3, 4)),
        *(("fit", done, 3) for done in (1, 2, 3)),
        *(("score", done, 2) for done in (1, 2)),
    ]


def test_the_archive_the_tests_are_about_has_what_they_say(archive):
    with zipfile.ZipFile(archive) as source:
        assert len(source.namelist()) == 13


@pytest.mark.parametrize("suffix", ["tar", "zip"])
def test_an_archive_written_again_after_it_was_taken_in_gives_what_a_fresh_lake_gives(tmp_path, suffix):
    """The old members keep name, size and time, but lie elsewhere in the file."""
    archive = tmp_path / f"plant.{suffix}"

    def write(members):
        if suffix == "tar":
            archive.write_bytes(tar_bytes(members))
        else:
            write_zip(archive, members)

    old = machine("pump/id_00", 6, 3, duration_s=2.0)
    write(old)
    work = Run(str(tmp_path / "lake"), small())
    assert ingest_sources.fn(work, [str(archive)]).new == 9
    write({**machine("fan/id_00", 6, 3, duration_s=2.0), **dict(reversed(old.items()))})
    assert build(work, archive)[0] == 18
    fresh = Run(str(tmp_path / "fresh"), small())
    build(fresh, archive)
    kept, expected = (all_scores(each).set_index("recording_id")["score"].sort_index() for each in (work, fresh))
    pd.testing.assert_series_equal(kept, expected)


def test_a_reproducible_tar_whose_contents_were_corrected_is_read_again(tmp_path):
    archive = tmp_path / "plant.tar"
    members = machine("pump/id_00", 6, 3, duration_s=2.0)
    archive.write_bytes(tar_bytes(members, mtime=0))
    work = Run(str(tmp_path / "lake"), small())
    build(work, archive)
    name = "pump/id_00/normal/00000002.wav"
    archive.write_bytes(tar_bytes({**members, name: wav(tone(5, duration_s=2.0))}, mtime=0))
    assert build(work, archive)[0] == 1


@pytest.mark.parametrize("container", ["zip", "tar", "tar.gz", "folder"])
def test_a_decoder_that_fails_costs_its_recording_alone_in_every_container(tmp_path, monkeypatch, container):
    odd = "fan/id_00/normal/odd.wav"
    members = {**machine("fan/id_00", 2, 1, duration_s=2.0), odd: wav(tone(1, duration_s=2.0), subtype="PCM_24")}
    source = tmp_path / (f"plant.{container}" if container != "folder" else "plant")
    if container == "zip":
        write_zip(source, members)
    elif container == "folder":
        for name, data in members.items():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes(data)
    else:
        source.write_bytes(tar_bytes(members, mode="w:gz" if container == "tar.gz" else "w"))

    def broken(*_args, **_options):
        raise ZeroDivisionError("in the decoder")

    monkeypatch.setattr(soundfile.SoundFile, "__init__", broken)  # 16-bit PCM is read without it
    work = Run(str(tmp_path / "lake"), small())
    ingest_sources.fn(work, [str(source)])
    assert compute_spectrograms.fn(work).errors == ()
    rows = work.catalog().recordings
    reasons = dict(zip(rows["path"].str.rpartition("/")[2], rows["reason"], strict=True))
    assert reasons.pop("odd.wav") == "corrupt"
    assert set(reasons.values()) == {None}
