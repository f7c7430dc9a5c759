"""What an error of a block's output costs: the classes that ``loss`` chooses from.

A new one is a class here, in the table at the end, and its name in ``config.ReconstructionLoss``.

y and y~ are the block's output in M_f and in M_q, z the fake logit, J = dz/dy through the rest of M_f, p the
probabilities of a softmax over (z/T, 0). All losses are in units of the squared error relative to the
variance of y, in which R(V) of eq. 7 is weighed: what weights the error has mean 1.
"""

import torch
from torch import Tensor

from brevitas_defakeq.config import FORWARD_BATCH, ReconstructionConfig
from brevitas_defakeq.reconstruct.block_task import BlockTask
from brevitas_defakeq.reconstruct.losses import OutputLoss, relative_error, target_variance
from brevitas_defakeq.reconstruct.rest_of_network import TEMPERATURE, output_gradient, two_class_divergence

#: Gradients that the low-rank part is made of: k of FIMA-Q.
LOW_RANK = 5
#: Perturbation of an output, in units of its spread.
_PERTURBATION = 1e-2
#: 1 / lambda_r of PD-Quant.
_PREDICTION_WEIGHT = 10.0


class SquaredError:
    """``mean (y~ - y)^2 / var(y)``."""

    def __init__(self, task: BlockTask, config: ReconstructionConfig) -> None:
        self.task, self.config = task, config
        self.variance = target_variance(task)

    def __call__(self, output: Tensor, target: Tensor, images: Tensor) -> Tensor:
        return relative_error(output, target, self.variance)

    @staticmethod
    def network_images(config: ReconstructionConfig, train: int) -> float:
        """Image passes through the whole of M_f for one block with ``train`` images; a gradient counts 3."""
        return 0.0


class DiagonalFisher(SquaredError):
    """``mean_ij F_ij (y~ - y)_ij^2``, F_i the diagonal of image i's Fisher information (BRECQ, ICLR 2021).

    ``F_ij = p (1 - p) J_ij^2 / T^2`` is the mean of the squared gradient of log p over verdicts drawn from
    M_f's own probability p: no label is needed.
    """

    def __init__(self, task: BlockTask, config: ReconstructionConfig) -> None:
        super().__init__(task, config)
        targets = task.reference_data.targets
        self.weights = task.store.empty(targets.shape)
        total = 0.0
        for images in task.train.split(FORWARD_BATCH):
            diagonal = by_image(self._diagonal(images), images).cpu()
            total += float(diagonal.mean(dim=1).sum())
            self.weights[images] = diagonal.view(len(images), *targets.shape[1:])
        self.mean = total / len(task.train) or 1.0

    def _diagonal(self, images: Tensor) -> Tensor:
        """F of some images, shaped like the rows of their targets."""
        target = self.task.target_rows(images)
        slope = output_gradient(target, lambda output: self.task.logits(output, images))
        fake = self.task.logits(target, images) / TEMPERATURE
        certainty = (fake.sigmoid() * (-fake).sigmoid()).repeat_interleave(len(target) // len(images))
        return certainty.view(-1, *[1] * (target.dim() - 1)) * slope.square() / TEMPERATURE**2

    def __call__(self, output: Tensor, target: Tensor, images: Tensor) -> Tensor:
        weights = self.task.reference_data.rows(self.weights, images)
        return (weights * (output - target).square()).mean() / (self.mean * self.variance)

    @staticmethod
    def network_images(config: ReconstructionConfig, train: int) -> float:
        return 4.0 * train


class PerturbationHessian(SquaredError):
    """``mean_ij H_j (y~ - y)_ij^2`` with ``H = mean_i |g_i(y + e) - g_i(y - e)|``, g the gradient of the KL
    divergence from M_f's verdict (APHQ-ViT, CVPR 2025).

    The authors' e is 1e-6, which drowns in the rounding of float32: here a hundredth of the spread of y.
    """

    def __init__(self, task: BlockTask, config: ReconstructionConfig) -> None:
        super().__init__(task, config)
        step, total = _PERTURBATION * self.variance**0.5, torch.tensor(0.0)
        for images in task.train.split(FORWARD_BATCH):
            target = task.target_rows(images)
            wanted = task.logits(target, images)
            high, low = (divergence_gradient(task, target + side, wanted, images) for side in (step, -step))
            total = total + by_image(high - low, images).abs().sum(dim=0)
        self.weights = total / (float(total.mean()) or 1.0)  # [elements of an image's output]

    def __call__(self, output: Tensor, target: Tensor, images: Tensor) -> Tensor:
        return (self.weights * by_image(output - target, images).square()).mean() / self.variance

    @staticmethod
    def network_images(config: ReconstructionConfig, train: int) -> float:
        return 7.0 * train


class LowRankFisher(SquaredError):
    """Half ``A (D D^T)^-1 A^T``, half ``mean_j (y~ - y)_j^2 mean_k |G|_kj`` (FIMA-Q, CVPR 2025).

    ``A = |y~ - y| G^T``; a row of G and of D is the mean over images of the gradient of the KL divergence
    from M_f's verdict and of ``y~ - y``, in magnitude, behind M_f's own inputs. ``LOW_RANK`` rows are taken
    in the course of the steps: the gradient is F (y~ - y), so they span the Fisher information F. Either half
    is relative to its value when the last row came in, times the squared error then.
    """

    def __init__(self, task: BlockTask, config: ReconstructionConfig) -> None:
        super().__init__(task, config)
        self.interval = max(1, config.iterations // LOW_RANK)
        self.steps = 0
        self.gradients: list[Tensor] = []
        self.errors: list[Tensor] = []
        self.scales = torch.zeros(2)

    def __call__(self, output: Tensor, target: Tensor, images: Tensor) -> Tensor:
        fresh = self.steps % self.interval == 0 and len(self.gradients) < LOW_RANK
        self.steps += 1
        if fresh:
            self._add_gradient()
        terms = self._terms(by_image(output - target, images))
        if fresh:
            start = float(relative_error(output.detach(), target, self.variance))
            self.scales = 0.5 * start / terms.detach().clamp_min(torch.finfo(terms.dtype).tiny)
        return (self.scales * terms).sum()

    @staticmethod
    def network_images(config: ReconstructionConfig, train: int) -> float:
        return 4.0 * train * min(LOW_RANK, config.iterations)

    def _add_gradient(self) -> None:
        """A row of G and of D, at the present weights."""
        gradient, error = torch.tensor(0.0), torch.tensor(0.0)
        for images in self.task.train.split(FORWARD_BATCH):
            target = self.task.target_rows(images)
            with torch.no_grad():
                output = self.task.run(self.task.input_rows(images, "float"))
            slope = divergence_gradient(self.task, output, self.task.logits(target, images), images)
            gradient = gradient + by_image(slope, images).abs().sum(dim=0) / len(self.task.train)
            error = error + by_image(output - target, images).abs().sum(dim=0) / len(self.task.train)
        self.gradients.append(gradient)
        self.errors.append(error)

    def _terms(self, change: Tensor) -> Tensor:
        """Both terms before scaling, [2], for changes of the output [N, elements of an image's output]."""
        gradients, errors = torch.stack(self.gradients), torch.stack(self.errors)  # G, D: [k, elements]
        # Rows of D to length 1 and those of G with them: the same term, and the inverse is of like numbers.
        length = errors.norm(dim=1, keepdim=True).clamp_min(torch.finfo(errors.dtype).tiny)
        unit = (errors / length).double()
        inverse = torch.linalg.pinv(unit @ unit.T, rtol=1e-6, hermitian=True).to(change.dtype)
        products = change.abs() @ (gradients / length).T  # A: [N, k]
        low_rank = ((products @ inverse) * products).sum(dim=1).mean()
        return torch.stack([low_rank, (change.square() * gradients.mean(dim=0)).mean()])


class PredictionDifference(SquaredError):
    """The squared error and ``KL(p || p~) / lambda_r``, p~ the verdict behind the rest of M_f on the block's
    quantized inputs (PD-Quant, CVPR 2023), lambda_r = 0.1.

    Its correction of the targets' distribution needs BatchNorm, which is folded here, and is left out.
    """

    def __init__(self, task: BlockTask, config: ReconstructionConfig) -> None:
        super().__init__(task, config)
        self.wanted = torch.zeros(len(task.reference_data.targets))  # z of each image
        for images in task.train.split(FORWARD_BATCH):
            self.wanted[images] = task.logits(task.target_rows(images), images).cpu()

    def __call__(self, output: Tensor, target: Tensor, images: Tensor) -> Tensor:
        predicted = output
        if self.config.block_input != "quantized":
            predicted = self.task.run(self.task.input_rows(images, "quantized"))
        logits = self.task.logits(predicted, images)
        difference = two_class_divergence(self.wanted[images].to(logits.device), logits)
        return super().__call__(output, target, images) + _PREDICTION_WEIGHT * difference.mean()

    @staticmethod
    def network_images(config: ReconstructionConfig, train: int) -> float:
        return train + 3.0 * config.iterations * config.batch_size


def by_image(rows: Tensor, images: Tensor) -> Tensor:
    """Rows of a block's output, [images * group, ...] -> [images, elements]."""
    return rows.reshape(len(images), -1)


def divergence_gradient(task: BlockTask, output: Tensor, wanted: Tensor, images: Tensor) -> Tensor:
    """Gradient of each image's KL divergence from M_f's verdict, at a block output; shaped like it."""
    return output_gradient(output, lambda rows: two_class_divergence(wanted, task.logits(rows, images)))


#: Setting ``loss`` -> its class.
OUTPUT_LOSSES: dict[str, type[SquaredError]] = {
    "mse": SquaredError,
    "fisher": DiagonalFisher,
    "fisher-low-rank": LowRankFisher,
    "perturbation": PerturbationHessian,
    "prediction-difference": PredictionDifference,
}


def output_loss(task: BlockTask, config: ReconstructionConfig) -> OutputLoss:
    """The configured loss of one block."""
    return OUTPUT_LOSSES[config.loss](task, config)
