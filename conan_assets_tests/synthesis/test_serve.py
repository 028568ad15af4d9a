"""Against ``transformers serve``: another implementation of the protocol, with a model that answers garbage."""

import os
import socket
import string
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from conan_assets.llm.settings import CallLimits
from conan_assets.synthesis.generation import generate_pairs
from conan_assets.synthesis.settings import OpenAIGeneration
from conan_assets_tests.synthesis.passages import CORPUS, PAIRS, journal_keys

pytestmark = pytest.mark.slow

CHAT_TEMPLATE = "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}assistant:"


def build_causal_model(folder: Path) -> str:
    """Save a random one-layer Llama that reads and writes single characters."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    characters = ["</s>", "<unk>", " ", *string.ascii_letters, *string.digits, *string.punctuation]
    vocabulary = {character: number for number, character in enumerate(characters)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.decoder = decoders.Fuse()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(characters),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=8_192,
        bos_token_id=None,
        eos_token_id=0,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="</s>", unk_token="<unk>", chat_template=CHAT_TEMPLATE
    ).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def served_model(tmp_path_factory):
    """Return (base URL, model) of a server in a process of its own."""
    model = build_causal_model(tmp_path_factory.mktemp("causal_model"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(Path(sys.executable).with_name("transformers")), "serve", model, "--device", "cpu"]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([*command, "--host", "127.0.0.1", "--port", str(port)], env=environment)
    try:
        wait_until_healthy(f"http://127.0.0.1:{port}/health", process)
        yield f"http://127.0.0.1:{port}/v1", model
    finally:
        process.terminate()
        process.wait(timeout=20)


def wait_until_healthy(url: str, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"transformers serve does not answer at {url}, exit code {process.poll()}")


def test_every_garbage_answer_is_rejected_and_the_run_ends_with_counts(served_model, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-0123456789")
    base_url, model = served_model
    generation = OpenAIGeneration(
        kind="openai",
        model=model,
        base_url=base_url,
        tasks=("question", "instruction", "sts"),
        max_pairs=12,
        max_completion_tokens=24,
        calls=CallLimits(concurrency=2, max_corrections=1),
    )
    corpus = CORPUS.head(6)
    pairs, report = generate_pairs(generation, corpus, PAIRS, tmp_path)
    assert (pairs.height, report["written"], report["stopped"]) == (0, 0, "no passage is left")
    assert report["passages_failed"] == corpus.height
    assert sum(row["passages"] for row in report["failed_by_reason"]) == corpus.height
    assert {row["reason"] for row in report["failed_by_reason"]} <= {
        "cut_off",
        "invalid_json",
        "wrong_schema",
        "refused",
    }
    assert report["answers_from_endpoint"] == 2 * corpus.height == len(journal_keys(tmp_path))
    assert report["prompt_tokens"] > 1_000
    _, again = generate_pairs(generation, corpus, PAIRS, tmp_path)
    assert again["answers_from_journal"] == 2 * corpus.height
    assert "answers_from_endpoint" not in again
