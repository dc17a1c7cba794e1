"""A user's network of plain linear layers, seen as one of ours: its gradients are written out then.

Called by ``own``. Most networks that people begin with are a chain of nn.Linear and one activation;
through vmap and autograd their steps take 1.5 to 2 times as long (benchmarks/own.py).
"""

from __future__ import annotations

from copy import deepcopy
from itertools import pairwise

from torch import fx, nn

from workers.training.models.linear import LinearLayers
from workers.training.models.normalization import Normalization
from workers.training.models.own_dropout import KeyedDropout
from workers.training.models.own_module import is_untouched

_ACTIVATIONS: dict[type[nn.Module], str] = {
    nn.ReLU: "relu",
    nn.Tanh: "tanh",
    nn.Sigmoid: "sigmoid",
}


def plain_layers(net: nn.Module) -> LinearLayers | None:
    """Those that ``net`` is nothing else than, in the order of its parameters; else None."""
    try:
        net = deepcopy(net)  # what a module keeps of a trace would stay in it
    except Exception:  # what some keep cannot be copied
        return None
    if not all(is_untouched(module) for module in net.modules()):
        return None
    modules = _chain(net.train())
    if modules is None or _chain(net.eval()) != modules:
        return None
    linear = [module for module in modules if type(module) is nn.Linear]
    between = [module for module in modules if type(module) is not nn.Linear]
    names = {_ACTIVATIONS.get(type(module)) for module in between}
    alternate = all(type(module) is nn.Linear for module in modules[::2])
    if not alternate or len(linear) != len(between) + 1 or len(names) != 1 or None in names:
        return None
    if not all(tensor.requires_grad for tensor in net.parameters()):
        return None
    own = [tensor for module in linear for tensor in (module.weight, module.bias)]
    if [id(tensor) for tensor in own] != [id(tensor) for tensor in net.parameters()]:
        return None  # shared, unused, without a bias, or in another order
    widths = (linear[0].in_features, *(module.out_features for module in linear))
    (activation,) = names
    assert activation is not None
    return LinearLayers(
        widths=widths, activation=activation, normalization=Normalization(name="none")
    )


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, KeyedDropout) or super().is_leaf_module(m, module_qualified_name)


def _chain(net: nn.Module) -> list[nn.Module] | None:
    """The modules that inputs pass, one after the other, but those that change nothing here."""
    try:
        nodes = list(_Tracer().trace(net).nodes)
    except Exception:  # its course depends on the numbers
        return None
    found: list[nn.Module] = []
    for before, node in pairwise(nodes):
        if node.op == "output":
            return found if node.args == (before,) else None
        if node.op != "call_module" or node.args != (before,) or node.kwargs:
            return None
        module = net.get_submodule(str(node.target))
        if not _changes_nothing(module):
            found.append(module)
    return None


def _changes_nothing(module: nn.Module) -> bool:
    """Examples come flat, and what drops nothing is as if it were not there."""
    is_flatten = type(module) is nn.Flatten and (module.start_dim, module.end_dim) == (1, -1)
    return is_flatten or (isinstance(module, KeyedDropout) and module.rate == 0)
