"""Every setting of every stage, one section a stage: frozen, validated, unknown names refused.

Presets, and where values come from, are in `flows/presets.py`; what a preset does not set is the default here.
"""

from __future__ import annotations

import math
import re
from datetime import date
from typing import Annotated, Literal, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

DetectorName = Literal[
    "gmm", "bayesian_gmm", "ocsvm", "isolation_forest", "kde", "knn", "mahalanobis",
    "lenet_dcae", "small_dcae", "dense_ae",
]  # fmt: skip
# Autoencoders see raw patches of the log-mel spectrogram; the others see whatever representation there is.
AUTOENCODER_NAMES: tuple[DetectorName, ...] = ("lenet_dcae", "small_dcae", "dense_ae")
DETECTOR_NAMES: tuple[DetectorName, ...] = tuple(
    name for name in get_args(DetectorName) if name not in AUTOENCODER_NAMES
)


Training = Literal["labelled", "assumed_normal"]


class Section(BaseModel):
    """A frozen group of settings that refuses names it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class IngestSettings(Section):
    """Which files are recordings and what their names mean."""

    name_pattern: str | None = Field(
        default=None,
        description="Regular expression searched in `SOURCE/path/name`; named groups site, machine_type, "
        "machine_id, batch, condition, domain, label, split, recorded_at, channel, attributes, index fill these "
        "columns.",
    )
    layout: tuple[str, ...] = Field(
        default=(),
        description="Templates of the end of a path, the first that fits: "
        "`{site}/{machine_id}/{recorded_at:%Y/%m/%d}/{}.wav`. A recording that none fits is rejected.",
    )
    time_zone: str = Field(default="UTC", description="IANA zone of times that say none: `Europe/Oslo`.")
    day_begins: str = Field(
        default="00:00",
        pattern=r"^([01]\d|2[0-3]):[0-5]\d$",
        description="Local time before which a recording belongs to the night of the day before (a shift's morning: "
        "`06:00`). The date of a folder comes first.",
    )
    expect_within_nights: int | None = Field(
        default=1, ge=0,
        description="What a run by the clock expects: recordings of tonight or of so many nights before, where the "
        "night is that of `time_zone` and `day_begins`; a plant that rests at weekends sets 3. Unset: none.",
    )  # fmt: skip
    times_in_files: bool = Field(
        default=False, description="Read the time of recording from the file itself where its name has none."
    )
    hex_seconds: bool = Field(
        default=False, description="Names of eight hexadecimal digits are times, as older AudioMoths wrote them."
    )
    label_words: dict[str, Literal["normal", "abnormal"]] = Field(
        default={}, description='Further words for labels, in any case: `{gut = "normal", defekt = "abnormal"}`.'
    )
    extensions: tuple[str, ...] = Field(
        default=(
            "wav", "wave", "bwf", "rf64", "w64", "flac", "aif", "aiff", "aifc", "au", "snd", "caf", "ogg", "oga",
            "opus", "mp3", "m4a", "aac", "wma", "wv", "ape", "amr",
        ),
        description="File extensions read, lower case; what a file is is told by its content.",
    )  # fmt: skip
    longest_s: float = Field(default=60.0, gt=0, description="A longer recording is cut into clips.")
    clip_s: float = Field(
        default=10.0, gt=0, description="Length of these clips; the last one ends with the recording."
    )
    max_member_bytes: int = Field(
        default=1 << 30,
        gt=0,
        description="A recording that unpacks to more bytes and is not cut into clips is rejected (zip bombs).",
    )
    max_rejected_fraction: float = Field(
        default=0.05, ge=0, le=1, description="Above this share of rejected recordings a run exits with status 3."
    )

    @field_validator("layout", mode="before")
    @classmethod
    def _one_template_is_a_list_of_one(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @field_validator("time_zone")
    @classmethod
    def _zone_is_known(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError(f"{value!r} is no IANA time zone such as Europe/Oslo or UTC") from error
        return value

    @field_validator("label_words")
    @classmethod
    def _words_can_be_names(cls, value: dict[str, str]) -> dict[str, str]:
        if bad := [word for word in value if not word.strip() or "/" in word]:
            raise ValueError(f"{bad[0]!r} cannot be the name of a folder")
        return value

    @model_validator(mode="after")
    def _clips_are_shorter_than_what_is_cut(self) -> IngestSettings:
        if self.clip_s > self.longest_s:
            raise ValueError("clip_s must not be above longest_s")
        return self


class HealthSettings(Section):
    """When a decoded recording is not fit to be scored."""

    duration_tolerance: float = Field(
        default=0.2, gt=0, description="Largest relative distance from the machine's median duration."
    )
    silent_rms_dbfs: float = Field(default=-80.0, description="Quieter than this as a whole: rejected as silent.")
    max_clipped_fraction: float = Field(
        default=0.1, gt=0, le=1, description="Share of samples at full scale above which it is rejected as clipped."
    )


class SpectrogramSettings(Section):
    """The log-mel spectrogram, in librosa's definition (Slaney mel scale and norm, centred frames)."""

    sample_rate_hz: int = Field(default=16_000, gt=0, description="Recordings at another rate are resampled (soxr HQ).")
    channel: Annotated[int, Field(ge=0)] | Literal["mean", "each", "all"] = Field(
        default=0,
        description="Channel used, `mean` over all of them, `each` (every channel is a microphone, and a machine of "
        "its own: `pump_03-ch1`), or `all`: one model of all channels, their scores averaged.",
    )
    n_fft: int = Field(default=1024, ge=16, description="FFT and Hann window length in samples.")
    hop_samples: int = Field(default=512, ge=1, description="Samples from frame to frame.")
    n_mels: int = Field(default=64, ge=8, description="Mel bands.")
    fmin_hz: float = Field(default=0.0, ge=0, description="Lower edge of the mel bands.")
    fmax_hz: float | None = Field(default=None, description="Upper edge; unset: half the sample rate.")
    reference: Literal["max", "full_scale"] = Field(
        default="max", description="0 dB is the recording's own maximum, or a fixed power of 1."
    )
    top_db: float = Field(default=80.0, gt=0, description="Range below the recording's maximum; the rest is cut off.")
    dtype: Literal["float32", "float16"] = Field(default="float32", description="Stored precision.")

    @model_validator(mode="after")
    def _band_is_not_empty(self) -> SpectrogramSettings:
        if self.fmax_hz is not None and not self.fmin_hz < self.fmax_hz <= self.sample_rate_hz / 2:
            raise ValueError("fmin_hz < fmax_hz <= sample_rate_hz / 2 must hold")
        return self


class ImageSettings(Section):
    """How a window of a spectrogram becomes the image a backbone sees."""

    window_frames: int = Field(default=64, ge=2, description="Frames in a window.")
    window_hop_frames: int = Field(default=32, ge=1, description="Frames from window to window.")
    colormap: str = Field(default="viridis", description="Matplotlib colour map, indexed by floor(x * 256).")
    image_size_px: int = Field(default=224, ge=32, description="Edge of the square image (bilinear, antialiased).")

    def n_windows(self, n_frames: int) -> int:
        """Return how many windows lie wholly inside `n_frames` frames; the frames after the last one are not used."""
        return max(0, (n_frames - self.window_frames) // self.window_hop_frames + 1)


class FeatureSettings(Section):
    """What the detectors see, and how the backbones run."""

    backbones: tuple[str, ...] = Field(
        default=("squeezenet1_1",),
        min_length=1,
        description="Representations, each crossed with every detector: `NAME[@LAYER][/FxT][/mean,std]"
        "[/window|recording]`, several joined by `+` are fused. NAME is a torchvision model, `efficientnet_lite0`, "
        "`logmel` or `fake`.",
    )
    precision: Literal["float32", "bfloat16"] = Field(default="float32", description="Arithmetic of the backbone.")
    fully_convolutional: bool = Field(
        default=False,
        description="One pass over many windows side by side, each pooled from its part of the map: overlaps are "
        "computed once, and a window sees its neighbours.",
    )
    batch_size: int | None = Field(
        default=None,
        ge=1,
        description="Images in a batch; the last one is padded to it. Unset: 16 on a CPU, 32 on a GPU.",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="Where backbones run.")
    weights_dir: str | None = Field(
        default=None, description="Folder or s3:// prefix with torchvision weight files (sha256 checked)."
    )
    random_weights: bool = Field(default=False, description="Seeded random weights instead of trained ones.")


class FitSettings(Section):
    """The detectors, their training data and their thresholds."""

    detectors: tuple[DetectorName, ...] = Field(default=("gmm",), min_length=1, description="One model each.")
    seeds: tuple[Annotated[int, Field(ge=0, lt=1 << 32)], ...] = Field(
        default=(0,), min_length=1, description="One split and one model for each seed."
    )
    training: Training = Field(
        default="labelled",
        description="Train on recordings labelled normal, or take each machine's commissioning window for normal.",
    )
    commissioning_nights: int = Field(default=14, ge=1, description="Nights of the commissioning window.")
    commissioning_from: date | None = Field(default=None, description="First night of a window given by dates.")
    commissioning_until: date | None = Field(default=None, description="Last night of a window given by dates.")
    min_training_recordings: int = Field(
        default=20, ge=1, description="Recordings a commissioning window must hold for a machine to get a model."
    )
    split: Literal["holdout", "paper"] = Field(
        default="holdout",
        description="Test normals where the archive names no split: holdout min(150, abnormal, normal // 2), "
        "paper min(150, abnormal) with as many abnormals.",
    )
    max_recordings: int = Field(default=2_000, ge=1, description="Seeded sample of training recordings per model.")
    max_windows: int = Field(
        default=20_000,
        ge=1,
        description="Upper limit of training windows per model; lower where a detector sees them wider than 1,024 "
        "features.",
    )
    pca_components: int | None = Field(default=None, ge=1, description="PCA after standardising; unset: none.")
    gmm_components: int = Field(default=80, ge=1, description="Mixture components (fewer when windows are fewer).")
    gmm_covariance: Literal["diag", "full"] = Field(default="diag", description="Covariance of the mixtures.")
    gmm_iterations: int = Field(default=150, ge=1, description="EM iterations at most.")
    ocsvm_nu: float = Field(default=1e-4, gt=0, le=1, description="Nu of the one-class SVM (RBF kernel).")
    isolation_forest_trees: int = Field(default=128, ge=1, description="Trees of the isolation forest.")
    kde_bandwidth: float = Field(default=0.1, gt=0, description="Bandwidth of the Gaussian kernel density.")
    knn_neighbours: int = Field(default=1, ge=1, description="Nearest neighbours whose mean distance is the score.")
    knn_metric: Literal["euclidean", "cosine"] = Field(default="euclidean", description="Distance of knn.")
    knn_local: int | None = Field(
        default=None, ge=1,
        description="Divide the distance to a neighbour by that neighbour's own mean distance to so many nearest "
        "training windows, so that sparse regions (a domain with few recordings) are not abnormal; unset: do not.",
    )  # fmt: skip
    autoencoder_epochs: int | None = Field(
        default=None, ge=1, description="Training epochs of autoencoders; unset: as published (80, dense_ae 50)."
    )
    autoencoder_device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="Where autoencoders are trained."
    )
    fusion: Literal["zscore", "rank"] = Field(
        default="zscore", description="How the scores of several representations are put on one scale and summed."
    )
    pooling: Literal["mean", "max", "top_k"] = Field(
        default="mean", description="Recording score from its window scores."
    )
    top_k: int = Field(default=3, ge=1, description="Windows averaged by `top_k` pooling.")
    false_alarm_rate: float = Field(default=0.01, gt=0, lt=1, description="Stated false-alarm rate of the threshold.")
    calibration_folds: int = Field(
        default=5, ge=1,
        description="Folds whose held-out normals calibrate the threshold; 1 holds none out: no thresholds, no "
        "fusions, no nights.",
    )  # fmt: skip

    @field_validator("seeds", "detectors")
    @classmethod
    def _no_repeats(cls, values: tuple[object, ...]) -> tuple[object, ...]:
        if len(set(values)) != len(values):
            raise ValueError("values must not repeat")
        return values


class RetrainSettings(Section):
    """When a machine's model is replaced by a newer one."""

    training_nights: int = Field(default=28, ge=1, description="Nights a new model is trained on.")
    gate_nights: int = Field(default=7, ge=1, description="Later nights, held back, on which it must prove itself.")
    min_gate_recordings: int = Field(default=50, ge=1, description="Recordings the gate must see to decide.")
    confidence: float = Field(default=0.95, gt=0, lt=1, description="Level of the gate's Clopper-Pearson interval.")


class MachineAlarmSettings(Section):
    """Rates of the machines that a pattern fits, in place of the fleet's."""

    match: str = Field(description="Pattern (`*` and `?`) on TYPE/ID, with a site SITE/TYPE/ID.")
    false_alarm_rate: float | None = Field(default=None, gt=0, le=0.1, description="As of the fleet; unset: the same.")
    attention_rate: float | None = Field(default=None, gt=0, le=0.5, description="As of the fleet; unset: the same.")


class AlarmSettings(Section):
    """When a machine is called to attention, and when it is an alarm."""

    false_alarm_rate: float = Field(
        default=0.001, gt=0, le=0.1,
        description="Expected share of the machine-nights of normal machines on which an alarm is raised.",
    )  # fmt: skip
    false_alarms_per_year: float | None = Field(
        default=None, gt=0,
        description="Expected false alarms of the whole fleet in a year of nights, in place of `false_alarm_rate`.",
    )  # fmt: skip
    attention_rate: float = Field(
        default=0.01, gt=0, le=0.5,
        description="Expected share of the machine-nights of normal machines without an alarm that are in attention.",
    )  # fmt: skip
    machines: tuple[MachineAlarmSettings, ...] = Field(
        default=(), description="Rates of single machines or types; the first whose pattern fits counts."
    )
    clear_nights: int = Field(default=3, ge=1, description="Nights in a row below attention that clear an alarm.")
    level_jump_db: float = Field(
        default=12.0, gt=0,
        description="A night this much louder or quieter than the model's training recordings: unhealthy sensor.",
    )  # fmt: skip

    @model_validator(mode="after")
    def _rates_fit(self) -> AlarmSettings:
        unset = type(self).model_fields["false_alarm_rate"].default
        if self.false_alarms_per_year is not None and self.false_alarm_rate != unset:
            raise ValueError("set one of false_alarm_rate and false_alarms_per_year")
        rates = [(self.false_alarm_rate, self.attention_rate)]
        rates += [(one.false_alarm_rate or rates[0][0], one.attention_rate or rates[0][1]) for one in self.machines]
        if any(attention < false_alarm for false_alarm, attention in rates):
            raise ValueError("attention_rate must not be below false_alarm_rate")
        return self


class EvaluationSettings(Section):
    """How sure a published figure is."""

    bootstrap_samples: int = Field(default=1000, ge=100, description="Bootstrap samples of recordings.")
    confidence: float = Field(default=0.95, gt=0, lt=1, description="Level of the intervals.")
    max_fpr: float = Field(default=0.1, gt=0, lt=1, description="Upper false-positive rate of the partial AUC.")


class ReportSettings(Section):
    """What the page shows."""

    title: str = Field(default="Humwatch", description="Heading of the page.")
    top_recordings: int = Field(default=3, ge=0, description="Most abnormal recordings shown for each machine.")
    max_clips: int = Field(default=24, ge=0, description="Playable clips embedded in one page.")
    clip_s: float = Field(default=10.0, gt=0, description="Longest embedded clip.")


class NotifySettings(Section):
    """Where people are told of a night. The addresses hold secrets and are no settings: these say where they are."""

    variable: str = Field(
        default="HUMWATCH_NOTIFY_URLS",
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        description="Environment variable with Apprise URLs, one a line or parted by commas.",
    )
    secret_blocks: tuple[Annotated[str, Field(pattern=r"^[a-z0-9-]+$")], ...] = Field(
        default=(), description="Names of Prefect secret blocks with Apprise URLs."
    )
    reports_url: str | None = Field(
        default=None,
        description="Public address of the lake's folder `reports/`, for links; unset: its address in the lake.",
    )

    @field_validator("secret_blocks", mode="before")
    @classmethod
    def _one_block_is_a_list_of_one(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @field_validator("reports_url")
    @classmethod
    def _address_holds_no_secret(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"https?://[^/@?#]+(/[^?#]*)?", value):
            raise ValueError(
                "must be http://HOST/PATH or https://HOST/PATH, without user, password, query and fragment"
            )
        return value


class DaskSettings(Section):
    """Where blocks are worked on."""

    address: str | None = Field(default=None, description="Scheduler to join; unset: a local cluster.")
    workers: int | None = Field(default=None, ge=1, description="Processes of the local cluster; unset: one a core.")
    blocks_in_flight: int = Field(default=2, ge=1, description="Blocks submitted at once for each worker.")


class StoreSettings(Section):
    """Layout of the Zarr stores; changes no value, so it is part of no key."""

    block_recordings: int = Field(
        default=64, ge=1,
        description="Recordings in a block (one shard, one unit of work) at most; a small part still has four.",
    )  # fmt: skip
    chunk_recordings: int = Field(default=16, ge=1, description="Recordings in a chunk of a shard.")

    @model_validator(mode="after")
    def _chunks_fill_blocks(self) -> StoreSettings:
        if self.block_recordings % self.chunk_recordings:
            raise ValueError("block_recordings must be a multiple of chunk_recordings")
        return self

    def block_of(self, recordings: int) -> int:
        """Return the block of a part: a quarter of a small one in whole chunks, so that workers can share it."""
        quarter = math.ceil(recordings / (4 * self.chunk_recordings)) * self.chunk_recordings
        return min(self.block_recordings, max(quarter, self.chunk_recordings))


class Settings(Section):
    """Every setting of a run."""

    ingest: IngestSettings = Field(default=IngestSettings(), description="Sources and names")
    health: HealthSettings = Field(default=HealthSettings(), description="Rejection of broken recordings")
    spectrogram: SpectrogramSettings = Field(default=SpectrogramSettings(), description="Log-mel spectrograms")
    images: ImageSettings = Field(default=ImageSettings(), description="Windows and images")
    features: FeatureSettings = Field(default=FeatureSettings(), description="Backbones")
    fit: FitSettings = Field(default=FitSettings(), description="Detectors, splits and thresholds")
    retrain: RetrainSettings = Field(default=RetrainSettings(), description="Replacing models")
    alarms: AlarmSettings = Field(default=AlarmSettings(), description="Attention and alarms of a fleet")
    evaluation: EvaluationSettings = Field(default=EvaluationSettings(), description="Figures and intervals")
    report: ReportSettings = Field(default=ReportSettings(), description="The published page")
    notify: NotifySettings = Field(default=NotifySettings(), description="Telling people of a night")
    dask: DaskSettings = Field(default=DaskSettings(), description="Workers")
    store: StoreSettings = Field(default=StoreSettings(), description="Layout of the Zarr stores")
