"""Small networks of steps that people write in a forward: in place, by view, with lists, shared modules."""

import random
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

CHANNELS, SIDE = 8, 16


class Program(nn.Module):
    """Images [N, 3, 16, 16] through a stem, the named steps and a head; ``seed`` decides all details."""

    def __init__(self, steps: list[str], seed: int) -> None:
        super().__init__()
        self.draw = random.Random(seed)
        torch.manual_seed(seed)
        self.kept: list[Tensor] = []
        self.stem = nn.Conv2d(3, CHANNELS, 3, self.draw.choice((1, 2)), 1)
        self.steps = [STEPS[name](self) for name in steps]
        self.grows, self.by_view = "remember" in steps, self.draw.random() < 0.3
        classes = self.draw.choice((1, 2))
        with torch.no_grad():
            enliven_(self)
            shape = self.features(torch.zeros(2, 3, SIDE, SIDE)).shape
        self.head = nn.Linear(shape[1], classes)
        self.eval()

    def part(self, module: nn.Module) -> str:
        """Its name: a step asks for the module by name, so that a copy of the program has its own."""
        name = f"part{len(self._modules)}"
        self.add_module(name, module)
        return name

    def shared(self, name: str, make: Callable[[], nn.Module]) -> str:
        """The one module of that name, which several steps call."""
        if name not in self._modules:
            self.add_module(name, make())
        return name

    def run(self, name: str, x: Tensor) -> Tensor:
        return self.get_submodule(name)(x)

    def features(self, x: Tensor) -> Tensor:
        self.kept = []
        x = self.stem(x)
        for step in self.steps:
            x = step(self, x)
        if self.grows:
            small = [F.adaptive_avg_pool2d(part, x.shape[-2:]) for part in self.kept]
            x = torch.cat([x, *small], 1)
        self.kept = []
        if self.by_view:
            x = F.adaptive_avg_pool2d(x, 4)
            return x.view(x.size(0), -1)
        return x.mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


def enliven_(module: nn.Module) -> None:
    """Statistics of BatchNorms as after some training."""
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.running_mean.normal_(0, 0.2)
            part.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(part.weight, 0.5, 1.5)


Step = Callable[[Program, Tensor], Tensor]


def convolution(program: Program) -> Step:
    draw, kernel = program.draw, program.draw.choice((1, 3, 5))
    groups = draw.choice((1, 2, CHANNELS))
    layer = nn.Conv2d(
        CHANNELS,
        CHANNELS,
        kernel,
        draw.choice((1, 1, 2)),
        kernel // 2,
        groups=groups,
        bias=draw.random() < 0.5,
    )
    norm = draw.choice((nn.Identity(), nn.BatchNorm2d(CHANNELS), nn.GroupNorm(2, CHANNELS)))
    act = draw.choice((nn.ReLU(inplace=True), nn.ReLU(), nn.SiLU(inplace=True), nn.GELU()))
    name = program.part(nn.Sequential(layer, norm, act))
    return lambda p, x: p.run(name, x)


def residual(program: Program) -> Step:
    """``x += p.run(body, relu_(x))``, as pre-activation networks do."""
    body = program.part(nn.Conv2d(CHANNELS, CHANNELS, 3, 1, 1))
    in_place = program.draw.random() < 0.5

    def run(p: Program, x: Tensor) -> Tensor:
        x = F.relu(x, inplace=in_place)
        found = p.run(body, x)
        found += x
        return found

    return run


class PreActivation(nn.Module):
    """A block that changes its input, then reads it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(CHANNELS, CHANNELS, 3, 1, 1), nn.Conv2d(CHANNELS, CHANNELS, 1)

    def forward(self, x: Tensor) -> Tensor:
        x.mul_(0.7).add_(0.1)
        return x + self.second(F.silu(self.first(x)))


def block_in_place(program: Program) -> Step:
    name = program.part(PreActivation())
    return lambda p, x: p.run(name, x)


def shared_convolution(program: Program) -> Step:
    layer = program.shared("twice", lambda: nn.Conv2d(CHANNELS, CHANNELS, 3, 1, 1))
    return lambda p, x: F.relu(p.run(layer, x))


def shared_norm(program: Program) -> Step:
    norm = program.shared("norm", lambda: nn.BatchNorm2d(CHANNELS))
    layer = program.part(nn.Conv2d(CHANNELS, CHANNELS, 3, 1, 1))
    return lambda p, x: F.relu(p.run(norm, p.run(layer, x)))


def norm_first(program: Program) -> Step:
    norm, layer = program.part(nn.BatchNorm2d(CHANNELS)), program.part(nn.Conv2d(CHANNELS, CHANNELS, 3, 1, 1))
    return lambda p, x: x + p.run(layer, F.relu(p.run(norm, x)))


def norm_of_sum(program: Program) -> Step:
    norm, layer = program.part(nn.BatchNorm2d(CHANNELS)), program.part(nn.Conv2d(CHANNELS, CHANNELS, 1))
    return lambda p, x: p.run(norm, x + p.run(layer, x))


def shuffle(program: Program) -> Step:
    """Channels shuffled by view."""

    def run(p: Program, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        return x.view(n, 2, c // 2, h, w).transpose(1, 2).contiguous().view(n, c, h, w)

    return run


def tokens(program: Program) -> Step:
    """Norm and Linear on tokens [N, T, C], or [T, N, C]."""
    norm, layer = program.part(nn.LayerNorm(CHANNELS)), program.part(nn.Linear(CHANNELS, CHANNELS))
    images_second = program.draw.random() < 0.5

    def run(p: Program, x: Tensor) -> Tensor:
        rows = x.flatten(2).permute(2, 0, 1) if images_second else x.flatten(2).transpose(1, 2)
        rows = rows + p.run(layer, p.run(norm, rows))
        rows = rows.permute(1, 2, 0) if images_second else rows.transpose(1, 2)
        return rows.reshape(x.shape)

    return run


def gate(program: Program) -> Step:
    layer = program.part(nn.Linear(CHANNELS, CHANNELS))
    return lambda p, x: x.mul_(torch.sigmoid(p.run(layer, x.mean((2, 3))))[:, :, None, None])


def halves(program: Program) -> Step:
    """In place on views of halves."""
    layer = program.part(nn.Conv2d(CHANNELS // 2, CHANNELS // 2, 3, 1, 1))

    def run(p: Program, x: Tensor) -> Tensor:
        first, second = x.chunk(2, 1)
        first.add_(p.run(layer, second))
        return torch.cat([second, first], 1)

    return run


def assignment(program: Program) -> Step:
    def run(p: Program, x: Tensor) -> Tensor:
        x = x.clone()
        x[:, 0] = x[:, 1] * 0.5
        return x

    return run


def prompt(program: Program) -> Step:
    """A Linear on learned tokens, added to all positions."""
    layer = program.part(nn.Linear(CHANNELS, CHANNELS))
    learned = f"tokens{len(program._parameters)}"
    program.register_parameter(learned, nn.Parameter(torch.randn(1, CHANNELS)))
    return lambda p, x: x + p.run(layer, p.get_parameter(learned))[:, :, None, None] * 0.3


def remember(program: Program) -> Step:
    """A list of features that grows, concatenated in front of the head."""

    def run(p: Program, x: Tensor) -> Tensor:
        p.kept.append(x)
        return F.relu(x) * 0.9

    return run


def dense(program: Program) -> Step:
    """A list that is concatenated, grows, and is concatenated again."""
    layer = program.part(nn.Conv2d(CHANNELS, CHANNELS, 3, 1, 1))
    after = program.part(nn.Conv2d(2 * CHANNELS, CHANNELS, 1))

    def run(p: Program, x: Tensor) -> Tensor:
        found = [x]
        found.append(F.relu(p.run(layer, torch.cat(found, 1))))
        return p.run(after, torch.cat(found, 1))

    return run


def without_gradient(program: Program) -> Step:
    layer = program.part(nn.Conv2d(CHANNELS, CHANNELS, 3, 1, 1))

    def run(p: Program, x: Tensor) -> Tensor:
        with torch.no_grad():
            return F.relu(p.run(layer, x))

    return run


def pool(program: Program) -> Step:
    name = program.part(program.draw.choice((nn.MaxPool2d(3, 2, 1), nn.AvgPool2d(3, 1, 1))))
    return lambda p, x: p.run(name, x)


def masked(program: Program) -> Step:
    """Attention over positions under a mask that holds -inf."""
    layer = program.part(nn.Linear(CHANNELS, CHANNELS))

    def run(p: Program, x: Tensor) -> Tensor:
        rows = x.flatten(2).transpose(1, 2)
        side = rows.shape[1]
        mask = torch.full((side, side), float("-inf"), device=x.device).triu(1)
        weights = (rows @ rows.transpose(1, 2) * 0.1 + mask).softmax(-1)
        return (weights @ p.run(layer, rows)).transpose(1, 2).contiguous().view(x.shape)

    return run


def parametrized(program: Program) -> Step:
    add = program.draw.choice((parametrizations.weight_norm, parametrizations.spectral_norm))
    layer = program.part(add(nn.Conv2d(CHANNELS, CHANNELS, 3, 1, 1)))
    return lambda p, x: F.relu(p.run(layer, x))


STEPS: dict[str, Callable[[Program], Step]] = {
    made.__name__: made
    for made in (
        convolution, residual, block_in_place, shared_convolution, shared_norm, norm_first, norm_of_sum,
        shuffle, tokens, gate, halves, assignment, prompt, remember, dense, without_gradient, pool, masked,
        parametrized,
    )
}  # fmt: skip


class Normalizing(nn.Module):
    """Normalizes its batch in place, then runs the program."""

    def __init__(self, program: Program) -> None:
        super().__init__()
        self.program = program

    def forward(self, x: Tensor) -> Tensor:
        x.sub_(0.1).div_(0.9)
        return self.program(x)


def build(steps: list[str], seed: int, *, normalizes: bool) -> nn.Module:
    program = Program(steps, seed)
    return Normalizing(program).eval() if normalizes else program
