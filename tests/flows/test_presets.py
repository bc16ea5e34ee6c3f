"""Settings: which of several sources wins, for every pair of them, and what is refused."""

import itertools
from pathlib import Path

import pytest
from pydantic import ValidationError

from humwatch.flows.presets import PRESETS, load
from humwatch.storage.errors import BadConfiguration
from humwatch.tasks.settings import FitSettings, Settings, SpectrogramSettings, StoreSettings

# A number that the preset `paper` sets, and another for each of the places that can say otherwise.
HOPS = {"preset": 256, "environment": 301, "file": 302, "flags": 303, "set": 304}
PLACES = list(HOPS)


def load_from(places, folder: Path, monkeypatch) -> Settings:
    """Load with `spectrogram.hop_samples` given in some places, each with its own value."""
    monkeypatch.delenv("HUMWATCH_SPECTROGRAM__HOP_SAMPLES", raising=False)
    if "environment" in places:
        monkeypatch.setenv("HUMWATCH_SPECTROGRAM__HOP_SAMPLES", str(HOPS["environment"]))
    config = folder / "humwatch.toml"
    config.write_text(f"[spectrogram]\nhop_samples = {HOPS['file']}\n" if "file" in places else "")
    return load(
        "paper" if "preset" in places else "default",
        config,
        {"spectrogram": {"hop_samples": HOPS["flags"]}} if "flags" in places else {},
        [f"spectrogram.hop_samples={HOPS['set']}"] if "set" in places else [],
    )


@pytest.mark.parametrize("pair", list(itertools.combinations(PLACES, 2)), ids="<".join)
def test_of_two_places_the_stronger_wins(pair, tmp_path, monkeypatch):
    assert load_from(pair, tmp_path, monkeypatch).spectrogram.hop_samples == HOPS[pair[1]]


@pytest.mark.parametrize("place", PLACES)
def test_each_place_alone_is_heard(place, tmp_path, monkeypatch):
    assert load_from([place], tmp_path, monkeypatch).spectrogram.hop_samples == HOPS[place]


def test_without_any_the_fields_default_holds(tmp_path, monkeypatch):
    assert load_from([], tmp_path, monkeypatch).spectrogram.hop_samples == 512
    assert load().health == Settings().health


def test_places_are_merged_key_by_key(tmp_path, monkeypatch):
    monkeypatch.setenv("HUMWATCH_SPECTROGRAM__N_FFT", "2048")
    monkeypatch.setenv("HUMWATCH_FIT__SEEDS", "[7, 8]")
    config = tmp_path / "humwatch.toml"
    config.write_text("[spectrogram]\nn_mels = 128\n[fit]\nocsvm_nu = 0.5\n")
    settings = load(
        "paper", config, {"fit": {"detectors": ["knn"]}}, ["spectrogram.fmin_hz=50", "fit.pooling=max", "fit.top_k=9"]
    )
    spectrogram, fit = settings.spectrogram, settings.fit
    assert (spectrogram.n_fft, spectrogram.n_mels, spectrogram.fmin_hz) == (2048, 128, 50.0)
    assert spectrogram.hop_samples == 256
    assert (fit.seeds, fit.ocsvm_nu, fit.detectors, fit.pooling, fit.top_k) == ((7, 8), 0.5, ("knn",), "max", 9)
    assert settings.features.backbones == ("resnet34",)


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_loads_and_says_what_it_says(preset):
    settings = load(preset)
    for section, values in PRESETS[preset].items():
        for key, value in values.items():
            assert getattr(getattr(settings, section), key) == value


def test_the_paper_preset_is_the_papers_chain():
    """Müller et al. 2020, section 5."""
    settings = load("paper")
    assert (settings.spectrogram.n_fft, settings.spectrogram.hop_samples, settings.spectrogram.n_mels) == (
        1024,
        256,
        64,
    )
    assert (settings.images.window_frames, settings.images.window_hop_frames) == (64, 32)
    assert settings.images.image_size_px == 224
    assert settings.features.backbones == ("resnet34",)
    fit = settings.fit
    assert (fit.gmm_components, fit.gmm_covariance, fit.gmm_iterations) == (80, "diag", 150)
    assert (fit.ocsvm_nu, fit.isolation_forest_trees, fit.kde_bandwidth, fit.pooling) == (1e-4, 128, 0.1, "mean")
    assert (fit.split, len(fit.seeds)) == ("paper", 5)


@pytest.mark.parametrize(
    ("assignment", "section", "key", "value"),
    [
        ("fit.seeds=[0, 1]", "fit", "seeds", (0, 1)),
        ('features.backbones=["fake", "logmel"]', "features", "backbones", ("fake", "logmel")),
        ("features.weights_dir=s3://bucket/weights", "features", "weights_dir", "s3://bucket/weights"),
        ("fit.pca_components=64", "fit", "pca_components", 64),
        ("fit.pca_components=none", "fit", "pca_components", None),
        ("spectrogram.channel=mean", "spectrogram", "channel", "mean"),
        ("spectrogram.channel=3", "spectrogram", "channel", 3),
        ("features.random_weights=true", "features", "random_weights", True),
        ("report.title=a = b", "report", "title", "a = b"),
        (" report.title = Plant", "report", "title", "Plant"),
    ],
)
def test_an_assignment_is_toml_or_else_text(assignment, section, key, value):
    loaded = getattr(getattr(load(assignments=[assignment]), section), key)
    assert loaded == value or loaded.strip() == value


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"preset": "loud"}, "unknown preset 'loud'; there are default, paper, fast"),
        ({"assignments": ["n_mels=3"]}, "'n_mels=3' is not section.key=value"),
        ({"assignments": ["spectrogram.n_mels"]}, "is not section.key=value"),
        ({"assignments": ["spectrogram.=3"]}, "is not section.key=value"),
        ({"assignments": ["spectrogram.mels=3"]}, "spectrogram.mels: Extra inputs"),
        ({"assignments": ["sound.n_mels=3"]}, "sound: Extra inputs"),
        (
            {"assignments": ["ingest.extensions=[mp3]"]},
            "ingest.extensions: Input should be a valid tuple, which '[mp3]' is not: quote a list",
        ),
        ({"assignments": ["spectrogram.n_mels=many"]}, "spectrogram.n_mels: Input should be a valid integer"),
        ({"assignments": ["spectrogram.n_mels=3"]}, "greater than or equal to 8"),
        ({"assignments": ["fit.detectors=['gmn']"]}, "fit.detectors.0: Input should be 'gmm'"),
        ({"assignments": ["fit.seeds=[1, 1]"]}, "must not repeat"),
        ({"assignments": ["features.backbones=['resnet35']"]}, "did you mean resnet50 or resnet34"),
        ({"assignments": ["features.backbones=['fake/0x1']"]}, "at least 1x1"),
        ({"flags": {"spectrogram": {"mels": 3}}}, "spectrogram.mels"),
        ({"flags": {"fit": {"detectors": ["knn", "knn"]}}}, "must not repeat"),
    ],
)
def test_what_is_wrong_is_bad_configuration_that_names_it(given, message):
    with pytest.raises(BadConfiguration) as caught:
        load(**given)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[spectrogram]\nmels = 3\n", "spectrogram.mels: Extra inputs"),
        (b"[sound]\nn_mels = 64\n", "sound"),
        (b"spectrogram = 3\n", "'spectrogram' is not a section"),
        (b"[spectrogram\nn_mels = 3\n", "is not TOML"),
        (b"title = '\xff\xfe'\n", "is not TOML"),
    ],
)
def test_a_bad_file_is_bad_configuration(tmp_path, content, message):
    config = tmp_path / "humwatch.toml"
    config.write_bytes(content)
    with pytest.raises(BadConfiguration) as caught:
        load(config_file=config)
    assert message in str(caught.value)


def test_an_absent_file_is_bad_configuration_that_names_it(tmp_path):
    for path in (tmp_path / "absent.toml", tmp_path):
        with pytest.raises(BadConfiguration, match="cannot be read") as caught:
            load(config_file=path)
        assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("HUMWATCH_SPECTROGRAM__MELS", "3", "spectrogram.mels"),
        ("HUMWATCH_SPECTROGRAM__N_MELS", "many", "spectrogram.n_mels"),
        ("HUMWATCH_FIT__SEEDS", "[0,", "fit"),
        ("HUMWATCH_SPECTROGRAM", "3", "spectrogram"),
    ],
)
def test_a_bad_environment_is_bad_configuration(monkeypatch, name, value, message):
    monkeypatch.setenv(name, value)
    with pytest.raises(BadConfiguration) as caught:
        load()
    assert message in str(caught.value).lower()


def test_variables_of_other_meaning_are_left_alone(monkeypatch):
    before = load()
    monkeypatch.setenv("HUMWATCH_LAKE", "/data/lake")
    assert load() == before


def test_settings_are_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        load().fit.seeds = (1,)


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        (SpectrogramSettings, {"fmin_hz": 900, "fmax_hz": 800}, "fmin_hz < fmax_hz"),
        (SpectrogramSettings, {"fmax_hz": 9000}, "sample_rate_hz / 2"),
        (StoreSettings, {"block_recordings": 10, "chunk_recordings": 4}, "multiple"),
        (FitSettings, {"seeds": []}, "at least 1"),
        (FitSettings, {"seeds": [1 << 32]}, "less than"),
    ],
)
def test_values_that_do_not_go_together_are_refused(section, values, message):
    with pytest.raises(ValidationError, match=message):
        section(**values)
    assert SpectrogramSettings(fmin_hz=100, fmax_hz=8000).fmax_hz == 8000


def test_a_small_part_has_four_blocks_and_a_large_one_full_blocks():
    store = StoreSettings(block_recordings=64, chunk_recordings=16)
    assert {n: store.block_of(n) for n in (0, 1, 16, 60, 64, 65, 193, 256, 10_000)} == {
        0: 16, 1: 16, 16: 16, 60: 16, 64: 16, 65: 32, 193: 64, 256: 64, 10_000: 64
    }  # fmt: skip


def test_autoencoders_are_given_patches_and_nothing_else():
    flags = {"features": {"backbones": ["logmel/64x64/mean"]}, "fit": {"detectors": ["small_dcae", "knn"]}}
    assert load(flags=flags).fit.detectors == ("small_dcae", "knn")
    for other in ("squeezenet1_1", "logmel/64x64/mean/recording", "logmel/64x32/mean"):
        with pytest.raises(BadConfiguration, match=r"small_dcae.*logmel/64x64/mean"):
            load(flags=flags, assignments=[f"features.backbones=['{other}']"])


def test_one_fold_is_refused_where_held_out_scores_are_needed():
    one, alone = "fit.calibration_folds=1", "features.backbones=['logmel']"
    with pytest.raises(BadConfiguration, match=r"fused on a scale of held-out scores"):
        load("default", assignments=[one])
    with pytest.raises(BadConfiguration, match="nights"):
        load("fast", assignments=[one, "fit.training=assumed_normal"])
    assert load("default", assignments=[one, alone]).fit.calibration_folds == 1


@pytest.mark.parametrize(
    "assignment",
    [
        "notify.variable=json://host/s3cr3t", "notify.secret_blocks=json://host/s3cr3t",
        "notify.secret_blocks=['json://host/s3cr3t']", "notify.urls=['json://host/s3cr3t']",
        "alarms.notify=['json://host/s3cr3t']", "notify.reports_url=https://me:s3cr3t@host/reports",
        "notify.reports_url=https://host/reports?token=s3cr3t",
    ],
)  # fmt: skip
def test_an_address_that_holds_a_secret_is_no_setting_and_is_not_repeated(assignment):
    with pytest.raises(BadConfiguration, match="notify") as refused:
        load(assignments=[assignment])
    assert "s3cr3t" not in str(refused.value)


def test_where_addresses_are_is_a_setting(monkeypatch):
    monkeypatch.setenv("HUMWATCH_NOTIFY_URLS", "json://host/s3cr3t")  # no setting, though called like one
    notify = load(assignments=["notify.secret_blocks=plant-chat", "notify.reports_url=https://host:8/reports/"]).notify
    assert (notify.variable, notify.secret_blocks) == ("HUMWATCH_NOTIFY_URLS", ("plant-chat",))
