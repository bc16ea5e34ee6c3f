import numpy as np
import pytest
import torch

from humwatch.tasks.features.pooling import pool, recording_vector, window_vectors
from humwatch.tasks.plan.representations import parse

torch.set_num_threads(1)


def bins_of(size, count):
    """The edges of adaptive pooling: floor(i n / k) to ceil((i + 1) n / k)."""
    return [(index * size // count, -(-(index + 1) * size // count)) for index in range(count)]


def by_hand(window, frequency_bins, time_bins, statistic):
    return np.array(
        [
            [
                [statistic(channel[r0:r1, c0:c1]) for c0, c1 in bins_of(window.shape[2], time_bins)]
                for r0, r1 in bins_of(window.shape[1], frequency_bins)
            ]
            for channel in window.astype(np.float64)
        ]
    ).ravel()


@pytest.mark.parametrize("bins", ["1x1", "2x2", "3x1", "1x4", "7x5"])
def test_statistics_of_bins_equal_numpys(bins):
    maps = np.random.default_rng(1).normal(3, 2, (4, 6, 7, 5)).astype(np.float32)
    frequency_bins, time_bins = map(int, bins.split("x"))
    (wanted,) = parse(f"fake/{bins}/mean,std")
    vectors = window_vectors(pool(torch.from_numpy(maps), wanted))
    assert vectors.dtype == np.float32
    assert vectors.shape == (4, 2 * 6 * frequency_bins * time_bins)
    for vector, window in zip(vectors, maps, strict=True):
        expected = [by_hand(window, frequency_bins, time_bins, statistic) for statistic in (np.mean, np.std)]
        np.testing.assert_allclose(vector, np.concatenate(expected), rtol=1e-6, atol=1e-6)


def test_mean_alone_is_the_first_half():
    maps = torch.from_numpy(np.random.default_rng(1).normal(size=(4, 6, 7, 5)).astype(np.float32))
    means = window_vectors(pool(maps, parse("fake/2x2")[0]))
    both = window_vectors(pool(maps, parse("fake/2x2/mean,std")[0]))
    np.testing.assert_allclose(means, both[:, :24], rtol=1e-6, atol=1e-7)


def test_a_constant_far_from_zero_has_no_std():
    maps = torch.full((1, 1, 8, 8), -79.9)
    assert window_vectors(pool(maps, parse("fake/2x2/mean,std")[0]))[0, 4:].max() < 1e-6


def test_a_small_variation_far_from_zero_keeps_its_std():
    maps = np.full((1, 1, 64, 64), 1e4, dtype=np.float32)
    maps[..., ::2] += 0.125
    vector = window_vectors(pool(torch.from_numpy(maps), parse("fake/mean,std")[0]))[0]
    np.testing.assert_allclose(vector[1], 0.0625, rtol=1e-6)


@pytest.mark.parametrize("bins", ["1x1", "2x2"])
def test_recording_statistics_are_over_the_cells_of_all_windows(bins):
    maps = np.random.default_rng(2).normal(size=(5, 3, 6, 4)).astype(np.float32)
    maps += np.arange(5, dtype=np.float32)[:, None, None, None]
    frequency_bins, time_bins = map(int, bins.split("x"))
    (wanted,) = parse(f"fake/{bins}/mean,std/recording")
    vector = recording_vector(pool(torch.from_numpy(maps), wanted))
    assert vector.shape == (1, 2 * 3 * frequency_bins * time_bins)
    expected = []
    for statistic in (np.mean, np.std):
        for channel in range(3):
            expected += [
                statistic(maps[:, channel, r0:r1, c0:c1].astype(np.float64))
                for r0, r1 in bins_of(6, frequency_bins)
                for c0, c1 in bins_of(4, time_bins)
            ]
    np.testing.assert_allclose(vector[0], expected, rtol=1e-6)


def test_the_std_of_a_vector_layer_is_over_windows():
    vectors = np.random.default_rng(3).normal(size=(9, 12, 1, 1)).astype(np.float32)
    found = recording_vector(pool(torch.from_numpy(vectors), parse("alexnet/mean,std/recording")[0]))[0]
    np.testing.assert_allclose(found[:12], vectors.mean(axis=0).ravel(), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(found[12:], vectors.std(axis=0).ravel(), rtol=1e-5)
