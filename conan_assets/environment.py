"""What the libraries of this process are told before they are loaded; whatever the environment says comes first."""

import os

os.environ.setdefault("TQDM_DISABLE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
# Threads that spin while they wait make training several times slower on a machine that is shared.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
