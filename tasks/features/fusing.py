"""The same network in fewer passes over memory, for inference in float32 on a CPU.

Batch normalisation is folded into the convolution before it; that convolution, the addition of a residual and the ReLU
after it become one oneDNN primitive whose kernels are laid out for the shape of its input. It is what torch's compiler
does to a frozen network (torch/_inductor/fx_passes/mkldnn_fusion.py), without a compiler and its start-up time.
Results differ from the network's own by rounding.
"""

from __future__ import annotations

import operator

import torch
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

_ADDITIONS = {operator.add, operator.iadd, torch.add}
_RELUS = {nn.functional.relu, torch.relu}


def separate_outputs(network: fx.GraphModule) -> None:
    """Compute returned values that are in the middle of what may be fused once more, beside it.

    What is fused, so the bits of a layer, must not depend on which other layers are asked for.
    """
    graph = network.graph
    (output,) = graph.find_nodes(op="output")

    def copied(node: fx.Node) -> fx.Node:
        is_part = isinstance(_module(network, node), nn.BatchNorm2d | nn.Conv2d) or node.target in _ADDITIONS
        if not is_part:
            return node
        inputs = {each: copied(each) for each in node.all_input_nodes}
        return graph.node_copy(node, lambda each: inputs[each])

    with graph.inserting_before(output):
        for node in [each for each in output.all_input_nodes if len(each.users) > 1]:
            output.replace_input_with(node, copied(node))
    network.recompile()


def fold_batch_norms(network: fx.GraphModule) -> None:
    """Fold every batch normalisation that alone follows a convolution into it."""
    for node in list(network.graph.nodes):
        norm, source = _module(network, node), node.all_input_nodes[0] if node.all_input_nodes else node
        convolution = _module(network, source)
        if isinstance(norm, nn.BatchNorm2d) and isinstance(convolution, nn.Conv2d) and len(source.users) == 1:
            source.target = _add(network, source, fuse_conv_bn_eval(convolution, norm))
            node.replace_all_uses_with(source)
            network.graph.erase_node(node)
    _tidy(network)


def fuse_convolutions(network: fx.GraphModule) -> None:
    """Make every plain convolution one primitive with the residual and the ReLU that alone follow it."""
    place = {node: index for index, node in enumerate(network.graph.nodes)}
    for node in list(network.graph.nodes):
        convolution = _module(network, node)
        if not isinstance(convolution, nn.Conv2d) or isinstance(convolution.padding, str):
            continue
        if convolution.padding_mode != "zeros":
            continue
        last, residual = node, None
        follower = _only_user(node)
        if follower is not None and follower.target in _ADDITIONS and len(follower.all_input_nodes) == 2:
            other = next(each for each in follower.all_input_nodes if each is not node)
            if place[other] < place[node]:  # else it is the other's convolution that takes the sum
                last, residual = follower, other
        follower = _only_user(last)
        is_rectified = follower is not None and _is_relu(network, follower)
        if follower is not None and is_rectified:
            last = follower
        name = _add(network, node, _Convolution(convolution, rectified=is_rectified))
        with network.graph.inserting_before(last):
            arguments = (node.args[0],) if residual is None else (node.args[0], residual)
            fused = network.graph.call_module(name, arguments)
        place[fused] = place[last]
        last.replace_all_uses_with(fused)
        for absorbed in sorted({last, *_between(node, last)}, key=place.__getitem__, reverse=True):
            network.graph.erase_node(absorbed)
    _tidy(network)


class _Convolution(nn.Module):
    """A convolution with its bias, then a residual and a ReLU where they are given, as one oneDNN primitive."""

    def __init__(self, convolution: nn.Conv2d, *, rectified: bool) -> None:
        super().__init__()
        self._convolution = convolution
        self._rectified = rectified
        self._shape: torch.Size | None = None

    def forward(self, images: torch.Tensor, residual: torch.Tensor | None = None) -> torch.Tensor:
        own = self._convolution
        geometry = (own.padding, own.stride, own.dilation, own.groups)
        if images.shape != self._shape:
            size = list(images.shape)
            self._kernels = torch.ops.mkldnn._reorder_convolution_weight(own.weight, *geometry, size)  # noqa: SLF001
            self._shape = images.shape
        arguments = (self._kernels, own.bias, *geometry)
        fused = torch.ops.mkldnn._convolution_pointwise  # noqa: SLF001 - the compiler's own way in
        after = "relu" if self._rectified else None
        result: torch.Tensor
        if residual is None:
            result = fused(images, *arguments, after or "none", [], "")
        else:
            result = fused.binary(images, residual, *arguments, "add", 1.0, after, [], None)
        return result


def _add(network: fx.GraphModule, node: fx.Node, module: nn.Module) -> str:
    """Give a node's new module a name of its own: two nodes may share the old one."""
    name = f"{node.target}_{node.name}"
    network.add_submodule(name, module)
    return name


def _between(first: fx.Node, last: fx.Node) -> list[fx.Node]:
    """Return the nodes from `first` up to, not including, `last` along their only users."""
    nodes = []
    while first is not last:
        nodes.append(first)
        first = next(iter(first.users))
    return nodes


def _only_user(node: fx.Node) -> fx.Node | None:
    return next(iter(node.users)) if len(node.users) == 1 else None


def _module(network: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    return network.get_submodule(str(node.target)) if node.op == "call_module" else None


def _is_relu(network: fx.GraphModule, node: fx.Node) -> bool:
    return isinstance(_module(network, node), nn.ReLU) or node.target in _RELUS


def _tidy(network: fx.GraphModule) -> None:
    network.graph.eliminate_dead_code()
    network.delete_all_unused_submodules()
    network.recompile()
