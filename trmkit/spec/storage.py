"""The `storage` section: where runs and built data sets live."""

from trmkit.spec.base import Section


class StorageSection(Section):
    """Where runs and built data sets live."""

    path: str = "runs"
    """Folder of the runs. One run lives at `<path>/<name>/<run id>/`."""

    data: str = "data"
    """Folder of the built data sets, shared by every run on this machine."""
