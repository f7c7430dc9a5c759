"""The loop over blocks: capture, fit ranges, match, learn rounding; each block resumable."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from brevitas_defakeq.config import FORWARD_BATCH, DefakeQConfig, Matching, ReconstructionConfig, VEFTConfig
from brevitas_defakeq.nn.module_tree import flag_set, modules_by_name
from brevitas_defakeq.prepare.blocks import Block
from brevitas_defakeq.prepare.plan import Plan
from brevitas_defakeq.progress import Meter
from brevitas_defakeq.quant.matching import MATCHING_TARGETS, PairedOutputs
from brevitas_defakeq.quant.partial_float import weight_quantizer
from brevitas_defakeq.reconstruct.block_task import BlockTask
from brevitas_defakeq.reconstruct.capture import TensorStore, capture
from brevitas_defakeq.reconstruct.gptq import GPTQ_ROUNDINGS, round_block_
from brevitas_defakeq.reconstruct.joint_widths import learn_block_widths_
from brevitas_defakeq.reconstruct.learned_rounding import learn_activations_, reconstruct_block_
from brevitas_defakeq.reconstruct.output_matching import float_targets, peak_bytes_per_image, prepare_block_
from brevitas_defakeq.reconstruct.rest_of_network import substituted

#: Memory that matching may take for one large batch.
_MATCHING_BYTES = 1 << 30


@dataclass(kw_only=True)
class Reconstruction:
    """Everything that stays the same from block to block.

    Attributes:
        quantized, reference: M_q (in the making) and M_f, both prepared from one plan.
        images: calibration images, [M, 3, H, W]; ``labels`` 0/1 per image or None.
        train, held_out: image indices.
        seed: every block draws from a generator of its own, so a resumed run repeats.
        observe: reads the fake logit [N] and the feature [N, C] of images in a network.
    """

    quantized: nn.Module
    reference: nn.Module
    plan: Plan
    images: Tensor
    labels: Tensor | None
    train: Tensor
    held_out: Tensor
    config: ReconstructionConfig
    veft: VEFTConfig
    seed: int
    meter: Meter
    store: TensorStore
    observe: Callable[[nn.Module, Tensor], tuple[Tensor, Tensor]]

    @property
    def units(self) -> tuple[Block, ...]:
        """What is reconstructed at once, in data-flow order."""
        return self.plan.units(self.config.unit)

    def block_(self, index: int) -> dict[str, float]:
        """Reconstruct block ``index`` of ``units`` in place; returns its errors on held-out images."""
        block = self.units[index]
        task = self._task(block, index)
        if self.config.activations_first:
            self._learn_activations_(block, task)
        if self.config.rounding in GPTQ_ROUNDINGS:
            self._match_(block, task, "none")  # ranges, which the layers' inputs need
            round_block_(task, asymmetric=self.config.rounding == "gptaq")
            self.meter.add("reconstruct", len(self.train) * len(block.layers), self.share((block,)))
        self._match_(block, task)
        errors: dict[str, float] = {}
        if self.config.rounding == "learned" and self.config.iterations:
            errors = reconstruct_block_(task, self.config, self.veft)
            self._count_steps("reconstruct", block)
        self.store.release()
        return errors

    def learn_widths_(self, index: int, importance: Mapping[str, float], config: DefakeQConfig) -> None:
        """Eq. 10 as printed on block ``index``: trains the relaxed widths of its layers."""
        block = self.units[index]
        layers = {layer.name: modules_by_name(self.quantized)[layer.name] for layer in self.plan.layers}
        quantizers = {name: weight_quantizer(layer) for name, layer in layers.items()}
        sizes = {layer.name: layer.num_params for layer in self.plan.layers}
        learn_block_widths_(self._task(block, index), quantizers, importance, sizes, config)
        self._count_steps("joint", block)
        self.store.release()

    def _count_steps(self, stage: str, block: Block) -> None:
        images = self.config.iterations * self.config.batch_size * self._forwards()
        self.meter.add(stage, images, self.share((block,)), training=True)

    def share(self, blocks: Sequence[Block]) -> float:
        """Share of the network's multiply-accumulates in ``blocks``."""
        macs = {layer.name: layer.macs for layer in self.plan.layers}
        inside = sum(macs[name] for block in blocks for name in block.layers)
        return inside / max(1, sum(macs.values()))

    def _forwards(self) -> int:
        return 2 if self.veft.enabled and self.veft.contrastive_weight else 1

    def _task(self, block: Block, index: int) -> BlockTask:
        quantized, reference = modules_by_name(self.quantized), modules_by_name(self.reference)
        calls = next(layer.calls for layer in self.plan.layers if layer.name == block.layers[0])
        calls = calls if block.name == block.layers[0] else 1
        batches = self.images.split(FORWARD_BATCH)
        prefix = self.share(self.units[:index])
        self.meter.add("capture", len(self.images), 2 * prefix + self.share((block,)))
        target = capture(
            self.reference, reference[block.name], batches, calls=calls, outputs=True, store=self.store,
            image_dim=block.image_dim,
        )  # fmt: skip
        source = capture(
            self.quantized, quantized[block.name], batches, calls=calls, outputs=False, store=self.store,
            image_dim=block.image_dim,
        )  # fmt: skip
        source.overwrites = target.overwrites
        return BlockTask(
            name=block.name,
            quantized=quantized[block.name],
            reference=reference[block.name],
            layers={name: quantized[name] for name in block.layers},
            reference_layers={name: reference[name] for name in block.layers},
            quantized_data=source,
            reference_data=target,
            train=self.train,
            held_out=self.held_out,
            labels=self.labels,
            generator=torch.Generator().manual_seed(self.seed * 1_000_003 + index),
            observe=self._observe_behind(reference[block.name], block.image_dim),
            store=self.store,
            bit_loss=self.config.rate * len(self.units) / sum(layer.num_params for layer in self.plan.layers),
        )

    def _learn_activations_(self, block: Block, task: BlockTask) -> None:
        """Fit and learn the block's activation ranges while its weights are in float."""
        images = self._matching_images(task)
        with flag_set([layer.weight_quant for layer in task.layers.values()], "disable_quant"):
            prepare_block_(task.quantized, task.layers, task.quantized_data, images, None)
            learn_activations_(task, self.config)
        steps = self.config.iterations * self.config.batch_size
        self.meter.add("reconstruct", steps, self.share((block,)), training=True)

    def _matching_images(self, task: BlockTask) -> Tensor:
        """Indices of the images whose outputs are matched at once."""
        limit = _MATCHING_BYTES // peak_bytes_per_image(task.reference, task.reference_data)
        return self.train[: max(4, min(self.config.matching_images, limit, len(self.train)))]

    def _match_(self, block: Block, task: BlockTask, matching: Matching | None = None) -> None:
        """Fit the block's ranges, and match its layers as configured or as given."""
        images = self._matching_images(task)
        count = len(images)
        targets, kind = None, MATCHING_TARGETS.get(matching or self.config.matching)
        if kind is not None:
            chunk = count if kind is PairedOutputs else FORWARD_BATCH  # pairs are of whole passes
            targets = float_targets(
                kind, task.reference, task.reference_layers, task.reference_data, images, chunk
            )
        ranges = not self.config.activations_first
        prepare_block_(task.quantized, task.layers, task.quantized_data, images, targets, ranges=ranges)
        self.meter.add("match", count, 2 * self.share((block,)))

    def _observe_behind(
        self, block: nn.Module, image_dim: int
    ) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Block output and images -> the detector's fake logit and feature, through the rest of M_f."""

        def run(output: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
            trained = torch.is_grad_enabled() and output.requires_grad
            self.meter.add("reconstruct", len(images), training=trained)
            with substituted(block, output, len(images), image_dim):
                return self.observe(self.reference, self.images[images])

        return run
