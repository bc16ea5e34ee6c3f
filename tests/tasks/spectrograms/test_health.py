"""Health: measured facts have analytic values; verdicts follow their order whatever the order of rows."""

import math
import tracemalloc

import numpy as np
import pandas as pd
import pytest

from humwatch.storage.reasons import Reason
from humwatch.tasks.plan.verdicts import FLOOR_DBFS, ac_levels_dbfs, judge
from humwatch.tasks.settings import HealthSettings, SpectrogramSettings
from humwatch.tasks.sound.decode import Audio
from humwatch.tasks.spectrograms.health import measure, worst_of

SETTINGS = HealthSettings()
RATE_HZ = 16_000


def health_of(signal, subtype="PCM_16", settings=SETTINGS, channels=1, rate=RATE_HZ):
    signal = np.asarray(signal, np.float32)
    return measure(Audio(np.repeat(signal[:, None], channels, 1), rate, subtype), signal, settings)


def tone(amplitude, seconds=1.0):
    return amplitude * np.sin(2 * np.pi * 100 * np.arange(int(seconds * RATE_HZ)) / RATE_HZ)


def test_a_tone():
    health = health_of(tone(0.5, 2.0), channels=3)
    assert (health.sample_rate_hz, health.channels, health.duration_s) == (RATE_HZ, 3, 2.0)
    assert health.rms_dbfs == pytest.approx(20 * math.log10(0.5 / math.sqrt(2)), abs=1e-6)
    assert health.peak_dbfs == pytest.approx(20 * math.log10(0.5), abs=1e-6)
    assert health.dc_offset == pytest.approx(0, abs=1e-9)
    assert (health.clipped_fraction, health.silent_fraction, health.nonfinite_fraction) == (0, 0, 0)
    assert health.constant_fraction == 0
    assert health.dead_channel is False


def test_rms_includes_the_dc_offset():
    health = health_of(0.25 + tone(0.1))
    assert health.dc_offset == pytest.approx(0.25, abs=1e-7)
    assert health.rms_dbfs == pytest.approx(10 * math.log10(0.25**2 + 0.1**2 / 2), abs=1e-5)
    assert health.ac_rms_dbfs == pytest.approx(10 * math.log10(0.1**2 / 2), abs=1e-5)


def one_bit(seconds=1.0, offset=0.05):
    """A dead microphone behind a converter with an offset, whose last bit is noise: -96.3 dBFS."""
    bits = np.random.default_rng(0).integers(0, 2, int(seconds * RATE_HZ))
    return np.float32(round(offset * 2**15) / 2**15) + np.float32(2.0**-15) * bits


def test_an_offset_is_no_sound():
    health = health_of(one_bit())
    assert health.rms_dbfs == pytest.approx(20 * math.log10(0.05), abs=0.01)
    assert health.ac_rms_dbfs == pytest.approx(20 * math.log10(2.0**-16), abs=0.01)
    assert health.dead_channel is False
    before = {**vars(health), "ac_rms_dbfs": None}
    assert judged(facts(vars(health), before, {})).tolist() == [Reason.SILENT, Reason.SILENT, None]


def test_a_level_that_was_not_measured_follows_from_that_of_one_channel():
    measured = vars(health_of(0.25 + tone(0.1)))
    table = facts(measured, {**measured, "ac_rms_dbfs": None}, {**measured, "ac_rms_dbfs": None, "channels_heard": 2})
    assert ac_levels_dbfs(table) == pytest.approx([measured["ac_rms_dbfs"]] * 2 + [measured["rms_dbfs"]], abs=1e-9)
    assert ac_levels_dbfs(facts({"rms_dbfs": -20.0, "dc_offset": 0.1}, UNDECODED)) == pytest.approx(
        [FLOOR_DBFS, np.nan], nan_ok=True
    )


@pytest.mark.parametrize("rate", [RATE_HZ, 44_100, 11_025])
@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize(("gap_s", "low"), [(0.2, 0.37), (0.02, 0.19)])
def test_gaps_of_zeros_or_of_the_last_sample_are_constant(rate, held, gap_s, low):
    """40 % of the samples; of short gaps between half and all, as the 10 ms pieces fall."""
    signal = np.random.default_rng(0).normal(0.01, 0.1, 10 * rate).astype(np.float32)
    gap, step = round(gap_s * rate), round(2.5 * gap_s * rate)
    for start in range(7, len(signal) - gap, step):
        signal[start : start + gap] = signal[start] if held else 0
    health = health_of(signal, rate=rate)
    assert low < health.constant_fraction <= 0.4
    assert health_of(signal[: 10 * gap + 1], rate=rate).constant_fraction <= 0.41


def test_clipping_and_a_last_sample_are_no_gap():
    signal = np.clip(10 * tone(0.5, 1.001), -1, 1)
    assert health_of(np.repeat(signal, 10)).constant_fraction < 0.01
    assert health_of(np.repeat(signal, 10)).clipped_fraction > 0.85
    assert health_of(np.append(tone(0.5), 0.3)).constant_fraction == 0


def test_full_scale_square_wave_is_0_dbfs_and_clipped():
    health = health_of(np.tile([1.0, -1.0], 8000))
    assert (health.rms_dbfs, health.peak_dbfs, health.clipped_fraction) == (0, 0, 1)


def test_digital_silence():
    health = health_of(np.zeros(RATE_HZ))
    assert health.rms_dbfs == health.peak_dbfs == FLOOR_DBFS == -200
    assert health.silent_fraction == 1
    assert health.dead_channel is True


def test_constant_is_dead_and_one_step_is_not():
    assert health_of(np.full(RATE_HZ, 0.3)).dead_channel is True
    assert health_of([0.3] * 100 + [0.3 + 1 / 32768]).dead_channel is False


@pytest.mark.parametrize(
    ("subtype", "top"), [("PCM_U8", 127 / 128), ("PCM_S8", 127 / 128), ("PCM_16", 32767 / 32768), ("FLOAT", 1.0)]
)
def test_clipping_at_the_top_and_the_bottom_of_a_format(subtype, top):
    signal = np.zeros(100)
    signal[:10], signal[10:15] = top, -1.0
    assert health_of(signal, subtype).clipped_fraction == 0.15


def test_16_bits_kept_in_24_clip_where_16_bits_do():
    assert health_of([32767 / 32768, 0.5], "PCM_24").clipped_fraction == 0.5


def test_127_of_128_is_no_clipping_in_16_bits():
    assert health_of([127 / 128, -127 / 128], "PCM_16").clipped_fraction == 0


def test_silent_fraction_counts_50_ms_frames():
    signal = np.concatenate([tone(0.5, 0.5), np.zeros(int(0.2 * RATE_HZ)), tone(0.5, 0.3)])
    assert health_of(signal).silent_fraction == pytest.approx(4 / 20)
    quiet = np.concatenate([tone(0.5, 0.5), tone(1e-3, 0.5)])  # -63 dBFS
    assert health_of(quiet, settings=HealthSettings(silent_rms_dbfs=-60)).silent_fraction == 0.5
    assert health_of(quiet, settings=HealthSettings(silent_rms_dbfs=-65)).silent_fraction == 0
    assert health_of(np.zeros(10)).silent_fraction == 1
    assert health_of(np.concatenate([tone(0.5, 0.05), np.zeros(10)])).silent_fraction == 0.5


def test_samples_that_are_not_finite_are_counted_and_left_out():
    health = health_of([np.nan, np.inf, 0.5, -0.5], "FLOAT")
    assert health.nonfinite_fraction == 0.5
    assert health.peak_dbfs == health.rms_dbfs == pytest.approx(20 * math.log10(0.5))
    nothing = health_of([np.nan] * 4, "FLOAT")
    assert (nothing.nonfinite_fraction, nothing.rms_dbfs, nothing.silent_fraction) == (1, FLOOR_DBFS, 1)


@pytest.mark.parametrize("rate", [RATE_HZ, 44_100, 11_025])
@pytest.mark.parametrize("broken", [0, 1, 5000])
def test_pieces_of_a_long_recording_give_what_the_whole_does(monkeypatch, rate, broken):
    """Against one piece: whatever lies at the seams, NaNs that shift the 50 ms frames included."""
    generator = np.random.default_rng(0)
    signal = generator.normal(0.01, 0.2, 200_003).astype(np.float32)
    signal[40_000:90_000] = 0
    signal[100_000:100_050] = 1
    signal[150_000:152_000] = 0.1
    signal[generator.choice(len(signal), broken, replace=False)] = np.nan
    whole = health_of(signal, "FLOAT", rate=rate)
    monkeypatch.setattr("humwatch.tasks.spectrograms.health._PIECE_SAMPLES", 10_007)
    pieces = health_of(signal, "FLOAT", rate=rate)
    for name, value in vars(whole).items():
        assert getattr(pieces, name) == (pytest.approx(value, rel=1e-12) if isinstance(value, float) else value), name


def test_measuring_an_hour_takes_no_memory_to_speak_of():
    signal = np.zeros(20_000_000, np.float32)
    signal[::7] = 0.1
    tracemalloc.start()
    measure(Audio(signal[:, None], RATE_HZ, "FLOAT"), signal, SETTINGS)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 64e6


def facts(*rows, **common):
    healthy = {
        "sample_rate_hz": RATE_HZ,
        "channels": 1,
        "channels_heard": 1,
        "duration_s": 10.0,
        "rms_dbfs": -20.0,
        "ac_rms_dbfs": None,
        "peak_dbfs": -6.0,
        "clipped_fraction": 0.0,
        "silent_fraction": 0.0,
        "dc_offset": 0.0,
        "nonfinite_fraction": 0.0,
        "dead_channel": False,
        "machine_type": "fan",
        "machine_id": "id_00",
        "site": None,
        "condition": None,
        "split": None,
        "recorded_at": pd.NaT,
        "batch": "all",
        "sound_hash": None,
        "share_of_file": None,
        "reason": None,
    }
    rows = [{"recording_id": f"{index:02d}", **row} for index, row in enumerate(rows)]
    return pd.DataFrame([healthy | common | row for row in rows])


def judged(table, health=SETTINGS, spectrogram=SpectrogramSettings()):  # noqa: B008 - frozen
    return judge(table, health, spectrogram)


SILENT = {"rms_dbfs": -200.0, "peak_dbfs": -200.0, "dead_channel": True}
UNDECODED = {
    "sample_rate_hz": None,
    "duration_s": None,
    "rms_dbfs": None,
    "ac_rms_dbfs": None,
    "dc_offset": None,
    "peak_dbfs": None,
    "clipped_fraction": None,
    "nonfinite_fraction": None,
    "dead_channel": None,
}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({}, None),
        (UNDECODED | {"reason": Reason.TRUNCATED}, Reason.TRUNCATED),
        ({"nonfinite_fraction": 1e-6}, Reason.NOT_FINITE),
        ({"dead_channel": True}, Reason.DEAD_CHANNEL),
        (SILENT, Reason.SILENT),
        ({"rms_dbfs": -80.1}, Reason.SILENT),
        ({"rms_dbfs": -80.0}, None),
        ({"clipped_fraction": 0.11}, Reason.CLIPPED),
        ({"clipped_fraction": 0.1}, None),
        ({"duration_s": 12.1}, Reason.WRONG_LENGTH),
        ({"duration_s": 7.9}, Reason.WRONG_LENGTH),
        ({"duration_s": 12.0}, None),
        ({"nonfinite_fraction": 1.0} | SILENT, Reason.NOT_FINITE),
        ({"dead_channel": True, "rms_dbfs": -90.0, "peak_dbfs": -90.0}, Reason.DEAD_CHANNEL),
        ({"dead_channel": True, "clipped_fraction": 1.0}, Reason.DEAD_CHANNEL),
        ({"clipped_fraction": 0.5, "duration_s": 1.0}, Reason.CLIPPED),
    ],
)
def test_one_bad_recording_among_good_ones(row, reason):
    verdicts = judged(facts({}, row, {}, {}))
    assert verdicts.tolist() == [None, reason, None, None]


def test_measured_silence_and_constant_are_told_apart():
    measured = [vars(health_of(signal)) for signal in (np.zeros(100), np.full(100, 0.2), np.full(100, 1e-5))]
    verdicts = judged(facts(*measured))
    assert verdicts.tolist() == [Reason.SILENT, Reason.DEAD_CHANNEL, Reason.DEAD_CHANNEL]


def test_limits_come_from_the_settings():
    table = facts({}, {}, {"duration_s": 10.2, "rms_dbfs": -30.0, "clipped_fraction": 0.02})
    assert judged(table).tolist() == [None, None, None]
    assert judged(table, HealthSettings(duration_tolerance=0.01))[2] == Reason.WRONG_LENGTH
    assert judged(table, HealthSettings(silent_rms_dbfs=-25))[2] == Reason.SILENT
    assert judged(table, HealthSettings(max_clipped_fraction=0.01))[2] == Reason.CLIPPED


def test_the_median_is_each_machines_own():
    table = facts(
        *[{"machine_id": "a", "duration_s": 10.0}] * 3,
        *[{"machine_id": "b", "duration_s": 60.0}] * 3,
        *[{"machine_id": "a", "site": "x", "duration_s": 5.0}] * 3,
        *[{"machine_id": "a", "machine_type": "pump", "duration_s": 2.0}] * 3,
        {"machine_id": "a", "site": "x", "duration_s": 10.0},
    )
    assert judged(table).tolist() == [None] * 12 + [Reason.WRONG_LENGTH]


def test_a_band_that_is_not_the_machines_is_told():
    table = facts(*[{"sample_rate_hz": 16_000}] * 2, {"sample_rate_hz": 8_000}, {"sample_rate_hz": 48_000})
    assert judged(table).tolist() == [None, None, Reason.OTHER_BAND, None]
    low = SpectrogramSettings(fmax_hz=3_500)
    assert judged(table, SETTINGS, low).tolist() == [None] * 4
    mostly_low = facts(*[{"sample_rate_hz": 8_000}] * 2, {"sample_rate_hz": 16_000})
    assert judged(mostly_low).tolist() == [None, None, Reason.OTHER_BAND]
    other_machine = facts({"sample_rate_hz": 8_000}, {"sample_rate_hz": 16_000, "machine_id": "b"})
    assert judged(other_machine).tolist() == [None, None]
    as_many = facts({"sample_rate_hz": 8_000}, {"sample_rate_hz": 16_000})
    assert judged(as_many).tolist() == [Reason.OTHER_BAND, None]


def test_recordings_rejected_otherwise_do_not_move_the_median():
    table = facts(*[{"duration_s": 1.0} | SILENT] * 5, *[{"duration_s": 10.0}] * 3)
    assert judged(table).tolist() == [Reason.SILENT] * 5 + [None] * 3


@pytest.mark.parametrize("null", [None, np.nan, pd.NA])
def test_null_sites_are_one_site(null):
    table = facts({"site": None}, {"site": null}, {"site": None, "duration_s": 5.0})
    assert judged(table).tolist() == [None, None, Reason.WRONG_LENGTH]


def test_order_and_index_do_not_matter():
    rng = np.random.default_rng(0)
    rows = [
        {"machine_id": f"m{rng.integers(3)}", "duration_s": float(rng.choice([5.0, 10.0, 11.0]))} for _ in range(60)
    ]
    table = facts(*rows, SILENT, UNDECODED | {"reason": "not_audio"})
    expected = judged(table)
    assert expected.notna().sum() > 5
    shuffled = table.sample(frac=1, random_state=1)
    pd.testing.assert_series_equal(judged(shuffled).sort_index(), expected)
    table.index = [0] * len(table)
    assert judged(table).tolist() == expected.tolist()


def test_empty_and_parquet_like_tables():
    table = facts({}, SILENT, UNDECODED | {"reason": "not_audio"})
    assert judged(table.iloc[:0]).tolist() == []
    for nullable in (table.convert_dtypes(), table.convert_dtypes(dtype_backend="pyarrow")):
        assert judged(nullable).tolist() == [None, "silent", "not_audio"]
    only_undecoded = facts(UNDECODED | {"reason": "empty_file"})
    before = only_undecoded.copy()
    assert judged(only_undecoded).tolist() == ["empty_file"]
    pd.testing.assert_frame_equal(only_undecoded, before)


def test_a_number_of_channels_is_usual_where_most_of_a_machine_that_are_fit_have_it():
    table = facts(
        *[{"channels_heard": 8}] * 3,
        *[{"channels_heard": 1} | SILENT] * 4,
        {"channels_heard": 1},
        *[{"machine_id": "mono", "channels_heard": None}] * 2,
        *[{"machine_id": "tie", "channels_heard": channels} for channels in (2, 8, 8, 2)],
        UNDECODED | {"channels_heard": None, "reason": Reason.CORRUPT},
    )
    tie = [Reason.OTHER_CHANNELS, None, None, Reason.OTHER_CHANNELS]
    expected = [None] * 3 + [Reason.SILENT] * 4 + [Reason.OTHER_CHANNELS] + [None] * 2 + tie + [Reason.CORRUPT]
    assert judged(table).tolist() == expected
    shuffled = table.sample(frac=1, random_state=1)
    assert judged(shuffled).sort_index().tolist() == expected


def test_of_several_channels_the_worst_is_told():
    signals = [tone(0.5), tone(0.01), np.clip(tone(3.0), -1, 1), np.full(RATE_HZ, -0.2)]
    channels = [health_of(signal, channels=4) for signal in signals]
    worst = worst_of(channels)
    assert worst_of(channels[:1]) == channels[0]
    assert (worst.channels, worst.channels_heard, worst.dead_channel) == (4, 4, True)
    assert worst.rms_dbfs == channels[1].rms_dbfs
    assert (worst.ac_rms_dbfs, worst.constant_fraction) == (channels[3].ac_rms_dbfs, 1)
    assert (worst.peak_dbfs, worst.clipped_fraction) == (0, channels[2].clipped_fraction)
    assert worst.dc_offset == pytest.approx(-0.2)
    assert worst.sound_hash not in {channel.sound_hash for channel in channels}
    assert worst.sound_hash != worst_of(channels[::-1]).sound_hash
