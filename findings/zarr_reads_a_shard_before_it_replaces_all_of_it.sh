#!/usr/bin/env bash
# Zarr, writing all of a shard (`sharding_indexed`), first reads the whole old one, which it then replaces: one request
# more a shard on a store that is far, and as many bytes as there are. Without shards a chunk that is written whole is not
# read.
# What Humwatch does about it: tests/storage/test_arrays.py (a block is written without reading the one it replaces)
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check zarr==3.1.6
cd "$folder"
venv/bin/python - <<'PYTHON'
import zarr
from zarr.storage import MemoryStore

print("zarr", zarr.__version__)


class Watched(MemoryStore):
    def __init__(self):
        super().__init__()
        self.asked = []

    async def get(self, key, prototype=None, byte_range=None):
        found = await super().get(key, prototype, byte_range)
        self.asked.append((key, None if found is None else len(found)))
        return found


def asked_by_a_second_write(**layout):
    store = Watched()
    array = zarr.create_array(store, shape=(8, 16), dtype="f4", compressors=None, **layout)
    array[:4] = 1
    store.asked.clear()
    array[:4] = 2
    return store.asked


sharded, chunked = asked_by_a_second_write(shards=(4, 16), chunks=(2, 16)), asked_by_a_second_write(chunks=(4, 16))
print("read while one whole shard was replaced:", sharded)
print("read while one whole chunk was replaced:", chunked)
assert [key for key, _ in sharded] == ["c/0/0"] and sharded[0][1] >= 4 * 16 * 4
assert chunked == []
PYTHON
