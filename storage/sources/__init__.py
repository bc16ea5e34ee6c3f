"""Sources: archives and folders of recordings on any filesystem, read in place. Nothing is unpacked to disk.

Where do I go to ...
    list what a source holds, or see whether it changed   listing.py  (list_members, source_state)
    know what one archive holds                           zip_archive.py, tar_archive.py
    unpack by any method                                  decompression.py
    not look into an archive that is known already        index.py
    read the bytes of members, in few ranged reads        reading.py  (read_members)
    open one as a file, for its header or in pieces       opening.py  (open_members)
    see the rows that travel between them                 member.py   (Member, Listing, ReadProblem)
"""

from humwatch.storage.sources.listing import list_members, source_state
from humwatch.storage.sources.member import (
    ARCHIVE_SUFFIXES,
    Listing,
    ManifestFile,
    Member,
    ReadProblem,
    archive_suffix,
    is_stream,
)
from humwatch.storage.sources.opening import open_members
from humwatch.storage.sources.reading import read_members

__all__ = [
    "ARCHIVE_SUFFIXES",
    "Listing",
    "ManifestFile",
    "Member",
    "ReadProblem",
    "archive_suffix",
    "is_stream",
    "list_members",
    "open_members",
    "read_members",
    "source_state",
]
