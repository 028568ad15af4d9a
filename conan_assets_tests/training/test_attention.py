"""Which kernel attention takes on a CPU."""

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from conan_assets.training.attention import attention_kernel


@pytest.mark.parametrize(
    ("tokens", "dtype", "is_fused"),
    [
        pytest.param(20, torch.bfloat16, False, id="short texts in bfloat16"),
        pytest.param(300, torch.bfloat16, True, id="long texts in bfloat16"),
        pytest.param(20, torch.float32, True, id="short texts in float32"),
    ],
)
def test_short_texts_in_bfloat16_take_plain_products_and_all_others_the_fused_kernel(
    tokens: int, dtype: torch.dtype, is_fused: bool
):
    vectors = torch.randn(2, 4, tokens, 8, dtype=dtype, requires_grad=True)
    with attention_kernel(tokens, torch.device("cpu"), dtype):
        found = scaled_dot_product_attention(vectors, vectors, vectors)
    assert ("Flash" in found.grad_fn.name()) == is_fused
