"""spectrogram.channel = "all": one model of all channels, whose scores are averaged; one broken channel is told."""

import numpy as np
import pytest
from lakes import all_scores, build, small, with_settings
from recordings import RATE_HZ, tone, wav, write_zip

from humwatch.storage.models import Machine
from humwatch.storage.reasons import Reason
from humwatch.tasks.detectors.fit import load_model
from humwatch.tasks.explanation.explain import explain_recordings
from humwatch.tasks.features.gather import gather
from humwatch.tasks.plan.representations import parse
from humwatch.tasks.plan.run import Run
from humwatch.tasks.reports.assemble import notes_table, rejected_table, sound_of, spectrogram_of

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
        of_channels = [
            model.scores([np.split(values, CHANNELS, axis=1)[channel] for values in windows])[1]
            for channel in range(CHANNELS)
        ]
        recordings = catalog.recordings.sort_values("path")["recording_id"]
        np.testing.assert_allclose(of_variant.loc[recordings, "score"], np.mean(of_channels, axis=0), rtol=1e-9)


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
    for backbone, explanation in zip(chosen["backbone"], explain_recordings(catalog, chosen, heard), strict=True):
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
