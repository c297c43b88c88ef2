"""What every method gives on the bundled networks is what it gave when the golden values were written."""

import json
import warnings

import pytest
import torch

from netlens.errors import NetLensWarning
from tests.golden.values import FILE, NETWORKS, PARAMS, golden, pictures

GOLDEN = json.loads(FILE.read_text())


GPU = pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"))


@pytest.mark.parametrize("device", ["cpu", GPU])
@pytest.mark.parametrize("network", NETWORKS)
def test_no_number_changed(network, device):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NetLensWarning)
        values = golden(network, device)
    wrong = {}
    for name, wanted in GOLDEN[network].items():
        now = values.get(name)
        if wanted is None or now is None:
            if now != wanted:
                wrong[name] = "applies" if wanted is None else "applies no more"
        elif now != pytest.approx(wanted, rel=1e-6, abs=1e-8 * max(map(abs, wanted))):
            wrong[name] = (now, wanted)
    assert not wrong


@pytest.mark.parametrize("device", ["cpu", GPU])
def test_no_picture_changed(device):
    values = pictures(device)
    assert set(values) == set(GOLDEN["pictures"]) == set(PARAMS)
    for name, wanted in GOLDEN["pictures"].items():
        assert values[name] == pytest.approx(wanted, rel=1e-5, abs=1e-6 * max(map(abs, wanted))), name
