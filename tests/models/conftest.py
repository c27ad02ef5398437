import pytest
import torch

from tests.small_models import VOCABULARY, small_mamba1, small_mamba2


@pytest.fixture(params=[small_mamba1, small_mamba2], ids=["mamba1", "mamba2"])
def small_model(request):
    return request.param()


@pytest.fixture
def tokens():
    return torch.randint(0, VOCABULARY, (2, 21), generator=torch.Generator().manual_seed(0))
