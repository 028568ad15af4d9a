"""The model that is trained: loaded as a sentence-transformers model, changed as asked, saved as one."""

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from sentence_transformers import SentenceTransformer
from sentence_transformers.models import Dense, Module, Normalize, Pooling
from transformers import PreTrainedModel
from transformers.utils.logging import disable_progress_bar

from conan_assets.encoding.loading import cast_parameters, load_model
from conan_assets.encoding.models import locate_model
from conan_assets.encoding.settings import EncoderSettings
from conan_assets.files import flush, flush_tree
from conan_assets.training.architecture import ArchitectureSettings, LoraSettings

MODEL = "model"
ATTENTION_DROPOUT = "attention_dropout"
OF_ATTENTION = {"dropout", "attn_dropout", ATTENTION_DROPOUT}
"""Names of such layers in transformers; ALBERT and others have one more for what attention gives."""


class ArchitectureError(ValueError):
    """The base model cannot be changed as asked; the message says what it is."""


class TrainableModel:
    """A base model with the changes of an architecture.

    Parameters
    ----------
    base, architecture
        The base model, and the changes.
    device
        Where the model is put.
    seed
        What new weights are drawn from.
    dtype
        The type that the model will compute in, in which adapters' frozen weights are loaded.

    Attributes
    ----------
    model
        What is trained is in float32.
    """

    def __init__(
        self,
        base: EncoderSettings,
        architecture: ArchitectureSettings,
        device: str,
        seed: int,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        disable_progress_bar()  # type: ignore[no-untyped-call]
        self.model = _load(base, device, torch.float32 if architecture.lora is None else dtype)
        torch.manual_seed(seed)
        _set_pooling(self.model, architecture)
        if architecture.bidirectional:
            make_bidirectional(self.model)
        self._adapters = add_adapters(self.model, architecture.lora) if architecture.lora is not None else None
        if architecture.head_dim is not None:
            add_head(self.model, architecture.head_dim)
        if architecture.gradient_checkpointing:
            _transformer(self.model).activation_checkpointing_enable()

    def save(self, directory: Path) -> Path:
        """Save the model in float32 as ``directory/model``, whole or not at all, adapters merged; return its path.

        Merging happens on the CPU: a GPU need not have room for frozen weights in float32.
        """
        path = directory / MODEL
        partial = directory / f"{MODEL}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        if self._adapters is not None:
            cast_parameters(self.model.to("cpu"), torch.float32)
            self._adapters.merge_and_unload()
            self._adapters = None
        self.model.save(str(partial), create_model_card=False)
        flush_tree(partial)
        shutil.rmtree(path, ignore_errors=True)
        os.replace(partial, path)
        flush(directory)
        return path


def add_head(model: SentenceTransformer, dim: int) -> None:
    """Put a linear layer with bias and no activation behind the pooling, unless the model ends in one of ``dim``."""
    heads = [module for module in model if isinstance(module, Dense)]
    if heads and heads[-1].out_features == dim:
        return
    head = Dense(model.get_embedding_dimension() or 0, dim, activation_function=torch.nn.Identity()).to(model.device)
    position = next((i for i, module in enumerate(model) if isinstance(module, Normalize)), len(model))
    model.insert(position, head)


def make_bidirectional(model: SentenceTransformer) -> None:
    """Let every token attend to all; raise ArchitectureError if the first one still does not see the last."""
    transformer = _transformer(model)
    transformer.eval()  # type: ignore[no-untyped-call]
    transformer.config.is_causal = False
    tokens = torch.tensor([[1, 2, 3, 4], [1, 2, 3, 5]], device=model.device)
    with torch.inference_mode():
        output = transformer(input_ids=tokens, attention_mask=torch.ones_like(tokens)).last_hidden_state
    if torch.equal(output[0, 0], output[1, 0]):
        raise ArchitectureError(
            f"{type(transformer).__name__} stays causal: it does not read is_causal from its configuration; "
            "take another base model, or set bidirectional to false"
        )


def add_adapters(model: SentenceTransformer, settings: LoraSettings) -> PeftModel:
    """Freeze the transformer and put LoRA adapters on its linear layers, in place; return what merges them."""
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=settings.target_modules
        if isinstance(settings.target_modules, str)
        else [*settings.target_modules],
    )
    with _passing_for_float32(model):
        return get_peft_model(_transformer(model), config)


@contextlib.contextmanager
def _passing_for_float32(model: SentenceTransformer) -> Iterator[None]:
    """Show PEFT float32 weights without values: it rounds adapters to the type of the layer that they adapt."""
    values = [(parameter, parameter.data) for parameter in model.parameters()]
    for parameter, value in values:
        parameter.data = torch.zeros((), device=value.device).expand(value.shape)
    try:
        yield
    finally:
        for parameter, value in values:
            parameter.data = value


def _load(base: EncoderSettings, device: str, dtype: torch.dtype) -> SentenceTransformer:
    """Load the base model with its transformer in ``dtype`` and what is behind it, which is trained, in float32."""
    model = load_model(base, device, dtype)
    if dtype == torch.float32:
        return model
    folder = locate_model(base.model, base.revision)
    modules = folder / "modules.json"
    paths = [module["path"] for module in json.loads(modules.read_text(encoding="utf-8"))] if modules.exists() else []
    for position, (path, module) in enumerate(zip(paths, model, strict=False)):
        if position > 0 and isinstance(module, Module) and any(True for _ in module.parameters()):
            model[position] = type(module).load(str(folder), subfolder=path).to(device)
    return model


def _transformer(model: SentenceTransformer) -> PreTrainedModel:
    transformer = model.transformers_model
    if transformer is None:
        raise ArchitectureError(f"{type(model[0]).__name__} is no transformers model: bidirectional and lora need one")
    return transformer


def set_dropout(model: torch.nn.Module, hidden: float | None, attention: float | None) -> Callable[[], None]:
    """Set the probability of dropout, of attention's weights and of all else; return what sets them back.

    None leaves the model's own.
    """
    before = []
    for module, name, is_of_attention in _dropouts(model):
        if (probability := attention if is_of_attention else hidden) is not None:
            before.append((module, name, getattr(module, name)))
            setattr(module, name, probability)

    def set_back() -> None:
        for module, name, value in reversed(before):
            setattr(module, name, value)

    return set_back


def _dropouts(model: torch.nn.Module) -> Iterator[tuple[torch.nn.Module, str, bool]]:
    """Yield where every probability stands, and whether it is of attention's weights.

    Attention has it as a number, or as a layer beside the one that makes its queries.
    """
    for parent in model.modules():
        if isinstance(getattr(parent, ATTENTION_DROPOUT, None), float):
            yield parent, ATTENTION_DROPOUT, True
        makes_queries = any(name.startswith("q") for name, _ in parent.named_children())
        for name, child in parent.named_children():
            if isinstance(child, torch.nn.Dropout):
                yield child, "p", makes_queries and name in OF_ATTENTION


def _set_pooling(model: SentenceTransformer, architecture: ArchitectureSettings) -> None:
    changes = {"pooling_mode": architecture.pooling, "include_prompt": architecture.pool_prompt}
    changes = {name: value for name, value in changes.items() if value is not None}
    if not changes:
        return
    for position, module in enumerate(model):
        if isinstance(module, Pooling):
            model[position] = Pooling(**(module.get_config_dict() | changes))
            return
    raise ArchitectureError(f"{type(model[0]).__name__} has no pooling to change; set pooling and pool_prompt to null")
