"""What is drawn."""

import os

# A notebook names a backend that shows figures, which matplotlib would look for when it is imported
# and which need not be there. Nothing is shown here: figures become files.
os.environ.pop("MPLBACKEND", None)
