"""What the elements of a convolution's kernel are multiplied by, laid out as a matrix."""

from collections.abc import Sequence

from torch import Tensor


def windows(
    inputs: Tensor, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int], groups: int
) -> Tensor:
    """Inputs [N, C, ...], padded already -> [groups, C/groups * kernel, N * positions], a product per row.

    torch's ``unfold`` for images does this for two dimensions alone.
    """
    dims = len(kernel)
    for dim, (size, step, spread) in enumerate(zip(kernel, stride, dilation, strict=True), start=2):
        inputs = inputs.unfold(dim, spread * (size - 1) + 1, step)[..., ::spread]
    images, channels = inputs.shape[:2]
    grouped = inputs.reshape(images, groups, channels // groups, *inputs.shape[2:])
    positions, kernel_dims = range(3, 3 + dims), range(3 + dims, 3 + 2 * dims)
    return grouped.permute(1, 2, *kernel_dims, 0, *positions).flatten(2 + dims).flatten(1, -2)
