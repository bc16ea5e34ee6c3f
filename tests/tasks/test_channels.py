"""Several channels: all under one model, whose scores are averaged, or each of the machine that a manifest names."""

import io
import tarfile
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import soundfile
from lakes import all_scores, build, small, with_settings
from recordings import RATE_HZ, tone, wav, write_zip

from humwatch.storage.models import Machine
from humwatch.storage.reasons import Reason
from humwatch.tasks.detectors.fit import load_model
from humwatch.tasks.explanation.explain import explain_recordings
from humwatch.tasks.features.gather import gather
from humwatch.tasks.ingest.task import ingest_sources
from humwatch.tasks.plan.representations import parse
from humwatch.tasks.plan.run import Run
from humwatch.tasks.reports.assemble import notes_table, rejected_table, sound_of, spectrogram_of
from humwatch.tasks.spectrograms.logmel import LogMel
from humwatch.tasks.spectrograms.task import compute_spectrograms

CHANNELS = 4
BACKBONES = [
    "fake",
    "fake/1x1/mean/recording",
    "logmel/64x1/mean/recording+fake",
    "logmel/64x1/mean/recording+fake/recording",
]


def take(seed, channels=CHANNELS, duration_s=2.0):
    """Every channel has noise and loudness of its own."""
    return tone(seed, channels=channels, duration_s=duration_s) * np.linspace(0.4, 1, channels, dtype=np.float32)


def plant(broken=None):
    files = {f"pump/id_00/normal/{index:02d}.wav": wav(take(index)) for index in range(12)}
    files |= {f"pump/id_00/abnormal/{index:02d}.wav": wav(take(50 + index) ** 3 * 50) for index in range(3)}
    return files | (broken or {})


def settings_of(channel, backbones=("fake",), **fit):
    return {
        "spectrogram": {"channel": channel},
        "features": {"backbones": tuple(backbones)},
        "fit": {"detectors": ("mahalanobis",), **fit},
    }


@pytest.fixture(scope="module")
def heard(tmp_path_factory):
    """A lake in which all channels are heard together, under representations of either level."""
    root = tmp_path_factory.mktemp("channels")
    work = Run(str(root / "lake"), small(**settings_of("all", BACKBONES)))
    build(work, write_zip(root / "plant.zip", plant()))
    return work


@pytest.fixture(scope="module")
def scores(heard):
    """Its scores, read before other settings add theirs."""
    return all_scores(heard)


def features_of(work, representation):
    catalog = work.catalog()
    places = catalog.recordings.sort_values("path")
    return gather(work.lake, catalog.parts, places, representation, work.embedding)


@pytest.mark.usefixtures("scores")
def test_features_are_those_of_each_channel_alone_one_after_another(heard):
    alone = [with_settings(heard, **settings_of(channel, BACKBONES)) for channel in range(CHANNELS)]
    for work in alone:
        build(work)
    for representation in heard.representations:
        expected = np.concatenate([features_of(work, representation) for work in alone], axis=1)
        np.testing.assert_array_equal(features_of(heard, representation), expected)


def test_a_score_is_the_mean_over_channels_under_one_model(heard, scores):
    catalog = heard.catalog()
    for variant in heard.variants:
        of_variant = scores[scores["backbone"] == variant.backbone].set_index("recording_id")
        assert len(of_variant) == 15
        (version,) = of_variant["model_version"].unique()
        model, _ = load_model(heard.lake, heard.model_key(variant), Machine("pump", "id_00"), version)
        windows = [features_of(heard, each) for each in parse(variant.backbone)]
        of_fits = [
            np.mean([fit.recording_scores([np.split(values, CHANNELS, axis=1)[channel] for values in windows])
                     for channel in range(CHANNELS)], axis=0)
            for fit in (replace(model, members=(member,)) for member in model.members)
        ]  # fmt: skip
        found = of_variant.loc[catalog.recordings.sort_values("path")["recording_id"]]
        new = ~found["in_training"].to_numpy(dtype=bool)
        assert new.any()
        np.testing.assert_allclose(found["score"][new], np.median(of_fits, axis=0)[new], rtol=1e-9)


def test_the_budget_of_training_windows_counts_every_channel(tmp_path):
    work = Run(str(tmp_path / "lake"), small(**settings_of("all", max_windows=2 * CHANNELS * 3)))
    build(work, write_zip(tmp_path / "plant.zip", plant()))
    assert all_scores(work)["in_training"].sum() == 3


def test_pictures_sound_and_maps_are_of_channel_0_and_the_page_says_so(heard, scores):
    catalog = heard.catalog()
    first = with_settings(heard, **settings_of(0, BACKBONES))
    build(first)
    row, same = (run.catalog().recordings.sort_values("path").to_dict("records")[0] for run in (heard, first))
    np.testing.assert_array_equal(spectrogram_of(catalog, row, heard), spectrogram_of(first.catalog(), same, first))
    assert sound_of(row | {"channel": None}, heard) == sound_of(same | {"channel": None}, first)
    notes = notes_table(catalog, scores, heard, [])["note"].tolist()
    assert f"heard with {CHANNELS} channels: pictures and sound are of channel 0" in notes
    chosen = scores[scores["label"] == "abnormal"].groupby("backbone").head(1)
    for backbone, explanation in zip(chosen["backbone"], explain_recordings(chosen, heard), strict=True):
        assert explanation.reason is None
        assert explanation.relevance.shape == (64, row["n_frames"])
        # A window says something of its own frames, a vector of the recording of all.
        in_windows = any(each.level == "window" for each in parse(backbone)) and "+" not in backbone
        assert explanation.relevance.any(axis=0).sum() == (48 if in_windows else row["n_frames"])


def test_another_number_of_channels_is_a_reason_and_only_where_all_are_heard(tmp_path):
    odd = {f"pump/id_00/normal/x{channels}.wav": wav(take(90 + channels, channels)) for channels in (1, 2)}
    mono = {f"fan/id_00/normal/{index}.wav": wav(take(index, 1)) for index in range(4)}
    work = Run(str(tmp_path / "lake"), small(**settings_of("all")))
    build(work, write_zip(tmp_path / "plant.zip", plant(odd | mono)))
    rows = work.catalog().recordings
    rejected = rejected_table(work.catalog()).sort_values("member")
    assert rejected["member"].tolist() == sorted(odd)
    assert rejected["reason"].tolist() == [Reason.OTHER_CHANNELS] * 2
    assert rejected["detail"].tolist() == ["1 here", "2 here"]
    assert rows.groupby("machine_type")["channels_heard"].agg(lambda heard: heard.mode()[0]).to_dict() == {
        "fan": 1, "pump": CHANNELS,
    }  # fmt: skip
    assert not set(all_scores(work)["file"]) & {"x1.wav", "x2.wav"}
    for channel in (0, "mean"):
        other = with_settings(work, **settings_of(channel))
        build(other)
        assert set(other.catalog().recordings["status"]) == {"accepted"}


def with_channel(samples, channel, values):
    changed = samples.copy()
    changed[:, channel] = values
    return changed


@pytest.mark.parametrize(
    ("broken", "reason", "told"),
    [
        (lambda samples: with_channel(samples, 2, 0), Reason.DEAD_CHANNEL, "channel 2 never changes"),
        (lambda samples: with_channel(samples, 2, 0.25), Reason.DEAD_CHANNEL, "channel 2 never changes"),
        (lambda samples: samples * 0, Reason.SILENT, "-200.0 dBFS"),
        (
            lambda samples: with_channel(samples, 3, np.resize([0, 1e-5], len(samples))),
            Reason.SILENT,
            "channel 3 is the quietest, -103.0 dBFS",
        ),
        (
            lambda samples: with_channel(samples, 1, np.sign(samples[:, 1]) * 2),
            Reason.CLIPPED,
            "channel 1 is clipped most, 100.0%",
        ),
        (lambda samples: with_channel(samples, 0, np.nan), Reason.NOT_FINITE, "channel 0 is not finite"),
    ],
)
def test_one_broken_microphone_of_several_is_told(tmp_path, broken, reason, told):
    data = wav(broken(take(70)), subtype="FLOAT")
    work = Run(str(tmp_path / "lake"), small(**settings_of("all")))
    build(work, write_zip(tmp_path / "plant.zip", plant({"pump/id_00/normal/x.wav": data})))
    (row,) = rejected_table(work.catalog()).to_dict("records")
    assert (row["member"], row["reason"]) == ("pump/id_00/normal/x.wav", reason)
    assert told in row["detail"]


def test_recordings_of_several_channels_and_lengths_share_a_part(tmp_path):
    """The longest of one channel has more windows than one of several channels, and the other way round."""
    files = {f"pump/{index}/{take_}.wav": wav(take(10 * index + take_, channels, seconds))
             for index, (channels, seconds) in enumerate([(1, 9.0), (CHANNELS, 2.0), (CHANNELS, 3.0), (1, 0.5)])
             for take_ in range(2)}  # fmt: skip
    work = Run(str(tmp_path / "lake"), small(**settings_of("all", ["fake", "fake/recording"])))
    decoded, windows, *_ = build(work, write_zip(tmp_path / "plant.zip", files))
    images = work.settings.images
    by_machine = {machine: len(rows) for machine, rows in work.catalog().accepted.groupby("machine_id")}
    assert (decoded, by_machine) == (8, {"0": 2, "1": 2, "2": 2})
    n_frames = [1 + round(seconds * RATE_HZ) // 512 for seconds in (9, 2, 3)]
    of_each = np.array([images.n_windows(frames) for frames in n_frames]) * [1, CHANNELS, CHANNELS]
    assert windows == 2 * of_each.sum()
    features = features_of(work, next(each for each in work.representations if each.level == "window"))
    assert (np.isfinite(features).all(axis=2).sum(axis=1) == np.repeat([*of_each, 0], 2)).all()


def test_a_machine_with_one_channel_is_scored_as_ever(tmp_path):
    mono = {f"fan/id_00/{label}/{index}.wav": wav(take(index, 1)) for label, indices in
            {"normal": range(8), "abnormal": range(8, 10)}.items() for index in indices}  # fmt: skip
    scores = []
    for channel in (0, "all"):
        work = Run(str(tmp_path / str(channel)), small(**settings_of(channel, BACKBONES)))
        build(work, write_zip(tmp_path / "plant.zip", mono))
        scores.append(all_scores(work).sort_values(["backbone", "recording_id"])["score"].to_numpy())
    np.testing.assert_array_equal(*scores)


STEREO = {f"hall/{index}.wav": wav(take(index, 2)) for index in range(4)}
BY_CHANNEL = "path,channel,machine_type,machine_id,label\n" + "".join(
    f"hall/{index}.wav,0,pump,A,normal\nhall/{index}.wav,1,fan,B,abnormal\n" for index in range(4)
)


def take_in(work, source):
    work.refresh()
    summary = ingest_sources.fn(work, [str(source)])
    assert summary.errors == ()
    assert compute_spectrograms.fn(work).errors == ()
    rows = work.catalog().recordings.sort_values(["path", "clip_start_s", "channel"]).reset_index(drop=True)
    return rows, summary.new


def as_folder(root, files, manifest=None):
    for name, data in {**files, **({"manifest.csv": manifest.encode()} if manifest else {})}.items():
        (root / "plant" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "plant" / name).write_bytes(data)
    return root / "plant"


def logmels_of(work, rows):
    catalog = work.catalog()
    return [spectrogram_of(catalog, row, work) for row in rows.to_dict("records")]


def samples_of(data):
    return soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)[0]


@pytest.mark.parametrize("channel", [0, 1, "mean", "each", "all"])
@pytest.mark.parametrize("container", ["folder", "tar.gz"])
def test_a_manifest_names_the_machine_of_each_channel_whatever_the_setting(tmp_path, channel, container):
    work = Run(str(tmp_path / "lake"), small(**settings_of(channel)))
    source = as_folder(tmp_path, STEREO, BY_CHANNEL)
    if container == "tar.gz":
        with tarfile.open(tmp_path / "plant.tar.gz", "w:gz") as archive:
            archive.add(source, "plant")
        source = tmp_path / "plant.tar.gz"
    rows, new = take_in(work, source)
    assert new == 8
    facts = ["machine_type", "machine_id", "channel", "named_channels", "label", "status", "channels_heard"]
    assert rows[facts].drop_duplicates().to_numpy().tolist() == [
        ["pump", "A", 0, "0,1", "normal", "accepted", 1],
        ["fan", "B", 1, "0,1", "abnormal", "accepted", 1],
    ]
    transform = LogMel(work.settings.spectrogram)
    for row, logmel in zip(rows.to_dict("records"), logmels_of(work, rows), strict=True):
        samples = samples_of(STEREO[row["path"][row["path"].index("hall/") :]])
        np.testing.assert_array_equal(logmel, transform(samples[:, int(row["channel"])].copy()))
    assert rows.groupby("path")["file_key"].nunique().eq(1).all()
    assert rows["recording_id"].nunique() == 8
    assert take_in(work, source)[1] == 0


def test_channels_of_one_machine_are_decoded_once_and_stand_together(tmp_path):
    manifest = "path,channel,machine_type,machine_id,operator\n" + "".join(
        f"hall/{index}.wav,{channel},pump,{'AB'[channel]},op{channel}\n" for index in range(4) for channel in (1, 0)
    )
    work = Run(str(tmp_path / "lake"), small())
    rows, _ = take_in(work, as_folder(tmp_path, STEREO, manifest))
    in_part = rows.sort_values("row")
    assert in_part["channel"].tolist() == [0, 1] * 4
    assert in_part["path"].tolist() == sorted(in_part["path"])
    assert rows["attributes"].tolist() == ["operator=op0", "operator=op1"] * 4


def test_channels_of_long_files_are_cut_into_clips(tmp_path):
    work = Run(str(tmp_path / "lake"), small(ingest={"longest_s": 4.0, "clip_s": 2.0}))
    data = wav(take(1, 2, 7.0))
    source = as_folder(tmp_path, {"hall/0.wav": data}, "".join(BY_CHANNEL.splitlines(keepends=True)[:3]))
    rows, new = take_in(work, source)
    assert new == 8
    assert rows.groupby("machine_id")["clip_start_s"].apply(list).to_dict() == {"A": [0, 2, 4, 5], "B": [0, 2, 4, 5]}
    transform = LogMel(work.settings.spectrogram)
    for row, logmel in zip(rows.to_dict("records"), logmels_of(work, rows), strict=True):
        first = round(row["clip_start_s"] * RATE_HZ)
        samples = samples_of(data)[first : first + 2 * RATE_HZ, int(row["channel"])]
        np.testing.assert_array_equal(logmel, transform(samples.copy()))
    assert take_in(work, source)[1] == 0


def test_a_channel_that_the_file_lacks_is_missing(tmp_path):
    files = {**STEREO, "hall/0.wav": wav(take(0, 1))}
    rows, _ = take_in(Run(str(tmp_path / "lake"), small()), as_folder(tmp_path, files, BY_CHANNEL))
    rejected = rows[rows["status"] == "rejected"]
    assert rejected[["path", "channel", "machine_id", "reason"]].to_numpy().tolist() == [
        ["plant/hall/0.wav", 1, "B", Reason.CHANNEL_MISSING]
    ]


WHOLE = "path,machine_type,machine_id,label\n" + "".join(f"hall/{index}.wav,pump,A,normal\n" for index in range(4))


@pytest.mark.parametrize(
    "manifests",
    [
        (BY_CHANNEL, None),
        (None, BY_CHANNEL),
        (BY_CHANNEL, WHOLE),
        (BY_CHANNEL, BY_CHANNEL.replace(",0,pump,A,normal", ",2,valve,C,normal")),
        (BY_CHANNEL, "".join(line for line in BY_CHANNEL.splitlines(keepends=True) if ",0," not in line)),
    ],
)
@pytest.mark.parametrize("channel", [0, "each"])
@pytest.mark.parametrize("duration_s", [2.0, 7.0])
def test_what_is_there_after_a_manifest_was_changed_is_what_a_fresh_lake_has(tmp_path, manifests, channel, duration_s):
    settings = small(ingest={"longest_s": 4.0, "clip_s": 2.0}, spectrogram={"channel": channel})
    files = {f"hall/{index}.wav": wav(take(index, 3, duration_s)) for index in range(4)}
    columns = ["path", "machine_type", "machine_id", "channel", "clip_start_s", "label", "reason"]
    work = Run(str(tmp_path / "lake"), settings)
    before, _ = take_in(work, as_folder(tmp_path, files, manifests[0]))
    machines = set(before[["machine_type", "machine_id"]].itertuples(index=False, name=None))
    (tmp_path / "plant/manifest.csv").unlink(missing_ok=True)
    source = as_folder(tmp_path, {}, manifests[1])
    rows, new = take_in(work, source)
    expected, _ = take_in(Run(str(tmp_path / "fresh"), settings), source)
    gone = rows[rows["reason"] == Reason.SOURCE_GONE]
    left = rows[rows["reason"] != Reason.SOURCE_GONE].reset_index(drop=True)
    pd.testing.assert_frame_equal(left[columns], expected[columns])
    assert set(left["recording_id"]) == set(expected["recording_id"])
    assert set(gone[["machine_type", "machine_id"]].itertuples(index=False, name=None)) <= machines
    assert new > 0
    assert take_in(work, source)[1] == 0


def test_a_channel_in_a_name_is_that_of_the_microphone_and_not_of_the_file(tmp_path):
    """ToyADMOS: a file of one channel for each of the microphones 1 to 4."""
    files = {f"car/{take_}_ch{mic}.wav": wav(take(10 * mic + take_, 1)) for mic in (1, 2) for take_ in range(3)}
    layout = {"layout": ("{machine_type}/{}_ch{channel}.wav",)}
    for channel in (0, "each", "all"):
        work = Run(str(tmp_path / str(channel)), small(ingest=layout, **settings_of(channel)))
        rows, _ = take_in(work, as_folder(tmp_path, files))
        assert rows[["machine_id", "status"]].drop_duplicates().to_numpy().tolist() == [["all", "accepted"]]
        assert rows["channel"].isna().all()
        assert sorted(rows["attributes"]) == ["channel=1"] * 3 + ["channel=2"] * 3
