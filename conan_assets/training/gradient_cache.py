"""GradCache (Gao et al. 2021, arXiv 2101.06983): the gradient of a loss over more texts than fit in memory at once.

1. Encode all mini-batches. Those within the memory budget keep their graph, the others run without one.
2. The caller computes its loss on the embeddings, and their gradient.
3. Push each mini-batch's share of that gradient through its graph; where none was kept, encode again first.

Activations of ``tokens_kept`` tokens (at least of one mini-batch) bound the memory, however many texts there are; and
a batch that fits in it costs no second forward pass. Dropout draws the same numbers in both passes because every
mini-batch seeds them itself.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class MiniBatch:
    """Texts that go through the model together.

    Attributes
    ----------
    rows
        Their positions in the batch's texts; none where the model runs only because other processes run it too, over
        one text that counts for nothing.
    features
        What the model's tokenizer made of them.
    tokens
        Padded tokens.
    seed
        What dropout is drawn from.
    """

    rows: list[int]
    features: dict[str, Tensor]
    tokens: int
    seed: int


class GradientCache:
    """One step's embeddings and their way back.

    Parameters
    ----------
    encode
        Gives the embeddings of a mini-batch, shape (rows, dim).
    mini_batches
        The texts of the step.
    tokens_kept
        Padded tokens whose graphs may be kept; None for all.
    """

    def __init__(
        self, encode: Callable[[MiniBatch], Tensor], mini_batches: Sequence[MiniBatch], tokens_kept: int | None
    ) -> None:
        self._encode = encode
        self._mini_batches = mini_batches
        self._tokens_kept = tokens_kept
        self._graphs: list[Tensor | None] = []

    def embed(self) -> Tensor:
        """Return the embeddings of all mini-batches one after the other, float32, without a graph."""
        embeddings = []
        tokens = 0
        for mini_batch in self._mini_batches:
            tokens += mini_batch.tokens
            keeps = self._tokens_kept is None or tokens <= self._tokens_kept
            with torch.set_grad_enabled(keeps):
                output = self._encode_seeded(mini_batch)
            self._graphs.append(output if keeps else None)
            embeddings.append(output.detach().float()[: len(mini_batch.rows)])
        return torch.cat(embeddings)

    def backward(self, gradient: Tensor) -> None:
        """Add the gradient of the parameters, given that of the embeddings in the order of :meth:`embed`."""
        shares = gradient.split([len(mini_batch.rows) for mini_batch in self._mini_batches])  # type: ignore[no-untyped-call]
        for number, (mini_batch, share) in enumerate(zip(self._mini_batches, shares, strict=True)):
            graph = self._graphs[number]
            self._graphs[number] = None
            output = graph if graph is not None else self._encode_seeded(mini_batch)
            output[: len(mini_batch.rows)].backward(share.to(output.dtype))  # type: ignore[no-untyped-call]

    def _encode_seeded(self, mini_batch: MiniBatch) -> Tensor:
        torch.manual_seed(mini_batch.seed)
        return self._encode(mini_batch)
