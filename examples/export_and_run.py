"""Export a run and use the file without torch: ``python examples/export_and_run.py``, a minute."""

from dataclasses import replace
from pathlib import Path

from brevitas_defakeq import DefakeQConfig, export_onnx, quantize
from brevitas_defakeq.data.procedural import draw_many
from brevitas_defakeq.demo import drawn_calibration
from brevitas_defakeq.detectors.resolve import resolve
from brevitas_defakeq.runtime import ExportedDetector, predict


def main(out: Path, *, count: int = 64, iterations: int = 20) -> None:
    """Quantize the shipped detector, write ``out/model.onnx``, and judge eight drawn faces with it."""
    detector = resolve("demo")
    images, labels = drawn_calibration(detector.preprocessing, count)
    config = DefakeQConfig(average_bits=3.0, samples=count)
    config = replace(
        config,
        reconstruction=replace(config.reconstruction, iterations=iterations),
        final=replace(config.final, steps=iterations),
    )
    result = quantize(detector, images, config, labels=labels)
    export_onnx(result, out, verify=images[:8])  # runs the file beside the model before it is written

    # On the device only this part is needed: onnxruntime, NumPy and Pillow.
    faces = draw_many(8, seed=22)
    exported = ExportedDetector(out / "model.onnx", threads=1)
    verdicts = predict(exported, [face.image for face in faces])  # uint8 RGB [H, W, 3], cropped to the face
    for face, verdict in zip(faces, verdicts, strict=True):
        truth = "fake" if face.label else "real"
        print(f"{truth}: P(fake) {verdict.fake_probability:.2f}, is_fake {verdict.is_fake}")
    print(f"{(out / 'model.onnx').stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(Path("example-exported"))
