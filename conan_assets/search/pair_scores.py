"""What a cross-encoder computes: the score of each pair of texts, a shard at a time."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from conan_assets.artifacts import fingerprint, fingerprint_file
from conan_assets.encoding.loading import require_positions
from conan_assets.encoding.models import locate_model, require_same_model
from conan_assets.encoding.precision import choose_dtype
from conan_assets.search.settings import SEARCH_VERSION, CrossEncoderTeacher

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

PAIRS_PER_BATCH = 32
SCORE = np.dtype("float32")


class ScorePairs:
    """A cross-encoder's scores of a shard of pairs; the model is loaded at the first use."""

    def __init__(self, settings: CrossEncoderTeacher) -> None:
        self._settings = settings
        self._dtype = choose_dtype(settings.dtype, self._device, self._path)
        self._expected = self.namespace()

    def __call__(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        """Return the scores, float32 of shape (len(pairs), 1); OtherModelError as ``EncodeTexts`` does."""
        require_same_model(self._settings.model, self.namespace(), self._expected)
        scores = self._model.predict(list(pairs), batch_size=PAIRS_PER_BATCH, show_progress_bar=False)
        return np.asarray(scores, SCORE).reshape(len(pairs), -1)[:, -1:]

    def __getstate__(self) -> dict[str, Any]:
        """Return what another process needs to be this scorer; it finds and loads the model itself."""
        return {name: self.__dict__[name] for name in ("_settings", "_dtype", "_expected")}

    @cached_property
    def _path(self) -> Path:
        return locate_model(self._settings.model, self._settings.revision)

    @cached_property
    def _device(self) -> str:
        return "cuda" if torch.cuda.is_available() else "cpu"

    @cached_property
    def _model(self) -> "CrossEncoder":
        from sentence_transformers import CrossEncoder

        model: CrossEncoder = CrossEncoder(
            str(self._path),
            device=self._device,
            max_length=self._settings.max_tokens,
            model_kwargs={"dtype": self._dtype, "use_safetensors": True},
        )
        require_positions(model, self._settings.max_tokens, self._settings.model)
        return model

    @cached_property
    def _content(self) -> dict[str, str]:
        files = sorted(path for path in self._path.rglob("*") if path.is_file() and path.suffix != ".md")
        return {str(path.relative_to(self._path)): fingerprint_file(path) for path in files}

    def namespace(self) -> str:
        """Return the fingerprint of all that decides a score but the pair."""
        return fingerprint(self._content, self._settings.max_tokens, str(self._dtype), SEARCH_VERSION)
