"""The ground floor: what is kept and where. Knows fsspec, zarr, pyarrow and pydantic; no Prefect, Dask or torch.

Where do I go to ...
    open a URI, or turn a store's own exceptions into ours     filesystem.py
    read, write or conditionally create an object of the lake  lake.py
    list an archive, read members by ranges                    sources/
    name things by the settings that shaped them               naming.py
    look at a lake without changing it                         looked_at.py
    read and write tables (recordings, health, scores)         tables.py
    know what one ingest brought, and what is complete         parts.py
    write spectrograms and features, a whole shard at a time   arrays.py
    keep models, their passports and what the gate said        models.py
    know what the small JSON objects say                       records.py
    keep labels given after the fact, and what was done        label_imports.py, alarm_actions.py
    know every object of a lake                                inventory.py
    publish a report                                           reports.py
    raise an error, or reject a recording with a reason        errors.py, reasons.py
"""
