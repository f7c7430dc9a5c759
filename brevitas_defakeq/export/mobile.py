"""``export_mobile``: a run for ExecuTorch, LiteRT or Core ML, and its card."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from brevitas_defakeq.artifact import QuantizedDetector
from brevitas_defakeq.export.agreement import ModelAgreement, Run, compare_with_model
from brevitas_defakeq.export.export_card import card_of, input_output_of, require_exportable
from brevitas_defakeq.export.formats import get_format
from brevitas_defakeq.export.integer_modules import LogitNetwork, RuntimeLayers, integer_export_modules
from brevitas_defakeq.export.integer_weights import IntegerWeight
from brevitas_defakeq.export.quiet_converters import quiet
from brevitas_defakeq.runtime.card import Card, card_beside
from brevitas_defakeq.utils.errors import UserError, first_line
from brevitas_defakeq.utils.files import size_on_disk, written_whole

#: ``write(modules, weights by layer, image [1, 3, H, W], path)`` -> how often each operator is in the file.
FileWriter = Callable[[LogitNetwork, Mapping[str, IntegerWeight], Tensor, Path], Counter[str]]


@dataclass(frozen=True, kw_only=True)
class MobileExporter:
    """Exporter of one format that is written from integer modules: one preprocessed image -> fake logit.

    Attributes:
        format: its name in the registry.
        file: name of the file or folder.
        layers: the integer modules that the converter takes.
        write: converts them.
        version: version of the runtime for which the file is written.
        open: the file in its runtime, image by image; None where it runs on another system only.
    """

    format: str
    file: str
    layers: RuntimeLayers
    write: FileWriter
    version: Callable[[], str]
    open: Callable[[Path], Run] | None = None

    def __call__(
        self,
        result: QuantizedDetector,
        out: str | Path,
        *,
        variant: str = "quantized",
        verify: Tensor | None = None,
        licence: str | None = None,
    ) -> Card:
        """Write the file and its card into the folder ``out``; see `export_mobile`."""
        require_exportable(result, variant, self.format)
        path = Path(out) / self.file
        with written_whole(path) as partial:
            patterns = self._convert(result, getattr(result, variant), partial)
            checked = self._checked(partial, result, variant, verify)
            card = card_of(
                result, variant, input_output_of(result), format=self.format, runtime=self.version(),
                bytes={"file": size_on_disk(partial)}, patterns=patterns,
                agreement=checked.to_dict() if checked else None, licence=licence,
            )  # fmt: skip
            card.write(card_beside(path))
        return card

    def _convert(self, result: QuantizedDetector, network: nn.Module, path: Path) -> Counter[str]:
        height, width = input_output_of(result)[0].size
        modules, weights = integer_export_modules(result, network, self.layers)
        example = next(network.parameters()).new_zeros(1, 3, height, width)
        try:
            with quiet():
                return self.write(modules, weights, example, path)
        except OSError:
            raise  # the disk's, with its own line
        except Exception as error:  # three converters, no common base
            converter = get_format(self.format).package
            raise UserError(f"{converter} cannot convert this detector: {first_line(error)}") from error

    def _checked(
        self, path: Path, result: QuantizedDetector, variant: str, images: Tensor | None
    ) -> ModelAgreement | None:
        """The file compared with the model; UserError where they disagree."""
        if images is None or self.open is None:
            return None
        with quiet():
            found = compare_with_model(
                [self.open(path)], getattr(result, variant), result.observer, images,
                result.report["threshold"][variant], input_output_of(result),
            )  # fmt: skip
        found.require()
        return found


def export_mobile(
    result: QuantizedDetector,
    out: str | Path,
    *,
    format: str,
    variant: str = "quantized",
    verify: Tensor | None = None,
    licence: str | None = None,
) -> Card:
    """Write ``out/model.pte``, ``model.tflite`` or ``model.mlpackage`` and the card: [1, 3, H, W] -> logit.

    Args:
        result: what ``quantize`` returned or ``load`` read.
        format: "executorch", "litert" or "coreml"; each needs the extra of that name.
        variant: "quantized" (M_q) or "mixed" (M_q^v).
        verify: preprocessed images [N, 3, H, W] on which file and model have to agree; None skips the check,
            as does Core ML, whose files run on Apple's systems only.
        licence: of the source weights, for the card.

    Raises:
        UserError: the extra is missing, the converter does not know an operator, or the file disagrees with
            the model; then nothing is written.
    """
    return mobile_exporter(format)(result, out, variant=variant, verify=verify, licence=licence)


def mobile_exporter(format: str) -> MobileExporter:
    """The exporter of a mobile format; UserError for any other format."""
    exporter = get_format(format).load_exporter()
    if not isinstance(exporter, MobileExporter):
        raise UserError(f"format={format!r} is no mobile format; use brevitas_defakeq.export.export")
    return exporter
