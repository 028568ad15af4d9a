"""What embedding servers read of a release beside its weights, and `serving.md`, which says how to start them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Pooling

SERVING_FILE = "serving.md"
POOLING_FLAGS = {
    "cls": "pooling_mode_cls_token",
    "mean": "pooling_mode_mean_tokens",
    "max": "pooling_mode_max_tokens",
    "mean_sqrt_len_tokens": "pooling_mode_mean_sqrt_len_tokens",
    "weightedmean": "pooling_mode_weightedmean_tokens",
    "lasttoken": "pooling_mode_lasttoken",
}
"""How sentence-transformers wrote the way of pooling before 5.4, and servers made before that still read it."""

BEFORE = "sentence_transformers.models"
"""Where sentence-transformers had its modules before 5.4; servers with an earlier one import them from there."""
READ_BEFORE = {
    "Transformer": ("max_seq_length", "do_lower_case"),
    "Pooling": ("word_embedding_dimension", "pooling_mode", *POOLING_FLAGS.values(), "include_prompt"),
    "Dense": ("in_features", "out_features", "bias", "activation_function"),
}
"""What the configuration of a module may hold: sentence-transformers before 5 refuses to load a model with more."""
MEANS_NOTHING_MORE: tuple[object, ...] = (
    None,
    False,
    {},
    "feature-extraction",
    "token_embeddings",
    "sentence_embedding",
    {"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
)
"""Values of later settings that say what earlier versions do anyway."""

OF_LLAMA_CPP = {"cls": "cls", "mean": "mean", "lasttoken": "last"}

PAGE = """# Serving {name}

{what}

{servers}

sentence-transformers puts a prompt before a text by `prompt_name`, text-embeddings-inference by the `prompt_name` of a
request to `/embed`; for the others put it there yourself.

Compare before anything is searched with a server: the same texts must give the same vectors.

```python
import numpy as np
from openai import OpenAI
from sentence_transformers import SentenceTransformer

texts = ["a question", "another one"]
server = OpenAI(base_url="http://127.0.0.1:8000/v1", api_key="none")
asked = server.embeddings.create(model="released_model", input=[{prompt!r} + text for text in texts])
served = np.array([row.embedding for row in asked.data])
expected = SentenceTransformer("released_model").encode(texts, prompt_name="query")
print((served * expected).sum(axis=1) / np.linalg.norm(served, axis=1))  # at least 0.999 each
```
"""


def write_serving_files(folder: Path, model: "SentenceTransformer", name: str, dims: Sequence[int] = ()) -> str:
    """Complete a saved model with what servers read, write `serving.md`, and return why servers are refused, or "".

    The modules and their configurations are written as sentence-transformers did before 5.4, which later ones read too,
    ``config.json`` gets the Matryoshka lengths ``dims`` and the type of the weights as servers look it up. The page is
    written last; :func:`make_readable` takes its rights for all others.
    """
    modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
    for entry, module in zip(modules, model, strict=True):
        entry["type"] = _write_as_before(folder / entry["path"], module, model) or entry["type"]
    _write(folder / "modules.json", modules)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    of_weights = {"torch_dtype": config["dtype"]} if "dtype" in config else {}
    _write(folder / "config.json", config | of_weights | ({"matryoshka_dimensions": sorted(dims)} if dims else {}))
    refused = refusal(model)
    (folder / SERVING_FILE).write_text(_page(name, model, dims, refused), encoding="utf-8")
    return refused


def _write_as_before(folder: Path, module: "torch.nn.Module", model: "SentenceTransformer") -> str | None:
    """Write a module's configuration as before 5.4 and return its type of then; None for one that was not there."""
    kind = type(module).__name__
    if kind not in READ_BEFORE:
        return f"{BEFORE}.{kind}" if kind == "Normalize" else None
    path = folder / ("sentence_bert_config.json" if kind == "Transformer" else "config.json")
    known = json.loads(path.read_text(encoding="utf-8"))
    if kind == "Pooling":
        flags = {flag: mode in _modes(cast("Pooling", module)) for mode, flag in POOLING_FLAGS.items()}
        known |= {"word_embedding_dimension": known.pop("embedding_dimension"), **flags}
    elif kind == "Transformer":
        known |= {"max_seq_length": model.max_seq_length, "do_lower_case": False}
    read = {name: value for name, value in known.items() if name in READ_BEFORE[kind]}
    is_of_before = all(known[name] in MEANS_NOTHING_MORE for name in known.keys() - read.keys())
    _write(path, read if is_of_before else known)
    return f"{BEFORE}.{kind}" if is_of_before else None


def make_readable(folder: Path) -> None:
    """Give every file the rights that the umask gives to a new one, so that the group that serves can read it."""
    rights = (folder / SERVING_FILE).stat().st_mode & 0o777
    for file in folder.rglob("*"):
        if file.is_file():
            file.chmod(rights)


def refusal(model: "SentenceTransformer") -> str:
    """Return why no server gives the vectors of this model, or an empty string."""
    pooling = _pooling(model)
    if pooling is None:
        return "it has no pooling module that a server could read"
    if not pooling.include_prompt and any(model.prompts.values()):
        return "its mean leaves the tokens of the prompt out (include_prompt: false), which no server does"
    if len(_modes(pooling)) > 1:
        return f"it joins several ways of pooling ({', '.join(_modes(pooling))}), and a server reads one"
    return ""


def _pooling(model: "SentenceTransformer") -> "Pooling | None":
    from sentence_transformers.models import Pooling

    return next((module for module in model if isinstance(module, Pooling)), None)


def _modes(pooling: "Pooling") -> tuple[str, ...]:
    return (pooling.pooling_mode,) if isinstance(pooling.pooling_mode, str) else tuple(pooling.pooling_mode)


def _write(path: Path, values: object) -> None:
    path.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _page(name: str, model: "SentenceTransformer", dims: Sequence[int], refused: str) -> str:
    if refused:
        return (
            f"# Serving {name}\n\nNo server is to be used for this model: {refused}. `SentenceTransformer` computes it "
            "right.\n"
        )
    pooling = _pooling(model)
    (mode,) = _modes(pooling) if pooling else ("mean",)
    prompts = {role: model.prompts.get(role) or "" for role in ("query", "document")}
    told = ", ".join(f"`{prompt}` before a {role}" for role, prompt in prompts.items() if prompt) or "no prompt"
    what = (
        f"Pooling `{mode}` over all tokens, vectors of length 1, at most {model.max_seq_length} tokens, {told}"
        + (f"; vectors may be cut to {', '.join(map(str, sorted(dims)))} components" if dims else "")
        + "."
    )
    if any(type(module).__name__ == "Dense" for module in model):
        what += " A `Dense` module follows the pooling: a server that does not read it gives other vectors."
    return PAGE.format(name=name, what=what, servers=_servers(mode), prompt=prompts["query"])


def _servers(mode: str) -> str:
    commands = {
        "sentence-transformers, tried by the tests of this project": "SentenceTransformer('released_model')",
        "infinity, tried by the tests of this project": (
            "infinity_emb v2 --model-id released_model --port 8000 --url-prefix /v1"
        ),
        "vLLM 0.32 on a CPU, tried by hand; it refuses texts above the limit of tokens unless a request has "
        "`truncate_prompt_tokens: -1`": "vllm serve released_model --runner pooling",
        "text-embeddings-inference, untried": "text-embeddings-router --model-id released_model --auto-truncate",
    }
    if mode in OF_LLAMA_CPP:
        commands["llama.cpp, and Ollama with `FROM ./model.gguf`, untried"] = (
            "python convert_hf_to_gguf.py released_model --outfile model.gguf && "
            f"llama-server -m model.gguf --embeddings --pooling {OF_LLAMA_CPP[mode]}"
        )
    return "\n".join(f"* {server}: `{command}`" for server, command in commands.items())
