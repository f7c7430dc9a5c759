"""Names for the modules of a converted graph: those of the original network where the file tells them."""

import ast
import keyword
import re
from collections.abc import Iterator

from onnx import NodeProto

from brevitas_defakeq.nn.graph_network import GraphAttention

#: What exporters append to the names of weights that they have changed.
_WEIGHT_ENDINGS = re.compile(
    r"([._/](weight|bias|kernel|gamma|beta|W|B|scale|value|BiasAdd|ReadVariableOp)|_(bn|fused)|_\d+_?)*(:\d+)?$"
)
#: Operations within a layer of Keras.
_KERAS_PARTS = re.compile(
    r"(convolution|depthwise|merged_input|batchnorm|mul|sub|add|Cast|ReadVariableOp|MatMul|BiasAdd|Conv2D|Relu6?"
    r"|Mean|Softmax|Sigmoid|Reshape|Pad|FusedBatchNorm\w*)(_\d+)*(__\d+)?|Mean_Squeeze__\d+"
)
_SCOPES = "pkg.torch.onnx.name_scopes"
#: Names that exporters make up.
_ANONYMOUS = re.compile(r"^(onnx::.*|val_?\d+|_?\d+|const(ant)?[_.\d].*|.*const_fold.*|new_.*)$", re.I)


#: What a module of the network cannot be called.
_RESERVED = {
    *dir(GraphAttention({}, (), (), (), "", "")),
    *keyword.kwlist,  # the exporter writes Python with the names
    *("q_quant", "k_quant", "softmax_quant", "v_quant"),
}


class NodeNames:
    """Gives out names, each once, none inside of another."""

    def __init__(self) -> None:
        self.used: set[str] = set()
        self.scopes: set[str] = set()

    def name(self, node: NodeProto, kind: str, hint: str = "") -> str:
        """A free name for the module of ``kind`` that a node becomes; ``hint``: its weight's name."""
        for found in self._candidates(node, kind, hint):
            candidate = ".".join(f"{part}_" if part in _RESERVED else part for part in found.split("."))
            outer = {candidate.rsplit(".", count)[0] for count in range(1, candidate.count(".") + 1)}
            if candidate not in self.used and candidate not in self.scopes and not outer & self.used:
                self.used.add(candidate)
                self.scopes |= outer
                return candidate
        raise AssertionError("the counter has no end")

    def _candidates(self, node: NodeProto, kind: str, hint: str) -> Iterator[str]:
        module = kind[:1].isupper()  # and no function
        own = [_of_node(node), _of_weight(hint), _of_scopes(node)] if module else [_of_weight(hint)]
        found = [name for name in own if name]
        yield from found
        count, base = 0, f"{found[0]}_{kind.lower()}" if module and found else kind.lower()
        yield base
        base = base.replace(".", "_")  # the scope may be the name of a module
        while True:
            count += 1
            yield f"{base}_{count}"


def _of_weight(name: str) -> str:
    if _ANONYMOUS.match(name):
        return ""
    return _of_keras(name) if "/" in name else _clean(_WEIGHT_ENDINGS.sub("", name))


def _of_keras(name: str) -> str:
    """The layer in a path such as ``model_1/block_1_expand_1/convolution/merged_input:0``."""
    parts = [part for part in name.split(":")[0].split("/") if part and not _KERAS_PARTS.fullmatch(part)]
    return re.sub(r"\W+", "_", parts[-1]) if len(parts) > 1 else ""


def _of_scopes(node: NodeProto) -> str:
    """The module's path that torch's newer exporter writes beside the node."""
    for entry in node.metadata_props:
        if entry.key == _SCOPES:
            scopes = [scope for scope in ast.literal_eval(entry.value) if scope]
            return _clean(scopes[-2]) if len(scopes) > 1 else ""
    return ""


def _of_node(node: NodeProto) -> str:
    """The path in a node's name, such as ``/blocks/blocks.0/attn/qkv/MatMul``."""
    if not node.name.startswith("/"):
        return _of_keras(node.name)
    path: list[str] = []
    for part in [part for part in node.name.split("/") if part][:-1]:
        if path and part.startswith(f"{path[-1]}."):
            path.pop()
        path.append(part)
    return _clean(".".join(path))


def _clean(name: str) -> str:
    """Letters, digits and underscores, in parts separated by dots."""
    parts = [re.sub(r"\W+", "_", part).strip("_") for part in re.split(r"[./]", name)]
    return ".".join(f"_{part}" if part[:1].isdigit() and len(parts) == 1 else part for part in parts if part)
