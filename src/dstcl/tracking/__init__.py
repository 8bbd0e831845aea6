"""Results -> MLflow: training only writes files, and `sync` makes MLflow say what they say.

The database is derived: delete it, sync again, and all is back. Importing this package imports
neither mlflow nor torch.
"""

from dstcl.tracking.database import TrackingError
from dstcl.tracking.report import SyncReport
from dstcl.tracking.sync import sync

__all__ = ["SyncReport", "TrackingError", "sync"]
