"""Algorithm 1, stage by stage: the file to read first.

float detector + calibration images -> prepare -> calibrate -> allocate (HAQ) -> reconstruct (+ VEFT)
-> tune -> freeze -> QuantizedDetector. Every stage is resumable and draws from its own generator.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn

from brevitas_defakeq.artifact import quantized_copy
from brevitas_defakeq.config import DEFAULT_CACHE_BYTES, FORWARD_BATCH, DefakeQConfig
from brevitas_defakeq.data.calibration import split_held_out
from brevitas_defakeq.detectors.observer import Observer
from brevitas_defakeq.haq.allocate import allocate, layer_scores
from brevitas_defakeq.haq.hardware_costs import HardwareCosts
from brevitas_defakeq.haq.importance import channel_energies, expand_energy
from brevitas_defakeq.haq.solver import solve
from brevitas_defakeq.memory_release import give_back
from brevitas_defakeq.nn.module_tree import modules_by_name, recomputed, restore_, snapshot, weight_of
from brevitas_defakeq.prepare.calibrate import calibrate_
from brevitas_defakeq.prepare.hardware_quantizers import limit_ranges_
from brevitas_defakeq.prepare.plan import Plan
from brevitas_defakeq.progress import Meter, ProgressCallback, silent
from brevitas_defakeq.quant.activation_quantizer import activation_proxies, mark_calibrated_
from brevitas_defakeq.quant.bit_width import relaxed, relaxed_bits, set_bits_
from brevitas_defakeq.quant.fused import fused_quantizers
from brevitas_defakeq.quant.partial_float import weight_quantizer
from brevitas_defakeq.reconstruct.block_loop import Reconstruction
from brevitas_defakeq.reconstruct.capture import TensorStore
from brevitas_defakeq.reconstruct.final_pass import Examples, tune_network_
from brevitas_defakeq.reconstruct.joint_widths import snapping_costs
from brevitas_defakeq.resume import Checkpoint
from brevitas_defakeq.storage.weights_transfer import WeightsWriter, transfer
from brevitas_defakeq.veft.restore import restore_channels_

#: Activations that the last pass may keep; beyond it, a batch is split and every block runs twice.
TUNING_BYTES = 4 << 30
#: Kept for the backward pass for each output value of a layer: the value, its quantized one, and more.
_BYTES_AN_OUTPUT = 16


#: M_q, M_q^v, the widths, and the packed tensors of both.
JobResult = tuple[nn.Module, nn.Module, dict[str, float], dict[str, dict[str, Tensor]]]


@dataclass
class Calibrated:
    """Results of calibration that do not depend on the widths; each is computed on first use.

    Attributes:
        ranges: activation quantizer -> the tensors of its range.
        energies: A_j of every layer (eq. 2).
    """

    ranges: dict[str, dict[str, Tensor]] | None = None
    energies: dict[str, Tensor] | None = None


@dataclass(kw_only=True)
class Job:
    """One run of Algorithm 1.

    Attributes:
        reference: M_f, prepared (BatchNorm folded, paddings fixed); never changed.
        images: calibration images, [M, 3, H, W]; ``labels`` 0/1 [M] or None.
        observer: reads logit and feature of M_f and of every quantized variant.
        hardware: costs of layers on a chip, for a chip's budget.
        device: for the models; captured activations stay in the processor's memory.
        calibrated: shared by runs that differ only in their budget (``at_budget``).
    """

    reference: nn.Module
    plan: Plan
    images: Tensor
    labels: Tensor | None
    observer: Observer
    config: DefakeQConfig
    checkpoint: Checkpoint
    on_progress: ProgressCallback = silent
    cache_bytes: int = DEFAULT_CACHE_BYTES
    device: torch.device = torch.device("cpu")
    hardware: HardwareCosts | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    calibrated: Calibrated = field(default_factory=Calibrated)

    def __post_init__(self) -> None:
        self.reference.requires_grad_(False).to(self.device)
        self.images = self.images.contiguous(memory_format=torch.channels_last).to(self.device)
        self.meter = Meter(len(self.images))
        train, held_out = split_held_out(len(self.images), self.config.held_out, self.config.seed)
        self.train, self.held_out = torch.as_tensor(train), torch.as_tensor(held_out)

    # Algorithm 1 -----------------------------------------------------------------------------------

    def run(self) -> JobResult:
        """M_q, M_q^v, the widths, and the packed tensors of both."""
        model = quantized_copy(self.reference, self.plan, self.config)
        bits = self.resume_(model)
        if bits is None:
            with self.stage("calibrate"):
                self.calibrate_(model)
            with self.stage("allocate"):
                bits = self.allocate_(model)
            self.keep("block-000", model, bits=bits)
        with fused_quantizers(model):
            self.reconstruct_(model)
            with self.stage("tune"):
                self.tune_(model)
        with self.stage("freeze"):
            return self.freeze(model, bits)

    def at_budget(self, average_bits: float, checkpoint: Checkpoint) -> "Job":
        """The same run at another budget; calibration is shared."""
        config = replace(self.config, average_bits=average_bits)
        return replace(self, config=config, checkpoint=checkpoint, seconds={})

    def calibrate_(self, model: nn.Module) -> None:
        """Steps 2-4: run the calibration images once, and set every activation range."""
        proxies = activation_proxies(model)
        if self.calibrated.ranges is None:
            self.meter.add("calibrate", len(self.images))
            calibrate_(model, proxies, self.batches(), count=self.batch_count)
            self.calibrated.ranges = {name: snapshot(proxy) for name, proxy in proxies.items()}
        for name, proxy in proxies.items():
            restore_(proxy, self.calibrated.ranges[name])
            mark_calibrated_(proxy)

    def allocate_(self, model: nn.Module) -> dict[str, float]:
        """Step 5a: one width a layer within the budget; then search the weight ranges at that width."""
        bits = allocate(
            self.reference, self.quantized_layers(model), self.plan, self.energies, self.config,
            images=self.images[self.train], logit=self.observer.logit, meter=self.meter,
            on_progress=self.on_progress, hardware=self.hardware,
        )  # fmt: skip
        if self.config.reconstruction.joint:
            bits = self.learn_jointly_(model)
        self.set_bits_(model, bits)
        return bits

    def learn_jointly_(self, model: nn.Module) -> dict[str, float]:
        """Eq. 10 as printed: continue the relaxed widths block by block, then snap them."""
        scores, config = layer_scores(self.reference_layers, self.energies), self.config
        quantizers = {name: weight_quantizer(layer) for name, layer in self.quantized_layers(model).items()}
        with relaxed(model), fused_quantizers(model):
            work = self.reconstruction(model)
            for index in range(len(self.plan.blocks)):
                self.on_progress("joint", index, len(self.plan.blocks))
                work.learn_widths_(index, scores, config)
        learned = {name: relaxed_bits(quantizer).item() for name, quantizer in quantizers.items()}
        costs = snapping_costs(learned, scores, config.candidate_bits, config.haq.error_base)
        return solve(costs, self.sizes, config.candidate_bits, config.average_limit)

    def reconstruct_(self, model: nn.Module) -> None:
        """Step 5b: block by block in data-flow order, widths frozen."""
        config = self.config.reconstruction
        if config.matching == "none" and not (config.learned_rounding or config.activations_first):
            return
        work = self.reconstruction(model)
        total, done = len(self.plan.blocks), self.checkpoint.notes.get("blocks", 0)
        for index in range(done, total):
            self.on_progress("reconstruct", index, total)
            with self.stage("reconstruct"):
                work.block_(index)
            self.keep(f"block-{index + 1:03d}", model, blocks=index + 1)
        self.on_progress("reconstruct", total, total)

    def tune_(self, model: nn.Module) -> None:
        """The last pass over the whole network (``recipe="best"``)."""
        steps = self.config.final.steps
        if not steps:
            return
        examples = self.examples()
        self.meter.add("tune", steps * self.config.final.batch_size, training=True)
        done = 0

        def count(step: int) -> None:
            nonlocal done
            done += step
            self.on_progress("tune", done, steps)

        at_once = self.images_at_once()
        modules = modules_by_name(model)
        blocks = self.plan.blocks if at_once < self.config.final.batch_size else ()
        with recomputed([modules[block.name] for block in blocks]):
            tune_network_(
                model, self.quantized_layers(model), self.observer, examples, self.config.final,
                temperature=self.config.veft.temperature, at_once=at_once, progress=count,
                generator=torch.Generator().manual_seed(self.config.seed),
            )  # fmt: skip

    def freeze(self, model: nn.Module, bits: dict[str, float]) -> JobResult:
        """Step 6: round everything to the precision of the file, for M_q and M_q^v."""
        if self.config.target == "fpga":
            limit_ranges_(model, self.plan.grids)
        mixed = quantized_copy(self.reference, self.plan, self.config)
        self.copy_state_(mixed, snapshot(model))
        restore_channels_(
            self.quantized_layers(mixed), self.reference_layers, self.energies, self.config.veft.fraction
        )
        packed = {}
        variants = (("quantized", model, None), ("mixed", mixed, self.config.mixed_channel_bits))
        for variant, network, width in variants:
            network.cpu()
            writer = WeightsWriter()
            transfer(
                network, self.plan, bits, writer, mixed_bits=width,
                integer_biases=self.config.target != "any",
            )  # fmt: skip
            packed[variant] = writer.tensors()
        return model.requires_grad_(False), mixed.requires_grad_(False), bits, packed

    def round_to_nearest(self, width: float) -> nn.Module:
        """The baseline: one width for all weights, searched ranges, the same activation bits, no training."""
        config = replace(self.config, candidate_bits=(width,), average_bits=width, budget={})
        model = quantized_copy(self.reference, self.plan, config)
        self.calibrate_(model)
        self.set_bits_(model, {layer.name: width for layer in self.plan.layers}, weighted=False)
        return model.requires_grad_(False)

    # What the stages share ---------------------------------------------------------------------------

    @cached_property
    def reference_layers(self) -> dict[str, nn.Module]:
        return self.quantized_layers(self.reference)

    @cached_property
    def sizes(self) -> dict[str, int]:
        """p_l."""
        return {layer.name: layer.num_params for layer in self.plan.layers}

    @property
    def energies(self) -> dict[str, Tensor]:
        """A_j of every layer (eq. 2)."""
        if self.calibrated.energies is None:
            self.meter.add("calibrate", len(self.images))
            with torch.no_grad():
                found = channel_energies(self.reference, self.reference_layers, self.batches())
            self.calibrated.energies = found
        return self.calibrated.energies

    def examples(self) -> Examples:
        """The calibration images (and their mirror images) with M_f's logits and features."""
        images, train = self.images, self.train
        if self.config.final.mirror:
            images = torch.cat([images, images.flip(3)]).contiguous(memory_format=torch.channels_last)
            train = torch.cat([train, train + len(self.images)])
        self.meter.add("tune", len(images))
        with torch.no_grad():
            observed = [self.observer(self.reference, batch) for batch in images.split(FORWARD_BATCH)]
        logits, features = (torch.cat(parts) for parts in zip(*observed, strict=True))
        return Examples(images=images, logits=logits, features=features, train=train, held_out=self.held_out)

    def images_at_once(self) -> int:
        """Number of images whose activations for a backward pass fit in ``TUNING_BYTES``."""
        outputs = sum(layer.macs * layer.weight_shape[0] // layer.num_params for layer in self.plan.layers)
        return max(1, min(self.config.final.batch_size, TUNING_BYTES // max(1, outputs * _BYTES_AN_OUTPUT)))

    def quantized_layers(self, model: nn.Module) -> dict[str, nn.Module]:
        modules = modules_by_name(model)
        return {layer.name: modules[layer.name] for layer in self.plan.layers}

    def reconstruction(self, model: nn.Module) -> Reconstruction:
        return Reconstruction(
            quantized=model, reference=self.reference, plan=self.plan, images=self.images,
            labels=self.labels, train=self.train, held_out=self.held_out,
            config=self.config.reconstruction, veft=self.config.veft, seed=self.config.seed,
            meter=self.meter, store=TensorStore(self.cache_bytes),
            feature=lambda network, images: self.observer(network, images)[1],
        )  # fmt: skip

    def set_bits_(self, model: nn.Module, bits: dict[str, float], *, weighted: bool = True) -> None:
        """Set every layer's width and search its range, with errors weighted by A_j^2 (``weighted``)."""
        for name, layer in self.quantized_layers(model).items():
            quantizer, weight = weight_quantizer(layer), weight_of(layer)
            set_bits_(quantizer, bits[name])
            importance = expand_energy(self.energies[name], len(weight)).square() if weighted else None
            quantizer.search_range_(weight, importance)

    def batches(self) -> Sequence[Tensor]:
        return self.images.split(FORWARD_BATCH)

    @property
    def batch_count(self) -> int:
        return -(-len(self.images) // FORWARD_BATCH)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = perf_counter()
        self.on_progress(name, 0, 1)
        try:
            yield
        finally:
            give_back()
            self.seconds[name] = self.seconds.get(name, 0.0) + perf_counter() - start

    # Interruption ------------------------------------------------------------------------------------

    def keep(self, stage: str, model: nn.Module, **notes: Any) -> None:
        """Save the state after ``stage``."""
        self.checkpoint.keep(
            stage, snapshot(model), seconds=self.seconds, compute=self.meter.by_stage, **notes
        )

    def resume_(self, model: nn.Module) -> dict[str, float] | None:
        """Restore the last saved state; returns the widths, or None at the start of a run."""
        saved = self.checkpoint.tensors()
        if saved is None:
            return None
        notes = self.checkpoint.notes
        self.seconds, self.meter.by_stage = dict(notes["seconds"]), dict(notes["compute"])
        self.copy_state_(model, saved)
        return notes["bits"]

    def copy_state_(self, model: nn.Module, saved: dict[str, Tensor]) -> None:
        restore_(model, saved)
        for proxy in activation_proxies(model).values():
            mark_calibrated_(proxy)
