import pytest

from perfmamba.components import COMPONENTS, FINAL_LAYER, MODEL_RANGE, component_range, parse_component_range


@pytest.mark.parametrize("component", COMPONENTS)
@pytest.mark.parametrize("layer", [FINAL_LAYER, 0, 7, 63])
def test_range_names_are_read_back(layer, component):
    assert parse_component_range(component_range(layer, component)) == (layer, component)


@pytest.mark.parametrize(
    "name",
    [
        MODEL_RANGE,
        "aten::mul",
        "perfmamba::layer3",
        "perfmamba::layer3::attention",
        "perfmamba::layer::ssm",
        "perfmamba::layer-1::ssm",
        "perfmamba::layerfinal::norm",
        "perfmamba::3::ssm",
        "other::layer3::ssm",
    ],
)
def test_other_names_are_not_components(name):
    assert parse_component_range(name) is None
