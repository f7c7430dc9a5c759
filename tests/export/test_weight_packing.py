"""A layer whose weight is not in the written graph is never passed over in silence."""

import brevitas.nn as qnn
import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from brevitas_defakeq.export.constant_pool import Constants
from brevitas_defakeq.export.integer_weights import integer_weight
from brevitas_defakeq.export.weight_packing import absent_weights, pack_weights_
from brevitas_defakeq.quant.presets import HAQWeightPerChannelFloat


def coded(seed):
    torch.manual_seed(seed)
    layer = qnn.QuantLinear(
        5, 3, weight_quant=HAQWeightPerChannelFloat, weight_bit_width=4, weight_candidate_bits=(4,)
    )
    layer.weight_quant.init_tensor_quant()
    layer.quant_weight()
    return integer_weight(layer.eval(), 4)


def graph(name):
    """``x @ name``."""
    taken, made = (
        helper.make_tensor_value_info(value, TensorProto.FLOAT, [1, size])
        for value, size in (("x", 5), ("y", 3))
    )
    weight = numpy_helper.from_array(np.zeros((5, 3), dtype=np.float32), name)
    return helper.make_model(
        helper.make_graph([helper.make_node("MatMul", ["x", name], ["y"])], "g", [taken], [made], [weight])
    )


def test_an_equal_weight_stands_for_both_and_another_is_absent():
    model, first, other = graph("a.weight"), coded(0), coded(1)
    assert absent_weights(model, {"a.weight": first, "b.weight": coded(0)}) == []
    weights = {"a.weight": first, "b.weight": other}
    assert absent_weights(model, weights) == ["b.weight"]
    with pytest.raises(KeyError, match="the graph has no b.weight"):
        pack_weights_(model, weights, Constants(), packed=True)
    assert sum(pack_weights_(model, {"a.weight": first}, Constants(), packed=True).values()) == 1
