"""sentence-transformers' own trainer, as comparisons and benchmarks run it; it needs no data frames."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.losses import CachedMultipleNegativesRankingLoss, MultipleNegativesRankingLoss
from transformers import TrainerCallback

MINI_BATCH = 32


def build_st_trainer(
    model: SentenceTransformer,
    columns: Mapping[str, Sequence[str]],
    folder: Path,
    *,
    steps: int,
    batch_size: int,
    learning_rate: float,
    temperature: float,
    cached: bool,
    bfloat16: bool,
    seed: int = 0,
    callbacks: Sequence[TrainerCallback] = (),
) -> SentenceTransformerTrainer:
    """Return a trainer of MultipleNegativesRankingLoss, cached or plain, on the columns anchor, positive, negatives."""
    scale = 1 / temperature
    loss = (
        CachedMultipleNegativesRankingLoss(model, mini_batch_size=MINI_BATCH, scale=scale)
        if cached
        else MultipleNegativesRankingLoss(model, scale=scale)
    )
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=batch_size,
        max_steps=steps,
        learning_rate=learning_rate,
        warmup_ratio=0.05,
        weight_decay=0.001,
        bf16=bfloat16,
        use_cpu=not torch.cuda.is_available(),
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=seed,
    )
    return SentenceTransformerTrainer(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_dict(dict(columns)),
        loss=loss,
        callbacks=list(callbacks),
    )
