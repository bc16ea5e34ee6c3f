"""What every test shares: a Prefect home of its own and one thread for torch."""

import os
import tempfile

# Before anything imports Prefect: its own database and profile, none of the user's.
_HOME = tempfile.mkdtemp(prefix="humwatch-tests-")
os.environ["PREFECT_HOME"] = _HOME
os.environ["PREFECT_LOGGING_LEVEL"] = "ERROR"
os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"
# Two test processes on two busy cores: the embedded server may take longer than the 20 s it is given.
os.environ["PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"] = "180"
os.environ.pop("PREFECT_API_URL", None)
# As in flows/cluster.py: clusters that wait for tests shall take no time from them.
os.environ["DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED"] = "False"
os.environ["DASK_DISTRIBUTED__ADMIN__TICK__INTERVAL"] = "1s"
for _name in [name for name in os.environ if name.startswith("HUMWATCH_")]:
    del os.environ[_name]

import dask  # noqa: E402 - as above
import pytest  # noqa: E402
import torch  # noqa: E402

torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="module")
def no_dask_scheduler_of_other_tests():
    """A client that is closed while another is open leaves its scheduler in Dask's settings, where xarray finds it."""
    dask.config.set(scheduler=None)
